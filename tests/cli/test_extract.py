"""``osler extract``: statements of reports as a table, JSON lines, findings and FHIR."""

import csv
import io
import json
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from osler.cli import app

REPORT = "FINDINGS: Right eye: moderate NPDR. No macular oedema. IOP OD 18 mmHg.\n"


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["extract", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_table_of_statements_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text(REPORT)
    code, out, _ = run(str(path))
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(r["finding"], r["status"], r["side"], r["value"], r["icd10"]) for r in rows] == [
        ("dr-grade", "present", "R", "2", "H36.0"),
        ("macular-oedema", "absent", "R", "", "H35.8"),
        ("iop", "present", "R", "18", ""),
    ]
    assert rows[0]["words"] == "moderate NPDR"
    assert REPORT[int(rows[0]["start"]) : int(rows[0]["stop"])] == "moderate NPDR"


def test_folders_get_findings_and_fhir(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.txt").write_text(REPORT)
    (source / "b.txt").write_text("左眼未见出血。", encoding="utf-8")
    Image.new("RGB", (9, 9)).save(source / "c.png")
    code, _, err = run(str(source), str(tmp_path / "i*" / "*"), "-o", str(out), "--fhir")
    assert code == 0
    assert "4 statements of 2 reports" in err
    bundle = json.loads((out / "a" / "fhir.json").read_text("utf-8"))
    codes = json.dumps(bundle)
    assert "272519000" in codes  # absent
    assert "LA18645-4" in codes  # moderate
    document = json.loads((out / "b" / "findings.json").read_text("utf-8"))
    assert document["findings"][0]["value"] == "absent"


def test_what_cannot_be_read_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("No pneumothorax.")
    bad.write_text("   ")
    code, out, err = run(str(good), str(bad), "--json")
    assert code == 3
    assert "bad.txt" in err
    assert json.loads(out)["status"] == "absent"


def test_fhir_needs_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text(REPORT)
    assert run(str(path), "--fhir")[0] == 2


def test_a_cell_that_a_spreadsheet_would_run_is_made_safe(tmp_path: Path) -> None:
    path = tmp_path / "=cmd.txt"
    path.write_text("Cataract.")
    row = next(csv.DictReader(io.StringIO(run(str(path))[1])))
    assert not row["case"].startswith("=")
