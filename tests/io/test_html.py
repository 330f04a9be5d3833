import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_case import Grading, Kind, fake_case

from osler.io.html import report
from osler.io.html_tables import tables_of
from osler.io.html_words import WORDS
from osler.record import Case, Image, Mask, Measurement, Origin, Passage, Source
from osler.retina.narrative import narrate
from photo_case import photo_case

pytestmark = pytest.mark.long

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ME = Source("algorithm", "some.algorithm", "1.0")
VOID = {"meta", "img", "input", "br", "path", "rect", "link"}


class Reader(HTMLParser):
    """Checks that tags close in order, and collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open[-1:]):
            self.text.append(data)


def parse(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def words_in(page: str) -> str:
    return " ".join(" ".join(parse(page).text).split())


def check(page: str) -> Reader:
    """What holds for every report."""
    reader = parse(page)
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert "Not for diagnosis" in page or "不得用于诊断" in page
    for tag, attributes in reader.tags:
        assert "style" not in attributes, "the policy forbids style attributes"
        assert not any(name.startswith("on") for name in attributes)
        source = attributes.get("src") or attributes.get("href") or attributes.get("data") or ""
        assert not source or source.startswith("data:image/"), (tag, source[:40])
        if tag == "img":
            assert "alt" in attributes
        if tag == "button":
            assert attributes["type"] == "button"
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"(?i)(https?:)?//(?!\s)[a-z]", style)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(", page)
    assert len(page) < 3_000_000
    return reader


@pytest.mark.parametrize("kind", ["jpeg", "dicom-op", "dicom-grey"])
@pytest.mark.parametrize("grading", ["graded", "reject", "not-fundus"])
def test_every_fake_case_gets_a_whole_page(tmp_path: Path, kind: Kind, grading: Grading) -> None:
    case = fake_case(tmp_path, kind=kind, grading=grading)
    page = report(case)
    check(page)
    text = words_in(page)
    for passage in case.of(Passage):
        assert passage.text in text
    for source in {f.source for f in case.findings.values()}:
        assert f"{source.name} {source.version}" in text
    assert ("No grade" in text) == (grading != "graded")
    assert ("Fundus photograph" in text) == (grading != "not-fundus")
    assert {"reject": "Too poor to judge", "not-fundus": "Not a fundus photograph"}.get(
        grading, "Good quality"
    ) in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_real_case_in_both_languages(data_dir: Path, language: str) -> None:
    case = photo_case(data_dir)
    narrate(case, language=language)
    page = report(case)
    reader = check(page)
    assert reader.tags[0] == ("html", {"lang": "zh-Hans" if language == "zh" else "en"})
    text = words_in(page)
    assert WORDS[language]["disclaimer"] in text
    assert WORDS[language]["measurements"] in text
    for finding in case.of(Measurement):
        if language == "en" and finding.reason:
            assert finding.reason in text
    if language == "zh":
        english = re.findall(r"[A-Za-z]{4,} [a-z]{2,} [a-z]{2,}", text)
        allowed = ("Tau", "median", "arc")  # definitions stay in English
        cut = text[: text.index(WORDS["zh"]["definitions"])]
        assert not [e for e in english if e in cut and not e.startswith(allowed)]


def test_both_languages_have_the_same_words() -> None:
    extra = {k for k in WORDS["zh"] if k.startswith("meaning_")}
    assert set(WORDS["en"]) == set(WORDS["zh"]) - extra
    for key, english in WORDS["en"].items():
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", WORDS["zh"][key]))


def test_the_grade_shows_what_cannot_be_excluded(tmp_path: Path) -> None:
    page = report(fake_case(tmp_path))
    rows = re.findall(
        r'<li class="([ a-z]*)">\s*<span class="mark" role="img" aria-label="([^"]*)', page
    )
    assert rows == [
        ("", "excluded"),
        (" kept", "cannot be excluded"),
        ("said kept", "cannot be excluded"),
        ("", "excluded"),
        ("", "excluded"),
    ]
    text = words_in(page)
    assert "Grades that cannot be excluded at 90 % are marked" in text
    assert "about 90 have their true grade" in text


def test_every_measurement_is_in_a_table_with_its_reason(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    tables = tables_of(case, language="en")
    cells = [c for t in tables for _, row in t.rows for c in row if c.text]
    assert len(cells) == len(case.measurements)
    missing = [c for c in cells if c.missing]
    assert len(missing) == 1
    (table,) = [t for t in tables if any(c.missing for _, row in t.rows for c in row)]
    assert table.notes[missing[0].notes[0] - 1] == "the image does not say its spacing in µm"


@pytest.mark.parametrize(
    ("language", "lesions", "rest", "unlike"),
    [
        ("en", "New", "Cup-to-disc ratio, vertical", ""),
        ("zh", "新出现", "杯盘比，垂直", r"[a-z]{3}"),
    ],
)
def test_changes_have_tables_of_their_own(
    language: str, lesions: str, rest: str, unlike: str
) -> None:
    case = Case("c")
    source = Source("algorithm", "osler.retina.change")
    for id in (
        *(f"change.{what}.haemorrhages" for what in ("new", "gone", "stayed", "unsure", "area")),
        "change.new.hard-exudates", "change.formation.microaneurysms",
        "change.turnover.microaneurysms", "change.days", "change.cdr.vertical",
        "change.avr.knudtson", "change.tortuosity.vein", "change.fractal-dimension.all",
        "change.dr-grade-steps",
    ):  # fmt: skip
        case.add(Measurement(id=id, name=id, source=source, value=1.0, unit="1"))
    first, second = tables_of(case, language=language)
    assert len(first.columns) == 3
    assert first.rows[0][0] == lesions
    assert len(first.rows) == 7
    names = [name for name, _ in second.rows]
    assert rest in names
    assert len(set(names)) == 6
    for name in (*names, *first.columns, first.title, *(row for row, _ in first.rows)):
        assert not unlike or not re.search(unlike, name.replace("Knudtson", ""))


def test_a_statement_names_the_layers_it_stands_on(data_dir: Path) -> None:
    case = photo_case(data_dir)
    narrate(case)
    reader = parse(report(case))
    layer_of = {str(a["data-layer"]): str(a["class"]) for _, a in reader.tags if "data-layer" in a}
    statements = [a for t, a in reader.tags if t == "button" and a.get("class") == "statement"]
    assert len(statements) >= 8
    for statement in statements:
        assert set(str(statement["data-layers"]).split()) <= set(layer_of)
        x, y, w, h = map(int, str(statement["data-box"]).split())
        assert 0 <= x < x + w <= 1600
        assert 0 <= y < y + h <= 1063


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}</style>"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    case.id = HOSTILE
    photo = case.image("photo")
    photo.origin = Origin(path=f"/x/{HOSTILE.replace('/', '')}", sha256="0" * 64, format="jpeg")
    photo.flags = (HOSTILE,)
    for number, finding in enumerate(case.findings.values()):
        finding.name = finding.note = f"{HOSTILE}{number}"
        finding.flags = (*finding.flags, HOSTILE)
        finding.source = Source("bundle", HOSTILE, HOSTILE)
        if isinstance(finding, Passage):
            finding.text = HOSTILE
        if isinstance(finding, Measurement):
            finding.method = HOSTILE
            finding.unit = "<b>"
            finding.reason = HOSTILE if finding.value is None else ""
    odd = Mask(id=HOSTILE, name=HOSTILE, source=ME, item="photo", mask=np.eye(96, 128, dtype=bool))
    case.add(odd)
    case.add(Measurement(id=f"{HOSTILE}.a", name=HOSTILE, source=ME, value=1.5, unit="1"))
    page = report(case)
    reader = check(page)
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("script") == 1
    assert not [a for t, a in reader.tags if t == "img" and a.get("src") == "x"]
    assert "49" not in {part.strip() for part in reader.text}
    assert HOSTILE in " ".join(reader.text)


def test_a_case_without_a_picture_or_findings() -> None:
    check(report(Case(id="x")))


def test_a_picture_alone() -> None:
    image = Image("photo", np.full((3, 40, 60), 90, np.uint8), "OP", laterality="L")
    page = report(Case(id="x", items={"photo": image}))
    check(page)
    assert "Left eye" in words_in(page)


def test_nothing_found_is_a_switch_that_says_so(tmp_path: Path) -> None:
    text = words_in(report(fake_case(tmp_path)))
    assert "Soft exudates none" in text


# The page in a real browser.


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium; install Debian's to check the report in a browser")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def page(browser: "Browser", tmp_path: Path, problems: list[str]) -> Iterator["Page"]:
    case = fake_case(tmp_path, shape=(480, 640))
    case.id = "<script>alert(1)</script>"
    path = tmp_path / "report.html"
    path.write_text(report(case), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))

    def asked(request: Any) -> None:
        if request.url != path.as_uri() and not request.url.startswith("data:"):
            problems.append(request.url)

    page.on("request", asked)
    page.goto(path.as_uri())
    yield page
    page.close()
    assert problems == []


def visible(page: "Page", layer: str) -> bool:
    return page.locator(f"[data-layer='{layer}']").is_visible()


def number_of(page: "Page", name: str) -> str:
    pill = page.locator("label.pill", has_text=re.compile(f"^{name}$")).locator("input")
    return str(pill.get_attribute("id")).removeprefix("show-")


def test_layers_are_switched_on_and_off(page: "Page") -> None:
    artery, zone = number_of(page, "Arteries"), number_of(page, "Zone B")
    assert visible(page, artery)
    assert not visible(page, zone)
    page.locator(f"#show-{artery}").uncheck()
    page.locator(f"#show-{zone}").check()
    assert not visible(page, artery)
    assert visible(page, zone)
    page.locator("#show-all").uncheck()
    assert not visible(page, zone)


def test_a_statement_lights_its_evidence_and_zooms_there(page: "Page") -> None:
    spots = number_of(page, "Microaneurysms")
    page.locator("#show-all").uncheck()
    statement = page.locator("button.statement", has_text="1 quadrant")
    statement.click()
    assert statement.get_attribute("aria-pressed") == "true"
    assert visible(page, spots)
    assert "lit" in str(page.locator(f"[data-layer='{spots}']").get_attribute("class"))
    page.wait_for_function("document.getElementById('sheet').style.transform !== 'none'")
    page.wait_for_timeout(600)
    box = page.locator("#stage").bounding_box()
    shown = page.locator(f"[data-layer='{spots}'] path").bounding_box()
    assert box is not None
    assert shown is not None
    middle = shown["x"] + shown["width"] / 2, shown["y"] + shown["height"] / 2
    assert abs(middle[0] - box["x"] - box["width"] / 2) < 3
    assert abs(middle[1] - box["y"] - box["height"] / 2) < 3
    page.keyboard.press("Escape")
    assert statement.get_attribute("aria-pressed") == "false"
    assert not visible(page, spots)


def zoom(page: "Page") -> float:
    return float(
        page.evaluate("document.getElementById('sheet').style.getPropertyValue('--zoom') || 1")
    )


def test_the_wheel_the_keys_and_the_buttons_zoom(page: "Page") -> None:
    page.locator("#stage").hover()
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "document.getElementById('sheet').style.getPropertyValue('--zoom') > 1.2"
    )
    page.locator("#zoom-reset").click()
    assert zoom(page) == 1
    page.locator("#stage").focus()
    page.keyboard.press("+")
    assert zoom(page) == pytest.approx(1.4)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("0")
    assert zoom(page) == 1
    page.locator("#zoom-in").click()
    assert zoom(page) == pytest.approx(1.6)


def test_a_zoomed_photograph_is_dragged(page: "Page") -> None:
    page.locator("#zoom-in").click()
    page.wait_for_timeout(600)
    box = page.locator("#photo").bounding_box()
    assert box is not None
    page.mouse.move(300, 400)
    page.mouse.down()
    page.mouse.move(340, 420)
    page.mouse.up()
    after = page.locator("#photo").bounding_box()
    assert after is not None
    assert (after["x"] - box["x"], after["y"] - box["y"]) == pytest.approx((40, 20), abs=1)


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_is_wider_than_the_screen(page: "Page", width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_reads_without_scripts(browser: "Browser", tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(report(fake_case(tmp_path)), encoding="utf-8")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        artery = number_of(page, "Arteries")
        assert visible(page, artery)
        assert not page.locator("#zoom-in").is_visible()
        page.locator("#show-all").uncheck()
        assert not visible(page, artery)
