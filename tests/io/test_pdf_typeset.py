"""Text set as PDF: what is taken out, by two readers, is what was put in."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pypdf
import pytest
from PIL import Image as Picture

from osler.errors import OutputError
from osler.io import load
from osler.io.dicom_pdf import write_document
from osler.io.pdf_typeset import typeset
from osler.record import Text

TEXTS = {
    "western": "Findings: 3.5 µm, 100 % (ungraded); naïve – “quoted” \\ end\nImpression: none.",
    "chinese": "检查所见：双肺纹理清晰，未见实变影。\n印象：心影不大。　（请结合临床）",
    "traditional": "檢查所見：肝臟腫大。\n印象：無。",
    "mixed": "肝脏 CT 值约 55 HU，大小 12.5 mm × 8 mm (见图 3)。\nLiver: 肝 end.",
    "japanese": "所見：肺野に異常なし。カルテ",
    "korean": "소견: 폐에 이상 없음. 간 12 mm",
    "greek": "α, β and Δ = 0.3; Ψ; Диагноз: нет",
}


def of_case(path: Path) -> str:
    case = load(path)
    return next(i.text for i in case.items.values() if isinstance(i, Text))


@pytest.mark.parametrize("name", TEXTS)
def test_text_comes_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.pdf"
    path.write_bytes(typeset(TEXTS[name]))
    assert of_case(path).rstrip() == TEXTS[name]
    document = write_document(Text("t", TEXTS[name]), tmp_path / "x.dcm")
    assert of_case(document).rstrip() == TEXTS[name]


@pytest.mark.parametrize("name", TEXTS)
def test_poppler_takes_out_the_same(tmp_path: Path, name: str) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed: apt-get install poppler-utils")
    path = tmp_path / "x.pdf"
    path.write_bytes(typeset(TEXTS[name]))
    done = subprocess.run(
        ["pdftotext", "-layout", str(path), "-"], capture_output=True, check=True, timeout=60
    )
    said = done.stdout.decode().replace("\f", "")
    # a reader lays words out by the widths of the letters, and so may add spaces
    assert "".join(said.split()) == "".join(TEXTS[name].split())


def test_letters_are_drawn_apart(tmp_path: Path) -> None:
    if shutil.which("pdftoppm") is None:
        pytest.skip("pdftoppm is not installed: apt-get install poppler-utils")
    path = tmp_path / "x.pdf"
    path.write_bytes(typeset("Ab 检查所见双肺\n"))
    subprocess.run(
        ["pdftoppm", "-r", "72", "-gray", "-png", "-singlefile", str(path), str(tmp_path / "x")],
        check=True,
        timeout=60,
    )
    page = np.asarray(Picture.open(tmp_path / "x.png").convert("L"))
    assert page.shape == (842, 595)
    dark = np.flatnonzero((page < 200).any(0))
    # two letters and a space, then seven signs of 10 points each
    assert dark.min() >= 50
    assert 120 <= dark.max() <= 50 + 20 + 70


@pytest.mark.parametrize("line", ["肝" * 200, "肝脏 liver " * 40, "word " * 60, "x" * 300])
def test_long_lines_are_broken_and_lose_nothing(line: str) -> None:
    pages = pypdf.PdfReader(io.BytesIO(typeset(line))).pages
    text = pages[0].extract_text()
    lines = text.split("\n")
    assert len(lines) > 1
    widths = [sum(2 if c >= "⺀" else 1 for c in part) for part in lines]
    assert max(widths) <= 90
    assert "".join(text.split()) == "".join(line.split())


def test_many_pages_and_a_form_feed() -> None:
    reader = pypdf.PdfReader(io.BytesIO(typeset("\n".join(f"第{n}行" for n in range(130)))))
    assert len(reader.pages) == 3
    said = "\n".join(page.extract_text() for page in reader.pages)
    assert said.split() == [f"第{n}行" for n in range(130)]


@pytest.mark.parametrize("letter", ["\U0001f600", "ก", "א", "\U00020000"])
def test_letters_without_a_font_are_refused(letter: str) -> None:
    with pytest.raises(OutputError, match=f"U\\+{ord(letter):04X}"):
        typeset(f"text {letter}")
