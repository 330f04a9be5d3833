"""Reports of every format, their sections in two languages, and hostile documents."""

import base64
import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pypdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_files import CDA, W, docx, paragraph, pdf

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load
from osler.io.text_sections import language, parts, sections
from osler.record import Case, Table, Text

ENGLISH = """EXAMINATION: CT chest

INDICATION: Cough for 3 weeks. COMPARISON: None.
FINDINGS:
Solid nodule of 8 mm in the right upper lobe.
No effusion.

IMPRESSION: 1. Nodule. 2. No findings of pneumonia.
"""
CHINESE = """临床诊断：咳嗽待查
检查方法：胸部CT平扫
【影像所见】右肺上叶见磨玻璃结节，大小约8mm。
诊断意见：右肺上叶磨玻璃结节，建议随访。
"""


def text(case: Case, name: str = "report") -> Text:
    item = case[name]
    assert isinstance(item, Text)
    return item


def put(folder: Path, content: str | bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_english_sections() -> None:
    assert sections(ENGLISH) == {
        "examination": "CT chest",
        "indication": "Cough for 3 weeks.",
        "comparison": "None.",
        "findings": "Solid nodule of 8 mm in the right upper lobe.\nNo effusion.",
        "impression": "1. Nodule. 2. No findings of pneumonia.",
    }
    assert language(ENGLISH) == "en"


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("Clinical details:", "indication"),
        ("Chief complaint:", "history"),
        ("FINDINGS -", "findings"),
        ("REPORT:", "findings"),
        ("IMPRESSION AND PLAN:", "impression"),
        ("Assessment/Plan:", ""),
        ("Interpretation:", "impression"),
        ("Plan:", "recommendation"),
        ("影像描述：", "findings"),
        ("【专科检查】", "findings"),
        ("检查印象：", "impression"),
        ("诊断提示：", "impression"),
        ("出院诊断：", "impression"),
        ("处理意见：", "recommendation"),
        ("临床表现：", "history"),
    ],
)
def test_headings_that_hospitals_use(heading: str, section: str) -> None:
    words = "The disc is pink." if heading.isascii() else "右眼视盘边界清。"
    assert sections(f"{heading} {words}\n") == ({section: words} if section else {})


def test_chinese_sections() -> None:
    assert sections(CHINESE) == {
        "indication": "咳嗽待查",
        "technique": "胸部CT平扫",
        "findings": "右肺上叶见磨玻璃结节，大小约8mm。",
        "impression": "右肺上叶磨玻璃结节，建议随访。",
    }
    assert language(CHINESE) == "zh"
    in_a_line = "检查所见：双肺纹理清晰。诊断意见：未见异常。建议：定期复查"
    assert sections(in_a_line) == {
        "findings": "双肺纹理清晰。", "impression": "未见异常。", "recommendation": "定期复查"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "**Findings:** clear\n\n## Impression\nnormal",
            {"findings": "clear", "impression": "normal"},
        ),
        ("Findings\nclear\nConclusion\nnormal", {"findings": "clear", "impression": "normal"}),
        ("FINDINGS: a\nFINDINGS: b", {"findings": "a\nb"}),
        ("The findings: nothing. Our impression is good.", {}),
        ("History of cough.", {}),
        ("2. 诊断：正常", {"impression": "正常"}),
        ("本病诊断明确", {}),
        ("Findings:\n\nImpression: x", {"impression": "x"}),
    ],
)
def test_headings_and_what_only_looks_like_one(words: str, expected: dict[str, str]) -> None:
    assert sections(words) == expected


pieces = st.sampled_from([
    "FINDINGS:", "Impression", "检查所见：", "【诊断意见】", "\n", " ", "。", "clear", "正常", ". ",
    "1. ", "**", ":", "\r\n", "建议", "HISTORY:", "\t",
])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(pieces, max_size=20).map("".join)))
def test_no_text_is_lost_or_moved(words: str) -> None:
    cut = parts(words)
    assert "".join(part.heading + part.body for part in cut) == words
    for body in sections(words).values():
        assert all(line in words for line in body.split("\n"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [("T2WI 高信号 FLAIR 低信号，考虑梗死", "zh"), ("Ångström naïve", "en"), ("12.5 / 7", "und")],
)
def test_language_by_script(words: str, expected: str) -> None:
    assert language(words) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_plain_text(tmp_path: Path, encoding: str) -> None:
    read = text(load(put(tmp_path, CHINESE.replace("\n", "\r\n").encode(encoding), "r.txt")))
    assert read.text == CHINESE
    assert read.language == "zh"
    assert read.sections == sections(CHINESE)
    assert read.flags == (("encoding-gb18030",) if encoding == "gb18030" else ())


def test_text_without_sections_has_another_name(tmp_path: Path) -> None:
    assert text(load(put(tmp_path, "Nothing to add.", "n.txt")), "text").sections == {}
    with pytest.raises(UnsupportedError, match="no text"):
        load(put(tmp_path, "  \n", "n.txt"))
    with pytest.raises(UnreadableError):
        load(put(tmp_path, b"a" * 3000 + b"\0", "n.txt"))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("cxr-outcomes/images.csv", "clinical_notes"),
        ("cxr-structures/images.csv", "clinical_notes"),
        ("odir/patients.csv", "left_keywords"),
    ],
)
def test_real_notes(data_dir: Path, name: str, column: str) -> None:
    with (data_dir / name).open(encoding="utf-8") as stream:
        notes = [row[column] for row in csv.DictReader(stream)]
    assert any(notes)
    for note in notes:
        assert "".join(p.heading + p.body for p in parts(note)) == note
        assert language(note) in ("en", "und")


def test_word(tmp_path: Path) -> None:
    cell = "<w:tc>{}</w:tc>"
    cells = cell.format(paragraph("CTR")) + cell.format(paragraph("0.5"))
    table = f"<w:tbl><w:tr>{cells}</w:tr></w:tbl>"
    body = (
        paragraph("FINDINGS:")
        + "<w:p><w:r><w:t>No</w:t><w:tab/><w:t>effusion</w:t><w:br/><w:t>at all.</w:t></w:r>"
        "<w:del><w:r><w:delText>Secret</w:delText></w:r></w:del></w:p>"
        + table
        + paragraph("IMPRESSION: normal &amp; well")
    )
    header = f"<w:hdr {W}>{paragraph('Secret Hospital')}</w:hdr>"
    read = text(load(docx(tmp_path / "r.docx", body, header1=header)))
    assert read.text == ("FINDINGS:\nNo\teffusion\nat all.\nCTR\t0.5\nIMPRESSION: normal & well\n")
    assert read.sections["impression"] == "normal & well"
    assert read.flags == ("notes-left-out", "tracked-changes")


def test_word_boxes_are_read_once(tmp_path: Path) -> None:
    mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = f"<w:txbxContent>{paragraph('in a box')}</w:txbxContent>"
    body = (
        f"<w:p><w:r><mc:AlternateContent xmlns:mc='{mc}'><mc:Choice>{box}</mc:Choice>"
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    assert text(load(docx(tmp_path / "r.docx", body)), "text").text.count("in a box") == 1


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def test_hostile_word_documents(tmp_path: Path) -> None:
    path = docx(tmp_path / "r.docx", paragraph("x"), styles=f"{BOMB}<x>&b;</x>")
    load(path)  # a part that nobody reads is not opened
    for hostile in (BOMB, '<!DOCTYPE x SYSTEM "file:///etc/passwd">'):
        docx(path, "", header1=f"{hostile}<x/>")
        with pytest.raises(UnreadableError, match="entities"):
            load(path)
    docx(path, paragraph(" " * 30_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(TooLargeError, match="bomb"):
        load(path)
    docx(path, "<w:p>" * 50_000 + "</w:p>" * 50_000)
    with pytest.raises(OslerError):
        load(path)
    whole = docx(path, paragraph("x")).read_bytes()
    for keep in (10, 100, len(whole) - 30):
        with pytest.raises(OslerError):
            load(put(tmp_path, whole[:keep], "cut.docx"))


def test_other_archives_are_named(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("x", "y")
    with pytest.raises(UnsupportedError, match="no Word or Excel"):
        load(tmp_path / "a.zip")


def test_pdf(tmp_path: Path) -> None:
    path = put(
        tmp_path, pdf(["FINDINGS: clear lungs.\nNo effusion.", "IMPRESSION: normal."]), "r.pdf"
    )
    read = text(load(path))
    assert read.sections == {"findings": "clear lungs.\nNo effusion.", "impression": "normal."}
    assert read.text.count("\f") == 1
    assert not read.flags
    assert text(load(put(tmp_path, pdf(["FINDINGS: x", ""]), "r.pdf"))).flags == (
        "pages-without-text",
    )


def test_pdfs_that_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="scan"):
        load(put(tmp_path, pdf(["", ""]), "r.pdf"))
    writer = pypdf.PdfWriter(clone_from=put(tmp_path, pdf(["x"]), "r.pdf"))
    writer.encrypt("Secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    with pytest.raises(UnsupportedError, match="password"):
        load(tmp_path / "locked.pdf")
    writer = pypdf.PdfWriter(clone_from=tmp_path / "r.pdf")
    writer.encrypt("", "owner", algorithm="RC4-128")
    writer.write(tmp_path / "open.pdf")
    assert text(load(tmp_path / "open.pdf"), "text").text.strip() == "x"


def test_cda(tmp_path: Path) -> None:
    case = load(put(tmp_path, CDA, "r.xml"))
    read = text(case)
    assert case.patient_id == "P-1"
    assert read.language == "en"
    assert read.acquired == datetime(2020, 1, 2, 10, 30)
    assert read.sections == {
        "indication": "Cough, three weeks.",
        "findings": "Right upper lobe opacity.\nNo effusion\nHeart normal\nCTR\t0.48\nIntact.",
        "impression": "Pneumonia likely.",
    }
    assert read.text.startswith("Chest radiograph\nWhy\nCough, three weeks.\nFindings\n")
    assert "Secret" not in read.text
    assert read.origin is not None
    assert read.origin.format == "cda"


def test_cda_around_other_content(tmp_path: Path) -> None:
    body = '<ClinicalDocument xmlns="urn:hl7-org:v3"><component><nonXMLBody><text {}>{}</text>' \
        "</nonXMLBody></component></ClinicalDocument>"  # fmt: skip
    words = base64.b64encode("印象：正常".encode()).decode()
    read = text(
        load(
            put(
                tmp_path, body.format('mediaType="text/plain" representation="B64"', words), "r.xml"
            )
        )
    )
    assert read.sections == {"impression": "正常"}
    with pytest.raises(UnsupportedError, match="application/pdf"):
        load(put(tmp_path, body.format('mediaType="application/pdf"', "x"), "r.xml"))


def test_plain_xml(tmp_path: Path) -> None:
    words = """<?xml version="1.0"?><eCitation><Abstract>
      <AbstractText Label="COMPARISON">None.</AbstractText>
      <AbstractText Label="FINDINGS">Clear <b>lungs</b>, no effusion.</AbstractText></Abstract>
      <ClinicalHistory>Cough</ClinicalHistory></eCitation>"""
    read = text(load(put(tmp_path, words, "r.xml")))
    assert read.sections == {
        "comparison": "None.", "findings": "Clear\nlungs\n, no effusion.", "history": "Cough"
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "x">]><r>&a;</r>',
        '<?xml version="1.0"?><!DOCTYPE r SYSTEM "file:///etc/passwd"><r/>',
        f'<?xml version="1.0"?>{BOMB}<x>&b;</x>',
        '<?xml version="1.0"?><r>',
        '<?xml version="1.0"?><r></r></r>',
        '<?xml version="1.0"?><r/>',
        '<?xml version="1.0"?>' + "<a>" * 300 + "x" + "</a>" * 300,
        '<?xml version="1.0" encoding="klingon"?><r>x</r>',
    ],
)
def test_hostile_xml(tmp_path: Path, words: str) -> None:
    with pytest.raises(OslerError, match=r"r\.xml'"):
        load(put(tmp_path, words, "r.xml"))


def observation(name: str, day: str = "2020-01-02T10:00:00+01:00", **value: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "1-8", "display": name}]},
        "effectiveDateTime": day, **value,
    }  # fmt: skip


def bundle(*resources: dict[str, Any]) -> str:
    return json.dumps({"resourceType": "Bundle", "entry": [{"resource": r} for r in resources]})


def quantity(value: float, **more: Any) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, **more}}


PRESSURE = observation("Blood pressure", component=[
    {"code": {"text": "systolic"}, **quantity(120, unit="mmHg")},
    {"code": {"text": "diastolic"}, **quantity(80, code="mm[Hg]", system="http://unitsofmeasure.org")},
])  # fmt: skip


@pytest.mark.parametrize("lines", [False, True])
def test_fhir_observations(tmp_path: Path, lines: bool) -> None:
    resources = [
        {"resourceType": "Patient", "id": "p1", "gender": "female", "name": [{"text": "Secret"}]},
        observation("Glucose", **quantity(5.4, unit="mmol/l")),
        PRESSURE,
        observation("Troponin", day="2020-01-03", **quantity(5, unit="ng/L", comparator="<")),
        observation("Smoker", day="2020-01-03", valueBoolean=True),
        observation("Gone", day="2020-01-03", dataAbsentReason={"text": "unknown"}),
        {**observation("Wrong", **quantity(1)), "status": "entered-in-error"},
    ]
    content = "\n".join(map(json.dumps, resources)) if lines else bundle(*resources)
    case = load(put(tmp_path, content, "b.json"))
    first, second = case["table"], case["table-2"]
    assert isinstance(first, Table)
    assert isinstance(second, Table)
    assert case.patient_id == "p1"
    assert first.values == {
        "Glucose": 5.4, "Blood pressure: systolic": 120, "Blood pressure: diastolic": 80
    }  # fmt: skip
    assert set(first.units.values()) == {"mmol/L", "mm[Hg]"}
    assert first.acquired == datetime.fromisoformat("2020-01-02T10:00:00+01:00")
    assert first.header["codes"]["Glucose"].scheme == "LN"
    assert second.values == {"Troponin": "<5", "Smoker": True}
    assert second.flags == ("value-as-text",)
    sex = case["variables"]
    assert isinstance(sex, Table)
    assert sex.values == {"sex": "female"}


def test_fhir_of_several_patients_asks_whose(tmp_path: Path) -> None:
    other = {**observation("Glucose", **quantity(7)), "subject": {"reference": "Patient/p2"}}
    path = put(tmp_path, bundle(observation("Glucose", **quantity(5)), other), "b.json")
    with pytest.raises(UnsupportedError, match=r"2 patients.*case="):
        load(path)
    item = load(path, case="p2")["table"]
    assert isinstance(item, Table)
    assert item.values == {"Glucose": 7}
    with pytest.raises(InputError, match="no patient"):
        load(path, case="p3")


def test_fhir_report(tmp_path: Path) -> None:
    form = {"contentType": "text/plain", "language": "en-GB",
            "data": base64.b64encode(ENGLISH.encode()).decode()}  # fmt: skip
    made = {
        "resourceType": "DiagnosticReport", "status": "final",
        "subject": {"reference": "Patient/p"}, "conclusion": "Nodule, follow up.",
        "presentedForm": [form, {"contentType": "application/pdf"}],
        "effectiveDateTime": "2021-02-03",
    }  # fmt: skip
    case = load(put(tmp_path, json.dumps(made), "r.json"))
    read = text(case)
    assert read.text == f"{ENGLISH}\nNodule, follow up."
    assert read.sections["findings"].startswith("Solid nodule")
    assert read.flags == ("presented-form-not-read",)
    assert (read.language, read.acquired, case.patient_id) == ("en", datetime(2021, 2, 3), "p")
    del made["presentedForm"]
    made["text"] = {"div": "<div><p>a &lt; b</p><script>Secret</script>c</div>"}
    assert text(load(put(tmp_path, json.dumps(made), "r.json"))).text == (
        "a < b\nc\nNodule, follow up."
    )


def test_our_own_fhir_is_read_back(tmp_path: Path) -> None:
    from fake_case import fake_case

    from osler.io.fhir import bundle as written

    content = json.dumps(written(fake_case(tmp_path)))
    case = load(put(tmp_path, content, "own.json"))
    assert case.items


@pytest.mark.parametrize("words", ['{"resourceType": "Bundle"}', '{"resourceType": "Bun',
    '{"resourceType": "Observation", "x": ' + "[" * 100_000])  # fmt: skip
def test_fhir_without_content(tmp_path: Path, words: str) -> None:
    with pytest.raises(InputError):
        load(put(tmp_path, words, "r.json"))


SAMPLES = {
    "r.xml": CDA.encode(),
    "r.json": bundle(PRESSURE, observation("a", **quantity(1))).encode(),
    "r.pdf": pdf(["FINDINGS: x\ny", "z"]),
    "r.txt": ENGLISH.encode(),
}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(SAMPLES)), at=st.integers(0, 4000), some=st.binary(max_size=3),
    keep=st.integers(20, 4000),
)  # fmt: skip
def test_damage_ends_in_our_errors(
    tmp_path: Path, name: str, at: int, some: bytes, keep: int
) -> None:
    data = SAMPLES[name]
    at %= len(data)
    data = (data[:at] + some + data[at + len(some) :])[:keep]
    try:
        case = load(put(tmp_path, data, name))
    except OslerError:
        return
    assert case.items
