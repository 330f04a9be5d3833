"""Dates that stand in texts: moved with the patient's others, or taken away."""

import re
from datetime import date, timedelta
from pathlib import Path

import pydicom
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from osler.io.deidentification import Key, Options
from osler.io.deidentification.dates import Offset
from osler.io.deidentification.free_text import STILL, Scrubber
from osler.io.deidentification.known import Known
from osler.io.deidentification.one import Copied, Setting, check, copy
from osler.io.deidentification.unaided import left

SHIFT = Options(pixels="rules", dates="shift", descriptors=True)
BACK = Offset(400, 1000)

# day by day from 2019: 400 days before is a day of which the forms below say what they are
MOVED = (
    ("seen 2019-03-05, 2019/3/5", "seen 2018-01-29, 2018/1/29"),
    ("on 23/6/2019 and 6/23/2019", "on 19/5/2018 and 5/19/2018"),
    ("4 July 2018, July 4th, 2018", "30 May 2017, May 30th, 2017"),
    ("04-MAR-2019, 12 Dec 2018", "28-JAN-2018, 7 Nov 2017"),
    ("3.4.2019 and 03.04.2019", "27.2.2018 and 27.02.2018"),
    ("于2019年7月4日入院，2019年07月04日", "于2018年5月30日入院，2018年05月30日"),
    ("on 11/11/2018", "on [DATE]"),  # would become 7/10/2017, which may be July
    ("at 20190305081500, 20190305", "at 20180129075820, 20180129"),
)
GONE = (
    "03/04/2019",  # March or April
    "March 2019",
    "12/2018",
    "04.03.19",
    "2019-02-30",
    "Monday, 4 March 2019",
    "2019-03-05 (Tue)",
    "2019年7月4日（星期四）",
    "二〇一九年三月五日",
    "born 3 May 1960",
    "DOB: 12/25/1970",
    "出生日期：1960年5月3日",
    "1951-02-14",  # of birth, as the header tells
    "1925-03-04",
)


def known() -> Known:
    one = Known()
    one.add_birth("19510214")
    return one


@pytest.mark.parametrize(("text", "new"), MOVED)
def test_a_whole_date_moves_in_its_form(text: str, new: str) -> None:
    assert Scrubber(known(), offset=BACK).clean(text) == new
    assert Scrubber(known(), offset=STILL).clean(text) == text
    assert not re.search(r"\d{4}", Scrubber(known()).clean(text))


@pytest.mark.parametrize("text", GONE)
def test_what_is_doubtful_or_a_birth_goes(text: str) -> None:
    for offset in (BACK, STILL):
        new = Scrubber(known(), offset=offset).clean(text)
        assert "[DATE]" in new
        assert not re.search(r"\d", new)


@settings(max_examples=50, deadline=None)
@given(
    day=st.dates(date(1990, 1, 1), date(2026, 1, 1)),
    days=st.integers(365, 3650),
    form=st.sampled_from(
        ["%Y-%m-%d", "%d/%m/%Y", "%d.%m.%Y", "%d %B %Y", "%b %d, %Y", "%Y年%m月%d日"]
    ),
)
def test_nothing_of_the_original_stays_and_a_second_look_finds_nothing(
    day: date, days: int, form: str
) -> None:
    assume(5 not in (day.month, (day - timedelta(days)).month))  # "May" is short and long
    text = f"Seen on {day.strftime(form)}."
    new = Scrubber(Known(), offset=Offset(days, 0)).clean(text)
    moved = f"Seen on {(day - timedelta(days)).strftime(form)}."
    plain = re.sub(r"(?<!\d)0", "", new)
    assert new in ("Seen on [DATE].", moved) or plain == re.sub(r"(?<!\d)0", "", moved)
    assert Scrubber(Known(), offset=STILL).clean(new).replace("[DATE]", "") == new.replace(
        "[DATE]", ""
    )


def written(folder: Path, patient: str = "PZ-77") -> None:
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = patient, "Quorn^Ada", "19510214"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20190623"
    ds.ImageComments = "scan of 23/6/2019, compared with 2018-03-05; born 14 Feb 1951"
    ds.save_as(folder / f"{patient}.dcm")


def made(path: Path, out: Path) -> tuple[Copied, Path]:
    setting = Setting(path.parent, out, SHIFT, Key(b"k" * 32))
    outcome = copy(path, setting)
    assert outcome.status == "copied", outcome.error
    assert check(outcome, setting) == []
    assert left(out / outcome.place, outcome.place, SHIFT) == []
    return outcome, out / outcome.place


def test_a_comment_a_letter_and_a_table_move_alike(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    written(folder)
    note = "CT of 2019-06-23, before: 2018-03-05. Born 1951-02-14. Next in July 2019."
    (folder / "letter.txt").write_text(note, "utf-8")
    (folder / "list.csv").write_text(f'patient_id,remark\nPZ-77,"{note}"\n', "utf-8")
    (folder / "r.json").write_text(f'{{"patient_id": "PZ-77", "finding": "{note}"}}', "utf-8")
    offset = Offset.of("PZ-77", Key(b"k" * 32))
    days = [str(date(*one) - timedelta(offset.days)) for one in ((2019, 6, 23), (2018, 3, 5))]
    _, picture = made(folder / "PZ-77.dcm", tmp_path / "out")
    comment = str(pydicom.dcmread(picture).ImageComments)
    assert days[1] in comment
    assert comment.endswith("born [DATE]")
    for name in ("letter.txt", "list.csv", "r.json"):
        _, new = made(folder / name, tmp_path / "out")
        text = new.read_text("utf-8")
        assert f"CT of {days[0]}, before: {days[1]}. Born [DATE]. Next in [DATE]." in text


def test_a_letter_beside_two_patients_has_no_dates(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    written(folder)
    written(folder, "PZ-78")
    (folder / "letter.txt").write_text("CT of 2019-06-23.", "utf-8")
    _, new = made(folder / "letter.txt", tmp_path / "out")
    assert new.read_text("utf-8") == "CT of [DATE]."
