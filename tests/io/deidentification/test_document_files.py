"""Word and PDF documents: the findings stay, and nobody goes along."""

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pypdf
import pytest
import word_documents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaks import found
from PIL import Image

from osler.io import load, pdf_typeset
from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Copied, Setting, check, copy

KEY = Key(b"k" * 32)
RULES = Options(pixels="rules")
SECRETS = (
    "Quillfeather", "Xiomara", "Fazakerley", "Balthazar", "MCH-0234567", "Quagmire", "欧阳", "小明",
    "1951", "2019", "7946", "example.org", "Faza", "kerley",
)  # fmt: skip


def copied(path: Path, tmp_path: Path, options: Options = RULES) -> tuple[Copied, Path]:
    setting = Setting(path.parent, tmp_path / "out", options, KEY)
    outcome = copy(path, setting)
    assert outcome.status == "copied", outcome.error
    assert check(outcome, setting) == []
    new = tmp_path / "out" / outcome.place
    assert found([new], SECRETS) == []
    return outcome, new


def words(path: Path) -> str:
    return load(path)["report"].text  # type: ignore[union-attr]


def test_word_keeps_its_findings_and_its_form(tmp_path: Path) -> None:
    path = word_documents.write(tmp_path / "Quillfeather.docx")
    assert set(found([path], SECRETS)) >= {"Quillfeather", "Fazakerley", "MCH-0234567", "欧阳"}
    outcome, new = copied(path, tmp_path)
    text = words(new)
    assert "FINDINGS: 6 mm nodule in the right upper lobe, 35 HU. No effusion." in text
    assert "Patient name\t[NAME]\nMRN\t[ID]" in text
    assert "Seen by Dr. [NAME] on [DATE]." in text
    assert "患者姓名：[NAME]，男，65岁" in text
    with zipfile.ZipFile(new) as archive:
        names = set(archive.namelist())
        for name in names:
            if name.endswith((".xml", ".rels")):
                ElementTree.fromstring(archive.read(name))
        body = archive.read("word/document.xml").decode()
        comments = archive.read("word/comments.xml").decode()
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert "mc:Ignorable" in body
    assert "<w:ins " in body
    assert body.count('w:author="REMOVED"') == 2
    assert "call [NAME] on [PHONE]" in comments
    assert not any(n.startswith("customXml") or n == "docProps/app.xml" for n in names)
    assert outcome.counts["Word pictures", "blanked"] == 1
    assert any("1 picture blanked" in note for note in outcome.notes)


def test_every_part_that_is_named_is_there(tmp_path: Path) -> None:
    _, new = copied(word_documents.write(tmp_path / "a.docx"), tmp_path)
    with zipfile.ZipFile(new) as archive:
        names = set(archive.namelist())
        types = ElementTree.fromstring(archive.read("[Content_Types].xml"))
        for one in types.iter():
            if one.tag.endswith("}Override"):
                assert one.get("PartName", "").lstrip("/") in names
        targets = {
            one.get("Target", "").lstrip("/")
            for one in ElementTree.fromstring(archive.read("word/_rels/document.xml.rels"))
            if one.get("TargetMode") is None
        }
        identifiers = {
            one.get("Id")
            for one in ElementTree.fromstring(archive.read("word/_rels/document.xml.rels"))
        }
    assert {t if t.startswith("word/") else f"word/{t}" for t in targets} <= names
    assert {"rId5", "rId6", "rId8", "rId9"} <= identifiers


def test_text_in_a_picture_of_a_document_goes(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    path = word_documents.write(tmp_path / "a.docx")
    outcome, new = copied(path, tmp_path, Options())
    assert outcome.counts["Word pictures", "cleaned"] == 1
    with zipfile.ZipFile(new) as archive:
        (name,) = [n for n in archive.namelist() if n.startswith("word/media/")]
        with archive.open(name) as stream, Image.open(stream) as image:
            assert image.size == (256, 192)
            assert np.asarray(image)[9:18, 8:120].max() == 0


def test_objects_of_other_programs_are_refused(tmp_path: Path) -> None:
    more = {"word/embeddings/a.bin": b"Quillfeather"}
    path = word_documents.write(tmp_path / "a.docx", more=more, relation="oleObject")
    outcome = copy(path, Setting(tmp_path, tmp_path / "out", RULES, KEY))
    assert outcome.status == "refused"
    assert "oleObject" in outcome.error


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_cut_document_is_not_copied(tmp_path: Path, part: float) -> None:
    path = word_documents.write(tmp_path / "a.docx")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    outcome = copy(path, Setting(tmp_path, tmp_path / "out", RULES, KEY))
    assert outcome.status in ("failed", "refused")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(["word/document.xml", "word/comments.xml"]), data=st.data())
def test_damaged_parts_are_named_or_clean(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = word_documents.write(tmp_path / "a.docx")
    with zipfile.ZipFile(path) as archive:
        whole = archive.read(name)
    at = data.draw(st.integers(0, len(whole) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=20))
    part = whole[:at] + junk + whole[at + len(junk) :]
    word_documents.write(path, more={name: part})
    outcome = copy(path, Setting(tmp_path, tmp_path / "out", RULES, KEY))
    assert outcome.status in ("copied", "failed", "refused")
    assert "Quillfeather" not in outcome.error


REPORT = """CT CHEST
Patient: Xiomara Quillfeather   MRN: MCH-0234567   DOB: 14 Feb 1951
St. Quagmire Hospital, reported by Dr Balthazar Fazakerley on 3 March 2019
FINDINGS: 6 mm nodule in the right upper lobe. No effusion.
\fIMPRESSION: stable. Call 020 7946 0123.
"""


def test_pdf_is_set_anew_from_its_text(tmp_path: Path) -> None:
    path = tmp_path / "Quillfeather.pdf"
    path.write_bytes(pdf_typeset.typeset(REPORT))
    writer = pypdf.PdfWriter(clone_from=path)
    writer.add_metadata({"/Author": "Balthazar Fazakerley", "/Title": "Xiomara Quillfeather"})
    writer.add_attachment("Quillfeather.txt", b"Xiomara Quillfeather")
    writer.write(path)
    outcome, new = copied(path, tmp_path)
    reader = pypdf.PdfReader(new)
    text = "\n".join(page.extract_text() for page in reader.pages)
    assert "FINDINGS: 6 mm nodule in the right upper lobe. No effusion." in text
    assert "Patient: [NAME]" in text
    assert reader.metadata is None
    assert any("set anew from its text" in note for note in outcome.notes)


def test_pdf_in_chinese(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf_typeset.typeset("患者姓名：欧阳小明 男 65岁\n右肺上叶见6mm结节。"))
    _, new = copied(path, tmp_path)
    (page,) = pypdf.PdfReader(new).pages
    assert page.extract_text().split() == ["患者姓名：[NAME]", "男", "65岁", "右肺上叶见6mm结节。"]


def test_pdf_in_letters_that_cannot_be_set_becomes_text(tmp_path: Path) -> None:
    line = "नमस्ते Dr Quillfeather"
    shown = f"<{line.encode('utf-16-be').hex()}> Tj".encode()
    stream = b"BT /F1 12 Tf 50 790 Td " + shown + b" ET"
    system = b"<</Registry(Adobe)/Ordering(GB1)/Supplement 4>>"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[4 0 R]/Count 1>>",
        b"<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/UniGB-UCS2-H"
        b"/DescendantFonts[6 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 5 0 R"
        b"/Resources<</Font<</F1 3 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/CIDFontType0/BaseFont/STSong-Light/CIDSystemInfo%s>>" % system,
    ]
    data, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = (
        b"xref\n0 7\n0000000000 65535 f \n%strailer\n<</Size 7/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    )
    path = tmp_path / "a.pdf"
    path.write_bytes(data + end % (table, len(data)))
    outcome, new = copied(path, tmp_path)
    assert new.suffix == ".txt"
    assert new.read_text("utf-8").strip() == "नमस्ते Dr [NAME]"
    assert any("plain text" in note for note in outcome.notes)


def test_a_scan_in_pdf_is_refused(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(200, 200)
    path = tmp_path / "a.pdf"
    writer.write(path)
    outcome = copy(path, Setting(tmp_path, tmp_path / "out", RULES, KEY))
    assert outcome.status == "refused"
    assert "scan" in outcome.error
    with_text = tmp_path / "b.pdf"
    with_text.write_bytes(pdf_typeset.typeset(REPORT))
    writer = pypdf.PdfWriter(clone_from=with_text)
    writer.add_blank_page(200, 200)
    writer.write(with_text)
    outcome = copy(with_text, Setting(tmp_path, tmp_path / "out", RULES, KEY))
    assert outcome.status == "refused"
