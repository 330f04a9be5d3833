"""Documents that could drift from the code, held to it."""

import re
import subprocess
import sys
from pathlib import Path

from osler.io import format_page
from osler.io.readers import READERS
from osler.io.record_out import RECORD_WRITERS
from osler.models import page as models_page

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "typer", "osler.cli", "utils", "docs")


def test_the_command_line_page_is_current():
    page = subprocess.run(
        [*COMMAND, "--name", "osler", "--title", "The command line"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kept = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    assert kept.strip() == page.strip(), "run: make docs"


def test_the_page_of_formats_is_current_and_complete():
    kept = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")
    assert kept == format_page.page(), "run: make docs"
    assert all(one.title and one.keeps and one.drops for one in READERS)
    assert all(one.keeps and one.drops for one in RECORD_WRITERS)


def test_the_page_of_networks_is_current():
    measured = models_page.read_measured(REPOSITORY / "docs/benchmarks/networks.csv")
    kept = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
    assert kept == models_page.page(measured), "run: make docs"


def test_every_example_is_attributed():
    text = (REPOSITORY / "examples" / "README.md").read_text(encoding="utf-8")
    photos = [p.name for p in (REPOSITORY / "examples").iterdir() if p.suffix == ".jpg"]
    assert 1 <= len(photos) <= 6
    assert all(f"`{name}`" in text for name in photos)


def test_links_between_files_of_the_repository_lead_somewhere():
    for page in REPOSITORY.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_in_the_readme_exist():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for name in ("README.md", "CONTRIBUTING.md", "docs/install.md"):
        for target in re.findall(
            r"(?:\n {4}|`)make ([a-z]+)", (REPOSITORY / name).read_text("utf-8")
        ):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name}: make {target}"
