"""Conversations as the numbers that a language model reads, and which of them it learns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.errors import RecipeError
from osler.tasks.instruction import IGNORED, Turn

_FLAT: Final = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""What has a value a token; the rest of what a processor gives is of the images."""


@dataclass(slots=True)
class Example:
    """A conversation as numbers.

    Attributes:
        tokens: what has a value a token, each ``(T,)``.
        labels: ``(T,)``, the tokens of the answer, and `IGNORED` elsewhere.
        images: what the processor made of the images.
    """

    tokens: dict[str, Tensor]
    labels: Tensor
    images: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


class Speaker:
    """A folder's tokenizer, or its processor of images and words.

    Args:
        speaker: of transformers.
        sees: whether it takes images.
        folder: for messages.

    Attributes:
        ends: the tokens that ended answers so far; where they come, writing stops.
    """

    def __init__(self, speaker: Any, *, sees: bool, folder: str) -> None:
        self.speaker, self.sees = speaker, sees
        self.tokenizer = getattr(speaker, "tokenizer", speaker)
        self.template = bool(getattr(speaker, "chat_template", None))
        if sees and not self.template:
            raise RecipeError(
                f"'{folder}' sees images and has no template of conversations (chat_template), so "
                "nothing says where an image stands; add the model's own"
            )
        added = getattr(self.tokenizer, "added_tokens_decoder", None) or {}
        marks = {str(one) for one in added.values()}
        marks |= {str(one) for one in getattr(self.tokenizer, "all_special_tokens", ())}
        self.ends: set[int] = set()
        self._marks = sorted((one for one in marks if one.strip()), key=len, reverse=True)

    @property
    def pad(self) -> int:
        """The number that fills rows."""
        for name in ("pad_token_id", "eos_token_id"):
            if (number := getattr(self.tokenizer, name, None)) is not None:
                return int(number)
        return 0

    def example(
        self, turns: Sequence[Turn], answer: str, images: Sequence[NDArray[np.uint8]], *,
        length: int,
    ) -> Example | None:  # fmt: skip
        """A conversation and its answer; None where ``length`` tokens leave nothing of the answer.

        The answer is what comes after the tokens that the conversation alone has, and the mark
        that ends a turn belongs to it.
        """
        open_ = self.prompt(turns, images)
        whole = self._given([*turns, ("assistant", answer)], images, asks=False)
        ids, before = whole["input_ids"][0], open_["input_ids"][0]
        same = min(len(ids), len(before))
        differ = (ids[:same] != before[:same]).nonzero()
        begin = int(differ[0]) if len(differ) else same
        labels = ids.clone()
        labels[:begin] = IGNORED
        flat = {name: whole[name][0] for name in _FLAT if name in whole}
        flat, labels = self._ended(flat, labels)
        if len(labels) > length:
            if begin >= length:
                return None
            flat = {name: value[:length] for name, value in flat.items()}
            labels = labels[:length]
        return Example(flat, labels, {k: v for k, v in whole.items() if k not in _FLAT})

    def _ended(self, flat: dict[str, Tensor], labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """With the mark of the end, where the template writes none after an answer."""
        end = getattr(self.tokenizer, "eos_token_id", None)
        specials = set(getattr(self.tokenizer, "all_special_ids", ()))
        there = [int(one) for one in labels[labels != IGNORED] if int(one) in specials]
        if there or end is None:
            self.ends |= set(there[:1])
            return flat, labels
        self.ends.add(int(end))
        more = {name: torch.cat([v, v[-1:]]) for name, v in flat.items()}
        more["input_ids"][-1] = end
        return more, torch.cat([labels, torch.tensor([end])])

    def prompt(
        self, turns: Sequence[Turn], images: Sequence[NDArray[np.uint8]]
    ) -> dict[str, Tensor]:
        """What comes before an answer, ``(1, T)``."""
        return self._given(turns, images, asks=True)

    def _given(
        self, turns: Sequence[Turn], images: Sequence[NDArray[np.uint8]], *, asks: bool
    ) -> dict[str, Tensor]:
        text = self._text(turns, len(images), asks=asks)
        if not self.sees:
            given = self.tokenizer(text, return_tensors="pt", add_special_tokens=not self.template)
        else:
            from PIL import Image as Pillow

            shown = [Pillow.fromarray(np.ascontiguousarray(i.transpose(1, 2, 0))) for i in images]
            given = self.speaker(
                text=[text], return_tensors="pt", **({"images": shown} if shown else {})
            )
        return {name: value for name, value in given.items() if isinstance(value, Tensor)}

    def _text(self, turns: Sequence[Turn], images: int, *, asks: bool) -> str:
        said = [(role, self._without_marks(words)) for role, words in turns]
        if not self.template:
            names = {"system": "System", "user": "User", "assistant": "Assistant"}
            return "\n\n".join(f"{names[role]}: {words}" for role, words in said) + (
                "\n\nAssistant:" if asks else ""
            )
        first = next((n for n, (role, _) in enumerate(said) if role == "user"), 0)
        messages: list[dict[str, Any]] = []
        for n, (role, words) in enumerate(said):
            if not self.sees:
                messages.append({"role": role, "content": words})
                continue
            pictures = [{"type": "image"}] * (images if n == first else 0)
            messages.append({"role": role, "content": [*pictures, {"type": "text", "text": words}]})
        fault: Exception | None = None
        for tried in (messages, _without_system(messages)):
            try:
                return str(
                    self.speaker.apply_chat_template(
                        tried, tokenize=False, add_generation_prompt=asks
                    )
                )
            except Exception as error:  # noqa: BLE001 - Gemma's takes no turn of a system
                fault = error
        raise RecipeError(
            f"the template of the model takes no such conversation: {fault}; mend the turns of "
            "history"
        ) from fault

    def _without_marks(self, text: str) -> str:
        """Text in which nothing ends a turn or stands for an image: what a case says is data."""
        for mark in self._marks:
            text = text.replace(mark, " ")
        return text


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The system's words at the head of the user's first turn."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return messages
    first, second, *rest = messages
    one, two = first["content"], second["content"]
    joined = f"{one}\n\n{two}" if isinstance(one, str) else [*one, *two]
    return [{**second, "content": joined}, *rest]


def collated(examples: Sequence[Example], *, pad: int) -> tuple[dict[str, Tensor], Tensor]:
    """A batch, shorter rows filled at their end: what the model takes, and labels ``(B, T)``."""
    most = max(len(one) for one in examples)

    def filled(value: Tensor, by: int) -> Tensor:
        return torch.nn.functional.pad(value, (0, most - len(value)), value=by)

    fill = {"input_ids": pad}
    given = {
        name: torch.stack([filled(one.tokens[name], fill.get(name, 0)) for one in examples])
        for name in examples[0].tokens
    }
    names = {name for one in examples for name in one.images}
    for name in sorted(names):  # pictures of a batch follow one another
        given[name] = torch.cat([one.images[name] for one in examples if name in one.images])
    return given, torch.stack([filled(one.labels, IGNORED) for one in examples])


def packed(
    examples: Sequence[Example], *, length: int, pad: int
) -> tuple[dict[str, Tensor], Tensor]:
    """The same with several examples a row, none of which sees another.

    Rows are filled in order, first where there is room; each example counts its places from 0 and
    a mask ``(B, 1, T, T)`` keeps it to itself.
    """
    rows: list[list[Example]] = []
    for one in examples:
        for row in rows:
            if sum(map(len, row)) + len(one) <= length:
                row.append(one)
                break
        else:
            rows.append([one])
    most = max(sum(map(len, row)) for row in rows)
    count = len(rows)
    ids = torch.full((count, most), pad)
    labels = torch.full((count, most), IGNORED)
    places = torch.zeros((count, most), dtype=torch.long)
    seen = torch.eye(most, dtype=torch.bool).repeat(count, 1, 1)
    for n, row in enumerate(rows):
        at = 0
        for one in row:
            part = slice(at, at + len(one))
            ids[n, part], labels[n, part] = one.tokens["input_ids"], one.labels
            labels[n, at] = IGNORED  # nothing stands before it
            places[n, part] = torch.arange(len(one))
            seen[n, part, part] = torch.ones(len(one), len(one), dtype=torch.bool).tril()
            at += len(one)
    mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min).unsqueeze(1)
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask}, labels


def moved(given: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """What the model takes, where it lies and in its numbers."""
    dtype = getattr(model, "dtype", torch.float32)
    return {
        name: value.to(model.device, dtype if value.is_floating_point() else None)
        for name, value in given.items()
    }
