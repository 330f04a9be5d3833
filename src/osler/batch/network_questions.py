"""What a network is asked about pictures: features, scores, masks, zero-shot labels, prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.batch.predictions import FEATURES, TABLE, whole, write_features, write_table
from osler.errors import RecipeError

if TYPE_CHECKING:
    from osler.batch.networks import Ask


@dataclass(slots=True)
class Picture:
    """A picture of a file: ``pixels`` (3, H, W) of 8 bits, ``ready`` (C, h, w) as prepared."""

    path: Path
    stem: str
    pixels: NDArray[np.uint8]
    ready: NDArray[np.float32] | None = None


@dataclass(slots=True)
class Work:
    """One kind of question, asked of pictures a batch at a time."""

    net: Any
    ask: "Ask"
    out: Path
    preprocessing: Any = field(init=False)

    def __post_init__(self) -> None:
        card = self.net.card
        if card.preprocessing is None:
            raise RecipeError(f"the card of '{card.name}' names no preprocessing; use Python")
        side = self.net.options.get("image_size")
        self.preprocessing = card.preprocessing.for_size(side) if side else card.preprocessing

    def prepare(self, picture: Picture) -> None:
        """Make the picture ready for the network, as its card says."""
        picture.ready = self.preprocessing(picture.pixels)

    def answer(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """A row a picture; empty where the answer is a file."""
        raise NotImplementedError

    def table(self, rows: list[dict[str, Any]], out: Path) -> Path:
        """Write the rows of all pictures; the path of what was written."""
        return write_table(rows, out / TABLE)


class Features(Work):
    """A row of features a picture, in one table."""

    def answer(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """A row of features each."""
        from osler.models import asking

        return [{"features": row} for row in asking.features(self.net, _ready(pictures))]

    def table(self, rows: list[dict[str, Any]], out: Path) -> Path:
        """``features.parquet``."""
        kept = [(str(row["input"]), row["features"]) for row in rows]
        return write_features(kept, self.net.card.name, out / FEATURES)


class Scores(Work):
    """The likeliest class and the probability of each."""

    def answer(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """A label and a probability for each class."""
        from osler.models import asking
        from osler.models.class_names import fitting_names

        said = asking.scores(self.net, _ready(pictures))
        names = fitting_names(self.net, said.shape[1])
        keys: Sequence[str | int] = names or range(said.shape[1])
        return [
            {
                "label": keys[int(row.argmax())],
                **{f"p_{key}": f"{p:.6f}" for key, p in zip(keys, row, strict=True)},
            }
            for row in said
        ]


class Masks(Work):
    """Masks in native size; a network of this kind sees the whole picture, resized."""

    def __post_init__(self) -> None:
        Work.__post_init__(self)
        if not self.preprocessing.keeps_frame:
            raise RecipeError(
                f"the preprocessing of '{self.net.card.name}' crops; masks cannot be brought home"
            )

    def answer(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """Nothing in the table: the masks are written."""
        from osler.models import asking

        sizes = [(picture.pixels.shape[1], picture.pixels.shape[2]) for picture in pictures]
        said = asking.chances(self.net, _ready(pictures), sizes)
        for picture, chance in zip(pictures, said, strict=True):
            self.write(picture, chance)
        return [{} for _ in pictures]

    def write(self, picture: Picture, chance: NDArray[np.float32]) -> None:
        """``STEM.LABEL.png`` (0 and 255) for each class; the first of several is background."""
        from PIL import Image as Pillow

        from osler.models.class_names import fitting_names
        from osler.retina.predict import half

        known = fitting_names(self.net, len(chance))
        names = known or tuple(f"class-{number}" for number in range(len(chance)))
        first = 0 if len(chance) == 1 else 1
        likeliest = chance.argmax(axis=0)
        for number in range(first, len(chance)):
            mask = chance[0] >= 0.5 if len(chance) == 1 else likeliest == number
            with whole(self.out / f"{picture.stem}.{names[number]}.png") as file:
                Pillow.fromarray(mask.astype(np.uint8) * 255).save(file, format="PNG")
        if self.ask.probabilities:
            with whole(self.out / f"{picture.stem}.npz") as file:
                np.savez_compressed(
                    file, probability=half(chance[first:]), labels=np.array(names[first:])
                )


class ZeroShot(Work):
    """The likeliest of the labels that were named, and the probability of each."""

    classes: Any = None

    def __post_init__(self) -> None:
        Work.__post_init__(self)
        self.classes = self.net.classes(
            self.ask.labels, caption=self.ask.prompt, knowledge=self.ask.knowledge
        )

    def prepare(self, picture: Picture) -> None:
        """Nothing: the network prepares its pictures itself."""

    def answer(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """A label and a probability for each of the labels."""
        said = self.net.zero_shot([picture.pixels for picture in pictures], self.classes)
        best = said.probabilities.argmax(dim=1).tolist()
        return [
            {
                "label": said.labels[winner],
                **{f"p_{k}": f"{p:.6f}" for k, p in zip(said.labels, row, strict=True)},
            }
            for winner, row in zip(best, said.probabilities.tolist(), strict=True)
        ]


class Prompted(Work):
    """A mask for each box, or one for all points together: ``STEM.1.png`` and so on."""

    def prepare(self, picture: Picture) -> None:
        """Nothing: prompts are in the picture's own pixels, so the network prepares it itself."""

    def answer(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """Nothing in the table: the masks are written."""
        from PIL import Image as Pillow

        from osler.retina.predict import half

        boxes = np.array(self.ask.boxes) if self.ask.boxes else None
        points = np.array(self.ask.points)[None] if self.ask.points else None
        for picture in pictures:
            said = self.net.segment(picture.pixels, boxes=boxes, points=points)
            for number, mask in enumerate(said.best(), start=1):
                with whole(self.out / f"{picture.stem}.{number}.png") as file:
                    Pillow.fromarray(mask.astype(np.uint8) * 255).save(file, format="PNG")
            if self.ask.probabilities:
                chosen = said.overlaps.argmax(axis=1)
                chance = said.chances[np.arange(len(chosen)), chosen]
                with whole(self.out / f"{picture.stem}.npz") as file:
                    labels = np.array([str(k + 1) for k in range(len(chance))])
                    np.savez_compressed(file, probability=half(chance), labels=labels)
        return [{} for _ in pictures]


def _ready(pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
    return [picture.ready for picture in pictures if picture.ready is not None]
