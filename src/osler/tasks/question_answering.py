"""Questions about a picture, answered with one of the answers that the teaching cases know.

A network that chooses among known answers cannot invent one; what it cannot answer it can say too:
an answer whose probability is below ``certain`` becomes "cannot say". Figures count what is asked
for and not known as wrong, and stand beside two that see no picture: the commonest answer, and the
commonest answer to questions of the same words.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from osler import metrics
from osler.errors import InputError, RecipeError
from osler.metrics import exact_match, relaxed_match, tokens
from osler.record import Case, Finding, Label, Source, Table, Text
from osler.tasks.image_input import ImageInput, encode_image, image_of
from osler.tasks.labels import label_of
from osler.tasks.task import (
    Arrays,
    Figure,
    InputSpec,
    OutputSpec,
    Row,
    Sample,
    Settings,
    Task,
    softmax,
)

_OUTPUT = "scores"
_CLOSED = frozenset({"yes", "no"})
CANNOT_SAY = "cannot say"


class QuestionSettings(Settings):
    """The keys of question answering.

    Attributes:
        image: which image, and how it is made alike; ``size`` must be set.
        question: the text item or the variable that holds the question.
        answer: the cohort's label column with the answer.
        least_words: teaching questions in which a word must stand to be known.
        least_answers: teaching cases that an answer must have to be known.
        certain: probability below which the answer is "cannot say"; 0 always answers.
        words: the known words; found by itself.
        answers: the known answers, the commonest first; found by itself.
        by_start: commonest answer to questions that begin with the same words; found by itself.
    """

    image: ImageInput = ImageInput(size=(224, 224), colour=True)
    question: str = "question"
    answer: str = "answer"
    least_words: Annotated[int, Field(ge=1)] = 3
    least_answers: Annotated[int, Field(ge=1)] = 3
    certain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    words: list[str] = []
    answers: list[str] = []
    by_start: dict[str, str] = {}


class QuestionAnswering(Task):
    """See `QuestionSettings`."""

    name: ClassVar[str] = "question-answering"
    title: ClassVar[str] = "Questions about a picture"
    Settings: ClassVar[type[Settings]] = QuestionSettings
    images: tuple[str, ...] = ("image",)

    settings: QuestionSettings

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Find the words and the answers that enough teaching cases have."""
        said = self.settings
        if said.image.size is None:
            raise RecipeError("settings.image.size must be set, such as [224, 224]")
        words: Counter[str] = Counter()
        answers: Counter[str] = Counter()
        starts: dict[str, Counter[str]] = defaultdict(Counter)
        for case in samples():
            answer = self._answer(case)
            if answer is None:
                continue
            question = self._question(case)
            words.update(set(tokens(question)))
            answers[answer] += 1
            starts[_start(question)][answer] += 1
        known = [a for a, n in _by_count(answers) if n >= said.least_answers]
        if len(known) < 2:
            raise RecipeError(
                f"{len(known)} answers have {said.least_answers} teaching cases or more; lower "
                "settings.least_answers"
            )
        return type(self)(
            said.model_copy(
                update={
                    "words": [w for w, n in _by_count(words) if n >= said.least_words],
                    "answers": known,
                    "by_start": {k: _by_count(v)[0][0] for k, v in sorted(starts.items())},
                }
            )
        )

    def inputs(self) -> tuple[InputSpec, ...]:
        size = self.settings.image.size
        assert size is not None
        return (
            InputSpec("image", self.settings.image.channels, size=size, axes=len(size)),
            InputSpec("words", tuple(self.settings.words), size=(), axes=0),
        )

    def outputs(self) -> tuple[OutputSpec, ...]:
        return (OutputSpec(_OUTPUT, "softmax", tuple(self.settings.answers), "a score an answer"),)

    def network(self) -> tuple[str, Mapping[str, Any]]:
        return "question-net", {}

    def wanted(self) -> Mapping[str, Any]:
        return {**super().wanted(), "words": len(self.settings.words)}

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        image, *_ = encode_image(case, said.image)
        question = self._question(case)
        asked = set(tokens(question))
        words = np.array([word in asked for word in said.words], np.float32)
        sample = Sample(
            case.id, case.patient_id or case.id, {"image": image, "words": words}, case=case
        )
        sample.home["question"] = question
        if truth:
            answer = self._answer(case)
            if answer is None:
                raise InputError(f"case '{case.id}' has no label '{said.answer}'")
            place = said.answers.index(answer) if answer in said.answers else -1
            sample.targets = {"answer": np.array(place, np.int64)}  # -1: not known, teaches nothing
            sample.home["answer"] = answer
            sample.group = answer if place >= 0 else "other"
        return sample

    def _question(self, case: Case) -> str:
        name = self.settings.question
        item = case.items.get(name)
        if isinstance(item, Text):
            return item.text
        for one in case.items.values():
            if isinstance(one, Table) and name in (one.values or {}):
                return str(one.values[name])
        raise InputError(
            f"case '{case.id}' has no question: neither a text item '{name}' nor such a variable"
        )

    def _answer(self, case: Case) -> str | None:
        said = label_of(case, self.settings.answer)
        return None if said is None else " ".join(tokens(said))

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        from torch.nn import functional

        scores, truth = outputs[_OUTPUT].float(), targets["answer"]
        loss = functional.cross_entropy(scores, truth, ignore_index=-1, reduction="sum")
        return loss / (truth >= 0).sum().clamp(min=1)

    def _said(self, outputs: Arrays) -> tuple[str, float]:
        p = softmax(outputs[_OUTPUT])
        best = int(p.argmax())
        if p[best] < self.settings.certain:
            return CANNOT_SAY, float(p[best])
        return self.settings.answers[best], float(p[best])

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        said = self.settings
        answer, sure = self._said(outputs)
        p = softmax(outputs[_OUTPUT])
        order = np.argsort(-p, kind="stable")[:5]
        return [
            Label(
                id="answer", name=sample.home["question"], source=source,
                item=image_of(sample.need_case(), said.image.items[0]).name, value=answer,
                probability=sure,
                probabilities={said.answers[k]: float(p[k]) for k in order},
                flags=("cannot-say",) if answer == CANNOT_SAY else (),
            )
        ]  # fmt: skip

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        answer, sure = self._said(outputs)
        return {
            "question": sample.home["question"],
            "reference": sample.home["answer"],
            "said": answer,
            "probability": round(sure, 6),
            "known": bool(int(sample.targets["answer"]) >= 0),
        }

    def score(self, rows: Sequence[Row]) -> float:
        """Share of exact answers."""
        return float(np.mean([exact_match(row["reference"], row["said"]) for row in rows]))

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        commonest = self.settings.answers[0]
        ways = (
            ("", [row["said"] for row in rows]),
            ("always the commonest answer: ", [commonest] * len(rows)),
            (
                "commonest answer to such a question: ",
                [self.settings.by_start.get(_start(row["question"]), commonest) for row in rows],
            ),
        )
        closed = [row["reference"] in _CLOSED for row in rows]
        out = []
        for prefix, said in ways:
            right = [exact_match(r["reference"], s) for r, s in zip(rows, said, strict=True)]
            near = [relaxed_match(r["reference"], s) for r, s in zip(rows, said, strict=True)]
            columns: list[tuple[str, list[float | None], str]] = [
                ("exact accuracy", [float(v) for v in right], "of all questions"),
                ("relaxed accuracy", [float(v) for v in near], "of all questions"),
                ("exact accuracy, closed", _among(right, closed), "answers yes and no"),
                ("exact accuracy, open", _among(right, [not c for c in closed]), "other answers"),
            ]
            for name, values, how in columns:
                done = metrics.summarise(
                    values, seed=seed, groups=list(patients), replicates=replicates
                )
                out.append(Figure(prefix + name, done.mean, done.cases, how, done.left_out))
        return out

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """A temperature, from the questions whose answers are known."""
        kept = [
            (one[_OUTPUT], int(sample.targets["answer"]))
            for one, sample in zip(outputs, samples, strict=True)
            if int(sample.targets["answer"]) >= 0
        ]
        if len(kept) < 10:
            return {}
        scores = np.stack([score for score, _ in kept]).astype(np.float64)
        truth = np.array([place for _, place in kept])
        temperature = float(metrics.fit_temperature(truth, scores))
        fitted = f"{on}, of which {len(kept)} have a known answer"
        return {_OUTPUT: {"method": "temperature", "temperature": temperature, "fitted_on": fitted}}


def _by_count(counted: Counter[str]) -> list[tuple[str, int]]:
    """The commonest first; of two as common, by the alphabet."""
    return sorted(counted.items(), key=lambda one: (-one[1], one[0]))


def _start(question: str) -> str:
    """The first two words of a question, which tell its kind."""
    return " ".join(tokens(question)[:2])


def _among(right: Sequence[bool], wanted: Sequence[bool]) -> list[float | None]:
    return [float(v) if there else None for v, there in zip(right, wanted, strict=True)]
