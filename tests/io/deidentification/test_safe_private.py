"""The private attributes that are taken as safe, against a dictionary that is not ours."""

import csv
from pathlib import Path

import pydicom
import pytest
from dicom_pictures import dataset, picture
from pydicom.datadict import private_dictionary_VR

from osler.io import deidentification
from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Setting, check, copy
from osler.io.deidentification.profile import safe_private

FILE = Path(deidentification.__file__).parent / "safe_private.csv"
ROWS = list(csv.DictReader(FILE.read_text("utf-8").splitlines()))
PLAIN = {"DS", "IS", "FL", "FD", "SS", "SL", "US", "CS", "LO", "SH"}


def test_every_row_that_pydicom_knows_has_its_vr() -> None:
    known = 0
    for row in ROWS:
        tag = (int(row["group"], 16), 0x1000 | int(row["element"], 16))
        try:
            vr = private_dictionary_VR(tag, row["creator"])
        except KeyError:
            continue
        known += 1
        # of this one PS3.15 and the dictionary say different things; either is a number
        differs = {("01F1", "26"): "FD"}.get((row["group"], row["element"]))
        assert vr == (differs or row["vr"]), row
    assert known >= 20
    assert len(safe_private()) == len(ROWS) == 78
    assert {row["vr"] for row in ROWS} <= PLAIN  # single values, no blocks


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_listed_attributes_stay_if_asked_for_and_others_never(tmp_path: Path) -> None:
    ds = dataset([picture(text="")], "native")
    block = ds.private_block(0x0199, "NQLeft", create=True)
    block.add_new(0x0B, "FL", 3.5)
    block.add_new(0x50, "FL", 9.0)  # no such row
    block = ds.private_block(0x00E1, "ELSCINT1", create=True)
    block.add_new(0x50, "DS", "12.5")
    block = ds.private_block(0x01E1, "ELSCINT1", create=True)
    block.add_new(0x50, "DS", "7")
    path = tmp_path / "in" / "a.dcm"
    path.parent.mkdir()
    ds.save_as(path, enforce_file_format=True)
    for safe in (True, False):
        options = Options(pixels="rules", safe_private=safe)
        setting = Setting(path.parent, tmp_path / f"out-{safe}", options, Key(b"k" * 32))
        outcome = copy(path, setting)
        assert outcome.status == "copied", outcome.error
        assert check(outcome, setting) == []
        new = pydicom.dcmread(tmp_path / f"out-{safe}" / outcome.place)
        kept = {
            str(e.tag): e.value for e in new if e.tag.is_private and not e.tag.is_private_creator
        }
        assert kept == ({"(00E1,1050)": "12.5", "(0199,100B)": 3.5} if safe else {})
