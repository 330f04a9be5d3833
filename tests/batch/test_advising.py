"""Advice in a batch: the patient's values join what was read."""

import json
from pathlib import Path

import pytest

from osler.batch.advising import advised, with_patient
from osler.batch.job import Options
from osler.errors import InputError
from osler.record import Case, Label, Passage, Source, Table, Text


def read() -> Case:
    case = Case("c")
    source = Source("bundle", "retina-dr", "1.0.0")
    case.items["patient"] = Table("patient", {"age": 60})
    for id, value in (("photograph", "fundus photograph"), ("quality", "good"), ("dr-grade", "2")):
        case.add(Label(id=id, name=id, source=source, value=value))
    return case


def test_options_name_the_patient_and_the_guideline(tmp_path: Path) -> None:
    path = tmp_path / "patient.json"
    path.write_text(json.dumps({"hba1c": "9 %"}))
    case = read()
    advised(case, Options(patient=str(path), follow="cds", language="zh"))
    said = [p for p in case.of(Passage) if p.section == "advice"]
    assert any("9.0 %" in p.text and "patient-2" in p.evidence for p in said)
    assert said[0].note.startswith("中国2型糖尿病防治指南")
    assert {p.language for p in said} == {"zh"}


def test_a_report_beside_the_photograph_is_stated_and_used(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("HbA1c 9.1 %. Vitreous haemorrhage in the left eye.")
    case = with_patient(read(), path)
    assert isinstance(case.items["text"], Text)
    assert case["text.vitreous-haemorrhage.L"].value == "present"  # type: ignore[union-attr]


def test_a_file_without_values_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 40)).save(path)
    with pytest.raises(InputError, match="no values of a patient"):
        with_patient(read(), path)
    with pytest.raises(InputError):
        with_patient(read(), tmp_path / "missing.json")
