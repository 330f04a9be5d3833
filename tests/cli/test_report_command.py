"""The command line: a drafted report beside the one by rule, and a report held against a case."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from osler.cli import app

sys.path.insert(0, str(Path(__file__).parent.parent / "language"))
from loopback_server import loopback, saying

PHOTO = Path(__file__).parent.parent.parent / "examples" / "idrid-073.jpg"
RUN = CliRunner()


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A photograph read with an engine that errs in one sentence, and what was asked of it."""
    out = tmp_path_factory.mktemp("read")
    words = "Findings: No soft exudates were seen [soft-exudates]. Impression: Grade 4 [dr-grade]."
    with loopback(saying(words)) as server:
        args = ["read", str(PHOTO), "--out", str(out), "--engine", server.engine, "--json"]
        result = RUN.invoke(app, args)
        again = RUN.invoke(app, args)
        asked = len(server.asked)
    return out / "idrid-073", result, again, asked


def test_the_draft_lies_beside_the_report_by_rule_and_is_marked(read):
    folder, result, again, asked = read
    assert result.exit_code == 0
    line = json.loads(result.stdout.splitlines()[0])
    assert line["draft"] == "draft-failed-check"
    assert "1 drafted report failed the check" in result.stderr
    found = json.loads((folder / "findings.json").read_text())["findings"]
    passages = {f["id"]: f for f in found if f["kind"] == "passage"}
    assert passages["draft-1"]["text"] == "No soft exudates were seen."
    assert "draft-failed-check" in passages["draft-check"]["flags"]
    assert not any("Grade 4" in p["text"] for p in passages.values())
    assert len(passages) > 10
    assert 'class="draft failed"' in (folder / "report.html").read_text()
    # read already, by the same engine: it is not asked again
    assert json.loads(again.stdout.splitlines()[0])["status"] == "skipped"
    assert asked == 1


def test_a_report_is_held_against_the_case(read, tmp_path):
    folder, *_ = read
    report = tmp_path / "report.txt"
    report.write_text("There are no soft exudates. This is the right eye.")
    result = RUN.invoke(app, ["check-report", str(report), str(folder), "--json"])
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert [c["kind"] for c in told["contradictions"]] == ["side"]
    assert told["stated"] == ["soft-exudates"]
    shown = RUN.invoke(app, ["check-report", str(report), str(folder)])
    assert "NO This is the right eye." in shown.stdout
    report.write_text("There are no soft exudates [soft-exudates].")
    assert RUN.invoke(app, ["check-report", str(report), str(folder)]).exit_code == 0
    report.write_text("There are no soft exudates.")
    args = ["check-report", str(report), str(folder), "--cited"]
    assert RUN.invoke(app, args).exit_code == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--engine", "gpt-4"], "no language engine"),
        (["--engine", "transformers:/nowhere"], "config.json"),
        (["--engine", "llama.cpp:/nowhere.gguf", "--jobs", "2"], "--jobs 1"),
    ],
)
def test_a_wrong_engine_is_said_before_the_first_case(args, message, tmp_path):
    result = RUN.invoke(app, ["read", str(PHOTO), "--out", str(tmp_path / "out"), *args])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_without_an_engine_nothing_of_language_is_imported():
    import subprocess

    code = (
        "import sys, osler, osler.cli, osler.batch.run, osler.batch.one, osler.io.html;"
        "assert not [m for m in sys.modules if m.startswith('osler.language')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
