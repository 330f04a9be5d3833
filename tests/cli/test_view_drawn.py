"""``osler view``: contours, boxes, points and heatmaps lie where they are, in a real browser."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osler.io.view import view
from osler.io.view_drawn import drawable, heats_of, lines_of
from osler.record import Box, Case, Contour, Heatmap, Image, Origin, Passage, Point, Source

AFFINE = np.array([[0, 0, 0.8, 5], [0, 0.8, 0, 6], [2.4, 0, 0, 7], [0, 0, 0, 1.0]])
WHO = Source("person", "reader")
SQUARE = np.array([(2, 1, 1), (2, 1, 5), (2, 4, 5), (2, 4, 1)], float)


def volume() -> Image:
    header = {"00200052": {"vr": "UI", "Value": ["1.2.3"]}}
    origin = Origin("x.dcm", "", "dicom", header)
    return Image("ct", np.zeros((1, 4, 6, 8), np.int16), "CT", (2.4, 0.8, 0.8), AFFINE, origin=origin)  # fmt: skip  # noqa: E501


def case() -> Case:
    out = Case("made", None, {"ct": volume()})
    out.add(Contour(id="c", name="Outline", source=WHO, item="ct", rings=(SQUARE,)))
    place = SQUARE @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    out.add(Contour(id="mm", name="Millimetres", source=WHO, rings=(place,), frame="1.2.3", closed=False))  # fmt: skip  # noqa: E501
    out.add(Contour(id="far", name="Elsewhere", source=WHO, rings=(place,), frame="9.9"))
    out.add(Box(id="b", name="Box", source=WHO, item="ct", start=(1, 2, 3), stop=(3, 4, 7)))
    out.add(Point(id="p", name="Tip", source=WHO, item="ct", position=(2.0, 3.0, 6.0)))
    warm = np.zeros((4, 6, 8), np.float16)
    warm[2, 5, 7] = 1
    out.add(Heatmap(id="h", name="Why", source=WHO, item="ct", values=warm))
    out.items["photo"] = Image("photo", np.zeros((3, 20, 30), np.uint8), "OP")
    flat = np.array([(2.0, 3.0), (2, 9), (7, 9)])
    out.add(Contour(id="f", name="Rim", source=WHO, item="photo", rings=(flat,)))
    out.add(Box(id="fb", name="Field", source=WHO, item="photo", start=(4, 5), stop=(9, 12)))
    return out


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
def test_lines_lie_where_they_are(browser: Any, tmp_path: Path, width: int) -> None:
    path = tmp_path / "v.html"
    path.write_text(view(case()), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900})
    told: list[str] = []
    page.on("console", lambda m: m.type == "error" and told.append(m.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def paths(plane: int) -> list[str]:
        of = page.locator("figure").nth(plane).locator(".lines path")
        return [one.get_attribute("d") for one in of.all()]

    def boxes(plane: int) -> tuple[dict[str, float], dict[str, float]]:
        figure = page.locator("figure").nth(plane)
        return figure.locator("canvas").bounding_box(), figure.locator(".lines").bounding_box()

    # the axial plane starts at slice 2: outline, the same in millimetres, box and point
    outline = "M1.50 1.50L5.50 1.50L5.50 4.50L1.50 4.50"
    assert paths(0) == [outline + "Z", outline, "M3.00 2.00L7.00 2.00L7.00 4.00L3.00 4.00Z", "M6.50 3.50h0"]  # fmt: skip  # noqa: E501
    for plane in range(3):
        canvas, lines = boxes(plane)
        assert lines == pytest.approx(canvas, abs=0.6)
    # the coronal plane at row 3: head up, so that slice 2 of 4 lies 1.5 from the top
    coronal = paths(1)
    assert "M1.50 1.50h0" in coronal[0]
    assert "M5.50 1.50h0" in coronal[0]
    assert "M3.00 3.00L7.00 3.00L7.00 1.00L3.00 1.00Z" in coronal
    # in another slice there is nothing but the box
    page.locator("figure").first.locator("input").fill("1")
    assert paths(0) == ["M3.00 2.00L7.00 2.00L7.00 4.00L3.00 4.00Z"]
    page.locator("figure").first.locator("input").fill("0")
    assert paths(0) == []
    page.locator("figure").first.locator("input").fill("2")
    page.get_by_label("Box").uncheck()
    assert len(paths(0)) == 3

    pixel = "c => [...c.getContext('2d').getImageData(7, 5, 1, 1).data]"
    hot = page.locator("figure canvas").first.evaluate(pixel)
    assert hot[0] > hot[1] + 60
    page.get_by_label("Why").uncheck()
    page.wait_for_function(
        "() => { const p = document.querySelector('canvas').getContext('2d')"
        ".getImageData(7, 5, 1, 1).data; return p[0] === p[1]; }"
    )
    # on a picture they are lines too
    sheet = page.locator("[data-show=picture]")
    drawn = [one.get_attribute("d") for one in sheet.locator("path.line").all()]
    assert drawn == ["M3.5 2.5L9.5 2.5L9.5 7.5Z", "M5 4L12 4L12 9L5 9Z"]
    page.get_by_label("Rim").uncheck()
    assert sheet.locator("path.line").first.is_hidden()
    # what lies in no image of the case is said
    assert "contour, not drawn" in page.locator("tr", has_text="Elsewhere").inner_text()
    assert told == []
    page.close()


def test_a_volume_made_smaller_keeps_its_lines_in_place() -> None:
    image = replace(volume(), array=np.zeros((1, 4, 60, 80), np.int16))
    made = Case("c", None, {"ct": image})
    ring = np.array([(2, 10, 19.5), (2, 10, 39.5), (2, 30, 39.5)], float)
    made.add(Contour(id="c", name="C", source=WHO, item="ct", rings=(ring,)))
    made.add(Box(id="b", name="B", source=WHO, item="ct", start=(0, 20, 40), stop=(4, 40, 60)))
    (line, box), left = lines_of(drawable(made, image), image, (2, 10, 20), first=0)
    # a voxel of the page is 20 columns wide: column 19.5 is the edge between its first two
    assert line["rings"][0][0] == [0.75, 0.55, 0.5]
    assert (box["start"], box["stop"]) == ([-0.5, 1.5, 1.5], [1.5, 3.5, 2.5])
    assert left == []
    values = np.zeros(image.shape, np.float16)
    values[3, 59, 79] = 0.5
    made.add(Heatmap(id="h", name="H", source=WHO, item="ct", values=values))
    (heat,) = heats_of(drawable(made, image), image, (2, 10, 20))
    assert heat["name"] == "H"


def test_too_many_lines_are_left_out_and_told() -> None:
    made = Case("c", None, {"ct": volume()})
    for n in range(70):
        made.add(Point(id=f"p{n}", name=f"P{n}", source=WHO, item="ct", position=(0.0, 1.0, 2.0)))
    assert "10 of 70 contours, boxes and points are not shown" in view(made)


def test_words_of_a_finding_cannot_become_a_script() -> None:
    made = Case("c", None, {"ct": volume()})
    name = "</script><script>alert(1)</script>"
    made.add(Point(id="p", name=name, source=WHO, item="ct", position=(0.0, 1.0, 2.0)))
    made.add(Passage(id="q", name="Q", source=WHO, text=name))
    assert name not in view(made)
