"""The command line as a user runs it, on small real photographs."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Osler = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def photo_bytes(tmp_path_factory) -> bytes:
    """A photograph of the examples, small enough to be read quickly."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    with Image.open(EXAMPLES / "idrid-073.jpg") as picture:
        picture.resize((536, 356)).save(path, quality=90)
    return path.read_bytes()


@pytest.fixture(scope="session")
def other_bytes(tmp_path_factory) -> bytes:
    """A picture that is no fundus photograph, so that reading it ends after a look at it."""
    path = tmp_path_factory.mktemp("other") / "other.jpg"
    Image.effect_noise((400, 300), 60).save(path, quality=90)
    return path.read_bytes()


@pytest.fixture
def photos(tmp_path: Path, photo_bytes: bytes) -> Callable[..., Path]:
    """Writes photographs of these names into a folder, and gives the folder."""
    return partial(_write, tmp_path / "photos", photo_bytes)


@pytest.fixture
def others(tmp_path: Path, other_bytes: bytes) -> Callable[..., Path]:
    """Writes pictures that are read quickly into the same folder: for what is no matter of eyes."""
    return partial(_write, tmp_path / "photos", other_bytes)


def _write(folder: Path, content: bytes, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def osler(tmp_path: Path) -> Osler:
    """Runs ``osler ARGUMENTS`` in ``tmp_path``."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "osler", *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )

    return run
