"""Many files looked at in threads: in order, past what never answers, and as one by one."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pydicom
import pytest
from dicom_stack import ENCODERS, as_bytes, series, stack, write
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from osler.errors import InputError
from osler.io import load, sort
from osler.io.dicom_scan import TAGS, EndlessError, of_dataset, scan_tags
from osler.io.dicom_series import _Opener, open_slice, read_series
from osler.io.sorting_files import Looked, in_threads, look

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
PIXELS = 0x7FE00008
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    *ENCODERS,
)


def names(count: int) -> list[str]:
    return [str(i) for i in range(count)]


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 500])
@pytest.mark.parametrize("threads", [1, 3, 8])
def test_results_come_in_the_order_of_the_names(count: int, threads: int) -> None:
    def work(name: str) -> int:
        time.sleep(0.001 if int(name) % 97 == 0 else 0)
        return int(name)

    found = in_threads(work, names(count), late=-1, threads=threads)
    assert found == list(range(count))


def test_slow_answers_are_waited_for_side_by_side() -> None:
    def work(name: str) -> int:
        time.sleep(0.002)
        return int(name)

    began = time.monotonic()
    assert in_threads(work, names(2000), late=-1, threads=8) == list(range(2000))
    assert time.monotonic() - began < 2  # 4 s and more one after the other


def test_what_never_answers_takes_nothing_else_with_it() -> None:
    never = threading.Event()

    def work(name: str) -> int:
        if int(name) in (0, 40, 41, 399):
            never.wait()
        return int(name)

    began = time.monotonic()
    found = in_threads(work, names(400), late=-1, threads=2, patience=0.2)
    assert [i for i, result in enumerate(found) if result == -1] == [0, 40, 41, 399]
    assert [result for result in found if result >= 0] == [
        i for i in range(400) if i not in (0, 40, 41, 399)
    ]
    assert time.monotonic() - began < 10
    never.set()


def test_a_disk_that_is_gone_is_not_asked_for_every_file() -> None:
    never = threading.Event()

    def work(name: str) -> int:
        never.wait()
        return 1

    before = threading.active_count()
    began = time.monotonic()
    assert in_threads(work, names(5000), late=-1, threads=8, patience=0.1) == [-1] * 5000
    assert time.monotonic() - began < 10
    assert threading.active_count() - before < 60
    never.set()


def test_a_file_that_another_program_holds_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a", series())
    held = tmp_path / "a" / "held.dcm"
    held.write_bytes(as_bytes(series()[0]))
    code = (
        "import fcntl, os, sys, time; fd = os.open(sys.argv[1], os.O_RDWR);"
        "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK); print('held', flush=True);"
        "import signal; signal.signal(signal.SIGIO, signal.SIG_IGN); time.sleep(30)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGIO, 1);{code}", str(held)],
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        try:
            assert other.stdout is not None
            if other.stdout.readline() != "held\n":
                pytest.skip("this file system has no leases")
            began = time.monotonic()
            cases = sort(tmp_path)
            assert time.monotonic() - began < 5
            ((path, reason),) = cases.skipped
            assert path == str(held)
            assert reason.startswith("cannot be opened")
            assert len(cases.studies[0].series[0].files) == 6
        finally:
            other.kill()


# --- one walk for sorting and for stacking --------------------------------------------------


def scanned(path: Path) -> Looked:
    return look(str(path), TAGS, PIXELS)


def the_same(path: Path) -> None:
    """A slice by what sorting saw of it is the one that opening its file gives."""
    what = scanned(path)
    assert what.scan is not None
    opener = _Opener(200_000_000)
    for _ in range(2):  # the second time what the first has understood is known
        assert opener.open(path, (what.scan, what.stamp)) == open_slice(
            path, max_pixels=200_000_000
        )


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_walk_serves_for_sorting_and_stacking(tmp_path: Path, syntax: str) -> None:
    for path in write(tmp_path, series(syntax=syntax)):
        the_same(path)


@pytest.mark.parametrize("name", ["ct-example/dicom", "brain-mr-dicom/11-T1post-18670"])
def test_a_walk_serves_for_real_series(data_dir: Path, name: str) -> None:
    for path in sorted((data_dir / name).iterdir())[:40]:
        the_same(path)


@pytest.mark.filterwarnings("ignore")
def test_a_walk_finds_what_a_general_reader_finds() -> None:
    compared = 0
    for path in sorted(PYDICOM_FILES.rglob("*.dcm")):
        what = scanned(path)
        if what.kind != "dicom" or what.scan is None or what.scan.pixels is None:
            continue
        whole = of_dataset(pydicom.dcmread(path, stop_before_pixels=True, force=True))
        for keyword in TAGS:
            if keyword == "SpecificCharacterSet" or keyword not in whole:
                continue
            same = what.scan.get(keyword) == whole.get(keyword)
            assert same or what.scan.text(keyword) == whole.text(keyword), (path.name, keyword)
        compared += 1
    assert compared > 50


def test_every_cut_gives_the_same_or_an_error_of_ours(tmp_path: Path) -> None:
    whole = as_bytes(series()[0])
    path = tmp_path / "cut.dcm"
    for length in [*range(130, len(whole), 7), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:length])
        what = scanned(path)
        seen = None if what.scan is None else (what.scan, what.stamp)
        results = []
        for given in (seen, None):
            opener = _Opener(10_000)
            try:
                results.append(opener.open(path, given))
            except InputError as error:
                results.append(str(error))
        assert results[0] == results[1]


def test_slices_that_were_sorted_and_have_changed_are_read_again(tmp_path: Path) -> None:
    datasets = series()
    paths = write(tmp_path, datasets)
    seen = {}
    for path in paths:
        what = scanned(path)
        assert what.scan is not None
        seen[str(path)] = (what.scan, what.stamp)
    for ds in datasets:
        ds.PixelSpacing = [3.5, 2.5]
    time.sleep(0.01)
    write(tmp_path, datasets)
    (image,) = read_series(paths, seen=seen).items
    assert image.spacing[1:] == (3.5, 2.5)


def test_slices_whose_rescale_differs_keep_their_own(tmp_path: Path) -> None:
    datasets = series()
    for index, ds in enumerate(datasets):
        ds.RescaleSlope = str(1 + index % 2)
    write(tmp_path / "s", datasets)
    case = load(tmp_path / "s")
    (expected,) = read_series(sorted((tmp_path / "s").iterdir())).items
    assert (case.image("ct").array == expected.array).all()
    assert case.image("ct").array[0, 1].max() > stack()[1].max() - 1024


def endless(count: int) -> bytes:
    """A header with a sequence of undefined length that nests so many elements."""
    ds = series()[0]
    data = as_bytes(ds)
    at = data.index(b"\x08\x00\x60\x00CS")
    item = b"\x08\x00\x00\x01SH\0\0" * count
    sequence = b"\x08\x00\x51\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" + item
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return data[:at] + sequence + closing + data[at:]


def test_a_header_without_an_end_is_left_behind(tmp_path: Path) -> None:
    write(tmp_path, series()[1:])
    (tmp_path / "few.dcm").write_bytes(endless(50))
    (tmp_path / "many.dcm").write_bytes(endless(400_000))
    began = time.monotonic()
    cases = sort(tmp_path)
    assert time.monotonic() - began < 5
    assert [(Path(path).name, reason) for path, reason in cases.skipped] == [
        ("many.dcm", "a DICOM file whose header has no end")
    ]
    assert len(cases.studies[0].series[0].files) == 6
    with (tmp_path / "many.dcm").open("rb") as stream, pytest.raises(EndlessError):
        scan_tags(stream, TAGS, last=PIXELS)


def test_elements_of_the_same_head_and_other_places_are_told_apart(tmp_path: Path) -> None:
    # the same eight bytes before values of other files, blocks and encodings
    for index in range(40):
        ds: Dataset = series(syntax=SYNTAXES[index % 2])[index % 6]
        ds.SOPInstanceUID = f"1.2.{index}"
        ds.add_new(0x00190010, "LT", "x" * (index * 211))
        (tmp_path / f"{index}.dcm").write_bytes(as_bytes(ds))
    for path in tmp_path.iterdir():
        what = scanned(path)
        assert what.scan is not None
        assert what.scan.text("SOPInstanceUID") == f"1.2.{path.stem}"
        assert what.scan.pixels is not None
        assert what.scan.get("Rows") == 8
