from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from osler.bundles import load, save
from osler.errors import BundleError, OutputError

Card = Callable[..., dict[str, Any]]


@pytest.fixture
def model(tiny_model: Callable[..., onnx.ModelProto]) -> bytes:
    return tiny_model().SerializeToString()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_from_bytes_and_paths(tiny_card: Card, model: bytes, tmp_path: Path) -> None:
    (tmp_path / "source.onnx").write_bytes(model)
    files = {"model.onnx": tmp_path / "source.onnx", "notes/how.md": b"so"}
    folder = save(tiny_card(), files, tmp_path / "deep" / "tiny")
    card = load(folder).card
    assert set(card.files) == {"model.onnx", "notes/how.md"}
    assert left(tmp_path / "deep") == ["tiny"]


def test_a_card_object_gets_new_digests(tiny_card: Card, model: bytes, tmp_path: Path) -> None:
    first = load(save(tiny_card(), {"model.onnx": model}, tmp_path / "a")).card
    second = load(save(first, {"model.onnx": model, "n.txt": b"n"}, tmp_path / "b")).card
    assert set(second.files) == {"model.onnx", "n.txt"}


def test_an_existing_folder_is_kept(tiny_card: Card, model: bytes, tmp_path: Path) -> None:
    folder = save(tiny_card(), {"model.onnx": model}, tmp_path / "a")
    with pytest.raises(OutputError, match="exists"):
        save(tiny_card(title="New"), {"model.onnx": model}, folder)
    assert load(folder).card.title == "Tiny vessels"
    save(tiny_card(title="New"), {"model.onnx": model}, folder, overwrite=True)
    assert load(folder).card.title == "New"
    assert left(tmp_path) == ["a"]


def test_a_folder_that_is_no_bundle_is_never_replaced(
    tiny_card: Card, model: bytes, tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is no bundle"):
        save(tiny_card(), {"model.onnx": model}, tmp_path / "thesis", overwrite=True)
    assert left(tmp_path / "thesis") == ["chapter.txt"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.onnx": b"hello"}, "not an ONNX model"),
        ({"notes.md": b"x"}, "'model.onnx' is missing"),
        ({"model.onnx": b"", "../x.md": b"x"}, "leaves the bundle"),
    ],
)
def test_what_would_not_load_is_not_written(
    tiny_card: Card, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        save(tiny_card(), files, tmp_path / "a")
    assert left(tmp_path) == []


def test_a_missing_source_is_named(tiny_card: Card, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"gone\.onnx: cannot be read for 'model\.onnx'"):
        save(tiny_card(), {"model.onnx": tmp_path / "gone.onnx"}, tmp_path / "a")


def test_a_place_that_cannot_be_written_is_named(
    tiny_card: Card, model: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        save(tiny_card(), {"model.onnx": model}, tmp_path / "file" / "a")


def test_a_card_that_is_not_json_is_named(tiny_card: Card, model: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        save(tiny_card(title={1}), {"model.onnx": model}, tmp_path / "a")
