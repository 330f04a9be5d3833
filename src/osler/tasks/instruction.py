"""Instruction tuning: how a case becomes a conversation, and how what is answered is judged.

The model is a folder of the transformers library with its own tokenizer, so the arrays are made
where it is opened (`osler.learn.instruction`), and what comes of it is such a folder again, no
bundle. Here is what does not depend on it: who says what, which answer is right.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, RecipeError
from osler.record import Case, Finding, Image, Passage, Source, Table, Text
from osler.tasks.image_input import image_of
from osler.tasks.instruction_settings import InstructionSettings
from osler.tasks.task import (
    Arrays,
    Figure,
    InputSpec,
    OutputSpec,
    Row,
    Sample,
    Settings,
    Task,
)
from osler.tasks.writing_figures import (
    commonest,
    figures_of,
    likeness,
    present_in,
    starts_with,
    target_of,
)

IGNORED = -100
"""Label of a token that is read and not learnt."""

_ROLES = ("user", "assistant", "system")
_MOST_TEXT = 200_000  # characters of one turn
_LONGEST_NAME = 200

Turn = tuple[str, str]
"""Who speaks, ``system``, ``user`` or ``assistant``, and what."""


class Instruction(Task):
    """See `InstructionSettings`."""

    name: ClassVar[str] = "instruction"
    title: ClassVar[str] = "Language models taught by conversations"
    Settings: ClassVar[type[Settings]] = InstructionSettings

    settings: InstructionSettings

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Find the commonest answers of the teaching cases, which the figures stand beside."""
        texts: Counter[str] = Counter()
        starts: dict[str, Counter[str]] = defaultdict(Counter)
        for case in samples():
            if text := self._answer(case):
                texts[text] += 1
                starts[starts_with(self._question(case))][text] += 1
        if not texts:
            raise RecipeError(
                f"no teaching case has an answer '{self.settings.answer}'; check settings.answer"
            )
        found = {
            "commonest": commonest(texts),
            "by_start": {key: commonest(one) for key, one in sorted(starts.items())},
        }
        return type(self)(self.settings.model_copy(update=found))

    def inputs(self) -> tuple[InputSpec, ...]:
        return (InputSpec("tokens", ("token",), axes=1),)

    def outputs(self) -> tuple[OutputSpec, ...]:
        return (OutputSpec("scores", "none", (), "scores of the next token"),)

    # From a case to a conversation ----------------------------------------------------------------

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        sample = Sample(case.id, case.patient_id or case.id, {}, case=case)
        question = self._question(case)
        system = [("system", said.system)] if said.system else []
        sample.home = {
            "prompt": question,
            "turns": [*system, *self._history(case), ("user", question)],
            "images": [_shown(case, name, said.largest_side) for name in said.images],
        }
        if truth:
            answer = self._answer(case)
            if not answer:
                raise InputError(f"case '{case.id}' has no answer '{said.answer}'")
            sample.home["text"] = answer
            sample.home["present"] = present_in(case, answer, said.findings)
            sample.group = answer if len(answer) <= _LONGEST_NAME else "long"
        return sample

    def _question(self, case: Case) -> str:
        name = self.settings.question
        if name is None:
            return self.settings.ask
        item = case.items.get(name)
        if isinstance(item, Text):
            return _bounded(item.text)
        found = _variable(case, name)
        return self.settings.ask if found is None else _bounded(found)

    def _history(self, case: Case) -> list[Turn]:
        text = _variable(case, self.settings.history)
        if text is None:
            return []
        try:
            said = json.loads(text)
            turns = [(str(role), _bounded(str(words))) for role, words in said]
        except (ValueError, TypeError, RecursionError):
            raise InputError(
                f"case '{case.id}': '{self.settings.history}' is no JSON of pairs of who and what"
            ) from None
        if any(role not in _ROLES for role, _ in turns):
            raise InputError(
                f"case '{case.id}': a turn of '{self.settings.history}' is by none of "
                f"{', '.join(_ROLES)}"
            )
        if self.settings.system:  # one system, and it is the recipe's
            turns = [turn for turn in turns if turn[0] != "system"]
        return turns

    def _answer(self, case: Case) -> str:
        return _bounded(target_of(case, self.settings.answer))

    # Learning and judging -------------------------------------------------------------------------

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean over the tokens of answers; scores ``(B, T, V)`` and labels ``(B, T)``."""
        from torch.nn import functional

        scores, labels = outputs["scores"][:, :-1], targets["labels"][:, 1:]
        learnt = labels != IGNORED  # scores of the rest are never made float32
        total = functional.cross_entropy(scores[learnt].float(), labels[learnt], reduction="sum")
        return total / learnt.sum().clamp(min=1)

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        prompt = str(sample.home["prompt"])
        images = self.settings.images
        item = image_of(sample.need_case(), images[0]).name if images else None
        text = _text_of(outputs)
        return [
            Passage(
                id="written", name=prompt if len(prompt) <= _LONGEST_NAME else "Text",
                source=source, item=item, text=text, language=self.settings.language,
                section=self.settings.section, flags=() if text else ("nothing-written",),
            )
        ]  # fmt: skip

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        row: Row = {
            "prompt": sample.home["prompt"],
            "reference": sample.home["text"],
            "said": _text_of(outputs),
        }
        if self.settings.findings:
            row["present"] = sample.home["present"]
        return row

    def score(self, rows: Sequence[Row]) -> float:
        """Mean ROUGE-L over cases."""
        return likeness(rows)

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        return figures_of(rows, patients, self.settings, seed=seed, replicates=replicates)


def as_output(text: str) -> Arrays:
    """A written text as an output, its bytes."""
    return {"text": np.frombuffer(text.encode("utf-8", errors="replace"), np.uint8)}


def _text_of(outputs: Arrays) -> str:
    return bytes(outputs["text"].astype(np.uint8)).decode("utf-8", errors="replace").strip()


def _shown(case: Case, name: str, largest: int) -> NDArray[np.uint8]:
    """An image as ``(3, H, W)``, made smaller where a side is longer than ``largest``."""
    from PIL import Image as Pillow

    image: Image = image_of(case, name)
    array = np.asarray(image.array)
    if array.dtype != np.uint8 or array.ndim != 3 or len(array) not in (1, 3):
        raise InputError(
            f"case '{case.id}': image '{image.name}' is {array.dtype} {array.shape}; a language "
            "model is shown 8-bit pictures, (1, H, W) or (3, H, W)"
        )
    if len(array) == 1:
        array = np.repeat(array, 3, axis=0)
    factor = largest / max(array.shape[1:])
    if factor < 1:
        size = tuple(max(1, round(side * factor)) for side in array.shape[:0:-1])
        picture = Pillow.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))
        small = picture.resize((size[0], size[1]), Pillow.Resampling.BILINEAR)
        array = np.asarray(small).transpose(2, 0, 1)
    return np.ascontiguousarray(array)


def _variable(case: Case, name: str) -> str | None:
    for one in case.items.values():
        if isinstance(one, Table) and one.values and one.values.get(name) not in (None, ""):
            return str(one.values[name])
    return None


def _bounded(text: str) -> str:
    return text[:_MOST_TEXT].replace("\0", " ").strip()
