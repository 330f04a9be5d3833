"""Writing a bundle: whole or not at all, and only one that would load again."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osler.bundles.card import CARD_FILE, Card
from osler.bundles.integrity import digest, read_card, verify
from osler.bundles.parsing import parse
from osler.errors import BundleError, OutputError


def save(
    card: Card | Mapping[str, Any],
    files: Mapping[str, bytes | Path],
    folder: Path,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a bundle's folder: the card, and the files it speaks of.

    The folder is made beside its place under another name, checked as `load` checks it, and
    renamed, so that nobody sees half a bundle.

    Args:
        card: the card, or its fields; ``files`` in it is filled in here and may be left out.
        files: path inside the bundle to content, or to a file that is copied; ``model.onnx``
            is among them.
        folder: the folder to make, such as ``Path("shipped/retina-vessels")``.
        overwrite: whether a bundle that lies there is replaced.

    Returns:
        The folder.

    Raises:
        BundleError: the card is wrong, or a file would be refused by `load`.
        OutputError: the folder exists, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise OutputError(f"{folder}: exists; choose another folder, or overwrite=True")
    if overwrite and folder.exists() and not (folder / CARD_FILE).is_file():
        raise OutputError(f"{folder}: exists and is no bundle; choose another folder")
    contents = {name: _bytes(name, source) for name, source in files.items()}
    checked = _completed(card, contents)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        _fill(temporary, checked, contents)
        _swap(temporary, folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _bytes(name: str, source: bytes | Path) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise OutputError(f"{source}: cannot be read for '{name}' ({error.strerror})") from error


def _completed(card: Card | Mapping[str, Any], contents: Mapping[str, bytes]) -> Card:
    """The card with the digest of every file, checked as if it had been read."""
    fields = card.model_dump(mode="json") if isinstance(card, Card) else dict(card)
    fields["files"] = {
        name: digest(content).model_dump() for name, content in sorted(contents.items())
    }
    try:
        written = json.dumps(fields, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise BundleError(f"the card cannot be written as JSON ({error})") from error
    return parse(written, where=CARD_FILE)


def _fill(folder: Path, card: Card, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / CARD_FILE).write_bytes(card.to_json())
    folder.chmod(0o755)  # mkdtemp makes it private
    verify(folder, read_card(folder))


def _swap(made: Path, place: Path) -> None:
    """Put a folder in its place; a folder that lies there goes aside first, and back on failure."""
    if not place.exists():
        os.replace(made, place)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}-old-", dir=place.parent))
    os.replace(place, aside / "old")
    try:
        os.replace(made, place)
    except OSError:
        os.replace(aside / "old", place)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
