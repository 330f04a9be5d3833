"""``osler view``: one file that shows what lies there, in a real browser."""

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from osler.cli import app
from osler.io.converting import save
from osler.io.view import view
from osler.io.view_grid import grid_of, planes_of, windows_of
from osler.io.view_signal import strips_of
from osler.record import Case, Image, Mask, Measurement, Signal, Source, Table, Text

AFFINE = np.array([[0, 0, 0.8, 5], [0, 0.8, 0, 6], [2.4, 0, 0, 7], [0, 0, 0, 1.0]])
WHO = Source("person", "reader")


def volume() -> Image:
    array = np.arange(4 * 6 * 8).reshape(1, 4, 6, 8).astype(np.int16) - 50
    return Image("ct", array, "CT", (2.4, 0.8, 0.8), AFFINE, units="[hnsf'U]")


def case() -> Case:
    inside = np.zeros((4, 6, 8), bool)
    inside[2, 3, 4] = True
    out = Case("made", None, {"ct": volume()})
    out.add(Mask(id="lesion", name="Lesion", source=WHO, item="ct", mask=inside))
    out.add(Measurement(id="size", name="Size", source=WHO, value=12.5, unit="mm"))
    wave = np.vstack([np.sin(np.arange(1500) / 20), np.full(1500, np.nan)])
    out.items["ecg"] = Signal("ecg", wave, 100.0, ("I", "II"), ("mV", "mV"))
    out.items["table"] = Table("table", {"age": 61, "<b>x</b>": "&"}, {"age": "a"})
    out.items["report"] = Text("report", "all", sections={"findings": "Clear <script>", "x": "y"})
    pixels = np.zeros((3, 20, 30), np.uint8)
    out.items["photo"] = Image("photo", pixels, "OP")
    lit = np.zeros((20, 30), bool)
    lit[5:9, 5:9] = True
    out.add(Mask(id="spot", name="Spot", source=WHO, item="photo", mask=lit))
    films = np.zeros((3, 5, 20, 30), np.uint8)
    out.items["us"] = Image("us", films, "US", times=(0.0, 0.1, 0.2, 0.3, 0.4))
    return out


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["view", *(str(a) for a in arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium; install Debian's to check the page in a browser")
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_everything_and_asks_nobody(browser, tmp_path, width):
    path = tmp_path / "v.html"
    path.write_text(view(case()), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900})
    told: list[str] = []
    page.on("console", lambda m: m.type == "error" and told.append(m.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda r: r.url.startswith(("file:", "data:")) or told.append(r.url))
    page.goto(path.as_uri())
    page.wait_for_selector("[data-ready]")
    assert page.locator(".card").count() == 7
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    # the axial plane starts at the middle slice, where the mask is; patient's left on the right
    pixel = "(c, x, y) => [...c.getContext('2d').getImageData(x, y, 1, 1).data]"
    axial = page.locator("figure canvas").first
    at = axial.evaluate(f"c => ({pixel})(c, 4, 3)")
    assert at[0] > at[1] + 30
    page.locator("[data-mask]").uncheck()
    page.wait_for_function(
        f"() => {{ const p = ({pixel})(document.querySelector('canvas'), 4, 3);"
        " return p[0] === p[1]; }"
    )
    # 2.4 mm slices of 0.8 mm pixels: 4 slices are as high as 12 pixels
    boxes = [one.bounding_box() for one in page.locator("figure canvas").all()]
    assert boxes[0]["width"] / boxes[0]["height"] == pytest.approx(8 / 6, rel=0.02)
    assert boxes[1]["width"] / boxes[1]["height"] == pytest.approx(8 / 12, rel=0.02)
    assert boxes[2]["width"] / boxes[2]["height"] == pytest.approx(6 / 12, rel=0.02)

    # head up: the top row of the coronal plane is the last slice
    top, bottom = (
        page.locator("figure canvas").nth(1).evaluate(f"c => ({pixel})(c, 2, {y})[0]")
        for y in (0, 3)
    )
    assert top > bottom
    page.get_by_role("button", name="lung").click()
    assert page.locator(".level").inner_text() == "-600 / 1500"
    slider = page.locator("[data-show=signal] .slider input")
    slider.fill("1")
    assert page.locator(".strip:visible").get_attribute("aria-label") == "10 to 15 s"
    page.locator("[data-show=cine] .slider input").fill("4")
    assert page.locator(".frame:visible img").get_attribute("alt") == "frame 5"
    layer = page.locator(".layer img")
    assert layer.is_visible()
    page.get_by_label("Spot").uncheck()
    assert layer.is_hidden()
    assert "12.5 mm" in page.content()
    assert told == []
    page.close()


def test_planes_turn_the_patient_the_usual_way():
    axial, coronal, sagittal = planes_of(volume())
    assert (axial.title, axial.edges) == ("axial", ("R", "L", "A", "P"))
    assert (coronal.title, coronal.edges) == ("coronal", ("R", "L", "S", "I"))
    assert (sagittal.title, sagittal.edges) == ("sagittal", ("A", "P", "S", "I"))
    assert (coronal.flip_rows, coronal.flip_columns) == (True, False)
    turned = replace(volume(), affine=AFFINE @ np.diag([-1.0, -1, -1, 1]))
    axial, coronal, _ = planes_of(turned)
    assert (axial.edges, axial.flip_rows, axial.flip_columns) == (("R", "L", "A", "P"), True, True)
    assert coronal.flip_rows is False
    unplaced = replace(volume(), affine=None)
    assert [plane.edges for plane in planes_of(unplaced)] == [(), (), ()]


def test_small_volumes_are_packed_without_loss_and_large_ones_by_their_means():
    grid = grid_of(volume(), [])
    raw = np.frombuffer(gzip.decompress(base64.b64decode(grid["data"])), "<u2")
    assert np.array_equal(raw * grid["scale"] + grid["offset"], volume().array.ravel())
    wide = Image("x", np.ones((1, 1, 2500, 2050), np.float32) * 7)
    grid = grid_of(wide, [])
    assert grid["steps"] == [1, 3, 3]
    assert grid["shape"] == [1, 834, 684]
    assert grid["range"] == [7.0, 7.0]


@pytest.mark.parametrize(
    "item",
    [
        Image("x", np.full((1, 3, 4, 5), np.nan, np.float32)),
        Image("x", np.zeros((1, 3, 4), np.float64)),
        Image("x", np.zeros((3, 2, 3, 4), np.float32)),
        Image("x", np.zeros((2, 2, 3, 4), np.int16), times=(0.0, 1.0)),
        Image("x", np.zeros((1, 1, 1), np.uint16)),
        Signal("x", np.zeros((1, 0)), 250.0, ("I",), ("mV",)),
        Signal("x", np.full((1, 9), np.nan), 1.0, ("a",), ("",)),
        Table("x", {}, {}, np.zeros((0, 0))),
        Text("x", ""),
    ],
)
def test_what_holds_nothing_is_shown_as_nothing(item):
    assert "<h2>x</h2>" in view(Case("c", None, {"x": item}))


def test_windows_start_with_that_of_the_file():
    image = replace(volume(), window=(10.0, 20.0))
    names = [name for name, _, _ in windows_of(image, image.array[0])]
    assert names[0] == "of the file"
    assert names[1:5] == ["soft tissue", "lung", "bone", "brain"]


def test_a_millivolt_is_ten_millimetres_and_a_second_twenty_five():
    values = np.zeros((1, 500))
    values[0, 250] = 1.0
    strips, note = strips_of(Signal("ecg", values, 250.0, ("I",), ("mV",)), [])
    points = [tuple(map(float, p.split())) for p in re.split("[ML]", strips[0].leads[0].path) if p]
    heights = [y for _, y in points]
    assert max(heights) - min(heights) == pytest.approx(10.0)
    assert points[250][0] - points[0][0] == pytest.approx(25.0)
    assert "10 mm/mV" in note


def test_text_of_the_record_cannot_become_a_script():
    page = view(case())
    assert "Clear &lt;script&gt;" in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    data = re.search(r'class="grid-data">(.*?)</script>', page)
    assert data is not None
    assert json.loads(data[1])["shape"] == [4, 6, 8]


def test_the_page_goes_where_it_is_asked_to_and_replaces_nothing(tmp_path):
    source, out = save(volume(), tmp_path / "a.nii"), tmp_path / "look.html"
    assert run(source, "--out", out, "--no-open")[:2] == (0, f"{out}\n")
    status, _, error = run(source, "--out", out, "--no-open")
    assert status == 2
    assert "lies there already" in error
    assert run(source, "--out", out, "--no-open", "--overwrite")[0] == 0
    assert "is a folder" in run(source, "--out", tmp_path, "--no-open")[2]
    temporary = Path(run(source, "--no-open")[1].strip())
    assert temporary.parent.stat().st_mode & 0o077 == 0
    shutil.rmtree(temporary.parent)


def test_a_folder_of_several_cases_asks_which(tmp_path):
    for name in "ab":
        save(volume(), tmp_path / f"{name}.nii")
    status, _, error = run(tmp_path, "--no-open")
    assert status == 2
    assert "choose one with --case: a, b" in error
    out = tmp_path / "v.html"
    assert run(tmp_path, "--case", "b", "--out", out, "--no-open")[0] == 0
    assert "<h1>b</h1>" in out.read_text(encoding="utf-8")
