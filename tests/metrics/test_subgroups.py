import numpy as np
import pytest

from osler.errors import InputError
from osler.metrics import age_bands, auroc, bootstrap_interval, rate_gaps, subgroup_table


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def test_bands_of_age() -> None:
    found = age_bands([0, 17.9, 18, 74, 75, 101, np.nan])
    assert found.tolist() == ["0-17", "0-17", "18-39", "60-74", "75+", "75+", "unknown"]
    with pytest.raises(InputError, match="below"):
        age_bands([-1])
    with pytest.raises(InputError, match="'edges'"):
        age_bands([1], edges=(3, 2))


def test_each_subgroup_is_scored_alone_and_small_ones_are_flagged() -> None:
    generator = np.random.default_rng(0)
    sex = np.array(["F"] * 60 + ["M"] * 60 + ["X"] * 4 + [""] * 6)
    values = generator.normal(size=130) + (sex == "M") + 50 * (sex == "X")
    patients = np.arange(130) // 2
    table = subgroup_table(
        mean, values, by=sex, attribute="sex", groups=patients, seed=1, least=10, replicates=400
    )
    assert [one.name for one in table.subgroups] == ["F", "M", "X", "unknown"]
    assert [one.small for one in table.subgroups] == [False, False, True, True]
    for one in table.subgroups[:2]:
        kept = sex == one.name
        alone = bootstrap_interval(
            mean, values[kept], groups=patients[kept], seed=1, replicates=400
        )
        assert one.interval == alone
        assert (one.rows, one.interval.groups) == (60, 30)
    # the small one, far off by chance, does not make the gap
    assert (table.best, table.worst) == ("M", "F")
    assert table.gap is not None
    assert table.gap.value == pytest.approx(values[sex == "M"].mean() - values[sex == "F"].mean())
    assert table.gap.low < table.gap.value < table.gap.high  # type: ignore[operator]
    assert table.gap.low > 0  # type: ignore[operator]


def test_no_gap_without_two_subgroups() -> None:
    truth, scores = np.array([0, 1] * 20), np.arange(40.0)
    one = subgroup_table(
        auroc, truth, scores, by=["a"] * 40, attribute="site", seed=0, replicates=20
    )
    assert (one.gap, one.best) == (None, None)
    # one of two has a single class only: no figure, no gap, and it is still in the table
    two = subgroup_table(
        auroc, truth, scores, by=truth, attribute="site", seed=0, least=5, replicates=20
    )
    assert [part.interval.value for part in two.subgroups] == [None, None]
    assert two.gap is None


def test_gaps_of_rates_by_counting() -> None:
    truth = np.array([1, 1, 0, 0, 1, 1, 0, 0, 1])
    called = np.array([1, 0, 1, 0, 1, 1, 0, 0, 0])
    site = ["a"] * 4 + ["b"] * 4 + [None]
    assert rate_gaps(truth, called, by=site) == {
        "selected": 0.0, "sensitivity": 0.5, "false-alarms": 0.5,
    }  # fmt: skip
    assert rate_gaps([1, 1], [1, 0], by=["a", "b"])["false-alarms"] is None


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match="'least'"):
        subgroup_table(mean, [1.0], by=["a"], attribute="x", seed=0, least=0)
    with pytest.raises(InputError, match="lengths differ"):
        subgroup_table(mean, [1.0], by=["a", "b"], attribute="x", seed=0)
