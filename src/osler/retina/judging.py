"""Bundles that read photographs of the fundus, judged as the general tasks judge.

What they say goes through the preparation of their own, and into the same rows: Dice, NSD, HD95
and areas of masks, AUROC, kappa and calibration of grades.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from osler.bundles import Bundle
from osler.bundles.card import Output
from osler.data.cohort import Cohort
from osler.data.locations import marked
from osler.errors import RecipeError
from osler.record import Case
from osler.retina.predict import predict
from osler.tasks.classification import Classification
from osler.tasks.image_input import image_of
from osler.tasks.segmentation import Segmentation
from osler.tasks.task import Arrays, Predict, Sample, Task

_ALSO: Final = {"grade": ("dr-grade",), "oedema": ("dme-risk",)}
"""Other names that columns of the answer may have."""


class FundusMasks(Segmentation):
    """Masks of a bundle of the fundus, in the photograph's grid."""

    bundle: ClassVar[Bundle]

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        """The case itself; the bundle prepares its photograph."""
        return Sample(case.id, case.patient_id or case.id, {}, case=case)

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """``masks`` ``(L, H, W)`` of the labels that are judged."""
        said = _asked(self, sample)
        return {"masks": np.stack([said.masks[label] for label in self.settings.labels])}

    def native(self, outputs: Arrays, sample: Sample) -> list[NDArray[np.bool_]]:
        """As they came."""
        return [one.astype(bool) for one in outputs["masks"]]


class FundusLabels(Classification):
    """One answer of a bundle of the fundus."""

    bundle: ClassVar[Bundle]
    output: ClassVar[str]

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        """The case with its truth; the bundle prepares its photograph."""
        sample = Sample(case.id, case.patient_id or case.id, {}, case=case)
        if truth:
            sample.targets, sample.group = self.truth_of(case)
        return sample

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """``probability`` ``(L,)``, calibrated as the card says."""
        said = _asked(self, sample)
        return {"probability": np.array(list(said.probabilities[self.output].values()))}

    def probabilities(self, outputs: Arrays) -> NDArray[np.float64]:
        """As they came."""
        return np.asarray(outputs["probability"], np.float64)


def _asked(task: FundusMasks | FundusLabels, sample: Sample) -> Any:
    case = sample.need_case()
    assert task.settings.image is not None  # `judged_by` names it
    name = image_of(case, task.settings.image.items[0]).name
    return predict(task.bundle, case, item=name)


def judged_by(bundle: Bundle, cohort: Cohort, *, output: str | None = None) -> tuple[Task, str]:
    """How a bundle of the fundus is judged on a cohort.

    Args:
        bundle: reads photographs of the fundus.
        cohort: with columns for what the bundle says.
        output: which answer is judged; the first that has a column by default.

    Returns:
        A task that asks the bundle, and a sentence on what of it is not judged, or ``""``.

    Raises:
        RecipeError: the cohort has nothing to compare its answers with.
    """
    items = cohort.columns("items")
    if not items:
        raise RecipeError(f"the cohort '{cohort.path}' has no column of photographs")
    item = "photo" if "photo" in items else items[0]
    if bundle.card.task == "segmentation":
        if output is not None:
            raise RecipeError(f"'{bundle.card.name}' marks structures; leave out the output")
        return _masks(bundle, cohort, item)
    return _labels(bundle, cohort, item, output)


def _masks(bundle: Bundle, cohort: Cohort, item: str) -> tuple[Task, str]:
    labels = [one for one in bundle.card.outputs[0].labels if one.name != "background"]
    held = {
        name: any(
            name in row.labels and marked(row.labels[name], cohort.root) for row in cohort.rows
        )
        for name in cohort.columns("labels")
    }
    known = [one for one in labels if held.get(one.name)]
    if not known:
        wanted = " or ".join(f"label:{one.name}" for one in labels)
        there = ", ".join(f"label:{name}" for name in held) or "none"
        raise RecipeError(
            f"'{bundle.card.name}' is judged by masks: name them in columns {wanted} of the cohort "
            f"'{cohort.path}', a file of each structure (of a label map, PATH#VALUE); its labels: "
            f"{there}"
        )
    settings = {
        "image": {"items": [item], "colour": True},
        "labels": [one.name for one in known],
        "overlapping": bundle.card.outputs[0].activation == "sigmoid",
        "thin": [one.name for one in known if one.thin],
        "absent": "unknown",
    }
    kind = type("FundusMasks", (FundusMasks,), {"bundle": bundle})
    task: Task = kind(FundusMasks.Settings.model_validate(settings))
    left = [
        f"'{one.name}' ({'places, no masks' if one.name in held else 'no such column'})"
        for one in labels
        if one not in known
    ]
    return task, f"not judged for want of masks: {', '.join(left)}" if left else ""


def _labels(bundle: Bundle, cohort: Cohort, item: str, output: str | None) -> tuple[Task, str]:
    answers = [one for one in bundle.card.outputs if one.labels]
    names = [one.name for one in answers]
    if output is not None and output not in names:
        raise RecipeError(f"'{bundle.card.name}' answers {', '.join(names)}, not '{output}'")
    asked = [one for one in answers if output in (None, one.name)]
    columns = cohort.columns("labels")
    found = {one.name: _columns(one, columns) for one in asked}
    chosen = next((one for one in asked if found[one.name]), None)
    if chosen is None:
        wanted = "; ".join(f"'{one.name}' {' or '.join(_wanted(one))}" for one in asked)
        there = ", ".join(f"label:{name}" for name in columns) or "none"
        raise RecipeError(
            f"'{bundle.card.name}' is judged by what a person said: name it in a column of the "
            f"cohort '{cohort.path}' ({wanted}); its labels: {there}"
        )
    known = found[chosen.name]
    side = bundle.card.preprocessing.diameter if bundle.card.preprocessing else 0
    settings: dict[str, Any] = {
        "image": {"items": [item], "colour": True, "size": [side, side]},
        "labels": [one.name for one in chosen.labels],
    }
    if chosen.activation == "sigmoid":
        settings |= {"kind": "multi-label", "target": known, "labels": known}
    else:
        ordinal = all(one.name.isdecimal() for one in chosen.labels)
        settings |= {"kind": "ordinal" if ordinal else "classes", "target": known[0]}
    kind = type("FundusLabels", (FundusLabels,), {"bundle": bundle, "output": chosen.name})
    task: Task = kind(FundusLabels.Settings.model_validate(settings))
    others = [one.name for one in answers if one is not chosen]
    note = f"'{chosen.name}' is judged; --output judges {' or '.join(others)}" if others else ""
    return task, note


def _columns(output: Output, columns: Sequence[str]) -> list[str]:
    """The columns that hold the truth of an output; empty where one of them is missing."""
    if output.activation != "sigmoid":
        return [one for one in (output.name, *_ALSO.get(output.name, ())) if one in columns][:1]
    wanted = _yes_or_no(output)
    return wanted if set(wanted) <= set(columns) else []


def _yes_or_no(output: Output) -> list[str]:
    names = [one.name for one in output.labels]
    return [output.name] if names == ["yes"] else names


def _wanted(output: Output) -> list[str]:
    if output.activation == "sigmoid":
        return [" and ".join(f"label:{name}" for name in _yes_or_no(output)) + ", yes or no"]
    return [f"label:{name}" for name in (output.name, *_ALSO.get(output.name, ()))]
