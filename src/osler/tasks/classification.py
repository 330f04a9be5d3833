"""Classification: which of several classes, which labels of many, or how far on a scale."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from osler.errors import InputError, RecipeError
from osler.record import Case, Finding, Label, Source
from osler.tasks import classification_figures
from osler.tasks.case_input import (
    CaseInput,
    encode_input,
    item_of,
    planned_input,
    table_row,
)
from osler.tasks.case_task import CaseTask
from osler.tasks.fusion_contributions import contributions
from osler.tasks.image_input import ImageInput
from osler.tasks.labels import identifier, label_of, nearest, needed_label
from osler.tasks.prediction_set import prediction_set
from osler.tasks.task import (
    Arrays,
    Figure,
    OutputSpec,
    Predict,
    Row,
    Sample,
    Settings,
    sigmoid,
    softmax,
)

_OUTPUT = "scores"
_ITEMS = frozenset({"image", "signal", "table", "inputs"})
_POSITIVE = frozenset({"1", "yes", "true", "positive", "present"})
_NEGATIVE = frozenset({"0", "no", "false", "negative", "absent"})


class ClassificationSettings(CaseInput):
    """The keys of classification, beside those of `CaseInput` (an image of 224 by default).

    Attributes:
        target: the cohort's label column; several for ``multi-label``.
        kind: ``classes`` that exclude each other; ``ordinal`` ones, in the order of ``labels``;
            or ``multi-label``, each target yes or no.
        labels: the classes in order; empty takes those of the teaching cases, sorted (numbers by
            value).
        weights: ``balanced`` weighs a class by the effective number of its samples [1]_, ``none``
            each case alike.
        focal: exponent of the focal loss [2]_; 0 is cross-entropy.
        smoothing: share of each target that is spread over the other classes.
        coverage: level of the conformal prediction set.
        counts: teaching cases of each label; found by itself.
        known: teaching cases in which each of several labels is known; found by itself.

    References:
        .. [1] Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019.
        .. [2] Lin et al., "Focal loss for dense object detection", ICCV 2017.
    """

    target: str | list[str] = "class"
    kind: Literal["classes", "ordinal", "multi-label"] = "classes"
    labels: list[str] = []
    weights: Literal["none", "balanced"] = "none"
    focal: Annotated[float, Field(ge=0)] = 0.0
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    counts: list[int] = []
    known: list[int] = []

    @model_validator(mode="before")
    @classmethod
    def _an_image(cls, said: Any) -> Any:
        if isinstance(said, dict) and not _ITEMS & said.keys():
            return {**said, "image": ImageInput(size=(224, 224))}
        return said

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.kind == "multi-label" and isinstance(self.target, str):
            raise ValueError("kind multi-label takes a list of targets, each yes or no")
        if self.kind != "multi-label" and not isinstance(self.target, str):
            raise ValueError(f"kind {self.kind} takes one target; several are multi-label")
        return self


class Classification(CaseTask):
    """See `ClassificationSettings`."""

    name: ClassVar[str] = "classification"
    title: ClassVar[str] = "Classification"
    Settings: ClassVar[type[Settings]] = ClassificationSettings

    settings: ClassificationSettings

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Fill in the labels and how often each is taught."""
        said = self.settings
        values, tables, names = [], [], set[str]()
        for case in samples():
            names |= {one.name for one in case.of(Label)}
            values.append(self._values(case, needed=False))
            tables.append(table_row(case, said))
        if said.kind == "multi-label":
            labels = list(said.target)
            counts = [sum(row[k] == 1 for row in values) for k in range(len(labels))]
        else:
            # those without a label are named when they are encoded
            found = [str(row[0]) for row in values if row[0] is not None]
            labels = said.labels or sorted(set(found), key=_order)
            if unknown := sorted(set(found) - set(labels)):
                raise RecipeError(
                    f"settings.labels lacks {', '.join(map(repr, unknown))}, which the column "
                    f"'{said.target}' holds"
                )
            counts = [found.count(label) for label in labels]
            if not labels:
                raise RecipeError(
                    f"no teaching case has a label '{said.target}'; settings.target names a "
                    f"column 'label:{said.target}' of the cohort{nearest(str(said.target), names)}"
                )
            if len(labels) < 2:
                raise RecipeError(
                    f"the teaching cases have one value of '{said.target}' only: '{labels[0]}'; "
                    "a classification needs two"
                )
        found_too = planned_input(said, tables)
        if said.kind == "multi-label":
            found_too["known"] = [
                sum(row[k] is not None and not np.isnan(row[k]) for row in values)
                for k in range(len(labels))
            ]
        return type(self)(said.model_copy(update={"labels": labels, "counts": counts, **found_too}))

    def outputs(self) -> tuple[OutputSpec, ...]:
        said = self.settings
        if said.kind == "multi-label":
            return (
                OutputSpec(
                    _OUTPUT, "sigmoid", tuple(said.labels), "a score a label",
                    thresholds=(0.5,) * len(said.labels),
                ),
            )  # fmt: skip
        return (OutputSpec(_OUTPUT, "softmax", tuple(said.labels), "a score a class"),)

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        inputs = encode_input(case, self.settings)
        sample = Sample(case.id, case.patient_id or case.id, inputs, case=case)
        if truth:
            sample.targets, sample.group = self.truth_of(case)
        return sample

    def truth_of(self, case: Case) -> tuple[Arrays, str]:
        """The targets of a case, and the rarest label that it has.

        Raises:
            InputError: it has no label, or one that is not known.
        """
        values, labels = self._values(case), self.settings.labels
        if self.settings.kind == "multi-label":
            rare = [c if v == 1 else -1 for v, c in zip(values, self._counts(), strict=True)]
            taught = [k for k, count in enumerate(rare) if count >= 0]
            group = labels[min(taught, key=lambda k: rare[k])] if taught else "none"
            return {"labels": np.array(values, np.float32)}, group
        value = str(values[0])
        if value not in labels:
            raise InputError(
                f"case '{case.id}' has the value '{value}' of '{self.settings.target}'; "
                f"the labels are {', '.join(labels)} (what the teaching cases have, unless "
                "settings.labels names more)"
            )
        return {"class": np.array(labels.index(value), np.int64)}, value

    def _counts(self) -> list[int]:
        return self.settings.counts or [0] * len(self.settings.labels)

    def _values(self, case: Case, *, needed: bool = True) -> list[Any]:
        """The class of a case, or 1, 0 or NaN (not known) of each label."""
        said = self.settings
        if isinstance(said.target, str):
            return [(needed_label if needed else label_of)(case, said.target)]
        known = []
        for name in said.target:
            value = label_of(case, name)
            word = "" if value is None else value.strip().lower()
            if word and word not in _POSITIVE | _NEGATIVE:
                raise InputError(
                    f"case '{case.id}': label '{name}' is '{value}'; a multi-label target is 1 or "
                    "0, yes or no"
                )
            known.append(np.nan if not word else float(word in _POSITIVE))
        return known

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        import torch
        from torch.nn import functional

        said = self.settings
        scores = outputs[_OUTPUT].float()
        weight = torch.from_numpy(self.class_weights()).to(scores.device)
        if said.kind == "multi-label":
            truth = targets["labels"]
            known = ~torch.isnan(truth)
            truth = torch.nan_to_num(truth)
            smooth = truth * (1 - said.smoothing) + 0.5 * said.smoothing
            loss = functional.binary_cross_entropy_with_logits(scores, smooth, reduction="none")
            if said.focal:
                p = scores.sigmoid()
                loss = loss * torch.where(truth > 0.5, 1 - p, p) ** said.focal
            loss = loss * torch.where(truth > 0.5, weight, torch.ones_like(loss))
            return (loss * known).sum() / known.sum().clamp(min=1)
        truth = targets["class"]
        log = functional.log_softmax(scores, dim=1)
        likelihood = log.gather(1, truth[:, None])[:, 0]
        loss = -(1 - said.smoothing) * likelihood - said.smoothing * log.mean(dim=1)
        if said.focal:
            loss = loss * (1 - likelihood.exp()) ** said.focal
        loss = loss * weight[truth]
        total = loss.sum() / weight[truth].sum().clamp(min=1e-8)
        if said.kind == "ordinal":
            # the expected grade as a further aim: far mistakes cost more than near ones
            steps = torch.arange(scores.shape[1], device=scores.device, dtype=torch.float32)
            away = (log.exp() * steps).sum(dim=1) - truth.float()
            total = total + (away / max(1, scores.shape[1] - 1)).square().mean()
        return total

    def class_weights(self) -> NDArray[np.float32]:
        """The weight of each class, with mean 1 over the classes; see ``weights``."""
        count = len(self.settings.labels)
        if self.settings.weights == "none" or not self.settings.counts:
            return np.ones(count, np.float32)
        taught = np.maximum(np.array(self.settings.counts, np.float64), 1)
        total = float(taught.sum())
        beta = 1 - 1 / total
        effective = (1 - beta**taught) / (1 - beta)
        weight = 1 / effective
        return np.asarray(weight * count / weight.sum(), np.float32)

    def shares(self) -> list[float] | None:
        """The share of each label among the teaching cases, as they were weighed; None if unknown.

        It is what is said of a case of which nothing is known.
        """
        said = self.settings
        taught = np.array(said.counts, np.float64) * self.class_weights()[: len(said.counts)]
        if said.kind != "multi-label":
            return (taught / taught.sum()).tolist() if taught.sum() > 0 else None
        if len(said.known) != len(said.counts) or not all(said.known):
            return None
        others = np.array(said.known, np.float64) - np.array(said.counts, np.float64)
        shares: list[float] = (taught / (taught + others)).tolist()
        return shares

    def probabilities(self, outputs: Arrays) -> NDArray[np.float64]:
        """``(L,)`` of one case from its calibrated scores."""
        scores = outputs[_OUTPUT]
        return sigmoid(scores) if self.settings.kind == "multi-label" else softmax(scores)

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        said = self.settings
        p = self.probabilities(outputs)
        item = item_of(sample.need_case(), said)
        if said.kind == "multi-label":
            return [
                Label(
                    id=identifier(name), name=name, source=source, item=item,
                    value="yes" if one >= 0.5 else "no", probability=float(one),
                    probabilities={"yes": float(one), "no": float(1 - one)},
                )
                for name, one in zip(said.labels, p, strict=True)
            ]  # fmt: skip
        named = {name: float(one) for name, one in zip(said.labels, p, strict=True)}
        value = max(named, key=lambda name: named[name])
        quantile = self.calibration.get(_OUTPUT, {}).get("conformal_quantile")
        kept = prediction_set(named, quantile)
        return [
            Label(
                id=identifier(str(said.target)), name=str(said.target), source=source,
                item=item, value=value, probability=named[value],
                probabilities=named, prediction_set=kept,
                coverage=said.coverage if kept else None,
            )
        ]  # fmt: skip

    def attributed(self, predict: Predict, sample: Sample, found: list[Finding]) -> list[Finding]:
        said = self.settings
        if said.inputs is None:
            return found
        made = contributions(
            predict, sample.inputs, said.inputs,
            lambda outputs: self.probabilities(self.calibrated(outputs)).tolist(),
            nothing=self.shares(),
        )  # fmt: skip
        for number, one in enumerate(found):
            assert isinstance(one, Label)
            many = said.kind == "multi-label"
            made.give(one, number if many else said.labels.index(one.value))
        return found

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        p = [float(one) for one in self.probabilities(outputs)]
        if self.settings.kind == "multi-label":
            truth = [None if np.isnan(v) else int(v) for v in sample.targets["labels"]]
            return {"truth": truth, "probability": p}
        return {"truth": int(sample.targets["class"]), "probability": p}

    def score(self, rows: Sequence[Row]) -> float:
        """Mean AUROC; for grades the mean of that and quadratic kappa."""
        return classification_figures.score(rows, self.settings.kind)

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        said = self.settings
        return classification_figures.figures(
            rows, patients, said.kind, said.labels, seed=seed, replicates=replicates
        )

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """Temperature and conformal quantile; of labels one by one, Platt's scaling of all.

        Nothing where fewer than ten cases tune, or all of them have the same label.
        """
        said = self.settings
        scores = [one[_OUTPUT] for one in outputs]
        if said.kind == "multi-label":
            truth = [one.targets["labels"] for one in samples]
            fitted = classification_figures.calibrated_labels(truth, scores)
        else:
            classes = [int(one.targets["class"]) for one in samples]
            fitted = classification_figures.calibrated_classes(
                classes, scores, coverage=said.coverage
            )
        return {_OUTPUT: {**fitted, "fitted_on": on}} if fitted else {}


def _order(value: str) -> tuple[int, float, str]:
    """Numbers by value and before words."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
