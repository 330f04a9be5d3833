"""Pictures and texts in one space: embeddings, and classification by sentences.

Every network of the group "image and language" is an ``ImageText``::

    net = osler.models.create("flair", checkpoint="flair_resnet.pth")
    said = net.zero_shot([picture], ["no diabetic retinopathy", "macular hole"])
    said.labels, said.probabilities
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import InputError, RecipeError
from osler.models.descriptions import described
from osler.models.preprocessing import Preprocessing
from osler.models.tokenizing import Family, find_tokenizer, read_tokenizer, tokenizer_files, tokens

Pictures = Tensor | Sequence[NDArray[np.uint8]]
Labels = Sequence[str] | Mapping[str, Sequence[str]]
Ensemble = Literal["mean", "max", "direction"]

MOST_SCALE = 4.6052
"""Greatest logarithm of the factor of scores, where the published networks cut it at use."""


@dataclass(frozen=True, slots=True)
class Classes:
    """What pictures are told apart by, as a network reads it.

    Attributes:
        labels: names of the classes.
        embeddings: of each class's prompts, ``(P, D)`` of length 1.
    """

    labels: tuple[str, ...]
    embeddings: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """What was said of each picture.

    Attributes:
        labels: names of the classes, in the order of the columns.
        logits: ``(B, L)``.
        probabilities: ``(B, L)``; each row sums to 1, for one of the labels is taken to be true.
    """

    labels: tuple[str, ...]
    logits: Tensor
    probabilities: Tensor


class ImageText(nn.Module):
    """A network that puts pictures and texts in one space.

    A network of the list brings ``features``, ``embed_image``, ``embed_text`` and ``logit_scale``.

    Attributes:
        caption: sentence into which labels are put at ``{}``.
        family: of its tokenizer.
        image_size: side that its preprocessing leaves, pixels.
        longest: number of tokens after which a text is cut.
        most_scale: greatest ``logit_scale``, which is cut there; None cuts it nowhere.
        tokenizer_folder: where the tokenizer lies; None looks beside the checkpoint.
    """

    caption: str = "{}"
    family: Family = "bert"
    image_size: int = 224
    longest: int = 77
    most_scale: float | None = MOST_SCALE
    logit_scale: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer_folder: str | Path | None = None
        self._tokenizer: tuple[Path, Any] | None = None

    def features(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` to what the picture's encoder says before projection, ``(B, F)``."""
        raise NotImplementedError

    def embed_image(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)``, preprocessed, to ``(B, D)`` of length 1."""
        raise NotImplementedError

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(P, T)`` each to ``(P, D)`` of length 1."""
        raise NotImplementedError

    def scale(self) -> Tensor:
        """Factor of the scores."""
        if self.most_scale is None:
            return self.logit_scale.exp()
        if self.training:
            with torch.no_grad():
                self.logit_scale.clamp_(0.0, self.most_scale)
        return self.logit_scale.clamp(0.0, self.most_scale).exp()

    def forward(self, image: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score pictures against texts.

        Args:
            image: ``(B, C, H, W)``, preprocessed.
            input_ids: ``(P, T)``; or ``(S, P, T)``, texts for each picture (S is B) or one set of
                them for all (S is 1).
            attention_mask: of the same shape, 1 at tokens and 0 at padding.

        Returns:
            ``(B, P)``.
        """
        seen = self.embed_image(image)
        if input_ids.ndim == 2:
            return self.scale() * seen @ self.embed_text(input_ids, attention_mask).T
        said = self.embed_text(input_ids.flatten(0, 1), attention_mask.flatten(0, 1))
        said = said.reshape(*input_ids.shape[:2], -1)
        return self.scale() * (said @ seen[:, :, None]).squeeze(2)

    @property
    def preprocessing(self) -> Preprocessing:
        """What the card says that the weights expect, at the size of this network."""
        known = getattr(self, "card", None)
        if known is None or known.preprocessing is None:
            raise RecipeError("this network has no card that says how pictures are preprocessed")
        return known.preprocessing.for_size(self.image_size)  # type: ignore[no-any-return]

    def encode_image(self, images: Pictures) -> Tensor:
        """Embed pictures.

        Args:
            images: 8-bit pictures ``(C, H, W)`` of 1 or 3 channels and any size, which are
                preprocessed here; or a tensor ``(B, C, H, W)`` that is preprocessed already.

        Returns:
            ``(B, D)`` of length 1.
        """
        return self.embed_image(self._prepared(images))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as they are; ``(P, D)`` of length 1.

        Raises:
            InputError: no tokenizer is at hand; the message says which files are missing.
        """
        ids, mask = self.tokenize(texts)
        device = self.logit_scale.device
        return self.embed_text(ids.to(device), mask.to(device))

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """``input_ids`` and ``attention_mask`` of texts, ``(P, T)`` each.

        Raises:
            InputError: no tokenizer is at hand, or there is no text.
        """
        if isinstance(texts, str) or not texts:
            raise InputError("texts are a list of one sentence or more")
        return tokens(self._read(), texts, longest=self.longest)

    def classes(
        self,
        labels: Labels,
        *,
        caption: str | None = None,
        knowledge: bool = False,
    ) -> Classes:
        """Embed what pictures are to be told apart by, once for many calls of ``zero_shot``.

        Args:
            labels: names of classes, ``["glaucoma", "healthy"]``; or, for each class, its
                prompts, ``{"glaucoma": ["large cup", "glaucoma"], "healthy": ["healthy"]}``.
            caption: sentence that each prompt is put into at ``{}``; None takes the network's own
                (``net.caption``), ``"{}"`` takes prompts as they are.
            knowledge: add what Osler knows of the look of each label (``described``).

        Raises:
            InputError: there are no labels, one is there twice, or no tokenizer is at hand (the
                message says which files are missing and where they may lie).
        """
        if isinstance(labels, str) or not labels:
            raise InputError("labels are a list of names, or lists of prompts by name")
        names = tuple(labels)
        if len(set(names)) < len(names):
            raise InputError(f"a label is named twice: {', '.join(names)}")
        caption = self.caption if caption is None else caption
        if "{}" not in caption:
            raise RecipeError(f"the caption '{caption}' has no {{}} for the label to stand at")
        prompts = labels if isinstance(labels, Mapping) else {name: [name] for name in names}
        for name, of_one in prompts.items():
            if not of_one:
                raise InputError(f"the label '{name}' has no prompt")
        if knowledge:
            prompts = {name: described(name, prompts[name]) for name in names}
        # what pads a text is the longest of its batch: of plain names as of one class's prompts
        together = not isinstance(labels, Mapping) and not knowledge
        with torch.inference_mode():
            said = self._texts([list(prompts[name]) for name in names], caption, together)
        return Classes(names, tuple(said))

    def zero_shot(
        self,
        images: Pictures,
        labels: Labels | Classes,
        *,
        caption: str | None = None,
        ensemble: Ensemble = "mean",
        knowledge: bool = False,
        batch: int = 16,
    ) -> Scores:
        """Classify pictures by sentences, without having been trained for these classes.

        Args:
            images: 8-bit pictures ``(C, H, W)`` of 1 or 3 channels and any size, which are
                preprocessed here; or a tensor ``(B, C, H, W)`` that is preprocessed already.
            labels: names of classes or their prompts, as ``classes`` takes them; or what it gave.
            caption: as ``classes`` takes it.
            ensemble: how the prompts of a class become one score: the ``mean`` of their scores
                (which is that of their mean embedding), their ``max``, or the score of the
                ``direction`` of their mean embedding, scaled to length 1.
            knowledge: as ``classes`` takes it.
            batch: pictures at a time.

        Returns:
            logits and probabilities by label.

        Raises:
            InputError: there are no labels or pictures, or no tokenizer is at hand (the message
                says which files are missing and where they may lie).
        """
        if ensemble not in ("mean", "max", "direction"):
            raise RecipeError(f"ensemble is 'mean', 'max' or 'direction', not '{ensemble}'")
        if len(images) == 0:
            raise InputError("there is no picture")
        if not isinstance(labels, Classes):
            labels = self.classes(labels, caption=caption, knowledge=knowledge)
        elif caption is not None or knowledge:
            raise RecipeError("caption and knowledge belong to 'classes', which embeds the labels")
        said = list(labels.embeddings)
        with torch.inference_mode():
            if ensemble == "direction":
                said = [functional.normalize(one.mean(0, keepdim=True), dim=1) for one in said]
            rows = [self._scores(part, said, ensemble) for part in _parts(images, batch)]
        logits = torch.cat(rows)
        return Scores(labels.labels, logits, logits.softmax(dim=1))

    def _texts(self, prompts: list[list[str]], caption: str, together: bool) -> list[Tensor]:
        """The embeddings of each class's prompts."""
        filled = [[caption.replace("{}", one) for one in of_one] for of_one in prompts]
        if together:
            all_of_them = self.encode_text([one for of_one in filled for one in of_one])
            return list(torch.split(all_of_them, [len(of_one) for of_one in filled]))
        return [self.encode_text(of_one) for of_one in filled]

    def _scores(self, images: Pictures, said: list[Tensor], ensemble: Ensemble) -> Tensor:
        logits = self.scale() * self.encode_image(images) @ torch.cat(said).T
        classes = torch.split(logits, [len(one) for one in said], dim=1)
        one = torch.amax if ensemble == "max" else torch.mean
        return torch.stack([one(group, dim=1) for group in classes], dim=1).float().cpu()

    def _prepared(self, images: Pictures) -> Tensor:
        where = self.logit_scale.device
        if isinstance(images, Tensor):
            return images.to(where)
        if isinstance(images, np.ndarray) and images.ndim == 3:
            images = [images]
        if len(images) == 0:
            raise InputError("there is no picture")
        made = [torch.from_numpy(self.preprocessing(one)) for one in images]
        return torch.stack(made).to(where)

    def _read(self) -> Any:
        folder = find_tokenizer(self._places(), family=self.family, name=self._name())
        if self._tokenizer is None or self._tokenizer[0] != folder:
            self._tokenizer = (folder, read_tokenizer(folder, family=self.family))
        return self._tokenizer[1]

    def tokenizer_files(self) -> list[Path]:
        """The files of its tokenizer; none where none is at hand."""
        try:
            folder = find_tokenizer(self._places(), family=self.family, name=self._name())
        except InputError:
            return []
        return tokenizer_files(folder)

    def _places(self) -> list[Path]:
        if self.tokenizer_folder is not None:
            return [Path(self.tokenizer_folder)]
        report = getattr(self, "report", None)
        if report is None:
            return []
        source = Path(report.source)
        return [source if source.is_dir() else source.parent]

    def _name(self) -> str:
        card = getattr(self, "card", None)
        return card.name if card is not None else type(self).__name__


def _parts(images: Pictures, batch: int) -> Iterator[Pictures]:
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = [images]
    for start in range(0, len(images), batch):
        yield images[start : start + batch]
