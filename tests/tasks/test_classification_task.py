"""Classes, grades and many labels: what is planned, the loss term by term, and the figures."""

import numpy as np
import pytest

from osler.errors import InputError, RecipeError
from osler.record import Case, Image, Label, Source
from osler.tasks.catalogue import create
from osler.tasks.classification import Classification, ClassificationSettings

torch = pytest.importorskip("torch")
PERSON = Source("person", "cohort")


def case(id, **labels):
    image = Image("photo", np.full((1, 6, 6), 100, np.uint8))
    made = Case(id, id, items={"photo": image})
    for name, value in labels.items():
        made.add(Label(id=name, name=name, source=PERSON, value=value))
    return made


def task(values=("2", "10", "2", "2"), **keys):
    cases = [case(f"c{n}", grade=value) for n, value in enumerate(values)]
    settings = {"image": {"items": ["photo"], "size": [4, 4]}, "target": "grade", **keys}
    return create("classification", settings).planned(lambda: iter(cases))


def many(**keys):
    rows = [("1", "0"), ("yes", None), ("0", "0"), ("no", "1")]
    cases = [
        case(f"c{n}", **{k: v for k, v in zip("ab", row, strict=True) if v is not None})
        for n, row in enumerate(rows)
    ]
    settings = {"image": {"size": [4, 4]}, "kind": "multi-label", "target": ["a", "b"], **keys}
    return create("classification", settings).planned(lambda: iter(cases)), cases


def test_labels_are_planned_in_the_order_of_their_numbers():
    planned = task()
    assert planned.settings.labels == ["2", "10"]
    assert planned.settings.counts == [3, 1]


def test_one_class_and_unlisted_classes_are_refused():
    with pytest.raises(RecipeError, match="one value"):
        task(("a", "a"))
    with pytest.raises(RecipeError, match="lacks 'b'"):
        task(("a", "b"), labels=["a", "c"])
    with pytest.raises(InputError, match="has the value '7'"):
        task().encode(case("x", grade="7"), truth=True)


def test_a_volume_is_no_picture():
    volume = Case("v", items={"volume": Image("volume", np.zeros((1, 5, 6, 6), np.uint8))})
    with pytest.raises(InputError, match="a volume of 5 x 6 x 6, and a picture of 4 x 4 is taken"):
        task().encode(volume)


def test_balanced_weights_are_those_of_effective_numbers():
    weights = task(weights="balanced").class_weights()
    beta = 1 - 1 / 4
    raw = np.array([(1 - beta) / (1 - beta**3), (1 - beta) / (1 - beta)])
    assert weights == pytest.approx(raw * 2 / raw.sum(), rel=1e-5)
    assert task().class_weights() == pytest.approx([1, 1])


@pytest.mark.parametrize("focal", [0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["classes", "ordinal"])
def test_the_loss_is_what_its_terms_say(focal, smoothing, kind):
    planned = task(focal=focal, smoothing=smoothing, kind=kind, weights="balanced")
    scores = np.array([[1.0, -0.5], [0.3, 2.0], [-1.0, 0.2]])
    truth = np.array([0, 1, 0])
    weights = planned.class_weights()
    total, mass, away = 0.0, 0.0, 0.0
    for row, right in zip(scores, truth, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        loss = -(1 - smoothing) * np.log(p[right]) - smoothing * np.log(p).mean()
        total += weights[right] * loss * (1 - p[right]) ** focal
        mass += weights[right]
        away += (p[1] - right) ** 2 / len(truth)
    expected = total / mass + (away if kind == "ordinal" else 0)
    got = planned.criterion({"scores": torch.tensor(scores)}, {"class": torch.tensor(truth)})
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_what_is_not_known_teaches_nothing():
    planned, cases = many()
    assert planned.settings.counts == [2, 1]
    truth = planned.encode(cases[1], truth=True).targets["labels"]
    assert truth[0] == 1
    assert np.isnan(truth[1])
    scores = torch.tensor([[0.7, 55.0]])
    loss = planned.criterion({"scores": scores}, {"labels": torch.tensor(truth[None])})
    assert float(loss) == pytest.approx(np.log1p(np.exp(-0.7)), rel=1e-5)
    with pytest.raises(InputError, match="1 or 0, yes or no"):
        planned.encode(case("x", a="perhaps", b="1"), truth=True)


def test_figures_of_labels_leave_out_what_is_not_known():
    planned, cases = many()
    rows = [
        planned.judge({"scores": np.array(s)}, planned.encode(c, truth=True))
        for s, c in zip([[2.0, -1], [1.0, 9], [-1.0, 0], [-2.0, 1]], cases, strict=True)
    ]
    figures = {f.name: f.interval.value for f in planned.figures(rows, list("wxyz"), seed=1)}
    assert figures["AUROC, a"] == 1
    assert figures["AUROC, b"] == 1  # the 9 belongs to a case whose b is not known
    assert planned.score(rows) == 1


def test_weights_are_chosen_though_a_class_does_not_tune():
    """A score that never moves would keep the weights of the first validation."""
    planned = task(values=("a", "b", "c"))
    first = np.array([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.2, 0.4, 0.4], [0.55, 0.4, 0.05]])

    def rows(truth, p=first):
        return [{"truth": t, "probability": q.tolist()} for t, q in zip(truth, p, strict=True)]

    # a is told from the rest in 3 of 4 pairs, b in all; c has no case
    assert planned.score(rows([0, 0, 1, 1])) == pytest.approx((3 / 4 + 1) / 2)
    alike = planned.score(rows([0, 0, 0, 0]))
    assert alike == pytest.approx(np.log(first[:, 0]).mean())
    surer = first / first.sum(1, keepdims=True) + np.array([0.1, -0.05, -0.05])
    assert alike < planned.score(rows([0, 0, 0, 0], surer)) < 0


def test_labels_of_many_have_every_figure_of_their_known_cases():
    from sklearn.metrics import cohen_kappa_score, f1_score, log_loss

    planned, _ = many()
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, (40, 2)).astype(float)
    p = np.clip(0.6 * truth + 0.5 * rng.random((40, 2)), 0.01, 0.99)
    truth[:7, 1] = np.nan
    rows = [
        {"truth": [None if np.isnan(v) else int(v) for v in t], "probability": q.tolist()}
        for t, q in zip(truth, p, strict=True)
    ]
    figures = planned.figures(rows, [str(n) for n in range(40)], seed=1, replicates=50)
    value = {one.name: one.interval.value for one in figures}
    known = truth[7:, 1].astype(int), p[7:, 1]
    assert value["F1, b"] == pytest.approx(f1_score(known[0], known[1] >= 0.5))
    assert value["kappa, b"] == pytest.approx(cohen_kappa_score(known[0], known[1] >= 0.5))
    for name in ("AUROC", "AUPRC", "F1", "kappa"):
        mean = (value[f"{name}, a"] + value[f"{name}, b"]) / 2
        assert value[f"macro {name}"] == pytest.approx(mean)
    every = np.isfinite(truth)
    assert value["negative log-likelihood"] == pytest.approx(log_loss(truth[every], p[every]))
    assert 0 < value["expected calibration error, a"] < 0.5
    assert {one.name for one in figures if not one.greater_is_better} == {
        "expected calibration error", "expected calibration error, a",
        "expected calibration error, b", "negative log-likelihood",
    }  # fmt: skip


def test_calibration_moves_the_level_of_labels_that_were_said_too_often():
    rng = np.random.default_rng(0)
    planned, _ = many()
    truth = (rng.random((400, 2)) < 0.2).astype(int)
    scores = 3 * truth + rng.normal(1.5, 1.5, (400, 2))  # as balanced weights leave them
    samples = [
        planned.encode(case(f"s{n}", a=str(t[0]), b=str(t[1])), truth=True)
        for n, t in enumerate(truth)
    ]
    outputs = [{"scores": one} for one in scores]
    assert planned.probabilities({"scores": scores}).mean() > 0.6
    planned.calibration = planned.calibrate(outputs, samples, on="these")
    p = np.stack([planned.probabilities(planned.calibrated(one)) for one in outputs])
    assert p.mean() == pytest.approx(truth.mean(), abs=0.01)
    assert planned.calibrate(outputs[:9], samples[:9], on="these") == {}


def test_tuning_cases_of_one_class_leave_scores_as_they_are():
    planned = task()
    samples = [planned.encode(case(f"s{n}", grade="2"), truth=True) for n in range(12)]
    assert planned.calibrate([{"scores": np.array([1.0, 0])}] * 12, samples, on="these") == {}


def test_an_answer_has_probabilities_and_a_conformal_set():
    planned = task()
    planned.calibration = {"scores": {"conformal_quantile": 0.6}}
    sample = planned.encode(case("new"))
    (found,) = planned.decode(
        {"scores": np.array([0.0, 0.2])}, sample, source=Source("bundle", "b")
    )
    assert found.value == "10"
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.prediction_set == ("2", "10")  # both reach 0.4
    assert found.coverage == 0.9


def test_calibration_undoes_scores_that_are_too_sure():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    right = np.where(rng.random(400) < 0.75, truth, 1 - truth)
    planned = task()
    outputs = [{"scores": np.eye(2)[k] * 8} for k in right]
    samples = [planned.encode(case(f"s{n}", grade=["2", "10"][k]), truth=True)
               for n, k in enumerate(truth)]  # fmt: skip
    planned.calibration = planned.calibrate(outputs, samples, on="these")
    p = planned.probabilities(planned.calibrated(outputs[0]))
    assert p.max() == pytest.approx(np.mean(right == truth), abs=0.01)


def test_what_is_said_of_nobody_is_the_share_of_the_teaching_cases():
    said = {"image": {"size": [8, 8]}, "target": "class", "labels": ["a", "b"], "counts": [1, 3]}
    task = Classification(ClassificationSettings.model_validate(said))
    assert task.shares() == [0.25, 0.75]
    many = {
        "image": {"size": [8, 8]}, "target": ["a", "b"], "kind": "multi-label",
        "labels": ["a", "b"], "counts": [1, 3], "known": [4, 5],
    }  # fmt: skip
    assert Classification(ClassificationSettings.model_validate(many)).shares() == [0.25, 0.6]
    many["known"] = []
    assert Classification(ClassificationSettings.model_validate(many)).shares() is None
    said["counts"] = []
    assert Classification(ClassificationSettings.model_validate(said)).shares() is None
    even = {**said, "counts": [1, 3], "weights": "balanced"}
    balanced = Classification(ClassificationSettings.model_validate(even)).shares()
    assert balanced is not None
    assert 0.35 < balanced[0] <= 0.5
