import csv
from pathlib import Path

import pytest
from fake_case import fake_case
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import OutputError
from osler.io.tables import (
    MEASUREMENT_COLUMNS,
    SUMMARY_COLUMNS,
    safe,
    summary_row,
    write_measurements,
    write_summary,
)
from osler.record import Case, Label, Measurement, Source
from photo_case import photo_case

ME = Source("algorithm", "=cmd()", "+1")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_measurement_has_a_row_with_a_value_or_a_reason(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    write_measurements(case, tmp_path)
    table = rows(tmp_path / "measurements.csv")
    assert tuple(table[0]) == MEASUREMENT_COLUMNS
    assert [r["id"] for r in table] == list(case.measurements)
    for row in table:
        value = case.measurements[row["id"]].value
        assert bool(row["value"]) != bool(row["reason"])
        assert not row["value"] or float(row["value"]) == pytest.approx(value)
        assert row["unit"]
        assert row["source"] == "osler.retina.biomarkers 0.1.0"


def test_cells_that_a_spreadsheet_would_run_are_quoted(tmp_path: Path) -> None:
    case = Case(id="-1+1")
    case.add(
        Measurement(
            id="m", name="=HYPERLINK(1)", source=ME, value=-2.5, unit="1", flags=("@sum", "b"),
            method='a "quoted", word\nand a line', structure="\t=1",
        )
    )  # fmt: skip
    write_measurements(case, tmp_path)
    (row,) = rows(tmp_path / "measurements.csv")
    assert row["name"] == "'=HYPERLINK(1)"
    assert row["flags"].startswith("'@")
    assert row["structure"].startswith("'")
    assert row["source"].startswith("'=")
    assert row["method"] == 'a "quoted", word\nand a line'
    assert row["value"] == "-2.5"
    write_summary([summary_row(case)], tmp_path / "summary.csv")
    assert rows(tmp_path / "summary.csv")[0]["case"] == "'-1+1"


@given(st.text())
def test_no_text_is_left_that_begins_a_formula(text: str) -> None:
    written = safe(text)
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert written.endswith(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay_numbers(value: float) -> None:
    assert float(safe(value)) == pytest.approx(value, rel=1e-7)


def test_the_summary_of_a_graded_case(tmp_path: Path) -> None:
    row = summary_row(fake_case(tmp_path))
    assert tuple(row) == SUMMARY_COLUMNS
    assert (row["quality"], row["laterality"], row["dr_grade"]) == ("good", "R", "2")
    assert (row["p_2"], row["p_referable"], row["prediction_set"]) == (0.71, 0.81, "1 2")
    assert (row["crae.knudtson"], row["calibre_unit"]) == (0.0871, "{DD}")
    assert row["lesion-count.haemorrhages"] == ""
    assert "cup: pseudo-label" in str(row["flags"])


def test_the_summary_of_a_real_case(data_dir: Path) -> None:
    row = summary_row(photo_case(data_dir))
    assert row["file"] == "IDRiD_35.jpg"
    assert row["quality_reasons"] == "blur"
    assert row["lesion-count.soft-exudates"] == 3.0


@pytest.mark.parametrize("probabilities", [{"no": 0.9, "yes": 0.1}, {}])
def test_the_chance_of_referable_is_that_of_yes(probabilities: dict[str, float]) -> None:
    case = Case(id="x")
    case.add(
        Label(
            id="dr-referable", name="", source=ME, value="no", probability=0.9,
            probabilities=probabilities,
        )
    )  # fmt: skip
    assert summary_row(case)["p_referable"] == pytest.approx(0.1)


def test_the_summary_of_what_was_not_graded(tmp_path: Path) -> None:
    row = summary_row(fake_case(tmp_path, grading="not-fundus"))
    assert row["photograph"] == "not a fundus photograph"
    assert row["dr_grade"] == row["p_0"] == row["cdr.vertical"] == ""


def test_the_summary_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "out" / "summary.csv"
    write_summary([{"case": "a"}, {"case": "b"}], path)
    write_summary([{"case": "眼"}], path)
    assert [r["case"] for r in rows(path)] == ["眼"]
    assert list(path.parent.iterdir()) == [path]


def test_a_summary_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="summary cannot be written"):
        write_summary([], tmp_path / "file" / "summary.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match=r"folder\.csv"):
        write_summary([], tmp_path / "folder.csv")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder.csv"}
