"""Reports: keywords of a picture, said as a sentence that names what it stands on.

The small end of writing reports: a network says which of the keywords of a cohort hold, and the
text is made of them, so that every word of it has a probability and a label as its evidence. What
a language model writes is scored by the same figures.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from osler import metrics
from osler.errors import InputError, RecipeError
from osler.record import Case, Finding, Label, Passage, Source, Text
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
    sigmoid,
)

_OUTPUT = "scores"


class ReportSettings(Settings):
    """The keys of reports.

    Attributes:
        image: which image, and how it is made alike; ``size`` must be set.
        target: the cohort's label column with the text, or the name of a text item.
        separators: characters between keywords.
        least: teaching cases that a keyword must have to be learnt.
        language: of the keywords, BCP 47.
        vocabulary: the keywords, the commonest first; found by itself.
        counts: teaching cases of each; found by itself.
        commonest: the commonest whole text, which the figures take as what knows no picture; found
            by itself.
    """

    image: ImageInput = ImageInput(size=(224, 224), colour=True)
    target: str = "report"
    separators: str = ",;\uff0c\uff1b"
    least: Annotated[int, Field(ge=1)] = 5
    language: str = "en"
    vocabulary: list[str] = []
    counts: list[int] = []
    commonest: str = ""


class Report(Task):
    """See `ReportSettings`."""

    name: ClassVar[str] = "report"
    title: ClassVar[str] = "Reports in keywords"
    Settings: ClassVar[type[Settings]] = ReportSettings
    images: tuple[str, ...] = ("image",)

    settings: ReportSettings

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Find the keywords that enough teaching cases have."""
        if self.settings.image.size is None:
            raise RecipeError("settings.image.size must be set, such as [224, 224]")
        texts = [text for case in samples() if (text := text_of(case, self.settings.target))]
        counted: Counter[str] = Counter()
        for text in texts:
            counted.update(set(self.keywords(text)))
        kept = [
            (word, count)
            for word, count in sorted(counted.items(), key=lambda one: (-one[1], one[0]))
            if count >= self.settings.least
        ]
        if len(kept) < 2:
            raise RecipeError(
                f"{len(kept)} keywords of '{self.settings.target}' stand in {self.settings.least} "
                "teaching cases or more; lower settings.least, or check settings.separators"
            )
        whole = Counter(self.joined(self.keywords(text)) for text in texts)
        commonest = min(whole, key=lambda text: (-whole[text], text))
        return type(self)(
            self.settings.model_copy(
                update={
                    "vocabulary": [word for word, _ in kept],
                    "counts": [count for _, count in kept],
                    "commonest": commonest,
                }
            )
        )

    def keywords(self, text: str) -> list[str]:
        """The keywords of a text, in order, each once, in lower case."""
        for separator in self.settings.separators[1:]:
            text = text.replace(separator, self.settings.separators[0])
        parts = (" ".join(part.split()).lower() for part in text.split(self.settings.separators[0]))
        return list(dict.fromkeys(part for part in parts if part))

    def joined(self, keywords: Sequence[str]) -> str:
        """Keywords as a text."""
        return ", ".join(keywords)

    def inputs(self) -> tuple[InputSpec, ...]:
        size = self.settings.image.size
        assert size is not None
        return (InputSpec("image", self.settings.image.channels, size=size, axes=len(size)),)

    def outputs(self) -> tuple[OutputSpec, ...]:
        return (
            OutputSpec(_OUTPUT, "sigmoid", tuple(self.settings.vocabulary), "a score a keyword"),
        )

    def network(self) -> tuple[str, Mapping[str, Any]]:
        return "mobilenet-v3-small", {}

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        image, *_ = encode_image(case, self.settings.image)
        sample = Sample(case.id, case.patient_id or case.id, {"image": image}, case=case)
        if truth:
            text = text_of(case, self.settings.target)
            if not text:
                raise InputError(f"case '{case.id}' has no text '{self.settings.target}'")
            said = set(self.keywords(text))
            found = [word in said for word in self.settings.vocabulary]
            sample.targets = {"keywords": np.array(found, np.float32)}
            sample.home["text"] = text
            rare = [
                word for word, there in zip(self.settings.vocabulary, found, strict=True) if there
            ]
            sample.group = rare[-1] if rare else "none"  # the commonest stand first
        return sample

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(
            outputs[_OUTPUT].float(), targets["keywords"]
        )

    def chosen(self, probability: NDArray[np.float64]) -> list[int]:
        """The keywords that are said: those whose set has the greatest expected F1, one at least.

        With the likeliest k said, F1 is expected to be about ``2 sum p / (k + sum of all p)``.

        Source: Lipton, Elkan and Naryanaswamy 2014, "Optimal thresholding of classifiers to
        maximize F1 measure", ECML PKDD.
        """
        order = np.argsort(-probability, kind="stable")
        mass = np.cumsum(probability[order])
        expected = 2 * mass / (np.arange(1, len(order) + 1) + probability.sum())
        return [int(one) for one in order[: int(expected.argmax()) + 1]]

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        said = self.settings
        item = image_of(sample.need_case(), said.image.items[0]).name
        p = sigmoid(outputs[_OUTPUT])
        labels: list[Finding] = [
            Label(
                id=f"keyword-{k + 1}", name=said.vocabulary[k], source=source, item=item,
                value="yes", probability=float(p[k]),
                probabilities={"yes": float(p[k]), "no": float(1 - p[k])},
            )
            for k in self.chosen(p)
        ]  # fmt: skip
        text = self.joined([one.name for one in labels])
        passage = Passage(
            id="report", name="Report", source=source, item=item, text=text,
            language=said.language, evidence=tuple(one.id for one in labels),
        )  # fmt: skip
        return [*labels, passage]

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        p = sigmoid(outputs[_OUTPUT])
        said = [self.settings.vocabulary[k] for k in self.chosen(p)]
        return {
            "reference": self.joined(self.keywords(sample.home["text"])),
            "said": self.joined(said),
            "probability": [round(float(one), 6) for one in p],
        }

    def score(self, rows: Sequence[Row]) -> float:
        """Mean keyword F1 over cases."""
        return float(np.mean([self._f1(row["reference"], row["said"]) for row in rows]))

    def _f1(self, reference: str, said: str) -> float:
        true, given = set(self.keywords(reference)), set(self.keywords(said))
        return 2 * len(true & given) / max(1, len(true) + len(given))

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        references = [row["reference"] for row in rows]
        out = []
        for prefix, texts in (
            ("", [row["said"] for row in rows]),
            ("always the commonest text: ", [self.settings.commonest] * len(rows)),
        ):
            out += self._text_figures(
                prefix, references, texts, patients, seed=seed, replicates=replicates
            )
        return out

    def _text_figures(
        self, prefix: str, references: Sequence[str], texts: Sequence[str],
        patients: Sequence[str], *, seed: int, replicates: int,
    ) -> list[Figure]:  # fmt: skip
        pairs = list(zip(references, texts, strict=True))
        liked = metrics.cider([[one] for one in references], texts)
        columns: list[tuple[str, Sequence[float | None], str]] = [
            ("keyword F1", [self._f1(*pair) for pair in pairs], "per case"),
            (
                "all keywords right",
                [float(set(self.keywords(a)) == set(self.keywords(b))) for a, b in pairs],
                "share of cases",
            ),
            ("ROUGE-L", [metrics.rouge_l([a], b) for a, b in pairs], "F1 per case"),
            ("CIDEr-D", liked or [None] * len(pairs), "document frequencies of these cases"),
        ]
        out = []
        for name, values, how in columns:
            done = metrics.summarise(
                values, seed=seed, groups=list(patients), replicates=replicates
            )
            out.append(Figure(prefix + name, done.mean, done.cases, how, done.left_out))
        place = np.arange(len(pairs))

        def corpus(order: int) -> Callable[[NDArray[np.int64]], float | None]:
            def statistic(drawn: NDArray[np.int64]) -> float | None:
                value = metrics.bleu([[references[n]] for n in drawn], [texts[n] for n in drawn])
                return None if value is None else value[order - 1]

            return statistic

        for order in (1, 4):
            interval = metrics.bootstrap_interval(
                corpus(order), place, seed=seed, groups=np.array(patients),
                replicates=min(replicates, 200),
            )  # fmt: skip
            how = "of the corpus, 200 resamples"
            out.append(Figure(f"{prefix}BLEU-{order}", interval, len(pairs), how))
        return out

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """One slope and one shift for all keywords (Platt), since each has few cases."""
        truth = np.concatenate([one.targets["keywords"] for one in samples]).astype(np.int64)
        if truth.min() == truth.max():
            return {}
        scores = np.concatenate([one[_OUTPUT] for one in outputs]).astype(np.float64)
        temperature, bias = metrics.fit_platt(truth, scores)
        if temperature <= 0:
            return {}
        return {
            _OUTPUT: {
                "method": "platt", "temperature": float(temperature), "bias": float(bias),
                "fitted_on": on,
            }
        }  # fmt: skip


def text_of(case: Case, name: str) -> str:
    """A text of a case: a label by a person, or a text item; empty where there is none."""
    said = label_of(case, name)
    if said is not None:
        return said
    item = case.items.get(name)
    return item.text if isinstance(item, Text) else ""
