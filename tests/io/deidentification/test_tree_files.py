"""FHIR, plain JSON, CDA and other XML: the findings stay, and nobody goes along."""

import base64
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaks import found
from PIL import Image
from tree_documents import BUNDLE, CDA, DEVICE, PLAIN, SECRETS

from osler.io import load
from osler.io.deidentification import Key, Options
from osler.io.deidentification.names_of_files import place
from osler.io.deidentification.one import Copied, Setting, check, copy
from osler.io.deidentification.unaided import left

sys.path.append(str(Path(__file__).parents[1]))
from fhir_check import fhir_errors

KEY = Key(b"k" * 32)
RULES = Options(pixels="rules")


def attempt(path: Path, tmp_path: Path, options: Options = RULES) -> tuple[Copied, Path, Setting]:
    setting = Setting(path.parent, tmp_path / "out", options, KEY)
    outcome = copy(path, setting)
    return outcome, tmp_path / "out" / outcome.place, setting


def copied(path: Path, tmp_path: Path, options: Options = RULES) -> tuple[Copied, Path]:
    assert found([path], SECRETS)
    outcome, new, setting = attempt(path, tmp_path, options)
    assert outcome.status == "copied", outcome.error
    assert check(outcome, setting) == []
    assert left(new, outcome.place, options) == []
    assert found([new], SECRETS if options.dates == "remove" else SECRETS[:6]) == []
    return outcome, new


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / "in" / name
    path.parent.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


# --- FHIR -----------------------------------------------------------------------------------


def test_a_bundle_keeps_what_was_found(tmp_path: Path) -> None:
    outcome, new = copied(written(tmp_path, "Quillfeather.json", BUNDLE), tmp_path)
    bundle = json.loads(new.read_text())
    patient, report, study = (entry["resource"] for entry in bundle["entry"])
    assert set(patient) == {"resourceType", "id", "identifier", "gender"}
    assert patient["gender"] == "male"
    # the number is that which DICOM files and tables of the same patient get
    assert patient["identifier"][0]["value"] == KEY.name("patient", "MCH-0234567")
    assert patient["identifier"][0]["type"]["coding"][0]["code"] == "MR"
    assert report["subject"] == {"reference": f"Patient/{patient['id']}"}
    assert bundle["entry"][0]["fullUrl"].endswith(f"/Patient/{patient['id']}")
    (observation,) = report["contained"]
    assert report["result"] == [{"reference": f"#{observation['id']}"}]
    assert observation["subject"]["reference"] == bundle["entry"][0]["fullUrl"]
    assert observation["valueQuantity"]["value"] == 61.5
    assert observation["code"]["coding"] == [
        {"system": "http://loinc.org", "code": "8867-4"},
        {"code": "HR"},  # whose system was the hospital's own
    ]
    assert report["conclusion"].startswith("6 mm nodule, 35 HU. Seen by Dr [NAME] on [DATE].")
    assert "effectiveDateTime" not in report
    text, pdf = report["presentedForm"]
    assert base64.b64decode(text["data"]).decode().startswith("Seen by Dr [NAME] on [DATE].")
    assert pdf == {"contentType": "application/pdf"}
    assert study["series"][0]["uid"].startswith("2.25.")
    assert study["identifier"][0]["value"].startswith("urn:oid:2.25.")
    assert outcome.counts["attachment", "removed"] == 1


def test_dates_of_a_patient_move_together(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", BUNDLE)
    _, new = copied(path, tmp_path, Options(pixels="rules", dates="shift"))
    report = json.loads(new.read_text())["entry"][1]["resource"]
    start, issued = (datetime.fromisoformat(report[k]) for k in ("effectiveDateTime", "issued"))
    assert (issued - start).total_seconds() == 2 * 86400 + 0.123
    assert start.year < 2019
    alone = datetime.fromisoformat(report["contained"][0]["effectiveDateTime"])
    assert 0 <= (alone.date() - start.date()).days <= 2
    _, kept = copied(path, tmp_path, Options(pixels="rules", dates="keep"))
    resource = json.loads(kept.read_text())["entry"][1]["resource"]
    assert resource["effectiveDateTime"] == "2019-03-03T10:11:12+01:00"


def test_resources_stay_valid(tmp_path: Path) -> None:
    _, new = copied(written(tmp_path, "a.json", BUNDLE), tmp_path)
    entries = json.loads(new.read_text())["entry"]
    assert fhir_errors(*(entry["resource"] for entry in entries)) == []


def test_one_resource_a_line(tmp_path: Path) -> None:
    lines = [json.dumps(entry["resource"]) for entry in BUNDLE["entry"]]
    path = written(tmp_path, "export.ndjson", "\n".join(lines))
    outcome, new = copied(path, tmp_path)
    assert outcome.place.endswith(".ndjson")
    kinds = [json.loads(line)["resourceType"] for line in new.read_text().splitlines()]
    assert kinds == ["Patient", "DiagnosticReport", "ImagingStudy"]


def test_a_resource_that_a_modifier_may_turn_round(tmp_path: Path) -> None:
    resource = {"resourceType": "Basic", "modifierExtension": [{"url": "http://x.org"}]}
    outcome, *_ = attempt(written(tmp_path, "a.json", resource), tmp_path)
    assert (outcome.status, "modifierExtension" in outcome.error) == ("refused", True)


# --- plain JSON -----------------------------------------------------------------------------


def test_plain_json_by_its_keys(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", PLAIN)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path.parent / "picture.png")
    _, new = copied(path, tmp_path)
    tree = json.loads(new.read_text())
    assert tree["patient"] == {
        "mrn": KEY.name("patient", "MCH-0234567"),
        "firstName": "[NAME]",
        "lastName": "[NAME]",
        "birthDate": "",
        "age": 90,
        "address": {"lines": ["", None]},
    }
    (visit,) = tree["visits"]
    assert visit["image"] == "/".join(place("picture.png", ".png", KEY))
    assert (visit["hba1c"], visit["labels"]) == (6.5, [1, 2, 3])
    assert (visit["ok"], visit["left"], visit["reader"]) == (True, None, "[NAME]")
    assert visit["comment"].startswith("Seen by Dr [NAME] on [DATE].")
    assert list(tree["byNumber"]) == ["[DATE]", "Dr [NAME]"]
    assert tree["thumbnail"] == "[REMOVED]"


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        ('{"a": 1', "failed", "cannot be read"),
        ("[" * 5000 + "]" * 5000, "failed", "nested too deep"),
        ("[" * 300 + "]" * 300, "failed", "more than 200 levels"),
        ([BUNDLE, BUNDLE], "refused", "one resource a line"),
        ({"00100010": {"vr": "PN"}}, "refused", "DICOM in JSON"),
    ],
)
def test_json_that_is_not_cleaned(tmp_path: Path, content: Any, status: str, reason: str) -> None:
    outcome, *_ = attempt(written(tmp_path, "a.json", content), tmp_path)
    assert (outcome.status, reason in outcome.error) == (status, True), outcome.error


# --- XML ------------------------------------------------------------------------------------


def test_a_clinical_document(tmp_path: Path) -> None:
    _, new = copied(written(tmp_path, "Quillfeather.xml", CDA), tmp_path)
    text = new.read_text()
    assert 'code="18782-3" codeSystem="2.16.840.1.113883.6.1"' in text
    assert 'root="2.16.840.1.113883.1.3"' in text
    assert f'extension="{KEY.name("patient", "MCH-0234567")}"' in text
    assert 'value="61.5"' in text
    assert "<!--" not in text
    assert "xml-stylesheet" not in text
    anchor = "N" + KEY.name("anchor", "a7946")
    assert f'ID="{anchor}"' in text
    assert f'value="#{anchor}"' in text
    report = load(new)["report"]
    assert "6 mm nodule, 35 HU. Seen by Dr [NAME] on [DATE]." in report.text  # type: ignore[union-attr]


def test_times_of_a_clinical_document_move_together(tmp_path: Path) -> None:
    path = written(tmp_path, "a.xml", CDA)
    _, new = copied(path, tmp_path, Options(pixels="rules", dates="shift"))
    text = new.read_text()
    assert "1951" not in text
    assert "20190303" not in text
    stamps = [part.split('"')[1] for part in text.split("effectiveTime ")[1:]]
    assert len(stamps[0]) == len("20190303101112+0100")
    assert len(stamps[1]) == 8
    assert 0 <= int(stamps[1]) - int(stamps[0][:8]) < 8900  # a year's end may lie between


def test_a_device_s_export(tmp_path: Path) -> None:
    path = written(tmp_path, "a.xml", DEVICE)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path.parent / "picture.png")
    _, new = copied(path, tmp_path)
    text = new.read_text()
    assert "<LastName>[NAME]</LastName>" in text
    assert "<Year/>" in text or "<Year></Year>" in text
    assert "<ScaleX>0.011</ScaleX>" in text
    assert "/".join(place("picture.png", ".png", KEY)) in text


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        ("<?xml version='1.0'?><a><b></a>", "failed", "cannot be read"),
        ("<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "failed", "type"),
        ("<?xml version='1.0'?>" + "<a>" * 300 + "</a>" * 300, "failed", "200 levels"),
        ("<?xml version='1.0'?><Patient xmlns='http://hl7.org/fhir'/>", "refused", "FHIR as JSON"),
        ("<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "refused", "svg"),
        (CDA.replace("<text><para", "<text representation='B64'><para"), "refused", "another kind"),
    ],
)
def test_xml_that_is_not_cleaned(tmp_path: Path, content: str, status: str, reason: str) -> None:
    outcome, *_ = attempt(written(tmp_path, "a.xml", content), tmp_path)
    assert (outcome.status, reason in outcome.error) == (status, True), outcome.error


# --- what was planted -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "before", "after"),
    [
        ("a.json", BUNDLE, '"gender": "male"', '"photo": [], "name": "X"'),
        ("a.json", BUNDLE, "6 mm nodule", "for Mr. John Smith"),
        ("a.json", PLAIN, "[NAME]", "Smith"),
        ("a.xml", CDA, "6 mm nodule", "for Mr. John Smith"),
        ("a.xml", CDA, '<given>[NAME]', "<given>Smith"),
        ("a.xml", DEVICE, "<Laterality>", "<!-- Smith --><Laterality>"),
    ],
)  # fmt: skip
def test_what_was_planted_is_found(
    tmp_path: Path, name: str, content: Any, before: str, after: str
) -> None:
    outcome, new = copied(written(tmp_path, name, content), tmp_path)
    assert before in new.read_text()
    new.write_text(new.read_text().replace(before, after, 1))
    assert left(new, outcome.place, RULES) != []


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_TREES = st.recursive(
    _SCALARS, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(), t, max_size=3)
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=_TREES, cut=st.integers(0, 200))
def test_any_tree_is_cleaned_or_refused(tmp_path: Path, tree: Any, cut: int) -> None:
    content = json.dumps({"a": tree})
    outcome, new, _ = attempt(written(tmp_path, "a.json", content), tmp_path)
    assert outcome.status == "copied", outcome.error
    assert isinstance(json.loads(new.read_text()), dict)
    outcome, *_ = attempt(written(tmp_path, "b.json", content[:cut]), tmp_path)
    assert outcome.status in ("copied", "failed", "refused")


@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_names_and_days_in_pieces(tmp_path: Path, dates: str) -> None:
    (tmp_path / "a.xml").write_text(
        "<HEDX><Patient><LastName>Worblehat</LastName><Study><StudyDate><Date><Year>2019</Year>"
        "<Month>5</Month><Day>23</Day></Date></StudyDate><Image><AcquisitionTime><Time><Hour>17"
        "</Hour></Time></AcquisitionTime><ScaleX>0.0114</ScaleX></Image></Study></Patient></HEDX>"
    )
    (tmp_path / "b.json").write_text(
        '{"patient": {"first": "Zebediah", "last": "Worblehat"}, "visit": 3, "gp": "worblehat",'
        ' "x": ["Zebediah Worblehat"],'
        ' "studyDate": {"year": 2019, "month": 5, "day": 23}}'
    )
    setting = Setting(tmp_path, tmp_path / "out", Options(dates=dates), Key(b"k" * 32))  # type: ignore[arg-type]
    for name in ("a.xml", "b.json"):
        outcome = copy(tmp_path / name, setting)
        assert outcome.status == "copied", outcome.error
        assert check(outcome, setting) == []
        words = (setting.out / outcome.place).read_text()
        for gone in ("Worblehat", "worblehat", "Zebediah", "2019", ">23<", ": 23", ">17<"):
            assert gone not in words, (gone, words)
        assert "0.0114" in words or '"visit": 3' in words
