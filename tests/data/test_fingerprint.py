"""The check of a cohort: planted faults are found and told; a sound one is not blamed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from osler.data.cohort import read_cohort
from osler.data.fingerprint import fingerprint, spread
from osler.data.fingerprint_html import write_fingerprint
from osler.data.outliers import scores
from osler.data.scanning import scan

HEAD = "case_id,patient_id,split,photo,age,label:grade,label:mask"


def noise(seed: int, size=(80, 90)) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 180, size, np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    Pillow.fromarray(array).save(path)


def sound(folder: Path) -> list[str]:
    """Twenty sound cases."""
    lines = []
    for k in range(20):
        save(folder / f"{k}.png", noise(k))
        lines.append(f"c{k},p{k},{'train' if k < 10 else 'test'},{k}.png,{40 + k},{k % 2},")
    return lines


def read(folder: Path, lines: list[str], head: str = HEAD):
    (folder / "cohort.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return read_cohort(folder / "cohort.csv", strict=False)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """The twenty, and one of each fault."""
    folder = tmp_path_factory.mktemp("faulty")
    lines = sound(folder)
    save(folder / "flat.png", np.full((80, 90), 7, np.uint8))
    save(folder / "huge.png", noise(77, (400, 450)))
    save(folder / "bright.png", noise(78) // 4 + 210)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    save(folder / "copy.bmp", noise(3))
    lines += [
        "flat,q1,train,flat.png,50,1,", "huge,q2,train,huge.png,51,1,",
        "bright,q3,train,bright.png,52,1,", "broken,q4,train,broken.png,53,1,",
        "copy,q5,test,copy.bmp,,0,", "again,p1,test,19.png,54,1,none.png",
    ]  # fmt: skip
    cohort = read(folder, lines)
    return folder, fingerprint(cohort, threads=2)


def test_a_sound_cohort_is_not_blamed(tmp_path):
    found = fingerprint(read(tmp_path, [line.rstrip(",") for line in sound(tmp_path)]))
    assert [w for w in found.warnings if w.level == "fault"] == []
    assert found.outliers == []
    assert found.leaks.pairs == ()


def test_every_planted_fault_is_told(faulty):
    _, found = faulty
    faults = [w.text for w in found.warnings if w.level == "fault"]
    assert len(faults) == 6
    for words in (
        "1 patient is in more than one part", "1 pair of images from different parts",
        "1 picture, held more than once", "1 file cannot be read", "1 image shows nothing",
        "1 mask named in the table cannot be found",
    ):  # fmt: skip
        assert any(words in fault for fault in faults), words
    assert found.leaks.patients == {"p1": ("train", "test")}
    assert found.absent == [("again", "mask")]
    assert {found.scans[o.scan].row.case_id for o in found.outliers} >= {"huge", "bright", "flat"}


def test_the_numbers_are_those_of_the_files(faulty):
    _, found = faulty
    photo = next(c for c in found.columns if c.name == "photo")
    assert photo.missing == {"train": 0, "test": 0}
    heights = photo.spread["height (pixels)"]
    assert (heights.count, heights.least, heights.median, heights.most) == (25, 80, 80, 400)
    assert sum(heights.bins) == 25
    age = next(c for c in found.columns if c.name == "age")
    assert age.missing == {"train": 0, "test": 1}
    grade = next(c for c in found.columns if c.name == "grade")
    assert grade.values == {"0": {"train": 5, "test": 6}, "1": {"train": 9, "test": 6}}
    scan = found.scans[0]
    assert scan.values["mean"] == pytest.approx(noise(0).mean(), abs=0.01)
    assert (scan.shape, scan.channels, scan.dtype, scan.spacing) == ((80, 90), 1, "uint8", None)


def test_the_page_needs_nothing_else_and_the_json_has_no_picture(faulty, tmp_path):
    _, found = faulty
    path = write_fingerprint(found, tmp_path / "deep" / "out")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(", text)
    assert "<script" not in text
    kept = json.loads((path.parent / "check.json").read_text(encoding="utf-8"))
    assert kept["cases"] == 26
    assert kept["unreadable"][0]["case"] == "broken"
    assert any(p["across_parts"] and p["different_patients"] for p in kept["same_pictures"])
    assert "base64" not in json.dumps(kept)
    assert sorted(p.name for p in path.parent.iterdir()) == ["check.html", "check.json"]


def test_names_are_escaped(tmp_path):
    save(tmp_path / "0.png", noise(0))
    found = fingerprint(read(tmp_path, ["<b>x</b>,p,train,0.png,1,<i>,"]))
    text = write_fingerprint(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "<i>" not in text


def test_a_table_without_images_has_a_page_too(tmp_path):
    found = fingerprint(read(tmp_path, ["a,p,3", "b,q,"], "case_id,patient_id,age"))
    assert write_fingerprint(found, tmp_path / "out").is_file()


def test_the_command_says_it_and_ends_with_its_status(faulty, tmp_path):
    folder, _ = faulty
    run = subprocess.run(
        [sys.executable, "-m", "osler", "data", "check", str(folder / "cohort.csv"),
         "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 3, run.stderr
    assert "fault: 1 file cannot be read" in run.stdout
    assert (tmp_path / "out/check.html").is_file()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_fits_a_browser(faulty, tmp_path, width, scheme):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium; install Debian's to check the page in a browser")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = write_fingerprint(faulty[1], tmp_path)
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        assert page.evaluate("getComputedStyle(document.querySelector('.panel')).borderRadius")
        browser.close()
    assert said == []
    assert set(asked) <= {"file", "data"}


def test_a_scan_names_what_it_could_not_open(faulty):
    folder, _ = faulty
    (broken,) = [s for s in scan(read_cohort(folder / "cohort.csv", strict=False)) if s.error]
    assert "broken.png" in broken.error


def test_scores_stand_for_standard_deviations():
    values = np.random.default_rng(0).normal(5, 2, 20_000)
    assert np.std(scores(values)) == pytest.approx(1, abs=0.03)
    assert scores(np.array([3.0] * 9)) == [0.0] * 9
    assert scores(np.array([3.0] * 9 + [4.0]))[-1] == pytest.approx(1 / (1.2533 * 0.1))
    assert scores(np.array([3.0] * 9 + [4.0]), least=10)[-1] == pytest.approx(0.1)


def test_numbers_without_a_spread():
    assert spread([]) is None
    assert spread([float("nan")]) is None
    assert spread([2, 2]).bins == ()
