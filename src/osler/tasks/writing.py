"""Texts that are written token by token about a picture, a prompt or both.

Answers to questions and short reports, by a network small enough to be trained from nothing. The
bundle writes without torch: the graph scores the next token, and `run` asks it until the end. A
text is made of what the teaching cases said; its probability, where it could be calibrated, is
that of being right word by word.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from osler import metrics
from osler.errors import InputError, RecipeError
from osler.metrics import exact_match
from osler.record import Case, Finding, Passage, Source, Table, Text
from osler.tasks.image_input import encode_image, image_of
from osler.tasks.task import (
    Arrays,
    Figure,
    InputSpec,
    OutputSpec,
    Predict,
    Row,
    Sample,
    Settings,
    Task,
    sigmoid,
)
from osler.tasks.writing_decoding import Ask, Continues, Written, beam, before, greedy
from osler.tasks.writing_figures import (
    commonest,
    figures_of,
    likeness,
    present_in,
    starts_with,
    target_of,
)
from osler.tasks.writing_numbers import with_other_numbers
from osler.tasks.writing_settings import WritingSettings
from osler.tasks.writing_tokens import END, PAD, Tokens, learn_merges, plain

CANNOT_SAY = "cannot say"
_OUTPUT, _TEXT = "scores", "text"
_FEWEST = 10  # cases that a calibration needs
_LONGEST_NAME = 200


class Writing(Task):
    """See `WritingSettings`."""

    name: ClassVar[str] = "writing"
    title: ClassVar[str] = "Texts"
    Settings: ClassVar[type[Settings]] = WritingSettings
    images: tuple[str, ...] = ("image",)

    settings: WritingSettings

    def __init__(
        self, settings: Any, *, calibration: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__(settings, calibration=calibration)
        self.tokens = Tokens(self.settings.merges)

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Find the merges and the commonest texts of the teaching cases."""
        said = self.settings
        texts: Counter[str] = Counter()
        read: list[str] = []
        starts: dict[str, Counter[str]] = defaultdict(Counter)
        for case in samples():
            text = self._target(case)
            if not text:
                continue
            texts[text] += 1
            if said.prompt is not None:
                prompt = self._prompt(case)
                read.append(prompt)
                starts[starts_with(prompt)][text] += 1
        if not texts:
            raise RecipeError(f"no teaching case has a text '{said.target}'; check settings.target")
        merges = learn_merges([*texts.elements(), *read], said.merges_at_most)
        return type(self)(
            said.model_copy(
                update={
                    "merges": merges,
                    "commonest": commonest(texts),
                    "by_start": {key: commonest(one) for key, one in sorted(starts.items())},
                }
            )
        )

    # What goes in and out -------------------------------------------------------------------------

    def inputs(self) -> tuple[InputSpec, ...]:
        said = self.settings
        out = []
        if said.image is not None:
            size = said.image.size
            assert size is not None
            out.append(InputSpec("image", said.image.channels, size=size, axes=len(size)))
        if said.prompt is not None:
            places = tuple(f"prompt {n + 1}" for n in range(said.prompt_length))
            out.append(InputSpec("prompt", places, size=(), axes=0))
        places = tuple(f"place {n + 1}" for n in range(said.length))
        return (*out, InputSpec("written", places, size=(), axes=0))

    def outputs(self) -> tuple[OutputSpec, ...]:
        return (
            OutputSpec(
                _OUTPUT, "none", (),
                "scores of the token at each place; a calibration is of the whole text's log odds",
            ),
        )  # fmt: skip

    def network(self) -> tuple[str, Mapping[str, Any]]:
        return "tiny-vlm", {}

    def wanted(self) -> Mapping[str, Any]:
        said = self.settings
        out: dict[str, Any] = {
            "vocabulary": self.tokens.size,
            "written": said.length,
            "prompt": 0 if said.prompt is None else said.prompt_length,
            "image": said.image is not None,
        }
        if said.image is not None:
            out["channels"] = len(said.image.channels)
        return out

    # From a case to arrays ------------------------------------------------------------------------

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        sample = Sample(case.id, case.patient_id or case.id, {}, case=case)
        if said.image is not None:
            sample.inputs["image"], *_ = encode_image(case, said.image)
        if said.prompt is not None:
            prompt = self._prompt(case)
            numbers = self.tokens.encode(prompt)
            sample.inputs["prompt"] = _padded(numbers, said.prompt_length).astype(np.float32)
            sample.home["prompt"] = prompt
            sample.home["cut"] = len(numbers) > said.prompt_length
        written = np.full(said.length, PAD, np.int64)
        if truth:
            text = self._target(case)
            if not text:
                raise InputError(f"case '{case.id}' has no text '{said.target}'")
            written = _padded([*self.tokens.encode(text), END], said.length)
            sample.targets = {"written": written}
            sample.home["text"] = text
            sample.home["present"] = present_in(case, text, said.findings)
            sample.group = text if len(text) <= _LONGEST_NAME else "long"
        sample.inputs["written"] = before(written)
        return sample

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        said = self.settings
        if "prompt" not in sample.home or rng.random() >= said.other_numbers:
            return sample.inputs, sample.targets
        prompt, text = with_other_numbers(sample.home["prompt"], sample.home["text"], rng)
        written = _padded([*self.tokens.encode(text), END], said.length)
        asked = _padded(self.tokens.encode(prompt), said.prompt_length).astype(np.float32)
        inputs = {**sample.inputs, "prompt": asked, "written": before(written)}
        return inputs, {**sample.targets, "written": written}

    def _prompt(self, case: Case) -> str:
        name = self.settings.prompt
        assert name is not None
        item = case.items.get(name)
        if isinstance(item, Text):
            return plain(item.text, lower=self.settings.lower)
        for one in case.items.values():
            if isinstance(one, Table) and name in (one.values or {}):
                return plain(str(one.values[name]), lower=self.settings.lower)
        raise InputError(
            f"case '{case.id}' has no prompt: neither a text item '{name}' nor such a variable"
        )

    def _target(self, case: Case) -> str:
        return plain(target_of(case, self.settings.target), lower=self.settings.lower)

    # Learning -------------------------------------------------------------------------------------

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        from torch.nn import functional

        return functional.cross_entropy(
            outputs[_OUTPUT].float(), targets["written"], ignore_index=PAD,
            label_smoothing=self.settings.smoothing,
        )  # fmt: skip

    # From arrays to findings and figures ----------------------------------------------------------

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """Ask for the next token until the end: the text's numbers and the log odds of all of it.

        Where the truth is known it is the first guess, which changes no text and saves time.
        """
        fixed = {name: array[None] for name, array in sample.inputs.items() if name != "written"}

        def all_at_once(written: Any, start: int, stop: int) -> Any:
            return predict({**fixed, "written": written[None]})[_OUTPUT][0][:, start:stop]

        said, few = self.settings, isinstance(predict, Continues)
        ask: Ask = predict.continuing(fixed) if isinstance(predict, Continues) else all_at_once
        if said.beams > 1:
            done = beam(ask, said.length, beams=said.beams)
        else:
            draft = sample.targets.get("written", np.empty(0, np.int64))
            done = greedy(ask, said.length, draft=[int(one) for one in draft], few=few)
        return {_OUTPUT: _log_odds(done), _TEXT: np.array([*done.numbers, END][: said.length])}

    def _said(self, outputs: Arrays) -> tuple[str, float, bool]:
        """The text, the probability of all of it, and whether it came to its end."""
        numbers = [int(one) for one in outputs[_TEXT]]
        sure = float(sigmoid(outputs[_OUTPUT])[0])
        ended = END in numbers
        text = self.tokens.decode(numbers)
        if not text or sure < self.settings.certain:
            return CANNOT_SAY, sure, True
        return text, sure, ended

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        said = self.settings
        text, sure, ended = self._said(outputs)
        case = sample.need_case()
        item = image_of(case, said.image.items[0]).name if said.image is not None else None
        prompt = str(sample.home.get("prompt", ""))
        flags = [
            *(["cannot-say"] if text == CANNOT_SAY else []),
            *([] if ended else ["cut-short"]),
            *(["prompt-cut"] if sample.home.get("cut") else []),
        ]
        return [
            Passage(
                id="written", name=prompt if 0 < len(prompt) <= _LONGEST_NAME else "Text",
                source=source, item=item, text=text, language=said.language, section=said.section,
                probability=sure if _OUTPUT in self.calibration else None, flags=tuple(flags),
            )
        ]  # fmt: skip

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        text, sure, ended = self._said(outputs)
        row: Row = {
            "prompt": sample.home.get("prompt", ""),
            "reference": sample.home["text"],
            "said": text,
            "probability": round(sure, 6),
            "ended": ended,
        }
        if self.settings.findings:
            row["present"] = sample.home["present"]
        return row

    def score(self, rows: Sequence[Row]) -> float:
        """Mean over cases of ROUGE-L; an exact answer of one word has 1."""
        return likeness(rows)

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        return figures_of(rows, patients, self.settings, seed=seed, replicates=replicates)

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """Platt's slope and shift: how often a text of these log odds is right word by word."""
        scores = np.array([float(one[_OUTPUT][0]) for one in outputs])
        right = np.array([
            exact_match(sample.home["text"], self.tokens.decode(int(n) for n in one[_TEXT]))
            for one, sample in zip(outputs, samples, strict=True)
        ], np.int64)  # fmt: skip
        if min(right.sum(), (1 - right).sum()) < _FEWEST:
            return {}
        temperature, bias = metrics.fit_platt(right, scores)
        if not temperature > 0:
            return {}
        return {
            _OUTPUT: {
                "method": "platt", "temperature": float(temperature), "bias": float(bias),
                "fitted_on": f"{on}: whether the text was right word by word",
            }
        }  # fmt: skip


def _padded(numbers: Sequence[int], length: int) -> Any:
    out = np.full(length, PAD, np.int64)
    kept = numbers[:length]
    out[: len(kept)] = kept
    return out


def _log_odds(done: Written) -> Any:
    """Log odds of a whole text, from the log probabilities of its tokens."""
    log = min(sum(done.logs), -1e-6)
    return np.array([log - math.log(-math.expm1(log))], np.float64)
