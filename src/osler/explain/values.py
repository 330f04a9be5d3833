"""A bundle that reads values or signals: what each of them contributed to its answers.

The players are the values of a table that a case has and the channels of its signal. One that is
taken away is missing, as the bundle's task encodes what is missing; so what is said without it is
what the bundle answers where nobody measured it. A network that was never taught cases without a
value has not learnt what its absence means, and may say anything then.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.bundles import Bundle
from osler.bundles.answering import task_of
from osler.errors import RecipeError
from osler.explain.inputs import METHOD, InputsExplanation
from osler.record import Case, Label, Risk, Source
from osler.tasks.case_input import KNOWN, LEADS, SIGNAL, TABLE, CaseInput
from osler.tasks.fusion_contributions import attributed
from osler.tasks.task import Arrays, Sample, Task

if TYPE_CHECKING:
    from osler.tasks.table_input import TableInput

NOTE: Final = (
    "What is taken away counts as missing; a network that was never taught cases without it has "
    "not learnt what that means."
)
Answer = Label | Risk


def takes_values(model: Any) -> bool:
    """Whether a bundle reads a table or a signal, and no image."""
    if not isinstance(model, Bundle) or model.card.preprocessing is not None:
        return False
    said = model.card.settings
    return not said.get("image") and bool(said.get("table") or said.get("signal"))


def explain_values(
    bundle: Bundle, case: Case, *, method: str | None, label: str | None, layer: str | None,
    tasks: "Sequence[type[Task]]" = (),
) -> InputsExplanation:  # fmt: skip
    """What each value and channel contributed to each chance that a bundle states.

    Args:
        bundle: of a table or a signal.
        case: with some of its values.
        method: None or ``"contributions"``.
        label: name of the answer; None takes all of them.
        layer: must be None.
        tasks: tasks of one's own.

    Raises:
        RecipeError: there is no such method or answer, or the bundle states no chances.
        InputError: the case lacks what the bundle needs.
    """
    begun = time.perf_counter()
    name = bundle.card.name
    if method not in (None, METHOD) or layer is not None:
        raise RecipeError(f"'{name}' answers from values; the method is '{METHOD}'")
    task = task_of(bundle.card, tasks=tasks)
    task.opened(bundle)
    wanted = task.settings
    alone = Case(case.id, case.patient_id, dict(case.items), absent=case.absent)
    sample = task.encode(alone)
    source = Source("bundle", name, bundle.card.version)

    def said(inputs: Arrays) -> list[Answer]:
        changed = replace(sample, inputs=inputs)
        outputs = task.calibrated(task.run(bundle.run, changed))
        return [
            one for one in task.decode(outputs, sample, source=source)
            if isinstance(one, Answer) and not (isinstance(one, Label) and not one.probabilities)
        ]  # fmt: skip

    found = said(sample.inputs)
    chosen = [n for n, one in enumerate(found) if label is None or label in (one.name, one.id)]
    players = _players(sample, wanted) if isinstance(wanted, CaseInput) else {}
    if not found or not players:
        raise RecipeError(
            f"'{name}' states no chance of anything from values or channels of its own; only such "
            "answers, and answers to images, are explained"
        )
    if not chosen:
        known = ", ".join(dict.fromkeys(f"'{one.name}'" for one in found))
        raise RecipeError(f"there is no answer '{label}'; there are: {known}")
    keys = [_key(one) for one in found]

    def worth(shown: NDArray[np.bool_]) -> NDArray[np.float64]:
        rows = []
        for row in shown:
            gone = [where for where, kept in zip(players.values(), row, strict=True) if not kept]
            answers = said(_without(sample.inputs, gone))
            rows.append([_chance(one, key) for one, key in zip(answers, keys, strict=True)])
        return np.array(rows, np.float64)

    made = attributed(worth, tuple(players))
    for number in chosen:
        made.give(found[number], number)
        alone.add(found[number])
    return InputsExplanation(
        case=alone,
        findings=tuple(found[number] for number in chosen),
        notes=(NOTE,),
        seconds=time.perf_counter() - begun,
    )


Place = tuple[str, tuple[int, ...]]
"""Of a table or of a signal, and which of its channels."""


def _players(sample: Sample, wanted: CaseInput) -> dict[str, Place]:
    """The columns that the case has a value of, and the channels that it has."""
    out: dict[str, Place] = {}
    if wanted.table is not None:
        for column, places in _places(wanted.table).items():
            if all(sample.inputs[KNOWN][n] > 0 for n in places):
                out[column] = TABLE, places
    if wanted.signal is not None:
        for n, channel in enumerate(wanted.signal.channels):
            if sample.inputs[LEADS][n] > 0:
                out[channel if channel not in out else f"signal {channel}"] = SIGNAL, (n,)
    return out


def _places(table: "TableInput") -> dict[str, tuple[int, ...]]:
    """Which places of the array are those of each column."""
    out: dict[str, tuple[int, ...]] = {}
    begin = 0
    for column in table.columns:
        count = len(table.categories.get(column, "-"))
        out[column] = tuple(range(begin, begin + count))
        begin += count
    return out


def _without(inputs: Arrays, gone: Sequence[Place]) -> Arrays:
    """The inputs of a case that lacks some values and channels."""
    out = dict(inputs)
    for kind, known in ((TABLE, KNOWN), (SIGNAL, LEADS)):
        places = [n for which, of in gone if which == kind for n in of]
        if places:
            for name in (kind, known):
                out[name] = out[name].copy()
                out[name][places] = 0
    return out


def _key(one: Answer) -> str | None:
    """Which of a label's probabilities is explained: that which stands as its probability."""
    if isinstance(one, Risk):
        return None
    same = [key for key, p in one.probabilities.items() if p == one.probability]
    return one.value if one.value in same or not same else same[0]


def _chance(one: Answer, key: str | None) -> float:
    return one.value if isinstance(one, Risk) else float(one.probabilities[str(key)])
