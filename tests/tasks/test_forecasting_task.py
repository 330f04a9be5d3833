"""Forecasting: visits in their order, rules against slow ones, intervals, and a bundle."""

import numpy as np
import pytest
import torch
import yaml

from osler import bundles
from osler.bundles.answering import answer
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.errors import InputError, RecipeError
from osler.learn.fitting import fit
from osler.record import Case, Label, Measurement, Source, Table
from osler.tasks.forecasting import Forecasting, ForecastingSettings, line
from osler.tasks.forecasting_figures import forecast_figures
from osler.tasks.task import Sample

BY = Source("person", "cohort")


def task(**said):
    plain = {"values": ["md", "psd"], "visits": 3, "targets": ["md"]}
    return Forecasting(ForecastingSettings.model_validate({**plain, **said}))


def case(truth=None, **values):
    made = Case("c1", "p1", {"variables": Table("variables", values)})
    if truth is not None:
        made.add(Label(id="l", name="md", source=BY, value=str(truth)))
    return made


VISITS = {
    "md@1": -3.0, "psd@1": 2.0, "day@1": 400, "md@2": -1.0, "psd@2": 1.5, "day@2": 0,
    "md@3": -4.0, "day@3": 700, "interval": 365,
}  # fmt: skip


def test_visits_come_in_the_order_of_their_days():
    history = task().history(case(**VISITS))
    np.testing.assert_array_equal(history.days, [0, 400, 700])
    np.testing.assert_array_equal(history.values[:, 0], [-1, -3, -4])
    assert np.isnan(history.values[2, 1])
    assert history.interval == 365


def test_the_network_sees_the_last_visit_first_and_what_is_missing():
    channels = planned().inputs()[0].channels
    assert channels == (
        "md, last", "psd, last", "md, 1 before", "psd, 1 before", "days, 1 before",
        "md, 2 before", "psd, 2 before", "days, 2 before", "interval",
    )  # fmt: skip


def planned():
    few = {key: value for key, value in VISITS.items() if "@3" not in key}
    cases = [
        case(-5.0, **VISITS),
        case(-2.0, **{**VISITS, "interval": 100, "psd@3": 3.0}),
        case(-2.5, **few),
    ]
    return task().planned(lambda: cases)


def test_a_visit_that_is_not_there_is_missing_not_zero():
    one = planned()
    few = {key: value for key, value in VISITS.items() if "@3" not in key}
    sample = one.encode(case(-2.5, **few), truth=True)
    channels = one.inputs()[0].channels
    known = dict(zip(channels, sample.inputs["known"], strict=True))
    assert [known[name] for name in ("md, last", "days, 1 before", "md, 2 before")] == [1, 1, 0]
    scale = one.settings.table.numbers["md, last"]
    value = dict(zip(channels, sample.inputs["table"], strict=True))["md, last"]
    assert value == pytest.approx((-3.0 - scale.mean) / scale.deviation)


def test_scale_and_drift_are_those_of_the_teaching_cases():
    one = planned()
    changes, days = np.array([-1.0, 2.0, 0.5]), np.array([365.0, 100.0, 365.0])
    assert one.settings.scale["md"] == pytest.approx(changes.std())
    assert one.settings.drift["md"] == pytest.approx((changes * days).sum() / (days**2).sum())
    sample = one.encode(case(-5.0, **VISITS), truth=True)
    assert sample.targets["change"][0] == pytest.approx(-1.0 / changes.std())


def test_the_line_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    days, values = rng.uniform(0, 1000, 6), rng.normal(size=6)
    slope, start = np.polyfit(days, values, 1)
    assert line(days, values, 1500.0) == pytest.approx(start + slope * 1500)
    values[2] = np.nan
    slope, start = np.polyfit(np.delete(days, 2), np.delete(values, 2), 1)
    assert line(days, values, 1500.0) == pytest.approx(start + slope * 1500)
    assert line(np.array([1.0, 1.0]), np.array([2.0, 3.0]), 9.0) is None


def test_the_loss_is_the_likelihood_of_a_normal_distribution():
    rng = np.random.default_rng(1)
    change, spread, truth = rng.normal(size=(3, 5, 2))
    truth[0, 1] = np.nan
    slow = [
        -np.log(np.exp(-(((t - m) / np.exp(s)) ** 2) / 2) / np.exp(s))
        for m, s, t in zip(change.ravel(), spread.ravel(), truth.ravel(), strict=True)
        if np.isfinite(t)
    ]
    outputs = {"change": torch.tensor(change), "spread": torch.tensor(spread)}
    made = task().criterion(outputs, {"change": torch.tensor(truth)})
    assert float(made) == pytest.approx(np.mean(slow), rel=1e-5)


def test_intervals_hold_as_many_as_they_say():
    """On cases drawn as the network wrongly believes: spreads a third of what they should be."""
    one = planned()
    rng = np.random.default_rng(2)

    def drawn(count):
        spread = rng.normal(size=(count, 1))
        truth = rng.normal(size=(count, 1)) * 3 * np.exp(spread)
        outputs = [{"change": np.zeros(1), "spread": row} for row in spread]
        samples = [
            Sample(f"s{n}", f"s{n}", {}, {"change": row}, home={"last": {"md": 0.0}})
            for n, row in enumerate(truth)
        ]
        return outputs, samples

    outputs, samples = drawn(800)
    one.calibration = one.calibrate(outputs, samples, on="drawn")
    assert one.calibration["spread"]["bias"] == pytest.approx(np.log(3), abs=0.1)
    outputs, samples = drawn(800)
    held = []
    for made, sample in zip(outputs, samples, strict=True):
        _, low, high = one.forecast(one.calibrated(made), sample)["md"]
        held.append(low <= sample.targets["change"][0] * one.settings.scale["md"] <= high)
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)


def test_figures_are_those_of_a_loop():
    rng = np.random.default_rng(3)
    rows = []
    for n in range(30):
        truth, said, last = rng.normal(size=3)
        made = None if n % 3 else float(rng.normal())
        rows.append({"md": {"truth": truth, "said": said, "low": said - 1, "high": said + 1,
                            "last": last, "line": made, "drift": last}})  # fmt: skip
    figures = {
        one.name: one
        for one in forecast_figures(
            rows, [f"p{n // 2}" for n in range(30)], ["md"], level=0.9, seed=1, replicates=50
        )
    }
    values = [row["md"] for row in rows]
    assert figures["MAE, md"].interval.value == pytest.approx(
        sum(abs(v["said"] - v["truth"]) for v in values) / 30
    )
    assert figures["MAE, md"].interval.groups == 15
    lined = [v for v in values if v["line"] is not None]
    gained = sum(abs(v["line"] - v["truth"]) - abs(v["said"] - v["truth"]) for v in lined) / 10
    assert figures["MAE gained on line, md"].interval.value == pytest.approx(gained)
    assert (figures["MAE of line, md"].cases, figures["MAE of line, md"].left_out) == (10, 20)
    assert figures["coverage of 90% intervals, md"].interval.value == pytest.approx(
        sum(abs(v["said"] - v["truth"]) <= 1 for v in values) / 30
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 0}, "days above 0"),
        ({"interval": None}, "days above 0"),
        ({"day@2": None}, "has values and no 'day@2'"),
        ({"md@1": "low"}, "'md@1' is 'low'; a number"),
        ({f"{name}@{k}": None for name in ("md", "psd") for k in (1, 2, 3)}, "has no visit"),
        ({f"md@{k}": None for k in (1, 2, 3)}, "no earlier value of md"),
    ],
)
def test_a_case_that_cannot_be_forecast_is_refused(change, message):
    values = {k: v for k, v in {**VISITS, **change}.items() if v is not None}
    with pytest.raises(InputError, match=message):
        task().encode(case(**values))


def test_targets_are_among_the_values():
    with pytest.raises(RecipeError, match="not among the values"):
        task(targets=["mtd"]).planned(lambda: [])


def test_a_trend_is_learnt_and_answered_without_torch(tmp_path):
    """Eyes that go on as they went: the network beats carrying the last value forward."""
    rng = np.random.default_rng(4)
    lines = ["case_id,patient_id,fold,md@1,day@1,md@2,day@2,interval,label:md"]
    for n in range(120):
        start, slope = rng.normal(-5, 3), rng.normal(0, 2) / 365
        second, interval = rng.integers(200, 600), rng.integers(200, 1500)
        values = [
            start + slope * day + rng.normal(0, 0.1) for day in (0, second, second + interval)
        ]
        lines.append(
            f"c{n},p{n},{n % 3},{values[0]:.3f},0,{values[1]:.3f},{second},{interval},"
            f"{values[2]:.3f}"
        )
    (tmp_path / "cohort.csv").write_text("\n".join(lines) + "\n")
    recipe = {
        "name": "trend", "task": "forecasting", "cohort": "cohort.csv",
        "settings": {"values": ["md"], "visits": 2, "unit": "dB"},
        "network": {"name": "tabular-perceptron", "options": {"widths": [32]}},
        "learner": {"steps": 300, "batch": 40, "rate": 0.02, "warmup": 10, "ema": 0.9,
                    "validate_every": 100, "precision": "float32"},
    }  # fmt: skip
    (tmp_path / "trend.yaml").write_text(yaml.safe_dump(recipe))
    run = fit(tmp_path / "trend.yaml", out=tmp_path / "run")
    figures = {one["name"]: one for one in run.metrics}
    assert figures["MAE gained on last, md"]["low"] > 0
    assert figures["MAE of line, md"]["value"] < figures["MAE of last, md"]["value"]
    assert figures["coverage of 90% intervals, md"]["value"] > 0.7
    cohort = read_cohort(tmp_path / "cohort.csv")
    found = answer(bundles.load(run.bundle), open_row(cohort.rows[0], cohort, labels=False))
    middle, low, high = found
    assert all(isinstance(one, Measurement) and one.unit == "dB" for one in found)
    assert low.value < middle.value < high.value
    assert "days after the last visit" in middle.method
