"""Names that no header tells, in coded strings, unlisted words and bytes of DICOM files."""

from pathlib import Path

import pydicom
import pytest
from pydicom import config
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from osler.io.deidentification import Key, Options, coded
from osler.io.deidentification.one import Setting, copy
from osler.io.deidentification.profile import row_of

WORDS = {"LO", "SH", "UC", "LT", "ST", "UT", "CS", "PN", "UR"}
BYTES = {"OB", "OW", "OF", "OD", "OL", "OV"}


def cleaned(ds: pydicom.Dataset, folder: Path, options: Options) -> tuple[pydicom.Dataset, bytes]:
    ds.save_as(folder / "a.dcm")
    setting = Setting(folder, folder / "out", options, Key(b"k" * 32))
    outcome = copy(folder / "a.dcm", setting)
    assert outcome.status == "copied", outcome.error
    path = setting.out / outcome.place
    return pydicom.dcmread(path), path.read_bytes().lower()


def token(number: int) -> str:
    """A name that nobody has, another one for each number."""
    signs = "bdfgklmnprst"
    return "W" + "".join(signs[number // 12**i % 12] + "aeiou"[(number + i) % 5] for i in range(4))


@pytest.mark.parametrize("shape", ["{}", "{} Wexlorbyk"])
def test_no_attribute_of_the_dictionary_lets_an_unknown_name_along(
    tmp_path: Path, shape: str
) -> None:
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    planted = {}
    for i, (number, entry) in enumerate(DicomDictionary.items()):
        tag, vr = Tag(number), entry[0].split(" or ")[0]
        if tag.group in (0, 2, 4, 0x7FE0) or tag == 0x00080005 or vr not in WORDS | BYTES:
            continue
        text = shape.format(token(i))[: 16 if vr == "SH" else 64]
        text = text.upper() if vr == "CS" else text
        value = text.encode() + b" " * (len(text) % 2) if vr in BYTES else text
        ds[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)
        planted[token(i).lower().encode()] = (entry[4], row_of(tag) is not None)
    _, data = cleaned(ds, tmp_path, Options(pixels="rules"))
    left = {name for word, (name, _) in planted.items() if word in data}
    left = {name for name in left if not coded.TECHNICAL.fullmatch(name)}
    own_words = {"SequenceName", "SoftwareVersions", "TransducerData"}  # of makers of devices
    schemes = {"CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion"}
    assert len(planted) > 1500
    assert left <= own_words | schemes


def test_terms_stay_and_names_go(tmp_path: Path) -> None:
    ds = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    ds.ImageType = ["DERIVED", "PRIMARY", "MPR", "WEXLORBYK", "NORM"]
    ds.ScanningSequence, ds.BodyPartExamined = ["SE", "IR"], "NECKCHEST"
    ds.ScanOptions = ["FS", "THISTLEWOOD2"]
    new, data = cleaned(ds, tmp_path, Options(pixels="rules"))
    assert list(new.ImageType) == ["DERIVED", "PRIMARY", "MPR", "REMOVED", "NORM"]
    assert (list(new.ScanningSequence), new.BodyPartExamined) == (["SE", "IR"], "NECKCHEST")
    assert list(new.ScanOptions) == ["FS", "REMOVED"]
    assert b"wexlorbyk" not in data
    assert b"thistlewood" not in data


def test_tables_of_numbers_stay(tmp_path: Path) -> None:
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ramp, wave = bytes(range(65, 91)), bytes(range(256)) * 8
    ds.RedPaletteColorLookupTableData, ds.GreenPaletteColorLookupTableData = ramp, wave
    ds.BluePaletteColorLookupTableData = b"Wexlorbyk "
    new, _ = cleaned(ds, tmp_path, Options(pixels="rules"))
    assert new.RedPaletteColorLookupTableData == ramp
    assert new.GreenPaletteColorLookupTableData == wave
    assert "BluePaletteColorLookupTableData" not in new


def test_a_comment_of_one_word_and_one_in_chinese(tmp_path: Path) -> None:
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageComments, ds.StudyDescription, ds.SeriesDescription = "Wexlorbyk", "王小明", "上腹部"
    new, _ = cleaned(ds, tmp_path, Options(pixels="rules", descriptors=True))
    assert (new.ImageComments, new.StudyDescription) == ("[NAME]", "[NAME]")
    assert new.SeriesDescription == "上腹部"


def test_words_about_a_signal(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(b"\0\0" * 8)
    header = "r 1 250 8\nr.dat 16 200 12 0 0 0 0 PLETH Wexlorbyk\n# Wexlorbyk\n#False alarm\n"
    (tmp_path / "r.hea").write_text(header + "# Technician: Wexlorbyk\n")
    setting = Setting(tmp_path, tmp_path / "out", Options(), Key(b"k" * 32))
    outcome = copy(tmp_path / "r.hea", setting)
    _, signal, *comments = (setting.out / outcome.place).read_text().splitlines()
    assert signal.endswith(" PLETH [NAME]")
    assert comments == ["# [NAME]", "#False alarm", "# Technician: [NAME]"]
