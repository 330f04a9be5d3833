"""Messages of HL7 version 2: results as FHIR would tell them, and nothing that was withdrawn."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load
from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Setting, copy
from osler.record import Case, Table, Text

HEAD = r"MSH|^~\&|LAB|HOSPITAL|EHR|HOSPITAL|20240305101500||ORU^R01^ORU_R01|1|P|2.5.1"
PERSON = "PID|1||P-17^^^HOSP^MR||DOE^JANE^^^^||19600101|F"
ORDER = "OBR|1|||24331-1^Lipids^LN|||202403050930+0100"
VALUES = (
    "OBX|1|NM|718-7^Hemoglobin^LN||13.5|g/dL^g/dL^UCUM|12-16||||F",
    "OBX|2|SN|1988-5^CRP^LN||<^5|mg/L|||||F|||20240304",
    "OBX|3|CWE|883-9^Blood group^LN||A^Group A^99X||||||F",
    r"OBX|4|ST|X^Colour^99X||pale \T\ clear~cold||||||F",
    "OBX|5|NM|2345-7^Glucose^LN||99|mmol/L|||||W",
    "OBX|6|NM|9^Odd^99X||about 3|furlong|||||F",
    "OBX|7|DT|8665-2^Last period^LN||20240210||||||F",
)
TEXT = (
    "OBR|2|||36643-5^Chest X-ray^LN|||20240305",
    "OBX|1|TX|36643-5&GDT^Chest^LN||No consolidation.||||||F",
    r"OBX|2|FT|36643-5&GDT^Chest^LN||Heart \H\normal\N\.\.br\Ribs intact.||||||F",
    "OBX|3|TX|36643-5&IMP^Chest^LN||Normal chest.||||||F",
    "OBX|4|ED|PDF^Report^99X||^application^pdf^Base64^JVBERi0=||||||F",
)


def message(*lines: str, end: str = "\r") -> bytes:
    return end.join((*lines, "")).encode()


def put(folder: Path, data: bytes, name: str = "m.hl7") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def tables(case: Case) -> list[Table]:
    return [item for item in case.items.values() if isinstance(item, Table)]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("name", ["m.hl7", "m.txt", "message"])
def test_values_with_units_codes_and_times(tmp_path: Path, end: str, name: str) -> None:
    case = load(put(tmp_path, message(HEAD, PERSON, ORDER, *VALUES, end=end), name))
    assert case.patient_id == "P-17"
    early, late, person = tables(case)
    assert early.acquired == datetime(2024, 3, 4)
    assert early.values == {"CRP": "<5"}
    assert late.acquired == datetime(2024, 3, 5, 9, 30, tzinfo=timezone(timedelta(hours=1)))
    assert late.acquired < datetime(2024, 3, 5, 9, tzinfo=UTC)
    assert late.values == {
        "Hemoglobin": 13.5, "Blood group": "Group A", "Colour": "pale & clear; cold",
        "Odd": "about 3", "Last period": datetime(2024, 2, 10).date(),
    }  # fmt: skip
    assert late.units == {"Hemoglobin": "g/dL"}
    assert late.header["codes"]["Hemoglobin"].scheme == "LN"
    assert person.values == {"sex": "female"}
    assert not any("DOE" in str(item) for item in case.items.values())


def test_the_same_results_in_fhir_give_the_same_table(tmp_path: Path) -> None:
    told = load(put(tmp_path, message(HEAD, PERSON, ORDER, VALUES[0])))
    resource = {
        "resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/P-17"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7",
                             "display": "Hemoglobin"}]},
        "effectiveDateTime": "2024-03-05T09:30:00+01:00",
        "valueQuantity": {"value": 13.5, "unit": "g/dL", "code": "g/dL",
                          "system": "http://unitsofmeasure.org"},
    }  # fmt: skip
    fhir = load(put(tmp_path, json.dumps(resource).encode(), "o.json"))
    one, other = tables(told)[0], tables(fhir)[0]
    assert (one.values, one.units, one.acquired) == (other.values, other.units, other.acquired)
    assert one.header == other.header
    assert told.patient_id == fhir.patient_id


def test_reports_in_words(tmp_path: Path) -> None:
    case = load(put(tmp_path, message(HEAD, PERSON, *TEXT)))
    (report,) = [item for item in case.items.values() if isinstance(item, Text)]
    assert report.sections == {
        "findings": "No consolidation.\nHeart normal.\nRibs intact.",
        "impression": "Normal chest.",
    }
    assert report.acquired == datetime(2024, 3, 5)
    assert report.flags == ("presented-form-not-read",)


def test_batches_and_frames(tmp_path: Path) -> None:
    framed = b"\x0b" + message(HEAD, PERSON, ORDER, VALUES[0]) + b"\x1c\r"
    assert tables(load(put(tmp_path, framed)))[0].values == {"Hemoglobin": 13.5}
    second = (HEAD, PERSON.replace("P-17", "P-18"), ORDER, VALUES[0].replace("13.5", "9"))
    batch = message(r"FHS|^~\&|LAB", r"BHS|^~\&|LAB", HEAD, PERSON, ORDER, VALUES[0], *second,
                    "BTS|2", "FTS|1")  # fmt: skip
    path = put(tmp_path, batch)
    with pytest.raises(UnsupportedError, match=r"2 patients; say case="):
        load(path)
    assert tables(load(path, case="P-18"))[0].values == {"Hemoglobin": 9}
    with pytest.raises(InputError, match="no patient"):
        load(path, case="P-19")
    # delimiters are those that the message states
    other = message(HEAD, PERSON, ORDER, VALUES[0]).replace(b"|", b"!").replace(b"^", b"@")
    assert tables(load(put(tmp_path, other)))[0].values == {"Hemoglobin": 13.5}


def test_text_in_the_encoding_that_the_message_states(tmp_path: Path) -> None:
    head = HEAD + "||||||8859/1"
    said = "OBX|1|ST|1^Befund^99X||Trübung||||||F"
    data = "\r".join((head, PERSON, ORDER, said)).encode("latin-1")
    assert tables(load(put(tmp_path, data)))[0].values == {"Befund": "Trübung"}
    chinese = message(HEAD, PERSON, ORDER, "OBX|1|TX|1^x^99X||检查所见：双肺清晰。")
    assert load(put(tmp_path, chinese)).items["report"].sections == {"findings": "双肺清晰。"}


@pytest.mark.parametrize(
    ("lines", "error", "words"),
    [
        ((HEAD.replace("ORU^R01^ORU_R01", "ADT^A01"), PERSON), UnsupportedError, r"\(ADT\)"),
        ((HEAD, PERSON), UnsupportedError, "without a value"),
        ((HEAD, PERSON, ORDER, VALUES[4]), UnsupportedError, "without a value"),
        ((r"FHS|^~\&|LAB",), UnreadableError, "no message"),
    ],
)
def test_what_holds_no_result(
    tmp_path: Path, lines: tuple[str, ...], error: type[OslerError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        load(put(tmp_path, message(*lines)))
    assert "DOE" not in str(caught.value)


def test_too_many_values_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path, message(HEAD, PERSON, ORDER, *[VALUES[0]] * 50))
    with pytest.raises(TooLargeError, match="more than 20"):
        load(path, max_pixels=20)


def test_a_message_is_not_cleaned_as_if_it_were_prose(tmp_path: Path) -> None:
    path = put(tmp_path, message(HEAD, PERSON, ORDER, *VALUES), "m.txt")
    done = copy(path, Setting(tmp_path, tmp_path / "out", Options(), Key(b"k" * 32)))
    assert (done.status, done.place) == ("refused", "")
    assert "is not cleaned" in done.error


SOUND = message(HEAD, PERSON, ORDER, *VALUES, *TEXT)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    at=st.integers(0, len(SOUND)), some=st.binary(max_size=6), keep=st.integers(1, len(SOUND) + 6)
)
@example(at=4, some=b"\\\\\\\\", keep=400)
def test_damage_ends_in_our_errors(tmp_path: Path, at: int, some: bytes, keep: int) -> None:
    data = (SOUND[:at] + some + SOUND[at + len(some) :])[:keep]
    with contextlib.suppress(OslerError):
        load(put(tmp_path, data))
