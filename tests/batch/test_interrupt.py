"""Ctrl-C in mid-batch, by real signals to real processes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.name == "nt", reason="POSIX signals")]


@pytest.fixture
def folder(photos, others) -> Path:
    """Five pictures; when the first was read, the next two take long enough for a signal."""
    others("a.jpg", "d.jpg", "e.jpg")
    return photos("b.jpg", "c.jpg")


def start(folder: Path, out: Path, jobs: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "osler", "read", str(folder), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--json", "--jobs", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a shell does: the signal goes to the whole group
    )


def interrupted_after_one(folder: Path, out: Path, jobs: int, *signals: int) -> tuple[int, list]:
    with start(folder, out, jobs) as process:
        first = process.stdout.readline()
        for number in signals:
            os.killpg(process.pid, number)
            time.sleep(0.05)
        rest, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert "interrupted" in errors
    return process.returncode, [json.loads(line) for line in [first, *rest.splitlines()]]


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_finishes_the_cases_in_hand(folder, osler, tmp_path, jobs):
    out = tmp_path / "out"
    status, told = interrupted_after_one(folder, out, jobs, signal.SIGINT)
    assert status == 130
    assert 1 <= len(told) <= 1 + 2 * jobs
    check_complete(out, {line["case"] for line in told})

    again = osler("read", folder, "--out", out, "--json", "--jobs", jobs)
    assert again.returncode == 0, again.stderr
    status_of = {r["case"]: r["status"] for r in map(json.loads, again.stdout.splitlines())}
    assert {case for case, status in status_of.items() if status == "skipped"} == {
        line["case"] for line in told
    }
    check_complete(out, set("abcde"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_second_stops_at_once_and_leaves_no_half_case(folder, tmp_path, jobs):
    out = tmp_path / "out"
    status, told = interrupted_after_one(folder, out, jobs, signal.SIGINT, signal.SIGINT)
    assert status == 130
    check_complete(out, {line["case"] for line in told}, at_least=True)


def test_a_polite_kill_is_an_interruption_too(folder, tmp_path):
    status, told = interrupted_after_one(folder, tmp_path / "out", 1, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    check_complete(tmp_path / "out", {line["case"] for line in told})


def check_complete(out: Path, cases: set[str], *, at_least: bool = False) -> None:
    """Only whole cases lie there, and the summary has a row for each."""
    folders = {p.name for p in out.iterdir() if p.is_dir() and not p.name.startswith(".")}
    assert folders >= cases if at_least else folders == cases
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]
    for folder in folders:
        for name in ("findings.json", "report.html", "overlay.png", "measurements.csv"):
            assert (out / folder / name).stat().st_size > 0
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert {row["case"] for row in csv.DictReader(file)} == folders
