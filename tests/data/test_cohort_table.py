"""Cohorts as the design says: items, variables, labels; CSV and Parquet; rows as cases."""

import contextlib
import csv
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from osler.data.cohort import Cohort, Row, read_cohort
from osler.data.locations import boxes, looks_like_path, marked, moved, place
from osler.errors import InputError, RecipeError
from osler.record import Box, Label, Mask, Point


def picture(path: Path, value: int = 90, size: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(("a", "b")):
        picture(tmp_path / "images" / f"{name}.png", 40 + k)
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:5], mask[4, 4] = 1, 2
    Pillow.fromarray(mask).save(tmp_path / "map.png")
    return tmp_path


def table(folder, text, name="cohort.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_items_variables_and_labels_are_told_apart(folder):
    cohort = read_cohort(
        table(
            folder,
            "case_id,patient_id,split,photo,age,sex,code,seen,variable:file,label:grade\n"
            "1,007,train,images/a.png,61,F,007,2020-02-03,x.png,3.0\n"
            "2,8,test,images/b.png,,M,12,,y.png,\n",
        )
    )
    one, two = cohort.rows
    assert (one.case_id, one.patient_id, one.split, one.fold) == ("1", "007", "train", None)
    assert one.items == {"photo": folder / "images" / "a.png"}
    assert one.variables == {
        "age": 61, "sex": "F", "code": "007", "seen": date(2020, 2, 3), "file": "x.png"
    }  # fmt: skip
    assert one.labels == {"grade": "3.0"}  # labels stay as they are written
    assert two.variables == {"sex": "M", "code": "12", "file": "y.png"}
    assert cohort.splits == ("train", "test")
    assert cohort.folds == ()
    assert [row.case_id for row in cohort.part("test").rows] == ["2"]
    assert cohort.columns("variables") == ("age", "sex", "code", "seen", "file")


def test_a_column_may_say_outright_what_it_is(folder):
    (folder / "series").mkdir()
    text = "case_id,patient_id,item:ct,variable:note\n1,1,series,a.png\n"
    (row,) = read_cohort(table(folder, text)).rows
    assert row.items == {"ct": folder / "series"}
    assert row.variables == {"note": "a.png"}


def test_a_url_is_kept_as_it_stands(folder):
    url = "s3://bucket//key/a.nii.gz"
    (row,) = read_cohort(table(folder, f"case_id,patient_id,ct\n1,1,{url}\n")).rows
    assert row.items == {"ct": url}
    again = read_cohort(folder / "cohort.csv").write(folder / "deep" / "again.csv")
    assert read_cohort(again.path).rows[0].items == {"ct": url}


def test_messages_name_the_file_and_the_line(folder):
    text = 'case_id,patient_id,photo,note\n1,1,images/a.png,"two\nlines"\n2,1,images/c.png,\n'
    with pytest.raises(RecipeError, match=r"cohort\.csv' .*\n  line 4: '.*c\.png' does not exist"):
        read_cohort(table(folder, text))


def test_a_patient_in_two_splits_is_named(folder):
    text = "case_id,patient_id,split\n1,p,train\n2,p,test\n"
    with pytest.raises(RecipeError, match="line 3: patient 'p' is in splits train and test"):
        read_cohort(table(folder, text))
    assert len(read_cohort(folder / "cohort.csv", strict=False)) == 2


def test_a_column_that_stands_twice_is_refused(folder):
    with pytest.raises(RecipeError, match=r"has the column\(s\) age twice"):
        read_cohort(table(folder, "case_id,patient_id,age,age\n1,1,2,3\n"))


@pytest.mark.parametrize("sign", [";", "\t"])
def test_columns_that_commas_do_not_part_are_told(folder, sign):
    path = folder / "parted.csv"
    path.write_text(f"case_id{sign}patient_id\r\nc1{sign}p1\r\n")
    with pytest.raises(RecipeError, match=r"parts its columns by '.*save it with commas"):
        read_cohort(path)


def test_paths_are_relative_to_the_data_folder_where_the_table_lies_elsewhere(folder, monkeypatch):
    (folder / "tables").mkdir()
    path = table(folder / "tables", "case_id,patient_id,photo\n1,1,images/a.png\n")
    monkeypatch.setenv("OSLER_DATA", str(folder))
    assert read_cohort(path).rows[0].items["photo"].is_file()
    monkeypatch.setenv("OSLER_DATA", str(folder / "none"))
    with pytest.raises(RecipeError, match=r"tables/images/a\.png' does not exist"):
        read_cohort(path)


@pytest.mark.parametrize("name", ["again.csv", "again.parquet"])
def test_what_is_written_is_read_again(folder, name):
    cohort = read_cohort(
        table(
            folder,
            "case_id,patient_id,split,fold,photo,age,dose,day,variable:file,label:m,label:g\n"
            "1,p,train,0,images/a.png,61,0.5,2020-02-03,x.png,map.png#1,1\n"
            "2,q,test,1,images/b.png,,1,2021-12-31,,,\n",
        )
    )
    written = cohort.write(folder / "deep" / "down" / name)
    again = read_cohort(written.path)
    for old, new in zip(cohort.rows, again.rows, strict=True):
        assert (old.case_id, old.patient_id, old.split, old.fold) == (
            new.case_id, new.patient_id, new.split, new.fold
        )  # fmt: skip
        assert old.variables == new.variables
        assert {k: v.resolve() for k, v in old.items.items()} == {
            k: v.resolve() for k, v in new.items.items()
        }
    assert again.rows[0].labels == {"m": "../../map.png#1", "g": "1"}
    assert next(again.cases()).findings["m"].mask.sum() == 6


def test_parquet_agrees_with_another_reader(folder):
    text = "case_id,patient_id,photo,age,sex\n1,p,images/a.png,61,F\n2,q,images/b.png,,M\n"
    read_cohort(table(folder, text)).write(folder / "c.parquet")
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(folder / "c.parquet")
    assert list(frame.columns) == ["case_id", "patient_id", "photo", "age", "sex"]
    assert frame["age"].tolist()[0] == 61
    assert frame["age"].isna().tolist() == [False, True]
    frame.loc[1, "age"] = float("nan")
    frame.to_parquet(folder / "d.parquet")
    assert read_cohort(folder / "d.parquet").rows[1].variables == {"sex": "M"}


def test_a_damaged_parquet_is_refused(folder):
    (folder / "c.parquet").write_bytes(b"PAR1" + b"\0" * 50 + b"PAR1")
    with pytest.raises(RecipeError, match=r"c\.parquet' (cannot be read: it is damaged|is no)"):
        read_cohort(folder / "c.parquet")


def test_parquet_without_its_extra_names_it(folder):
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\nfrom osler.data import read_cohort\n"
        "from osler.errors import MissingExtraError\n"
        "try: read_cohort(Path('c.parquet'))\n"
        "except MissingExtraError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "osler[tables]" in run.stdout


def cohort_of(folder, **labels):
    head = ",".join(f"label:{name}" for name in labels)
    cells = ",".join(labels.values())
    return read_cohort(
        table(folder, f"case_id,patient_id,photo,age,{head}\n1,p,images/a.png,61,{cells}\n")
    )


def test_rows_become_cases(folder):
    cohort = cohort_of(
        folder, grade="3", lesion="map.png#2", whole="map.png", spot="2;3.5",
        found="0;1;3;4 1;1;2;2",
    )  # fmt: skip
    (case,) = cohort.cases()
    assert (case.id, case.patient_id) == ("1", "p")
    assert case.image("photo").array[0, 0, 0] == 40
    assert case.items["variables"].values == {"age": 61}
    assert case.get("grade", Label).value == "3"
    assert case.get("lesion", Mask).mask.sum() == 1
    assert case.get("lesion", Mask).item == "photo"
    assert case.get("whole", Mask).mask.sum() == 7
    assert case.get("spot", Point).position == (2, 3.5)
    assert [(b.start, b.stop) for b in case.of(Box)] == [((0, 1), (3, 4)), ((1, 1), (2, 2))]
    assert {f.source.kind for f in case.findings.values()} == {"person"}
    assert not next(cohort.cases(labels=False)).findings


def test_a_mask_of_another_size_is_refused_with_its_row(folder):
    picture(folder / "other.png", size=(5, 5))
    with pytest.raises(InputError, match=r"line 2: the mask .*other\.png' has shape \(5, 5\)"):
        next(cohort_of(folder, m="other.png").cases())


def test_a_file_that_cannot_be_read_is_named_with_its_row(folder):
    (folder / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"cohort\.csv', line 2: '.*a\.png'"):
        next(cohort_of(folder).cases())


def test_threads_keep_the_order_and_a_bounded_number_open(folder):
    rows = tuple(
        Row(str(k), str(k), None, {"photo": picture(folder / "many" / f"{k}.png", k)}, {})
        for k in range(20)
    )
    cohort = Cohort(folder / "c.csv", folder, rows)
    seen = [
        (c.id, int(c.image("photo").array[0, 0, 0])) for c in cohort.cases(threads=3, pixels=True)
    ]
    assert seen == [(str(k), k) for k in range(20)]
    some = cohort.cases(threads=2)
    (folder / "many" / "9.png").unlink()  # not opened yet: no more than 4 are ahead
    assert next(some).id == "0"
    with pytest.raises(InputError, match=r"9\.png' does not exist"):
        list(some)


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("a.png", True), ("A/B.NII.GZ", True), ("s3://b/k", True), ("https://h/x?y=1", True),
        ("3.5", False), ("Dr. Who", False), (".png", False), ("2020-01-01", False), ("", False),
        ("1.2.840.5", False),
    ],
)  # fmt: skip
def test_what_looks_like_a_path(text, is_path):
    assert looks_like_path(text) is is_path


def test_the_notations_of_labels(tmp_path):
    assert marked("m#1.nii.gz#1,12", tmp_path).values == (1, 12)
    assert marked("m#1.png", tmp_path).values == ()  # a hash in a name
    assert marked("3", tmp_path) is None
    assert place("1;2;3") == (1, 2, 3)
    assert place("1;2;3;4") is None
    assert boxes("1;2;3") is None
    assert boxes("1;2;3;4.5") == [((1, 2), (3, 4.5))]
    assert boxes("0;1;2;3;4;5 1;1;1;2;2;2") == [((0, 1, 2), (3, 4, 5)), ((1, 1, 1), (2, 2, 2))]
    assert boxes("0;1;2;3;4") is None
    assert boxes("0;1;2;3;4;5 1;1;2;2") is None
    assert moved("a.png#3", tmp_path, tmp_path / "x") == "../a.png#3"
    assert moved("severe", tmp_path, tmp_path / "x") == "severe"


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(texts, st.one_of(st.none(), texts, st.integers(-(10**15), 10**15))),
        min_size=1, max_size=6, unique_by=lambda pair: pair[0],
    )
)  # fmt: skip
def test_any_text_survives_writing_and_reading(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("table")
    rows = tuple(
        Row(id, id, None, {}, {"x": id}, variables={} if value is None else {"v": value})
        for id, value in pairs
    )
    written = Cohort(folder / "a.csv", folder, rows).write(folder / "b.csv")
    again = read_cohort(written.path)
    assert [r.case_id for r in again.rows] == [id for id, _ in pairs]
    kinds = {type(value) for _, value in pairs if value is not None}
    if kinds == {int}:
        assert [r.variables.get("v") for r in again.rows] == [value for _, value in pairs]
    else:
        assert [str(r.variables.get("v")) for r in again.rows if "v" in r.variables] == [
            str(value) for _, value in pairs if value is not None
        ] or any(looks_like_number(value) for _, value in pairs)


def looks_like_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_cohort_or_a_recipe_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "c.csv"
    path.write_bytes(b"case_id,patient_id,x,fold\n1,2," + data)
    with contextlib.suppress(RecipeError):
        read_cohort(path)


def test_a_csv_is_what_the_standard_library_reads(folder):
    cohort = cohort_of(folder, grade="3")
    cohort.write(folder / "x.csv")
    with (folder / "x.csv").open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row == {
        "case_id": "1", "patient_id": "p", "photo": "images/a.png", "age": "61", "label:grade": "3"
    }  # fmt: skip
