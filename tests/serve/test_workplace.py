"""Paths that an agent names: inside the folders that the user named, or nothing."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "language"))
from asked_case import asked_case, on_disk

from osler.errors import InputError, OutputError
from osler.serve.workplace import MOST_CASES, Workplace


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A root with a case, and a secret outside of it."""
    root = tmp_path / "root"
    on_disk(asked_case(), root)
    (tmp_path / "secret.txt").write_text("the secret")
    (root / "note.txt").write_text("A note.")
    return root


def test_a_path_is_taken_from_a_root_or_whole(house: Path) -> None:
    place = Workplace([house])
    assert place.allowed("one") == place.allowed(str(house / "one")) == (house / "one").resolve()
    assert place.allowed("one/../one/findings.json").name == "findings.json"


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "one/../../secret.txt", "/etc/passwd", "", "x" * 9000, "one\0", "~/x",
     "file:///etc/passwd", "https://example.org/x", "dicomweb+https://pacs/studies/1", "missing"],
)  # fmt: skip
def test_what_lies_outside_and_what_is_not_there_are_answered_alike(house: Path, name: str) -> None:
    with pytest.raises(InputError) as error:
        Workplace([house]).allowed(name)
    assert str(error.value) in (
        "nothing lies at that path in the folders that may be read",
        "that is no path of a file or folder",
    )


def test_links_out_of_the_root_are_refused(house: Path) -> None:
    place = Workplace([house])
    (house / "way.txt").symlink_to(house.parent / "secret.txt")
    (house / "etc").symlink_to("/etc")
    (house / "loop").symlink_to(house / "loop")
    for name in ("way.txt", "etc/passwd", "etc", "loop"):
        with pytest.raises(InputError, match="nothing lies"):
            place.allowed(name)
    # nor may a reader come upon one beside or below what it reads
    with pytest.raises(InputError, match="leads out"):
        place.allowed("note.txt")
    (house / "way.txt").unlink()
    (house / "etc").unlink()
    (house / "loop").unlink()
    assert place.allowed("note.txt")
    (house / "one" / "masks" / "more.png").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="leads out"):
        place.allowed("one")


def test_a_photograph_is_read_beside_a_link_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(64))
    (root / "way.raw").symlink_to(tmp_path / "secret.raw")
    (root / "eye.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    (root / "eye.jpg").write_text("ObjectType = Image\nElementDataFile = way.raw\n")
    place = Workplace([root])
    assert place.allowed("eye.png") == root.resolve() / "eye.png"
    with pytest.raises(InputError, match="a link in that folder"):
        place.allowed("eye.jpg")  # what it is its bytes say, not its name


def test_links_that_stay_inside_are_followed(house: Path) -> None:
    (house / "same").symlink_to(house / "one")
    assert Workplace([house]).allowed("same") == (house / "one").resolve()


def test_pipes_and_devices_are_no_files(house: Path) -> None:
    os.mkfifo(house / "pipe")
    with pytest.raises(InputError, match="nothing lies"):
        Workplace([house]).allowed("pipe")


def test_a_case_that_names_a_mask_outside_is_refused(house: Path) -> None:
    document = house / "one" / "findings.json"
    document.write_text(document.read_text().replace('"masks/disc.png"', '"../../secret.txt"'))
    with pytest.raises(InputError) as error:
        Workplace([house]).opened("one")
    assert "the secret" not in str(error.value)
    assert str(house) not in str(error.value)


def test_messages_and_handles_hold_no_names_of_files(house: Path) -> None:
    bad = house / "OKONKWO_ADAEZE_1961.dcm"
    bad.write_bytes(b"no picture at all \x00\x01")
    place = Workplace([house])
    with pytest.raises(InputError) as error:
        place.opened(bad.name)
    assert "OKONKWO" not in str(error.value)
    (house / "Okonkwo").mkdir()
    (house / "Okonkwo" / "findings.json").write_text("{")
    with pytest.raises(InputError) as error:
        place.opened("Okonkwo")
    assert "konkwo" not in str(error.value)
    handle, case = place.opened("one")
    assert case.id == handle
    assert place.opened(handle)[1] is case
    with pytest.raises(InputError, match="no case of that handle"):
        place.opened("case-0123456789ab")


def test_few_cases_are_held(house: Path) -> None:
    for number in range(MOST_CASES + 2):
        (house / f"n{number}.txt").write_text(f"note {number}")
    place = Workplace([house])
    for number in range(MOST_CASES + 2):
        place.opened(f"n{number}.txt")
    assert len(place._cases) == MOST_CASES


def test_writing_needs_a_folder_that_was_named(house: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--out"):
        Workplace([house]).written("note.txt")
    with pytest.raises(InputError, match="no pixels"):
        Workplace([house], out=tmp_path / "out").written("one")
    before = sorted(p for p in house.rglob("*"))
    handle = Workplace([house], out=tmp_path / "out").written("note.txt")
    assert (tmp_path / "out" / handle / "findings.json").is_file()
    assert sorted(p for p in house.rglob("*")) == before


def test_a_root_must_be_a_folder(house: Path) -> None:
    for root in (house / "missing", house / "note.txt"):
        with pytest.raises(InputError, match="--root"):
            Workplace([root])
