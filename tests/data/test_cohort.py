"""Cohorts: what is read, what is refused and in which words, and those that ship."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from osler.data.cohort import data_folder, read_cohort
from osler.errors import RecipeError

COHORTS = Path(__file__).resolve().parents[2] / "recipes" / "cohorts"
HEAD = "case_id,patient_id,fold,photo,label:grade,label:vessel"


@pytest.fixture
def table(tmp_path):
    """Writes a table beside two photographs ``a.png`` and ``b.png``."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"photo")

    def write(*lines, head=HEAD):
        path = tmp_path / "cohort.csv"
        path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        return path

    return write


def test_rows_are_read(table, tmp_path):
    path = table("one,p1,0,a.png,3,m.png", "two,p2,4,b.png,,")
    cohort = read_cohort(path, root=tmp_path)
    one, two = cohort.rows
    assert (one.case_id, one.patient_id, one.fold) == ("one", "p1", 0)
    assert one.items == {"photo": tmp_path / "a.png"}
    assert one.labels == {"grade": "3", "vessel": "m.png"}
    assert two.labels == {}  # an empty cell is a missing label
    assert cohort.folds == (0, 4)
    assert cohort.patients() == 2
    assert (cohort.path, cohort.root) == (path, tmp_path)


def test_a_patient_may_have_many_cases_in_one_fold(table, tmp_path):
    cohort = read_cohort(table("l,p1,2,a.png,,", "r,p1,2,b.png,,"), root=tmp_path)
    assert cohort.patients() == 1


def test_a_missing_item_is_an_absent_key(table, tmp_path):
    (row,) = read_cohort(table("one,p1,0,,3,"), root=tmp_path).rows
    assert row.items == {}


def test_a_byte_order_mark_of_a_spreadsheet_is_no_part_of_a_name(table, tmp_path):
    path = table("one,p1,0,a.png,3,")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_cohort(path, root=tmp_path).rows[0].case_id == "one"


def test_a_short_row_lacks_labels_only(table, tmp_path):
    (row,) = read_cohort(table("one,p1,0,a.png"), root=tmp_path).rows
    assert row.labels == {}


@pytest.mark.parametrize("column", ["case_id", "patient_id"])
def test_a_missing_column_is_named(table, tmp_path, column):
    head = HEAD.replace(column, "other")
    with pytest.raises(RecipeError, match=rf"cohort\.csv' lacks the column\(s\): {column}"):
        read_cohort(table("one,p1,0,a.png,,", head=head), root=tmp_path)


@pytest.mark.parametrize("fold", ["", "first", "1.5"])
def test_a_fold_that_is_no_number_is_refused(table, tmp_path, fold):
    with pytest.raises(RecipeError, match=rf"line 3: fold is '{fold}', not a whole number"):
        read_cohort(table("one,p1,0,a.png,,", f"two,p2,{fold},b.png,,"), root=tmp_path)


def test_a_row_cut_off_before_its_fold_is_refused(table, tmp_path):
    with pytest.raises(RecipeError, match="line 2: fold is ''"):
        read_cohort(table("one,p1"), root=tmp_path)


def test_too_many_cells_are_refused(table, tmp_path):
    with pytest.raises(RecipeError, match="line 2: more cells than columns"):
        read_cohort(table("one,p1,0,a.png,3,m.png,what"), root=tmp_path)


@pytest.mark.parametrize(
    ("line", "name"), [(",p1,0,a.png,,", "case_id"), ("one,,0,a.png,,", "patient_id")]
)
def test_an_empty_identifier_is_refused(table, tmp_path, line, name):
    with pytest.raises(RecipeError, match=f"line 2: {name} is empty"):
        read_cohort(table(line), root=tmp_path)


def test_a_missing_file_is_named(table, tmp_path):
    with pytest.raises(RecipeError, match=r"c\.png' does not exist"):
        read_cohort(table("one,p1,0,c.png,,"), root=tmp_path)


def test_a_case_listed_twice_is_named(table, tmp_path):
    with pytest.raises(RecipeError, match="case 'one' is listed twice"):
        read_cohort(table("one,p1,0,a.png,,", "one,p1,0,b.png,,"), root=tmp_path)


def test_a_patient_in_two_folds_is_named(table, tmp_path):
    with pytest.raises(RecipeError, match="patient 'p1' is in folds 0 and 1"):
        read_cohort(table("one,p1,0,a.png,,", "two,p1,1,b.png,,"), root=tmp_path)


def test_all_problems_are_listed_and_a_flood_is_cut(table, tmp_path):
    with pytest.raises(RecipeError) as caught:
        read_cohort(table(*(f"c{k},p{k},0,{k}.png,," for k in range(30))), root=tmp_path)
    assert str(caught.value).count("does not exist") == 20
    assert "and 10 more" in str(caught.value)


def test_an_empty_table_is_refused(table, tmp_path):
    with pytest.raises(RecipeError, match="has no rows"):
        read_cohort(table(), root=tmp_path)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.csv' cannot be read: No such file"):
        read_cohort(tmp_path / "none.csv", root=tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_bytes(HEAD.encode() + b"\n\xff\xfe\x00,p,0,a.png,,\n")
    with pytest.raises(RecipeError, match="not a CSV table in UTF-8"):
        read_cohort(path, root=tmp_path)


def test_the_data_folder_is_the_one_named(monkeypatch, tmp_path):
    monkeypatch.setenv("OSLER_DATA", str(tmp_path))
    assert data_folder() == tmp_path.resolve()
    monkeypatch.setenv("OSLER_DATA", str(tmp_path / "none"))
    with pytest.raises(RecipeError, match="does not exist; set OSLER_DATA"):
        data_folder()


# what the models that come with Osler were taught with
OF_BUNDLES = ("anatomy", "artery-vein", "grading", "lesions", "vessels")


@pytest.mark.parametrize("path", sorted(COHORTS.glob("*.csv")), ids=lambda path: path.stem)
def test_shipped_cohorts_fit_the_data(data_dir, path):
    cohort = read_cohort(path, root=data_dir)  # every file is there, no patient in two folds
    assert cohort.rows
    if path.stem not in OF_BUNDLES:
        return
    assert cohort.folds == (0, 1, 2, 3, 4)
    for row in cohort.rows:
        assert "photo" in row.items
        for name, value in row.labels.items():
            if name in {"dr-grade", "dme-risk"}:
                assert value in "01234"
            elif name == "fovea-pseudo":
                assert len([float(part) for part in value.split(";")]) == 2
            else:
                assert (data_dir / value).is_file(), (row.case_id, name)


def test_no_shipped_cohort_teaches_with_data_for_evaluation_only():
    for path in COHORTS.glob("*.csv"):
        text = path.read_text(encoding="utf-8")
        assert "drive/" not in text
        if path.stem in OF_BUNDLES:
            assert "odir/" not in text


def test_no_patient_straddles_folds_across_shipped_cohorts():
    """Networks build on each other: one's held-out patients must be held out of the next too."""
    folds = defaultdict(set)
    for name in ("grading", "lesions", "anatomy"):
        with (COHORTS / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                folds[row["patient_id"]].add(row["fold"])
    assert len(folds) > 400
    assert not {patient for patient, seen in folds.items() if len(seen) > 1}


def test_the_same_photograph_in_two_cohorts_has_one_patient_and_fold(data_dir):
    """The lesion set repeats photographs of the grading set under other numbers."""

    def look(path):
        with Image.open(path) as image:
            image.draft("L", (256, 256))  # decodes at a quarter: fast
            small = np.asarray(image.convert("L").resize((144, 96)), float)
        small = (small - ndimage.uniform_filter(small, 9))[12:-12, 16:-16]
        small -= small.mean()
        return (small / np.linalg.norm(small)).ravel()

    graded = read_cohort(COHORTS / "grading.csv", root=data_dir).rows
    drawn = read_cohort(COHORTS / "lesions.csv", root=data_dir).rows
    alike = (
        np.stack([look(r.items["photo"]) for r in drawn])
        @ np.stack([look(r.items["photo"]) for r in graded]).T
    )
    pairs = [
        (drawn[i], graded[j]) for i, j in np.argwhere(alike > 0.97)
    ]  # look-alikes stay below 0.93
    assert len(pairs) == 42
    for one, other in pairs:
        assert (one.patient_id, one.fold) == (other.patient_id, other.fold), (
            one.case_id, other.case_id,
        )  # fmt: skip
