"""A bundle of several named inputs: what each contributed to an answer, and a map of one."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from osler.bundles import Bundle
from osler.bundles.answering import answer
from osler.errors import OutputError, RecipeError
from osler.explain.general import on_case
from osler.io import html
from osler.io.atomic_file import replacing
from osler.io.html_contributions import attributed, probability_of, sentences
from osler.io.naming import safe_name
from osler.record import Case, Label, Risk

if TYPE_CHECKING:
    from osler.explain.explaining import Explanation
    from osler.tasks.task import Task

METHOD: Final = "contributions"
SCHEMA: Final = 1


@dataclass(slots=True, eq=False, kw_only=True)
class InputsExplanation:
    """What each input of a case contributed to the answers of a bundle.

    Attributes:
        case: the case with the answers, each with ``contributions`` and ``without``.
        findings: the answers that are explained.
        map: of the image that moved the first of them most; None where none was asked for.
        notes: what has to be said of them.
        seconds: how long it took.
    """

    case: Case
    findings: tuple[Label | Risk, ...]
    map: "Explanation | None" = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def sentences(self) -> list[str]:
        """The answers in plain text: a line each, and a line for every input."""
        out = []
        for one in self.findings:
            said = probability_of(one)
            value = one.meaning if isinstance(one, Label) else f"within {one.horizon_days:g} days"
            out.append(f"{one.name}: {value}" + ("" if said is None else f" ({said:.3f})"))
            out += [f"  {line}" for line in sentences(one)]
        return [*out, *self.notes]

    def write(self, out: str | Path) -> Path:
        """Write ``explanation.html`` and ``explanation.json``, and the map's files under ``map/``.

        Returns:
            ``out/CASE``.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder = Path(out) / safe_name(self.case.id)
        if folder.is_file() or Path(out).is_file():
            raise OutputError(f"'{folder}' lies in or at a file; name a folder")
        text = json.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        for name, content in (
            ("explanation.json", text), ("explanation.html", html.report(self.case))
        ):  # fmt: skip
            with replacing(folder / name) as part:
                part.write_text(content, "utf-8", newline="\n")
        if self.map is not None:
            self.map.write(folder / "map")
        return folder

    def as_json(self) -> dict[str, Any]:
        """All numbers, plain."""
        source = self.findings[0].source
        return {
            "schema_version": SCHEMA,
            "case": self.case.id,
            "model": {"kind": source.kind, "name": source.name, "version": source.version},
            "method": METHOD,
            "answers": [
                {
                    "id": one.id, "name": one.name,
                    "value": one.value, "probability": probability_of(one),
                    "contributions": dict(one.contributions), "without": dict(one.without),
                    "flags": list(one.flags),
                }
                for one in self.findings
            ],
            "notes": list(self.notes),
            "map": None if self.map is None else {
                "item": self.map.heatmap.item, "label": self.map.label,
                "method": self.map.method,
            },
        }  # fmt: skip


def explain_inputs(
    bundle: Bundle, case: Case, *, method: str | None, label: str | None, layer: str | None,
    tasks: "Sequence[type[Task]]", mapped: Callable[..., "Explanation"],
) -> InputsExplanation:  # fmt: skip
    """What each input contributed, and a map where the method is ``"occlusion"``.

    Args:
        bundle: of named inputs.
        case: with some of them.
        method: None or ``"contributions"``, or ``"occlusion"``.
        label: name of the answer; None takes all of them.
        layer: must be None.
        tasks: tasks of one's own.
        mapped: `osler.explain.explaining.mapped`.

    Raises:
        RecipeError: there is no such method or answer, or no image that a map could be of.
        InputError: the case has none of the inputs.
    """
    begun = time.perf_counter()
    if method not in (None, METHOD, "occlusion") or layer is not None:
        raise RecipeError(
            f"'{bundle.card.name}' answers from several inputs; the methods are '{METHOD}' and "
            "'occlusion', which also draws a map of the image that moved the answer most"
        )
    alone = Case(case.id, case.patient_id, dict(case.items))
    answer(bundle, alone, tasks=tasks)
    every = list(attributed(alone))
    chosen = [one for one in every if label is None or label in (one.name, one.id)]
    if not chosen:
        known = ", ".join(f"'{one.name}'" for one in every) or "none with contributions"
        raise RecipeError(f"there is no answer '{label}'; there are: {known}")
    said = InputsExplanation(case=alone, findings=tuple(chosen))
    if method == "occlusion":
        first = max(chosen, key=lambda one: probability_of(one) or 0.0)
        subject = on_case(
            bundle, alone, label=_label_of(bundle, first), input=_image(bundle, first), tasks=tasks
        )
        said.map = mapped(subject, alone, method="occlusion", layer=None, begun=begun)
    said.seconds = time.perf_counter() - begun
    return said


def _label_of(bundle: Bundle, finding: Label | Risk) -> str | None:
    """The output's label that a finding is about."""
    names = [one.name for output in bundle.card.outputs for one in output.labels]
    if isinstance(finding, Label):
        return next((one for one in (finding.name, finding.value) if one in names), None)
    return next((one for one in names if one == finding.name), None)


def _image(bundle: Bundle, finding: Label | Risk) -> str:
    """The image input that moved an answer most."""
    from osler.bundles.answering import task_of

    images = [one for one in task_of(bundle.card).images if one in finding.contributions]
    if not images:
        raise RecipeError("the case has no image that a map could be of; see its contributions")
    return max(images, key=lambda one: abs(finding.contributions[one]))
