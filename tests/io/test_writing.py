import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_case import fake_case

from osler.errors import OutputError
from osler.io import writing
from osler.io.findings_json import read_findings
from osler.io.writing import WRITERS, write
from osler.record import Case

EXPECTED = {"findings.json", "measurements.csv", "masks", "report.html"}


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_case_gets_its_folder(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    folder = write(case, tmp_path / "deep" / "out")
    assert folder == tmp_path / "deep" / "out" / case.id
    assert EXPECTED | {"overlay.png"} == names(folder)
    assert names(folder.parent) == {case.id}
    assert read_findings(folder).findings.keys() == case.findings.keys()


def test_what_is_not_wanted_is_not_written(tmp_path: Path) -> None:
    folder = write(fake_case(tmp_path), tmp_path / "out", html=False)
    assert "report.html" not in names(folder)


def test_writers_are_named_once() -> None:
    assert len({name for name, _ in WRITERS}) == len(WRITERS)


def test_a_case_without_a_picture_is_written(tmp_path: Path) -> None:
    assert names(write(Case(id="empty"), tmp_path)) == EXPECTED - {"masks"}


def test_an_earlier_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    folder = write(case, tmp_path / "out")
    (folder / "left over.txt").write_text("old")
    write(case, tmp_path / "out", html=False)
    assert names(folder) == EXPECTED - {"report.html"} | {"overlay.png"}
    assert names(tmp_path / "out") == {case.id}


def test_the_same_without_an_exchange_of_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_exchange", lambda a, b: False)
    case = fake_case(tmp_path)
    write(case, tmp_path / "out")
    folder = write(case, tmp_path / "out", html=False)
    assert "report.html" not in names(folder)
    assert names(tmp_path / "out") == {case.id}


def test_overwrite_can_be_refused(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    write(case, tmp_path / "out")
    with pytest.raises(OutputError, match="exists"):
        write(case, tmp_path / "out", overwrite=False)


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_osler_did_not_write_is_left_alone(tmp_path: Path, kind: str) -> None:
    case = fake_case(tmp_path)
    target, mine = tmp_path / "out" / case.id, tmp_path / "mine"
    target.parent.mkdir()
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    if kind == "folder":
        mine.rename(target)
    elif kind == "file":
        target.write_text("precious")
    else:
        target.symlink_to(mine)
    with pytest.raises(OutputError, match="left alone"):
        write(case, tmp_path / "out")
    kept = target if kind == "file" else target / "thesis.txt"
    assert kept.read_text() == "precious"
    assert names(target.parent) == {case.id}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    (tmp_path / "out" / case.id).mkdir(parents=True)
    assert names(write(case, tmp_path / "out")) > {"findings.json"}


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a\\b", "nul\0", "x" * 256, "眼" * 86])
def test_an_id_that_names_no_folder_is_refused(tmp_path: Path, id: str) -> None:
    with pytest.raises(OutputError, match="case id"):
        write(Case(id=id), tmp_path / "out")


@pytest.mark.parametrize("id", ["x" * 255, "眼" * 85, "a b.c", "-rf", "ünïcode 'q\""])
def test_long_and_odd_ids_are_written(tmp_path: Path, id: str) -> None:
    folder = write(Case(id=id), tmp_path)
    assert json.loads((folder / "findings.json").read_text("utf-8"))["case"]["id"] == id
    assert names(tmp_path) == {id}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, MemoryError, ValueError])
def test_a_failure_leaves_the_old_folder_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    case = fake_case(tmp_path)
    folder = write(case, tmp_path / "out")
    before = (folder / "report.html").read_bytes()

    def fail(case: Case, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise stop

    monkeypatch.setattr(writing, "WRITERS", (*WRITERS[:2], ("failing", fail)))
    with pytest.raises(stop):
        write(case, tmp_path / "out")
    assert names(tmp_path / "out") == {case.id}
    assert (folder / "report.html").read_bytes() == before


def test_an_output_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*choose another output folder"):
        write(fake_case(tmp_path), tmp_path / "file" / "out")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, which nobody can write to")
def test_an_output_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="/proc"):
        write(fake_case(tmp_path), "/proc/osler-out")


# A file may grow to 20 kB only, as on a full disk.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from fake_case import fake_case
from osler.errors import OutputError
from osler.io.writing import write
case = fake_case(Path(sys.argv[1]), shape=(480, 640))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write(case, Path(sys.argv[1]) / "out")
except OutputError as error:
    print(error)
"""

# Writes one case over and over, each time with another number of files.
OVER_AND_OVER = """
import signal, sys
from pathlib import Path
from fake_case import fake_case
from osler.io.writing import write
# whoever starts the tests in the background hands down an ignored interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
case = fake_case(Path(sys.argv[1]))
html = False
while True:
    write(case, Path(sys.argv[1]) / "out", html=html)
    html = not html
    print("written", flush=True)
"""


def python(code: str, *args: str) -> "subprocess.Popen[str]":
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name == "nt", reason="no limits on Windows")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    said, problems = python(FULL_DISK, str(tmp_path)).communicate(timeout=60)
    assert "choose another output folder" in said, problems
    assert names(tmp_path / "out") == set()


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
@pytest.mark.parametrize(
    ("how", "after"), [(signal.SIGKILL, 0.011), (signal.SIGKILL, 0.03), (signal.SIGINT, 0.02)]
)
def test_a_run_that_is_stopped_leaves_a_whole_folder(
    tmp_path: Path, how: signal.Signals, after: float
) -> None:
    process = python(OVER_AND_OVER, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    folder = tmp_path / "out" / "eye-jpeg"
    until = time.monotonic() + 0.5
    while time.monotonic() < until:  # what a reader sees meanwhile is always whole
        assert json.loads((folder / "findings.json").read_text("utf-8"))["findings"]
    time.sleep(after)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert names(folder) | {"report.html"} == EXPECTED | {"overlay.png"}
    assert read_findings(folder).findings.keys() == fake_case(tmp_path).findings.keys()
    if how is signal.SIGINT:
        assert names(tmp_path / "out") == {"eye-jpeg"}


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
def test_two_runs_on_one_folder_end_with_one_whole_case(tmp_path: Path) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "out").symlink_to(tmp_path / "out")
        runs.append(python(OVER_AND_OVER, str(tmp_path / name)))
    (tmp_path / "out").mkdir()
    for run in runs:
        assert run.stdout is not None
        for _ in range(8):
            assert run.stdout.readline() == "written\n"
    for run in runs:
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    assert read_findings(tmp_path / "out" / "eye-jpeg").id == "eye-jpeg"
    assert names(tmp_path / "out") == {"eye-jpeg"}
