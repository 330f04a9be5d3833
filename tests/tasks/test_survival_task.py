"""Survival: likelihoods against slow ones, published coefficients, curves, and a bundle."""

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from osler import bundles, metrics
from osler.bundles.answering import answer, task_of
from osler.errors import InputError, RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.record import Case, Label, Risk, Source, Table
from osler.tasks.survival import Survival, SurvivalSettings
from osler.tasks.survival_figures import (
    GROUPS,
    brier_of_cause,
    gap,
    net_benefit,
)
from osler.tasks.survival_intervals import (
    Known,
    cox_spread,
    hazard_spread,
    risk_interval,
    slope_of,
)
from osler.tasks.survival_losses import cox_loss, interval_loss
from osler.tasks.survival_models import (
    breslow,
    cox_incidence,
    cox_regression,
    cumulative_incidence,
    hazard_incidence,
    hazards_of,
    interval_likelihood,
    interval_targets,
    partial_likelihood,
)

GBSG2 = Path(__file__).parents[2] / "recipes/cohorts/gbsg2.csv"


def cohort(count=40, *, causes=1, seed=0):
    """Tied times, a third censored."""
    rng = np.random.default_rng(seed)
    times = rng.integers(1, 12, count).astype(float)
    return times, rng.integers(0, causes + 2, count).clip(0, causes), rng


def slow_efron(times, events, score):
    total = 0.0
    for time in sorted(set(times[events])):
        here = [i for i in range(len(times)) if times[i] == time and events[i]]
        later = [i for i in range(len(times)) if times[i] >= time]
        for place in range(len(here)):
            whole = sum(np.exp(score[i]) for i in later)
            tied = sum(np.exp(score[i]) for i in here)
            total -= np.log(whole - place / len(here) * tied)
        total += sum(score[i] for i in here)
    return total


def test_the_partial_likelihood_is_efron_s():
    times, causes, rng = cohort()
    columns = rng.normal(size=(len(times), 2))
    weights = np.array([0.7, -1.2])
    value, gradient, information = partial_likelihood(times, causes == 1, columns, weights)
    assert value == pytest.approx(slow_efron(times, causes == 1, columns @ weights))
    step = 1e-5
    for k in range(2):
        ends = [weights + sign * step * np.eye(2)[k] for sign in (1, -1)]
        up, down = (partial_likelihood(times, causes == 1, columns, one) for one in ends)
        assert gradient[k] == pytest.approx((up[0] - down[0]) / (2 * step), rel=1e-5)
        np.testing.assert_allclose(-information[k], (up[1] - down[1]) / (2 * step), rtol=1e-5)


@pytest.mark.parametrize("causes", [1, 2])
def test_the_network_s_loss_is_the_partial_likelihood(causes):
    times, kinds, rng = cohort(causes=causes)
    scores = rng.normal(size=(len(times), causes)) * 3
    made = cox_loss(torch.tensor(scores), torch.tensor(times), torch.tensor(kinds))
    slow = sum(slow_efron(times, kinds == k + 1, scores[:, k]) for k in range(causes))
    assert float(made) == pytest.approx(-slow / (kinds > 0).sum())


def test_a_recipe_chooses_breslow_s_ties(place):
    """All events of one time find all of them at risk: a loop says so too."""
    path = written(place, "cox", ties="breslow")
    _, task = check_recipe(read_yaml(path), path)
    times, kinds, rng = cohort(causes=2)
    scores = rng.normal(size=(len(times), 2))
    slow = 0.0
    for time, kind in zip(times, kinds, strict=True):
        if kind:
            slow -= np.log(np.exp(scores[times >= time, kind - 1]).sum())
    slow += sum(scores[n, kind - 1] for n, kind in enumerate(kinds) if kind)
    targets = {"time": torch.tensor(times), "cause": torch.tensor(kinds)}
    made = task.criterion({"scores": torch.tensor(scores)}, targets)
    assert float(made) == pytest.approx(-slow / (kinds > 0).sum(), rel=1e-5)
    assert float(made) != pytest.approx(float(cox_loss(torch.tensor(scores), *targets.values())))
    with pytest.raises(ValueError, match="counts by intervals"):
        SurvivalSettings(table={"columns": ["x"]}, model="hazards", ties="breslow")


def test_a_batch_without_events_costs_nothing_and_great_scores_stay_finite():
    scores = torch.zeros(4, 1, requires_grad=True)
    loss = cox_loss(scores, torch.arange(4.0), torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0
    far = torch.tensor([[500.0], [-500.0], [0.0]], requires_grad=True)
    loss = cox_loss(far, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 1, 0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(far.grad).all()


def gbsg2():
    with GBSG2.open() as stream:
        lines = list(csv.DictReader(stream))
    grade = {"I": (0, 0), "II": (1, 0), "III": (0, 1)}
    columns = [
        [line["horTh"] == "yes", float(line["age"]), line["menostat"] == "Post",
         float(line["tsize"]), *grade[line["tgrade"]], float(line["pnodes"]),
         float(line["progrec"]), float(line["estrec"])]
        for line in lines
    ]  # fmt: skip
    times = np.array([float(line["label:days"]) for line in lines])
    events = np.array([line["label:event"] == "1" for line in lines])
    return times, events, np.array(columns, float)


def test_a_linear_cox_regression_of_a_public_table_is_the_published_one():
    """Coefficients and errors of R's ``coxph(Surv(time, cens) ~ ., GBSG2)``, grades as dummies.

    Efron's ties; lifelines 0.30 gives the same to the digits shown.
    """
    fit = cox_regression(*gbsg2())
    by_r = {
        "horTh": (-0.3462784, 0.1290747), "age": (-0.0094592, 0.0093006),
        "menostat": (0.2584448, 0.1834765), "tsize": (0.0077961, 0.0039390),
        "II": (0.6361116, 0.2492019), "III": (0.7796542, 0.2684801),
        "pnodes": (0.0487886, 0.0074471), "progrec": (-0.0022172, 0.0005735),
        "estrec": (0.0001973, 0.0004504),
    }  # fmt: skip
    np.testing.assert_allclose(fit.weights, [one for one, _ in by_r.values()], atol=2e-6)
    np.testing.assert_allclose(fit.errors, [one for _, one in by_r.values()], atol=2e-6)


def test_a_regression_without_events_is_refused():
    times, _, rng = cohort()
    column = rng.normal(size=(len(times), 1))
    with pytest.raises(InputError, match="no event"):
        cox_regression(times, np.zeros(len(times), bool), column)


def test_breslow_s_hazard_and_its_curve():
    times, causes, rng = cohort()
    score = rng.normal(size=len(times))
    marks, hazard = breslow(times, causes == 1, score)
    whole = 0.0
    for mark, made in zip(marks, hazard, strict=True):
        fell = ((times == mark) & (causes == 1)).sum()
        whole += fell / np.exp(score[times >= mark]).sum()
        assert made == pytest.approx(whole)
    at = np.array([0.5, 3.0, 4.5, 11.0, 50.0])
    slow = [1 - np.exp(-np.exp(0.3) * max([0, *hazard[marks <= one]])) for one in at]
    (risk,) = cox_incidence([(marks, hazard)], np.array([0.3]), at)
    np.testing.assert_allclose(risk, slow)


def test_without_scores_breslow_is_near_kaplan_and_meier():
    times, causes, _ = cohort(400)
    pairs = breslow(times, causes == 1, np.zeros(len(times)))
    (risk,) = cox_incidence([pairs], np.zeros(1), np.array([3.0, 6.0]))
    by_product = 1 - metrics.kaplan_meier(times, causes == 1).at([3.0, 6.0])
    np.testing.assert_allclose(risk, by_product, atol=0.02)


def test_chances_of_causes_and_of_none_are_one():
    times, causes, _ = cohort(60, causes=2)
    at = np.linspace(0, 12, 7)
    pairs = [breslow(times, causes == k, np.zeros(60)) for k in (1, 2)]
    scores = np.array([0.4, -0.2])
    table = cox_incidence(pairs, scores, at)
    whole = sum(
        np.exp(s) * np.array([max([0, *hazard[marks <= one]]) for one in at])
        for s, (marks, hazard) in zip(scores, pairs, strict=True)
    )
    np.testing.assert_allclose(table.sum(axis=0), 1 - np.exp(-whole))
    assert (np.diff(table, axis=1) >= 0).all()


def test_incidence_is_aalen_and_johansen_s():
    times, causes, _ = cohort(60, causes=2)
    for at in (0.0, 3.0, 7.5):
        survival, total = 1.0, 0.0
        for time in sorted(set(times)):
            if time > at:
                break
            here, later = times == time, (times >= time).sum()
            total += survival * (here & (causes == 2)).sum() / later
            survival *= 1 - (here & (causes > 0)).sum() / later
        made = cumulative_incidence(times, causes, cause=2, at=np.array([at]))
        assert made[0] == pytest.approx(total)
    one = (causes > 0).astype(int)
    plain = 1 - float(metrics.kaplan_meier(times, one == 1).at(5.0))
    made = cumulative_incidence(times, one, cause=1, at=np.array([5.0]))
    assert made[0] == pytest.approx(plain)


EDGES = np.array([0.0, 2.0, 5.0, 9.0])


@pytest.mark.parametrize(
    ("time", "cause", "survived", "place"),
    [
        (0.0, 1, [0, 0, 0], 0), (2.0, 1, [0, 0, 0], 0), (2.1, 2, [1, 0, 0], 1),
        (9.0, 1, [1, 1, 0], 2), (9.5, 1, [1, 1, 1], None),
        (0.5, 0, [0, 0, 0], None), (1.0, 0, [1, 0, 0], None), (6.9, 0, [1, 1, 0], None),
        (7.0, 0, [1, 1, 1], None),
    ],
)  # fmt: skip
def test_what_a_case_says_of_intervals(time, cause, survived, place):
    stayed, happened = interval_targets(time, cause, EDGES, 2)
    assert stayed.tolist() == survived
    want = np.zeros((3, 2))
    if place is not None:
        want[place, cause - 1] = 1
    np.testing.assert_array_equal(happened, want)


def test_the_loss_of_intervals_is_their_likelihood():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(5, 3, 2)) * 2
    outcomes = [(0.5, 1), (4.0, 2), (8.0, 0), (20.0, 1), (3.0, 0)]
    slow, stays, falls = 0.0, [], []
    for case, (time, cause) in zip(scores, outcomes, strict=True):
        survived, happened = interval_targets(time, cause, EDGES, 2)
        for j, (low, high) in enumerate(pairwise(EDGES)):
            odds = np.exp(case[j])
            hazard = odds / (1 + odds.sum())
            np.testing.assert_allclose(hazards_of(case)[j], hazard)
            if cause and low < time <= high:
                slow += np.log(hazard[cause - 1])
            elif time > high or (not cause and time >= (low + high) / 2):
                slow += np.log(1 - hazard.sum())
        stays.append(survived)
        falls.append(happened)
    stays, falls = np.stack(stays), np.stack(falls)
    made = interval_loss(torch.tensor(scores), torch.tensor(stays), torch.tensor(falls))
    assert float(made) == pytest.approx(-slow / 5)
    table = np.stack([hazards_of(case) for case in scores])
    assert interval_likelihood(table, stays, falls) == pytest.approx(slow)


def test_curves_of_hazards_are_products_at_the_edges():
    hazards = np.array([[0.1, 0.2], [0.3, 0.1], [0.05, 0.4]])
    table = hazard_incidence(hazards, EDGES, EDGES)
    survival, sums = 1.0, np.zeros(2)
    for j, hazard in enumerate(hazards):
        sums = sums + survival * hazard
        survival *= 1 - hazard.sum()
        np.testing.assert_allclose(table[:, j + 1], sums)
    np.testing.assert_allclose(table[:, 0], 0)
    middle = hazard_incidence(hazards, EDGES, np.array([1.0, 100.0]))
    np.testing.assert_allclose(1 - middle[:, 0].sum(), np.sqrt(0.7))
    np.testing.assert_allclose(middle[:, 1], sums)


def test_brier_of_competing_causes():
    times, causes, rng = cohort(50, causes=2)
    chances, at = rng.uniform(size=(50, 1)), np.array([5.0])
    curve = metrics.censoring_curve(times, causes > 0)
    total = 0.0
    for time, cause, chance in zip(times, causes, chances[:, 0], strict=True):
        if time > 5:
            total += chance**2 / float(curve.at(5.0))
        elif cause:
            total += (float(cause == 2) - chance) ** 2 / float(curve.at(time, before=True))
    made = brier_of_cause(times, causes, chances, 1, at)
    assert made[0] == pytest.approx(total / 50)


def test_net_benefit_without_censoring_is_that_of_the_decision_curve():
    rng = np.random.default_rng(3)
    times, causes, risk = rng.uniform(0, 10, 80), np.ones(80, int), rng.uniform(size=80)
    for threshold in (0.1, 0.4, 0.7):
        curve = metrics.decision_curve(times <= 4, risk, thresholds=[threshold])
        made = net_benefit(times, causes, risk, 0, 4.0, threshold)
        assert made == pytest.approx((curve.model[0], curve.everyone[0]))


def test_the_calibration_gap_is_that_of_the_groups():
    times, causes, rng = cohort(200)
    risk = rng.uniform(size=(200, 1, 1))
    found = metrics.survival_calibration(
        times, causes == 1, 1 - risk[:, 0, 0], at=5.0, groups=GROUPS
    )
    slow = sum(found.counts * abs(found.observed - found.predicted)) / 200
    none = np.zeros(0)
    assert gap(times, causes, none, risk, none, 0, 0, 5.0) == pytest.approx(slow)


# From a recipe to a bundle -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survival")
    lines = ["case_id,patient_id,fold,x,arm,label:months,label:event"]
    rng = np.random.default_rng(5)
    for n in range(150):
        x, arm = rng.normal(), "ab"[n % 2]
        time = rng.exponential(20 * np.exp(-1.5 * x))
        rival = rng.exponential(40)
        censored = rng.uniform(5, 60)
        first = min(time, rival, censored)
        word = {time: "relapse", rival: "death"}.get(first, "censored")
        value = "" if n == 7 else f"{x:.3f}"
        lines.append(f"c{n},p{n},{n % 3},{value},{arm},{first:.2f},{word}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


def written(place, model, **settings):
    recipe = {
        "name": f"months-{model}", "task": "survival", "cohort": "cohort.csv",
        "settings": {
            "table": {"columns": ["x", "arm"]}, "time": "months", "unit": "months",
            "causes": ["relapse", "death"], "model": model, "intervals": 5,
            "horizons": [6, 12, 24], "thresholds": [0.2], **settings,
        },
        "network": {"name": "tabular-perceptron", "options": {"widths": []}},
        "learner": {"steps": 120, "batch": 50, "rate": 0.05, "warmup": 5, "ema": 0.8,
                    "validate_every": 40, "precision": "float32"},
    }  # fmt: skip
    path = place / f"{model}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def runs(place, tmp_path_factory):
    """A run of each model; that of hazards states curves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("osler.learn.training.REPLICATES", 100)
        return {
            model: fit(
                written(place, model, curve=model == "hazards"), out=tmp_path_factory.mktemp("r")
            )
            for model in ("cox", "hazards")
        }


@pytest.mark.parametrize("model", ["cox", "hazards"])
def test_risks_are_learnt_and_answered_without_torch(runs, model):
    run = runs[model]
    figures = {one["name"]: one["value"] for one in run.metrics}
    assert figures["C-index (Uno), relapse"] > 0.75
    assert figures["Brier gained on Kaplan-Meier, relapse"] > 0.05
    bundle = bundles.load(run.bundle)
    said = {}
    for x in (-1.5, 1.5, None):
        values = {"arm": "a"} if x is None else {"arm": "a", "x": x}
        case = Case("new", "new", {"variables": Table("variables", values)})
        said[x] = answer(bundle, case)
    days = [one.horizon_days for one in said[1.5] if one.name == "relapse"]
    assert {182.625, 365.25, 730.5} <= {round(one, 3) for one in days}
    assert all(isinstance(one, Risk) for one in said[1.5])
    high, low = ([one.value for one in said[x] if one.name == "relapse"] for x in (1.5, -1.5))
    assert all(a > b for a, b in zip(high, low, strict=True))
    assert high == sorted(high)
    for one in said[1.5]:
        assert one.level == 0.95
        assert one.interval[0] <= one.value <= one.interval[1]
        assert one.interval[1] - one.interval[0] > 0.05 * one.value
    rows = json.loads((run.folder / "cases.json").read_text())
    task = task_of(bundle.card)
    again = task.figures(list(rows.values()), list(rows), seed=1, replicates=50)
    assert again[0].interval.value == pytest.approx(figures["C-index (Uno), relapse"], abs=1e-4)


def test_curves_are_findings_where_asked(runs):
    bundle = bundles.load(runs["hazards"].bundle)
    case = Case("n", "n", {"variables": Table("variables", {"arm": "b", "x": 0.0})})
    found = [one for one in answer(bundle, case) if one.name == "death"]
    assert len(found) == len({*bundle.card.settings["grid"], 6, 12, 24})
    assert [one.value for one in found] == sorted(one.value for one in found)


def labelled(time, event):
    by = Source("person", "cohort")
    case = Case("c", "c", {"variables": Table("variables", {"x": 1.0})})
    case.add(Label(id="t", name="time", source=by, value=time))
    case.add(Label(id="e", name="event", source=by, value=event))
    return case


@pytest.mark.parametrize(
    ("time", "event", "message"),
    [("-1", "1", "not a time"), ("soon", "1", "not a time"), ("nan", "1", "not a time"),
     ("3", "perhaps", "it is one of event, or 0")],
)  # fmt: skip
def test_an_outcome_that_is_none_is_refused(time, event, message):
    task = Survival(SurvivalSettings.model_validate({"table": {"columns": ["x"]}}))
    with pytest.raises(InputError, match=message):
        task.encode(labelled(time, event), truth=True)


def test_a_cohort_without_events_is_refused():
    task = Survival(SurvivalSettings.model_validate({"table": {"columns": ["x"]}}))
    with pytest.raises(RecipeError, match="no teaching case had an event"):
        task.planned(lambda: [labelled("3", "0")])


def test_intervals_that_do_not_rise_are_refused():
    for wrong in ({"edges": [1, 2, 3]}, {"horizons": [3, 2]}, {"grid": [-1, 2]}):
        with pytest.raises(ValueError, match=r"rise|begin at 0"):
            SurvivalSettings.model_validate({"table": {"columns": ["x"]}, **wrong})


def test_the_quick_slope_is_that_of_the_regression():
    rng = np.random.default_rng(3)
    for _ in range(5):
        column = rng.normal(size=60)
        times = rng.exponential(5, 60) * np.exp(-0.7 * column)  # no ties, on which the two differ
        events = rng.random(60) < 0.7
        full = cox_regression(times, events, column[:, None], ridge=1e-3)
        assert slope_of(times, events, column) == pytest.approx(full.weights[0], abs=1e-5)


@pytest.mark.parametrize("model", ["cox", "hazards"])
def test_intervals_hold_the_true_risk(model):
    """Scores that are log hazards: what 25 cohorts make of them covers the truth."""
    rng = np.random.default_rng(0)
    marks, edges = np.array([200.0, 500.0, 1000.0]), np.linspace(0, 1500, 6)
    held = []
    for number in range(25):
        score = rng.normal(0, 0.7, 120)
        time = 1000 * rng.exponential(1, 120) * np.exp(-score)
        left = rng.exponential(2500, 120)
        cause = (time <= left).astype(np.int64)
        seen = np.minimum(time, left)
        patients = [str(n) for n in range(120)]
        case = float(rng.normal(0, 0.7))
        true = 1 - np.exp(-marks / 1000 * np.exp(case))
        if model == "cox":
            known = Known(score[:, None], seen, cause, patients)
            spread = cox_spread(known, 1, marks.tolist(), seed=number)
            base = breslow(seen, cause == 1, score)
            stated = cox_incidence([base], np.array([case]), marks)
            ends = risk_interval(spread, np.array([case]), stated, marks)
        else:
            odds = np.log(np.expm1(np.diff(edges)[0] / 1000 * np.exp(np.append(score, case))))
            table = np.repeat(odds[:, None], 5, axis=1)
            both = [interval_targets(t, int(c), edges, 1) for t, c in zip(seen, cause, strict=True)]
            survived, happened = (np.stack([one[k] for one in both]) for k in (0, 1))
            known = Known(table[:-1], seen, cause, patients, survived, happened)
            spread = hazard_spread(known, seed=number)
            stated = hazard_incidence(hazards_of(table[-1][:, None]), edges, marks)
            ends = risk_interval(spread, table[-1], stated, marks, edges=edges)
        assert (ends[0] <= stated + 1e-12).all()
        assert (stated <= ends[1] + 1e-12).all()
        held.append((ends[0][0] <= true) & (true <= ends[1][0]))
    assert np.mean(held) >= 0.85


def test_too_few_events_give_no_interval():
    known = Known(np.arange(6.0)[:, None], np.arange(6.0), np.zeros(6, np.int64), list("abcdef"))
    assert cox_spread(known, 1, [1.0, 2.0]) is None
