"""Forecasting: what will be measured at a visit some days from now, from the visits before it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from osler.errors import InputError, RecipeError
from osler.record import Case, Finding, Measurement, Source, Table
from osler.tasks.case_input import KNOWN, TABLE, check_names, kinds_by_word
from osler.tasks.forecasting_figures import forecast_figures
from osler.tasks.fusion_contributions import contributions
from osler.tasks.fusion_input import (
    PRESENT,
    described,
    encode_fusion,
    example_fusion,
    fusion_specs,
    image_names,
    run_fusion,
)
from osler.tasks.fusion_planning import fusion_row, planned_fusion
from osler.tasks.fusion_sentences import open_texts, text_files
from osler.tasks.fusion_settings import AnyFused, FusedTable
from osler.tasks.labels import identifier, label_of
from osler.tasks.table_input import (
    TableInput,
    Value,
    encoded_table,
    planned_table,
    values_of,
)
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
)

_CHANGE, _SPREAD = "change", "spread"
_SPREADS = (-6.0, 3.0)  # of the logarithm, in deviations of the change
_LEAST = 1e-6
VISITS: Final = "visits"
"""The input of a fused network that holds the earlier visits and the interval."""
_FEW = 20  # cases below which no interval is fitted


class ForecastingSettings(Settings):
    """The keys of forecasting.

    Attributes:
        values: what is measured at a visit. Visit ``k``, from 1, has the columns ``NAME@k`` and
            its day ``day@k`` (days since any one day; of a single visit it may be left out).
        visits: how many visits are looked for, and the most that the network sees: the last ones.
        interval: column with the days from the last visit to the one that is forecast, above 0.
        targets: which of the values are forecast; label columns of the same names hold the truth.
            Empty takes all.
        beside: further values of the case, such as age.
        inputs: further items by name, each a kind (``fundus``, ``number``, ``text``) or its keys
            with a ``kind``, any of which a case may lack; the visits stand beside them as the
            input ``visits``.
        level: of the interval around a forecast.
        unit: UCUM unit of the targets.
        table: the network's input; found by itself.
        scale: deviation of each target's change over the teaching cases; found by itself.
        drift: change of each target a day over the teaching cases; found by itself.
    """

    values: Annotated[list[str], Field(min_length=1)]
    visits: Annotated[int, Field(ge=1, le=100)] = 1
    interval: str = "interval"
    targets: list[str] = []
    beside: TableInput | None = None
    inputs: Annotated[dict[str, AnyFused], Field(min_length=1)] | None = None
    level: Annotated[float, Field(gt=0, lt=1)] = 0.9
    unit: str = "1"
    table: TableInput | None = None
    scale: dict[str, Annotated[float, Field(gt=0)]] = {}
    drift: dict[str, float] = {}

    @model_validator(mode="before")
    @classmethod
    def _kinds_by_word(cls, said: Any) -> Any:
        return kinds_by_word(said)

    @model_validator(mode="after")
    def _names(self) -> Self:
        check_names(self.inputs or {}, kept=(PRESENT, VISITS))
        return self


class History:
    """The visits of a case, the earliest first.

    Attributes:
        days: ``(V,)``.
        values: ``(V, N)``, NaN where missing.
        interval: days from the last one to the forecast.
    """

    def __init__(
        self, days: NDArray[np.float64], values: NDArray[np.float64], interval: float
    ) -> None:
        self.days, self.values, self.interval = days, values, interval


class Forecasting(Task):
    """See `ForecastingSettings`. The network says how far each target will have changed."""

    name: ClassVar[str] = "forecasting"
    title: ClassVar[str] = "Forecasting"
    Settings: ClassVar[type[Settings]] = ForecastingSettings

    settings: ForecastingSettings

    def __init__(
        self, settings: Any, *, calibration: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__(settings, calibration=calibration)
        self.images = image_names(self.settings.inputs or {})
        self.apart = self.settings.inputs is not None

    @property
    def targets(self) -> list[str]:
        """What is forecast."""
        return self.settings.targets or self.settings.values

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Fill in scales and the mean drift, from the teaching cases alone."""
        said = self.settings
        if unknown := sorted({*self.targets} - {*said.values}):
            raise RecipeError(f"settings.targets: {unknown} are not among the values {said.values}")
        rows: list[dict[str, Value]] = []
        changes: list[list[float]] = []
        intervals, seen = [], []
        for case in samples():
            history = self.history(case)
            if said.inputs is not None:
                seen.append(fusion_row(case, said.inputs))
            rows.append(self._row(case, history))
            last = self._last(history)
            truth = self._truth(case)
            changes.append([t - last[name] for name, t in zip(self.targets, truth, strict=True)])
            intervals.append(history.interval)
        table = planned_table(self._columns(), rows)
        scale, drift = {}, {}
        days = np.array(intervals)
        for name, column in zip(self.targets, np.array(changes).T, strict=True):
            known = np.isfinite(column)
            if not known.any():
                raise RecipeError(f"no teaching case has both a visit and a label of '{name}'")
            scale[name] = max(float(column[known].std()), _LEAST)
            drift[name] = float((column[known] @ days[known]) / (days[known] @ days[known]))
        found: dict[str, Any] = {
            "table": table, "scale": scale, "drift": drift, "targets": self.targets
        }  # fmt: skip
        if said.inputs is not None:
            found["inputs"] = planned_fusion(said.inputs, seen)
        return type(self)(said.model_copy(update=found))

    def _columns(self) -> TableInput:
        """The network's columns: the last visit first, its days before the last one, the interval.

        A visit that a case does not have is missing, as a value is.
        """
        said = self.settings
        names = []
        for back in range(said.visits):
            when = "last" if not back else f"{back} before"
            names += [f"{name}, {when}" for name in said.values]
            names += [f"days, {when}"] if back else []
        plain = [*names, "interval"]
        beside = said.beside
        if beside is None:
            return TableInput(columns=plain)
        return beside.model_copy(update={"columns": [*plain, *beside.columns]})

    def history(self, case: Case) -> History:
        """The visits of a case and the interval.

        Raises:
            InputError: it has no visit, a day is missing, or the interval is not above 0.
        """
        said = self.settings
        names = [f"{name}@{k + 1}" for k in range(said.visits) for name in (*said.values, "day")]
        found = values_of(case, TableInput(columns=[*names, said.interval]))
        days, values = [], []
        for k in range(said.visits):
            one = [
                _number(found[f"{name}@{k + 1}"], f"{name}@{k + 1}", case) for name in said.values
            ]
            if all(np.isnan(value) for value in one):
                continue
            day = _number(found[f"day@{k + 1}"], f"day@{k + 1}", case)
            if np.isnan(day) and said.visits == 1:
                day = 0.0
            if np.isnan(day):
                raise InputError(f"case '{case.id}': visit {k + 1} has values and no 'day@{k + 1}'")
            days.append(day)
            values.append(one)
        if not days:
            raise InputError(f"case '{case.id}' has no visit: no column such as '{names[0]}'")
        interval = _number(found[said.interval], said.interval, case)
        if not interval > 0:
            raise InputError(f"case '{case.id}': '{said.interval}' is {interval}; days above 0")
        order = np.argsort(days, kind="stable")
        return History(np.array(days)[order], np.array(values)[order], interval)

    def _row(self, case: Case, history: History) -> dict[str, Value]:
        said = self.settings
        row: dict[str, Value] = {"interval": history.interval}
        for back, place in enumerate(range(len(history.days) - 1, -1, -1)):
            when = "last" if not back else f"{back} before"
            for name, value in zip(said.values, history.values[place], strict=True):
                row[f"{name}, {when}"] = None if np.isnan(value) else float(value)
            row[f"days, {when}"] = float(history.days[-1] - history.days[place])
        return row if said.beside is None else row | values_of(case, said.beside)

    def _last(self, history: History) -> dict[str, float]:
        """The last known value of each target; NaN where there is none."""
        out = {}
        for name in self.targets:
            column = history.values[:, self.settings.values.index(name)]
            known = np.flatnonzero(np.isfinite(column))
            out[name] = float(column[known[-1]]) if known.size else np.nan
        return out

    def _truth(self, case: Case) -> list[float]:
        out = []
        for name in self.targets:
            label = label_of(case, name)
            try:
                out.append(np.nan if label is None else float(label))
            except ValueError as error:
                raise InputError(f"case '{case.id}': label '{name}' is no number") from error
        return out

    def inputs(self) -> tuple[InputSpec, ...]:
        channels = (self.settings.table or self._columns()).channels
        if self.settings.inputs is None:
            return tuple(InputSpec(one, channels, size=(), axes=0) for one in (TABLE, KNOWN))
        both = (*channels, *(f"{one} known" for one in channels))
        further = fusion_specs(self.settings.inputs)[:-1]
        present = InputSpec(PRESENT, (VISITS, *self.settings.inputs), size=(), axes=0)
        return (InputSpec(VISITS, both, size=(), axes=0), *further, present)

    def outputs(self) -> tuple[OutputSpec, ...]:
        names = tuple(self.targets)
        return (
            OutputSpec(_CHANGE, "none", names, "change since the last visit, in settings.scale"),
            OutputSpec(_SPREAD, "none", names, "logarithm of the deviation around it, likewise"),
        )

    def wanted(self) -> Mapping[str, Any]:
        said, labels = self.settings, 2 * len(self.targets)
        if said.inputs is None:
            return {**super().wanted(), "labels": labels}
        channels = len(self.inputs()[0].channels)
        visits = {"name": VISITS, "kind": "table", "channels": channels, "size": []}
        return {"inputs": [visits, *described(said.inputs)], "labels": labels}

    def network(self) -> tuple[str, Mapping[str, Any]]:
        return ("tabular-perceptron" if self.settings.inputs is None else "fusion"), {}

    def named(self, said: Any) -> dict[str, Any]:
        if isinstance(said, Mapping):
            return super().named(said)
        count = len(self.targets)
        spread = said[:, count:].clamp(*_SPREADS)
        return {_CHANGE: said[:, :count], _SPREAD: spread}

    def more_files(self, net: Any, folder: Path) -> Mapping[str, bytes]:
        return text_files(self.settings.inputs)

    def opened(self, bundle: Any) -> None:
        open_texts(self.settings.inputs, bundle)

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        history = self.history(case)
        array, known = encoded_table(
            self._row(case, history), said.table or self._columns(), case=case.id
        )
        last = self._last(history)
        if lacking := [name for name, value in last.items() if np.isnan(value)]:
            raise InputError(f"case '{case.id}' has no earlier value of {', '.join(lacking)}")
        arrays: Arrays = {TABLE: array, KNOWN: known}
        if said.inputs is not None:
            arrays = {VISITS: np.concatenate([array, known])}
            arrays |= encode_fusion(case, said.inputs, needed=False)
            arrays[PRESENT] = np.concatenate([np.ones(1, np.float32), arrays[PRESENT]])
        sample = Sample(
            case.id, case.patient_id or case.id, arrays, case=case,
            home={"history": history, "last": last},
        )  # fmt: skip
        if truth:
            values = self._truth(case)
            if all(np.isnan(one) for one in values):
                raise InputError(f"case '{case.id}' has no label of {', '.join(self.targets)}")
            change = [
                (value - last[name]) / said.scale.get(name, 1.0)
                for name, value in zip(self.targets, values, strict=True)
            ]
            sample.targets = {"change": np.array(change, np.float32)}
            sample.home["truth"] = values
        return sample

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        return example_fusion(sample.inputs, self.settings.inputs or {}, rng), sample.targets

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        if self.settings.inputs is None:
            return super().run(predict, sample)
        said = run_fusion(predict, sample.inputs, self.settings.inputs)
        return {name: array[0] for name, array in said.items()}

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """The negative log likelihood of a normal distribution, less its constant."""
        import torch

        change, spread = outputs[_CHANGE].float(), outputs[_SPREAD].float()
        known = ~torch.isnan(targets["change"])
        away = torch.nan_to_num(targets["change"]) - change
        loss = 0.5 * (away * (-spread).exp()).square() + spread
        return (loss * known).sum() / known.sum().clamp(min=1)

    def forecast(self, outputs: Arrays, sample: Sample) -> dict[str, tuple[float, float, float]]:
        """Each target's value at the visit to come, and both ends of its interval."""
        from scipy.stats import norm

        reach = float(norm.ppf((1 + self.settings.level) / 2))
        out = {}
        for k, name in enumerate(self.targets):
            scale = self.settings.scale.get(name, 1.0)
            middle = sample.home["last"][name] + scale * float(outputs[_CHANGE][k])
            away = scale * reach * float(np.exp(outputs[_SPREAD][k]))
            out[name] = (middle, middle - away, middle + away)
        return out

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        said = self.settings
        days = sample.home["history"].interval
        tables = [one for one in sample.need_case().items.values() if isinstance(one, Table)]
        found: list[Finding] = []
        for name, said_of in self.forecast(outputs, sample).items():
            ends = (
                ("", "", said_of[0]),
                ("-low", f", lower end of the {said.level:.0%} interval", said_of[1]),
                ("-high", f", upper end of the {said.level:.0%} interval", said_of[2]),
            )
            for suffix, words, value in ends:
                found.append(
                    Measurement(
                        id=f"{identifier(name)}-forecast{suffix}", name=f"{name}{words}",
                        source=source,
                        item=tables[0].name if tables else None, value=value, unit=said.unit,
                        method=f"forecast for {days:g} days after the last visit",
                    )
                )  # fmt: skip
        return found

    def attributed(self, predict: Predict, sample: Sample, found: list[Finding]) -> list[Finding]:
        """Each forecast with what every input contributed to it, in its unit, as its note."""
        if self.settings.inputs is None:
            return found

        def values(outputs: Arrays) -> list[float]:
            return [one[0] for one in self.forecast(self.calibrated(outputs), sample).values()]

        named = {VISITS: FusedTable(kind="table", item=VISITS), **self.settings.inputs}
        made = contributions(predict, sample.inputs, named, values)
        for place, one in enumerate(found[:: len(found) // len(self.targets)]):
            made.note(one, place)
        return found

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        """Of each target: the truth, the forecast and its interval, and what simple rules say.

        ``last`` carries the last value forward, ``line`` is the straight line through the case's
        own visits (None for fewer than two), ``drift`` adds the teaching cases' mean change.
        """
        history: History = sample.home["history"]
        row: Row = {"interval": history.interval, "visits": len(history.days)}
        for (name, said), truth in zip(
            self.forecast(outputs, sample).items(), sample.home["truth"], strict=True
        ):
            last = sample.home["last"][name]
            column = history.values[:, self.settings.values.index(name)]
            row[name] = {
                "truth": None if np.isnan(truth) else float(truth),
                "said": said[0], "low": said[1], "high": said[2], "last": last,
                "line": line(history.days, column, history.days[-1] + history.interval),
                "drift": last + self.settings.drift.get(name, 0.0) * history.interval,
            }  # fmt: skip
        return row

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        return forecast_figures(
            rows, patients, self.targets, level=self.settings.level, seed=seed,
            replicates=replicates,
        )  # fmt: skip

    def score(self, rows: Sequence[Row]) -> float:
        """The mean absolute error in deviations of the change, less than 0."""
        away = [
            abs(row[name]["said"] - row[name]["truth"]) / self.settings.scale.get(name, 1.0)
            for row in rows
            for name in self.targets
            if row[name]["truth"] is not None
        ]
        return -float(np.mean(away)) if away else 0.0

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """Widen or narrow the intervals until they hold what they should on these cases.

        The ends are those of split conformal prediction with the error over the spread as its
        score (Lei et al., "Distribution-free predictive inference for regression", Journal of the
        American Statistical Association 113:1094-1111, 2018), one factor for all targets.
        """
        from scipy.stats import norm

        if len(outputs) < _FEW:
            return {}
        level = self.settings.level
        change, spread, truth = (
            np.stack([np.asarray(one, np.float64) for one in column])
            for column in (
                [one[_CHANGE] for one in outputs],
                [one[_SPREAD] for one in outputs],
                [one.targets["change"] for one in samples],
            )
        )
        ratio = np.abs(truth - change) / np.exp(spread)
        scores = np.sort(ratio[np.isfinite(ratio)])
        place = min(len(scores), int(np.ceil((len(scores) + 1) * level))) - 1
        reach = float(norm.ppf((1 + level) / 2))
        bias = float(np.log(max(scores[place], _LEAST) / reach))
        return {_SPREAD: {"method": "platt", "temperature": 1.0, "bias": bias, "fitted_on": on}}


def line(days: NDArray[np.float64], values: NDArray[np.float64], at: float) -> float | None:
    """The least-squares line through known values, at another day; None for fewer than two days."""
    known = np.isfinite(values)
    x, y = days[known], values[known]
    if len(np.unique(x)) < 2:
        return None
    away = x - x.mean()
    slope = float(away @ y) / float(away @ away)
    return float(y.mean() + slope * (at - x.mean()))


def _number(value: Value, column: str, case: Case) -> float:
    if isinstance(value, str):
        raise InputError(f"case '{case.id}': '{column}' is '{value}'; a number was expected")
    return np.nan if value is None else float(value)
