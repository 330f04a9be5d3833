"""``osler view``: masks, boxes, contours and points lie on the frames of a film, in a browser."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from osler.io.view import view
from osler.io.view_film import MOST_FRAMES, film_of
from osler.record import Box, Case, Contour, Heatmap, Image, Mask, Point, Source

WHO = Source("person", "reader")


def film(frames: int = 6) -> Image:
    return Image("us", np.zeros((3, frames, 20, 30), np.uint8), "US")


def case(frames: int = 6) -> Case:
    out = Case("made", None, {"us": film(frames)})
    mask = np.zeros((frames, 20, 30), bool)
    mask[1, 4:9, 5:12] = True
    ring = np.array([(2, 3.0, 2.0), (2, 3, 9), (2, 8, 9)])
    out.add(Mask(id="m", name="Cyst", source=WHO, item="us", mask=mask))
    out.add(Contour(id="c", name="Wall", source=WHO, item="us", rings=(ring,), closed=False))
    out.add(Box(id="b", name="Field", source=WHO, item="us", start=(1, 2, 3), stop=(3, 6, 13)))
    out.add(Point(id="p", name="Tip", source=WHO, item="us", position=(2.0, 4.5, 7.25)))
    heat = np.zeros((frames, 20, 30), np.float16)
    out.add(Heatmap(id="h", name="Why", source=WHO, item="us", values=heat))
    return out


def drawn(shown: dict, frame: int) -> dict[str, str]:
    names = [layer["name"] for layer in shown["layers"]]
    return {names[one["layer"]]: one["path"] for one in shown["frames"][frame]["paths"]}


def test_each_frame_has_what_is_drawn_on_it() -> None:
    made = case()
    shown, ids = film_of(made.image("us"), list(made.findings.values()))
    assert ids == ["m", "c", "b", "p"]
    assert [len(frame["paths"]) for frame in shown["frames"]] == [0, 2, 3, 0, 0, 0]
    # pixels 5 to 11 and 4 to 8: the outline runs along their edges
    corners = set(re.findall(r"[\d.]+ [\d.]+", drawn(shown, 1)["Cyst"]))
    assert corners == {"5 4", "12 4", "12 9", "5 9"}
    assert drawn(shown, 1)["Field"] == "M3 2L13 2L13 6L3 6Z"
    assert drawn(shown, 2) == {
        "Wall": "M2.5 3.5L9.5 3.5L9.5 8.5",
        "Field": "M3 2L13 2L13 6L3 6Z",
        "Tip": "M7.8 5h0",
    }


def test_of_a_long_film_the_frames_with_findings_are_shown() -> None:
    image = film(500)
    at = [7, 123, 481]
    points = [
        Point(id=f"p{n}", name="P", source=WHO, item="us", position=(float(n), 1.0, 2.0))
        for n in at
    ]
    shown, ids = film_of(image, points)
    assert len(ids) == 3
    assert len(shown["frames"]) <= MOST_FRAMES
    numbers = [frame["number"] for frame in shown["frames"]]
    assert numbers == sorted(numbers)
    assert [f["number"] for f in shown["frames"] if f["paths"]] == [n + 1 for n in at]
    assert f"{len(numbers)} of 500 frames are shown." in shown["note"]
    many = [
        Point(id=f"p{n}", name="P", source=WHO, item="us", position=(n % 500, 1.0, 2.0))
        for n in range(70)
    ]
    shown, ids = film_of(image, many)
    assert len(ids) == 60
    assert "10 of 70 findings are not drawn." in shown["note"]


def test_words_of_a_finding_cannot_become_a_script() -> None:
    made = Case("c", None, {"us": film()})
    name = "</script><script>alert(1)</script>"
    made.add(Point(id="p", name=name, source=WHO, item="us", position=(0.0, 1.0, 2.0)))
    assert name not in view(made)


def test_a_browser_shows_and_hides_them(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium; install Debian's to check the page in a browser")
    path = tmp_path / "v.html"
    made = Case("c", None, {"us": Image("us", np.zeros((3, 6, 200, 300), np.uint8), "US")})
    made.add(Box(id="b", name="Field", source=WHO, item="us", start=(1, 20, 30), stop=(3, 60, 130)))
    made.add(Box(id="n", name="Node", source=WHO, item="us", start=(1, 90, 90), stop=(2, 99, 99)))
    heat = np.zeros((6, 200, 300), np.float16)
    made.add(Heatmap(id="h", name="Why", source=WHO, item="us", values=heat))
    path.write_text(view(made), encoding="utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        faults: list[str] = []
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.goto(path.as_uri())
        page.locator("[data-show=cine] .slider input").fill("1")
        frame = page.locator(".frame:visible")
        picture, box = (frame.locator(s).bounding_box() for s in ("img", "path >> nth=0"))
        scale = picture["width"] / 300
        assert box["x"] - picture["x"] == pytest.approx(30 * scale, abs=4)
        assert box["y"] - picture["y"] == pytest.approx(20 * scale, abs=4)
        assert box["width"] == pytest.approx(100 * scale, abs=8)
        assert frame.locator("path:visible").count() == 2
        page.get_by_label("Field").uncheck()
        assert frame.locator("path:visible").count() == 1
        assert "heatmap, not drawn" in page.locator("tr", has_text="Why").inner_text()
        assert faults == []
        browser.close()
