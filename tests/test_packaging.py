"""What is built for others to install: everything that runs, and no more."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import osler

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES_MB = 30


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_source_file(wheel):
    package = REPOSITORY / "src" / "osler"
    tracked = subprocess.run(
        ["git", "ls-files", "."], cwd=package, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    files = tracked or [str(p.relative_to(package)) for p in package.rglob("*.py")]
    assert not {f"osler/{name}" for name in files} - wheel
    assert "osler/py.typed" in wheel


def test_the_wheel_holds_nothing_else(wheel):
    beside = {name for name in wheel if not name.startswith("osler/")}
    assert all(".dist-info/" in name for name in beside)
    assert any(name.endswith("licenses/LICENSE") for name in beside)
    assert not [name for name in wheel if "__pycache__" in name]


def test_one_version_everywhere():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == osler.__version__
    assert f"version: {osler.__version__}\n" in (REPOSITORY / "CITATION.cff").read_text()


def test_every_dependency_is_pinned_and_explained():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    names = {_name(line) for line in wanted} - {"osler"}
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {_name(line) for line in pins if not line.startswith("#")}
    assert not names - pinned
    assert all("+" not in line and "/" not in line for line in pins if not line.startswith("#"))
    explained = (REPOSITORY / "docs" / "dependencies.md").read_text().lower()
    assert [name for name in names if name not in explained.replace("_", "-")] == []


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_shipped_bundles_are_small():
    shipped = REPOSITORY / "src" / "osler" / "bundles" / "shipped"
    size = sum(path.stat().st_size for path in shipped.rglob("*") if path.is_file())
    assert size <= BUNDLES_MB * 1e6
