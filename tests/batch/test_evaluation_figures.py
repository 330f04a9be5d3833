"""Subgroups and names of figures, from rows alone."""

from types import SimpleNamespace

import numpy as np
import pytest

from osler.batch.evaluation_figures import figured, subgroups


def test_a_small_subgroup_makes_no_gap_of_rates_and_a_greater_distance_is_worse():
    task = SimpleNamespace(settings=SimpleNamespace(labels=["no", "yes"]))
    sexes = ["F"] * 24 + ["M"] * 24 + ["X"] * 2
    rows = [
        {"truth": n % 2, "probability": [0.2, 0.8] if n % 4 == 0 or sex == "X" else [0.8, 0.2]}
        for n, sex in enumerate(sexes)
    ]
    names = [str(n) for n in range(len(rows))]
    table = subgroups(task, rows, names, {"sex": sexes}, [], seed=1, replicates=20)[-1]
    assert [one["small"] for one in table["subgroups"]] == [False, False, True]
    assert table["rate_gaps"]["selected"] == pytest.approx(0)
    far = [{"hd95/a": 3.0 if sex == "F" else 1.0} for sex in sexes]
    mean = float(np.mean([row["hd95/a"] for row in far]))
    figure = {"name": "HD95, a", "value": mean, "cases": len(far), "greater_is_better": False}
    (table,) = subgroups(task, far, names, {"sex": sexes}, [figure], seed=1, replicates=20)
    assert (table["best"], table["worst"], table["greatest"]) == ("M", "F", "F")
    assert table["gap"]["value"] == pytest.approx(2)


def test_figures_of_one_value_keep_their_columns():
    """Of a bundle that finds nothing every overlap is 0."""
    columns = {f"{kind}/{label}": [0.0, 0.0] for kind in ("dice", "nsd") for label in ("a", "b")}
    columns["volume_error/a"] = [0.0, 0.0]
    names = ["Dice, mean of labels", "Dice, a", "Dice, b", "NSD, mean of labels", "NSD, a",
             "NSD, b", "volume error (ml), a"]  # fmt: skip
    figures = [{"name": name, "value": 0.0, "cases": 2} for name in names]
    places = {id(values): key for key, values in columns.items()}
    found = {name: places[id(values)] for name, values in figured(columns, figures).items()}
    assert found == {
        "Dice, a": "dice/a", "Dice, b": "dice/b", "NSD, a": "nsd/a", "NSD, b": "nsd/b",
        "volume error (ml), a": "volume_error/a",
    }  # fmt: skip
    means = figured({"nsd": [0.0, 0.0], "dice": [0.0, 0.0]}, figures)
    assert list(means) == ["NSD, mean of labels", "Dice, mean of labels"]
