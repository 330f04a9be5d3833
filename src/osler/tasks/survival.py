"""Survival: the chance of an event by a time, where some cases left before it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from osler import metrics
from osler.errors import InputError, RecipeError
from osler.record import Case, Finding, Risk, Source
from osler.tasks.case_input import (
    CaseInput,
    encode_input,
    item_of,
    planned_input,
    table_row,
)
from osler.tasks.case_task import CaseTask
from osler.tasks.fusion_contributions import contributions
from osler.tasks.labels import identifier, needed_label
from osler.tasks.survival_figures import Asked, survival_figures
from osler.tasks.survival_intervals import (
    LEVEL,
    Known,
    Spread,
    cox_spread,
    hazard_spread,
    risk_interval,
)
from osler.tasks.survival_models import (
    Floats,
    breslow,
    cox_incidence,
    cox_regression,
    hazard_incidence,
    hazards_of,
    interval_likelihood,
    interval_targets,
)
from osler.tasks.task import (
    Arrays,
    Figure,
    OutputSpec,
    Predict,
    Row,
    Sample,
    Settings,
)

_OUTPUT = "scores"
_DAYS = {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}
_YES = frozenset({"1", "yes", "true", "event", "dead"})
_NO = frozenset({"0", "no", "false", "none", "censored", "alive"})
_FEW_EVENTS = 10  # below, nothing is calibrated on them
_ENOUGH_EVENTS = 30  # from here on a baseline of those alone who did not teach
_TEMPERATURES = (0.2, 20.0)
_CURVE = 20


class Baseline(Settings):
    """A cumulative baseline hazard: a step function, 0 before its first time.

    Attributes:
        times: ascending.
        hazard: from each time on.
    """

    times: list[float]
    hazard: list[float]


class SurvivalSettings(CaseInput):
    """The keys of survival, beside those of `CaseInput`.

    Attributes:
        time: label column with the time until the event or until the case was last seen, 0 or more.
        event: label column: 1 or 0, yes or no; where there are several ``causes``, the name of
            the one that came first, or censored.
        causes: names of the event, or of several that exclude each other.
        unit: of time.
        model: ``cox``: hazards in proportion to a baseline, which is Breslow's; ``hazards``: the
            chance to leave in each of some intervals, whose ratio may change with time.
        ties: how events of one time count in the loss of ``cox``: ``efron`` or ``breslow``.
        intervals: how many there are (``hazards``).
        edges: of the intervals, from 0; found by itself: quantiles of the times of events.
        horizons: times at which risks are stated; found by itself: quartiles of those times.
        grid: times of the curves; found by itself: evenly up to nine tenths of those times.
        curve: findings also hold the risk at each time of the grid.
        thresholds: risks from which on one would act, for the net benefit.
        baseline: of each cause (``cox``); found by itself.
        spread: what makes the intervals of risks; found by itself.
    """

    time: str = "time"
    event: str = "event"
    causes: Annotated[list[str], Field(min_length=1)] = ["event"]
    unit: Literal["days", "weeks", "months", "years"] = "days"
    model: Literal["cox", "hazards"] = "cox"
    ties: Literal["efron", "breslow"] = "efron"
    intervals: Annotated[int, Field(ge=2, le=200)] = 10
    edges: list[float] = []
    horizons: list[float] = []
    grid: list[float] = []
    curve: bool = False
    thresholds: list[Annotated[float, Field(gt=0, lt=1)]] = [0.1, 0.2, 0.3, 0.5]
    baseline: list[Baseline] = []
    spread: Spread | None = None

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for name in ("edges", "horizons", "grid"):
            marks = getattr(self, name)
            if any(b <= a for a, b in pairwise(marks)) or min(marks or [0]) < 0:
                raise ValueError(f"{name} must rise from 0 or more")
        if self.edges and (self.edges[0] != 0 or len(self.edges) < 3):
            raise ValueError("edges begin at 0 and bound two intervals or more")
        if self.model != "cox" and self.ties != "efron":
            raise ValueError("ties: model 'hazards' has none; it counts by intervals")
        return self


class Survival(CaseTask):
    """See `SurvivalSettings`."""

    name: ClassVar[str] = "survival"
    title: ClassVar[str] = "Survival"
    Settings: ClassVar[type[Settings]] = SurvivalSettings

    settings: SurvivalSettings

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Fill in scales, intervals, horizons and the grid, from the teaching cases alone."""
        said = self.settings
        rows, times = [], []
        for case in samples():
            rows.append(table_row(case, said))
            time, cause = self._outcome(case)
            if cause:
                times.append(time)
        if not times:
            raise RecipeError(f"no teaching case had an event ('{said.event}'), so none is learnt")
        events = np.array(times)
        found = planned_input(said, rows)
        if not said.edges:
            inner = np.quantile(events, np.linspace(0, 1, said.intervals + 1)[1:])
            found["edges"] = [0.0, *(float(one) for one in np.unique(inner) if one > 0)]
        if not said.horizons:
            found["horizons"] = _distinct(np.quantile(events, [0.25, 0.5, 0.75]))
        if not said.grid:
            low, high = np.quantile(events, [0.02, 0.9])
            found["grid"] = _distinct(np.linspace(float(low), float(high), _CURVE))
        for name in ("grid", "horizons"):
            if not (found.get(name) or getattr(said, name)):
                raise RecipeError(f"the events' times do not tell settings.{name}; set it")
        return type(self)(said.model_copy(update=found))

    def outputs(self) -> tuple[OutputSpec, ...]:
        said = self.settings
        if said.model == "cox":
            return (OutputSpec(_OUTPUT, "none", tuple(said.causes), "a log hazard ratio a cause"),)
        edges = said.edges or [float(k) for k in range(said.intervals + 1)]
        labels = tuple(
            f"{cause}, {low:g} to {high:g} {said.unit}"
            for low, high in pairwise(edges)
            for cause in said.causes
        )
        what = "log odds of each cause in an interval against staying"
        return (OutputSpec(_OUTPUT, "none", labels, what),)

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        sample = Sample(
            case.id, case.patient_id or case.id, encode_input(case, self.settings), case=case
        )
        if truth:
            said = self.settings
            time, cause = self._outcome(case)
            sample.targets = {
                "time": np.array(time, np.float32), "cause": np.array(cause, np.int64)
            }  # fmt: skip
            if said.model == "hazards":
                survived, happened = interval_targets(
                    time, cause, np.array(said.edges), len(said.causes)
                )
                sample.targets |= {"survived": survived, "happened": happened}
            sample.group = said.causes[cause - 1] if cause else "censored"
            sample.home["time"] = time
        return sample

    def _outcome(self, case: Case) -> tuple[float, int]:
        """The time and the cause (from 1; 0 is censored) of a case."""
        said = self.settings
        text = needed_label(case, said.time)
        try:
            time = float(text)
        except ValueError:
            time = -1.0
        if not np.isfinite(time) or time < 0:
            raise InputError(f"case '{case.id}': '{said.time}' is '{text}', not a time from 0 on")
        word = needed_label(case, said.event).strip()
        named = [one.lower() for one in said.causes]
        if word.lower() in named:
            return time, named.index(word.lower()) + 1
        if word.lower() in _NO:
            return time, 0
        if word.lower() in _YES and len(named) == 1:
            return time, 1
        raise InputError(
            f"case '{case.id}': '{said.event}' is '{word}'; it is one of "
            f"{', '.join(said.causes)}, or 0 where the case was censored"
        )

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        from osler.tasks.survival_losses import cox_loss, interval_loss

        scores = outputs[_OUTPUT].float()
        if self.settings.model == "cox":
            return cox_loss(scores, targets["time"], targets["cause"], ties=self.settings.ties)
        shaped = scores.reshape(len(scores), -1, len(self.settings.causes))
        return interval_loss(shaped, targets["survived"], targets["happened"])

    def incidence(self, scores: NDArray[Any], at: Sequence[float]) -> Floats:
        """The chance of each cause by each time ``(K, T)``, from the calibrated scores of a case.

        Raises:
            InputError: the baseline hazard is not known; the task was not trained.
        """
        said, marks = self.settings, np.asarray(at, np.float64)
        values = np.asarray(scores, np.float64)
        if said.model == "hazards":
            table = hazards_of(values.reshape(-1, len(said.causes)))
            return hazard_incidence(table, np.array(said.edges), marks)
        if not said.baseline:
            raise InputError("the baseline hazard is not known: settings.baseline is empty")
        baselines = [(np.array(one.times), np.array(one.hazard)) for one in said.baseline]
        return cox_incidence(baselines, values, marks)

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        said, marks = self.settings, self._marks()
        table = np.clip(self.incidence(outputs[_OUTPUT], marks), 0, 1)
        ends = self._ends(outputs[_OUTPUT], table, marks)
        item = item_of(sample.need_case(), said)
        found: list[Finding] = []
        for k, cause in enumerate(said.causes):
            for n, mark in enumerate(marks):
                found.append(
                    Risk(
                        id=f"{identifier(cause)}-{mark:g}-{said.unit}", name=cause, source=source,
                        item=item, value=float(table[k, n]), horizon_days=mark * _DAYS[said.unit],
                        interval=(float(ends[0][k, n]), float(ends[1][k, n])) if ends else None,
                        level=LEVEL if ends else None,
                    )
                )  # fmt: skip
        return found

    def _ends(
        self, scores: NDArray[Any], table: Floats, marks: Sequence[float]
    ) -> tuple[Floats, Floats] | None:
        """The ends of the risks' intervals; None where they are not known."""
        said = self.settings
        if said.spread is None:
            return None
        edges = np.array(said.edges) if said.model == "hazards" else None
        values = np.asarray(scores, np.float64)
        return risk_interval(said.spread, values, table, np.asarray(marks), edges=edges)

    def _marks(self) -> list[float]:
        said = self.settings
        return sorted({*said.horizons, *(said.grid if said.curve else [])})

    def attributed(self, predict: Predict, sample: Sample, found: list[Finding]) -> list[Finding]:
        wanted, marks = self.settings.inputs, self._marks()
        if wanted is None:
            return found

        def chances(outputs: Arrays) -> list[float]:
            risks = self.incidence(self.calibrated(outputs)[_OUTPUT], marks)
            chosen: list[float] = np.clip(risks, 0, 1).ravel().tolist()
            return chosen

        made = contributions(predict, sample.inputs, wanted, chances)
        for number, one in enumerate(found):
            assert isinstance(one, Risk)
            made.give(one, number)
        return found

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        """Time, event, risks at horizons and grid, and the score by which cases are put in order.

        That is the risk at the last horizon; the log hazard while no baseline is known.
        """
        said = self.settings
        row: Row = {
            "time": float(sample.home["time"]), "event": int(sample.targets["cause"]),
            "risk": [], "curve": [],
        }  # fmt: skip
        if said.model == "cox" and not said.baseline:  # while it is taught
            row["score"] = [float(one) for one in outputs[_OUTPUT]]
            return row
        risk = np.clip(self.incidence(outputs[_OUTPUT], said.horizons), 0, 1)
        row["score"], row["risk"] = risk[:, -1].tolist(), risk.tolist()
        row["curve"] = np.clip(self.incidence(outputs[_OUTPUT], said.grid), 0, 1).tolist()
        return row

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        said = self.settings
        asked = Asked(said.causes, said.horizons, said.grid, said.unit, said.thresholds)
        return survival_figures(rows, patients, asked, seed=seed, replicates=replicates)

    def score(self, rows: Sequence[Row]) -> float:
        """Harrell's C, the mean over causes; 0.5 where no pair tells."""
        times = np.array([row["time"] for row in rows])
        causes = np.array([row["event"] for row in rows])
        scores = np.array([row["score"] for row in rows])
        values = [
            metrics.harrell_c(times, causes == k + 1, scores[:, k])
            for k in range(len(self.settings.causes))
        ]
        return float(np.mean([0.5 if one is None else one for one in values]))

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """One temperature of all scores: what a network is too sure of is drawn together."""
        causes = np.array([int(one.targets["cause"]) for one in samples])
        if int((causes > 0).sum()) < _FEW_EVENTS:
            return {}
        scores = np.stack([one[_OUTPUT] for one in outputs]).astype(np.float64)
        if self.settings.model == "cox":
            temperature = self._slope(scores, samples, causes)
        else:
            temperature = self._hazard_temperature(scores, samples)
        return {_OUTPUT: {"method": "temperature", "temperature": temperature, "fitted_on": on}}

    def _slope(self, scores: Floats, samples: Sequence[Sample], causes: NDArray[np.int64]) -> float:
        """1 over the Cox regression of the score, weighed over causes by their information."""
        times = np.array([float(one.home["time"]) for one in samples])
        whole = weight = 0.0
        for k in range(len(self.settings.causes)):
            column = scores[:, k : k + 1] - scores[:, k].mean()
            if not (causes == k + 1).any() or float(np.ptp(column)) < 1e-6:
                continue
            fit = cox_regression(times, causes == k + 1, column)
            told = 1 / max(float(fit.errors[0]) ** 2, 1e-12)
            whole, weight = whole + told * float(fit.weights[0]), weight + told
        slope = whole / weight if weight else 1.0
        return float(1 / np.clip(slope, 1 / _TEMPERATURES[1], 1 / _TEMPERATURES[0]))

    def _hazard_temperature(self, scores: Floats, samples: Sequence[Sample]) -> float:
        from scipy.optimize import minimize_scalar

        survived = np.stack([one.targets["survived"] for one in samples]).astype(np.float64)
        happened = np.stack([one.targets["happened"] for one in samples]).astype(np.float64)
        count = len(self.settings.causes)

        def loss(log: float) -> float:
            table = hazards_of(scores.reshape(-1, count) / np.exp(log))
            return -interval_likelihood(table.reshape(happened.shape), survived, happened)

        found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
        return float(np.exp(found.x))

    def concluded(
        self, taught: Sequence[Arrays], teach: Sequence[Sample], held: Sequence[Arrays],
        tune: Sequence[Sample],
    ) -> Self:  # fmt: skip
        """With the baseline hazard: of those who did not teach where they had events enough.

        A network's scores of those who taught are too far apart for their baseline to hold for
        others.
        """
        said = self.settings
        found: dict[str, Any] = {"spread": self._spread(held, tune)}
        if said.model != "cox":
            return type(self)(said.model_copy(update=found), calibration=self.calibration)
        baselines = []
        for k, cause in enumerate(said.causes):
            events = sum(int(one.targets["cause"]) == k + 1 for one in tune)
            pairs = list(zip(held, tune, strict=True))
            if events < _ENOUGH_EVENTS:
                pairs += list(zip(taught, teach, strict=True))
            times = np.array([float(sample.home["time"]) for _, sample in pairs])
            event = np.array([int(sample.targets["cause"]) == k + 1 for _, sample in pairs])
            if not event.any():
                raise RecipeError(f"no case had the event '{cause}', so its hazard is not known")
            score = np.array([float(made[_OUTPUT][k]) for made, _ in pairs])
            marks, hazard = breslow(times, event, score)
            baselines.append(Baseline(times=marks.tolist(), hazard=hazard.tolist()))
        found["baseline"] = baselines
        return type(self)(said.model_copy(update=found), calibration=self.calibration)

    def _spread(self, held: Sequence[Arrays], tune: Sequence[Sample]) -> Spread | None:
        """From the cases that tuned, which did not teach; None where they had too few events."""
        said = self.settings
        causes = np.array([int(one.targets["cause"]) for one in tune])
        if any((causes == k + 1).sum() < _FEW_EVENTS for k in range(len(said.causes))):
            return None
        known = Known(
            np.stack([one[_OUTPUT] for one in held]).astype(np.float64),
            np.array([float(one.home["time"]) for one in tune]),
            causes,
            [one.patient for one in tune],
        )
        if said.model == "cox":
            return cox_spread(known, len(said.causes), sorted({*said.horizons, *said.grid}))
        survived, happened = (
            np.stack([one.targets[name] for one in tune]).astype(np.float64)
            for name in ("survived", "happened")
        )
        return hazard_spread(replace(known, survived=survived, happened=happened))


def _distinct(values: NDArray[Any]) -> list[float]:
    return [float(one) for one in np.unique(np.round(values, 6))]
