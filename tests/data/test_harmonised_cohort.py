"""``osler data harmonise``: ComBat on the table of a cohort, from the command line."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from osler.cli import app
from osler.data.cohort import read_cohort
from osler.data.harmonisation import fit_combat

COLUMNS = ("volume", "thickness", "width")


def run(*arguments, status=0):
    result = CliRunner().invoke(app, ["data", "harmonise", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def write(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case_id", "patient_id", "split", "site", *COLUMNS, "age", "sex",
                         "label:ill"])  # fmt: skip
        writer.writerows(rows)
    return path


def cases(count=60, seed=0, sites=("north", "south")):
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        site, age, sex = n % 2, rng.normal(60, 10), "fm"[n // 2 % 2]
        noise = rng.normal(0, 1 + 0.5 * site, 3)
        there = 0.1 * age + (sex == "m") + noise + np.array([4.0, 3.0, -5.0]) * site
        rows.append([f"c{seed}-{n}", f"p{seed}-{n}", "train" if n < 40 else "test", sites[site],
                     *there.round(9), round(age, 9), sex, n % 3 == 0])  # fmt: skip
    return rows


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "cohort.csv", cases())


FIT = [*(part for one in COLUMNS for part in ("--columns", one)), "--by", "site"]
KEEP = ["--keep", "age", "--keep", "sex"]


def values_of(path):
    rows = read_cohort(path).rows
    return np.array([[row.variables[name] for name in COLUMNS] for row in rows], float)


def test_a_table_is_made_comparable_by_the_cases_that_teach(table, tmp_path):
    out = tmp_path / "out.csv"
    said = run(table, "-o", out, *FIT, *KEEP)
    assert "60 cases, 3 columns; fitted on 40 cases of the sites north, south" in said
    before, rows = values_of(table), read_cohort(table).rows
    known = [[row.variables["age"], row.variables["sex"] == "m"] for row in rows]
    sites = [row.variables["site"] for row in rows]
    combat = fit_combat(before[:40], sites[:40], np.array(known, float)[:40])
    after = combat.apply(before, sites, np.array(known, float))
    np.testing.assert_allclose(values_of(out), after, rtol=1e-9)
    taken = [one[1::2].mean(0) - one[::2].mean(0) for one in (before, after)]
    np.testing.assert_allclose(taken[0] - taken[1], [4, 3, -5], atol=1)  # what the south adds
    kept = [(row.case_id, row.split, row.labels, row.variables["age"]) for row in rows]
    assert kept == [(row.case_id, row.split, row.labels, row.variables["age"])
                    for row in read_cohort(out).rows]  # fmt: skip


def test_later_cases_are_treated_as_those_that_were_fitted(table, tmp_path):
    run(table, "-o", tmp_path / "out.csv", *FIT, *KEEP)
    kept = tmp_path / "out.csv.combat.json"
    assert json.loads(kept.read_text())["sites"] == ["north", "south"]
    run(table, "-o", tmp_path / "again.csv", "--with", kept)
    np.testing.assert_array_equal(
        values_of(tmp_path / "again.csv"), values_of(tmp_path / "out.csv")
    )
    elsewhere = write(tmp_path / "east.csv", cases(6, seed=1, sites=("north", "east")))
    assert "was not fitted to the sites east" in run(
        elsewhere, "-o", tmp_path / "no.csv", "--with", kept, status=2
    )
    assert not (tmp_path / "no.csv").exists()
    kept.write_text("{}")
    assert "is not what" in run(table, "-o", tmp_path / "x.csv", "--with", kept, status=2)


def test_a_table_without_parts_is_fitted_whole_and_says_so(tmp_path):
    rows = [[*row[:2], "", *row[3:]] for row in cases()]
    table = write(tmp_path / "whole.csv", rows)
    assert "fitted on all 60 cases, those that shall test too" in run(
        table, "-o", tmp_path / "out.csv", *FIT
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--columns", "volume"], "--by"),
        (["--by", "site"], "--columns"),
        (["--by", "site", "--columns", "mass"], "no variable 'mass'"),
        (["--by", "site", "--columns", "sex"], "no finite number"),
        (["--by", "site", "--columns", "age", "--keep", "age"], "named twice"),
        (["--by", "sex", "--columns", "age", "--keep", "site", "--fit-on", "val"], "no part 'val'"),
        (["--by", "site", "--columns", "volume", "--with", "x.json"], "leave --by"),
        (["--with", "x.json"], "is not what"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(table, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in run(table, "-o", "x.csv", *arguments, status=2)


def test_a_case_without_a_value_is_named(tmp_path):
    rows = cases()
    rows[7][5] = ""
    table = write(tmp_path / "gap.csv", rows)
    said = run(table, "-o", tmp_path / "x.csv", *FIT, status=2)
    assert "1 cases have no 'thickness' (c0-7)" in said
