"""``osler read`` from end to end: what is written, told and returned."""

import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import osler as package
from osler.batch import lock

pytestmark = pytest.mark.long


def lines(result: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_one_bad_file_does_not_end_the_batch(osler, photos, others, tmp_path):
    folder = photos("a.jpg")
    others("c.jpg")
    (folder / "b.jpg").write_text("not a photograph")
    out = tmp_path / "out"
    result = osler("read", folder, "--out", out, "--no-html")
    assert result.returncode == 3
    assert "b.jpg" in result.stderr
    assert "--debug" not in result.stderr
    assert "a  " in result.stdout
    assert sorted(p.name for p in out.iterdir()) == ["a", "c", "summary.csv"]
    assert {name: row["status"] for name, row in rows(out).items()} == {
        "a": "read",
        "b": "failed",
        "c": "read",
    }
    assert rows(out)["b"]["error"]
    assert rows(out)["a"]["quality"]


def test_a_second_run_skips_and_force_reads_again(osler, others, tmp_path):
    folder, out = others("a.jpg"), tmp_path / "out"
    first = osler("read", folder, "--out", out, "--json", "--no-html")
    assert first.returncode == 0, first.stderr
    again = osler("read", folder, "--out", out, "--json", "--no-html")
    assert [line["status"] for line in lines(first) + lines(again)] == ["read", "skipped"]
    assert lines(first)[0]["findings"] == lines(again)[0]["findings"]
    before = (out / "a" / "findings.json").stat().st_mtime_ns
    forced = osler("read", folder, "--out", out, "--json", "--no-html", "--force")
    assert lines(forced)[0]["status"] == "read"
    assert (out / "a" / "findings.json").stat().st_mtime_ns > before
    (folder / "a.jpg").rename(folder / "b.jpg")
    osler("read", folder, "--out", out, "--no-html")
    assert {name: row["status"] for name, row in rows(out).items()} == {
        "b": "read",
        "a": "earlier",
    }


def test_all_outputs(osler, photos, tmp_path):
    out = tmp_path / "out"
    result = osler("read", photos("a.jpg"), "--out", out, "--dicom", "--fhir", "--language", "zh")
    assert result.returncode == 0, result.stderr
    assert str(out / "a" / "report.html") in result.stdout
    names = {p.name for p in (out / "a").iterdir()}
    assert names >= {
        "report.html",
        "findings.json",
        "measurements.csv",
        "masks",
        "overlay.png",
        "segmentation.dcm",
        "report.dcm",
        "fhir.json",
    }
    findings = json.loads((out / "a" / "findings.json").read_text(encoding="utf-8"))["findings"]
    assert {f["language"] for f in findings if f["kind"] == "passage"} == {"zh"}


def test_jobs_in_processes_give_the_same(osler, photos, others, tmp_path):
    folder = photos("left/eye.jpg")
    others("Eye.jpg")
    alone = osler("read", folder, "--out", tmp_path / "one", "--json", "--no-html")
    many = osler("read", folder, "--out", tmp_path / "two", "--json", "--no-html", "--jobs", 2)
    assert alone.returncode == many.returncode == 0, many.stderr
    cases = [{line["case"]: line["findings"] for line in lines(r)} for r in (alone, many)]
    assert cases[0] == cases[1]
    assert len({case.casefold() for case in cases[0]}) == 2


def test_json_goes_to_stdout_and_nothing_else(osler, others, tmp_path):
    folder = others("a.jpg")
    (folder / "b.png").touch()
    result = osler("read", folder, "--out", tmp_path / "out", "--json", "--no-html")
    assert result.returncode == 3
    read, failed = sorted(lines(result), key=lambda line: line["case"])
    assert read["status"] == "read"
    assert Path(read["folder"]).is_dir()
    assert failed["status"] == "failed"
    assert failed["error"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX terminals")
def test_a_bar_on_a_terminal(others, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "osler", "read", str(others("a.jpg")), "--no-html"]
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)
    assert process.returncode == 0, shown
    assert b"0/1" in shown
    assert b"1/1" in shown


def test_quiet_says_nothing(osler, others, tmp_path):
    result = osler("read", others("a.jpg"), "--out", tmp_path / "out", "--quiet", "--no-html")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["missing.jpg", "--out", "out"], "missing.jpg"),
        (["*.nothing", "--out", "out"], "*.nothing"),
        ([".", "--out", "out"], "."),
        (["photos"], "--out"),
        ([], "INPUT"),
        (["photos", "--out", "out", "--jobs", "0"], "--jobs"),
        (["photos", "--out", "out", "--language", "xx"], "--language"),
        (["photos", "--out", "photos/a.jpg"], "a.jpg"),
        (["photos", "--out", "out", "--patient", "missing.json"], "missing.json"),
        (["photos", "--out", "out", "--follow", "nobody"], "say one of ico"),
        (["photos", "--out", "photos/a.jpg/out"], "a.jpg"),
    ],
)
def test_wrong_usage_is_status_2_and_named(osler, photos, tmp_path, arguments, named):
    if "photos" in arguments:
        photos("a.jpg")
    result = osler("read", *arguments)
    assert result.returncode == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(osler, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with lock.hold(out):
        result = osler("read", photos("a.jpg"), "--out", out)
    assert result.returncode == 2
    assert f"process {os.getpid()}" in result.stderr


def test_unicode_long_and_undecodable_names(osler, others, tmp_path):
    folder = others("眼底 – Überprüfung.jpg", f"{'ä' * 120}.jpg")
    raw = os.fsencode(folder) + b"/\xff\xfe.jpg"
    try:
        Path(os.fsdecode(raw)).write_bytes((folder / "眼底 – Überprüfung.jpg").read_bytes())
    except OSError:
        raw = b""  # a file system that takes only UTF-8
    result = osler(
        "read", folder, "--out", tmp_path / "out", "--no-html", env=os.environ | {"LC_ALL": "C"}
    )
    assert result.returncode == 0, result.stderr
    assert len(rows(tmp_path / "out")) == (3 if raw else 2)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting takes root")
def test_a_full_disk_leaves_no_half_case(osler, photos, tmp_path):
    out = tmp_path / "small"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        result = osler("read", photos("a.jpg", "b.jpg"), "--out", out)
        assert result.returncode == 3
        assert "no space" in result.stderr.lower()
        assert not [p for p in out.iterdir() if p.name != "summary.csv"]
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_in_python_the_same(photos, tmp_path):
    case = package.read(photos("a.jpg") / "a.jpg")
    assert case["vessels"].mask.shape == case.image("photo").shape
    assert case.measurements
    assert (package.write(case, tmp_path / "out") / "report.html").is_file()
