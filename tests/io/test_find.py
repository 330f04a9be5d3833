"""From what a person typed to the files to read."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import dicom, encoded, put, scene

from osler.errors import InputError
from osler.io import find, find_all
from osler.io.naming import MAX_BYTES, case_id, name_cases, safe_name
from osler.io.searching import natural_key

PNG = encoded(scene(4, 4), "PNG")


def names(paths: list[Path], folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A study folder with images, other files, and what an earlier run wrote."""
    for name in ("eye2.png", "eye10.png", "eye1.png", "b/c/deep.png"):
        put(tmp_path, name, PNG)
    put(tmp_path, "b/IM0001", dicom(scene(4, 4)))
    put(tmp_path, "b/labels.csv", b"image,grade\neye1,0\n")
    put(tmp_path, "b/empty.jpg", b"")
    put(tmp_path, ".hidden.png", PNG)
    put(tmp_path, ".cache/thumb.png", PNG)
    put(tmp_path, "out/eye1/findings.json", b"{}")
    put(tmp_path, "out/eye1/overlay.png", PNG)
    put(tmp_path, "out/eye1/masks/vessels.png", PNG)
    return tmp_path


IN_TREE = ["b/c/deep.png", "b/IM0001", "eye1.png", "eye2.png", "eye10.png"]


def test_a_folder_is_searched_in_natural_order(tree: Path) -> None:
    assert names(find([str(tree)]), tree) == IN_TREE


def test_what_was_skipped_is_said(tree: Path) -> None:
    skipped = {str(p.relative_to(tree)): why for p, why in find_all([str(tree)]).skipped}
    assert skipped == {
        "b/empty.jpg": "empty",
        "b/labels.csv": "text",
        "out/eye1": "an output folder (it holds findings.json)",
    }


def test_globs(tree: Path) -> None:
    assert names(find([f"{tree}/eye*.png"]), tree) == ["eye1.png", "eye2.png", "eye10.png"]
    assert names(find([f"{tree}/**/*.png"]), tree) == [n for n in IN_TREE if n.endswith(".png")]
    assert names(find([f"{tree}/**"]), tree) == IN_TREE
    assert names(find([f"{tree}/*"]), tree) == IN_TREE, "a folder that matches is searched"
    skipped = [why for _, why in find_all([f"{tree}/**/*.png"]).skipped]
    assert skipped == ["lies in an output folder"] * 2


def test_our_own_output_is_read_only_when_named(tree: Path) -> None:
    with pytest.raises(InputError, match="output folder"):
        find([str(tree / "out")])
    with pytest.raises(InputError, match="output folder"):
        find([str(tree / "out" / "eye1")])
    named = tree / "out" / "eye1" / "overlay.png"
    assert find([str(named)]) == [named]


def test_a_named_file_is_always_returned(tree: Path) -> None:
    for name in ("b/empty.jpg", "b/labels.csv", ".hidden.png"):
        assert names(find([str(tree / name)]), tree) == [name]
    found = find_all([str(tree), str(tree / "b/empty.jpg")])
    assert "b/empty.jpg" in names(found.paths, tree)
    assert tree / "b/empty.jpg" not in [path for path, _ in found.skipped]


def test_each_file_once(tree: Path) -> None:
    (tree / "link.png").symlink_to(tree / "eye1.png")
    spelt = [str(tree), str(tree / "b" / ".." / "eye1.png"), f"{tree}/*.png", str(tree / "b")]
    found = find(spelt)
    assert len(found) == len(IN_TREE) == len({path.resolve() for path in found})


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "b" / "up").symlink_to(tree)
    (tree / "gone.png").symlink_to(tree / "nowhere.png")
    found = find_all([str(tree)])
    assert names(found.paths, tree) == IN_TREE
    assert any(path.name == "gone.png" and "opened" in why for path, why in found.skipped)


def test_a_pipe_in_a_folder_does_not_block(tree: Path) -> None:
    os.mkfifo(tree / "pipe.png")
    assert (tree / "pipe.png", "no regular file") in find_all([str(tree)]).skipped


def test_a_dicomdir_is_no_image(tree: Path) -> None:
    data = dicom(scene(4, 4), sop_class="1.2.840.10008.1.3.10")
    put(tree, "DICOMDIR", data)
    assert names(find([str(tree)]), tree) == IN_TREE


def test_a_name_with_wildcards_is_a_name_first(tmp_path: Path) -> None:
    path = put(tmp_path, "eye[1].png", PNG)
    assert find([str(path)]) == [path]
    assert find([path]) == [path]
    assert find(str(path)) == [path]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("nowhere.jpg", "'.*nowhere.jpg' does not exist; check the path"),
        ("eye1.png/below.jpg", "does not exist"),
        ("*.webp", "no file matches"),
        ("no/**/such", "no file matches"),
        ("nul\0.jpg", "cannot be opened"),
        ("x" * 300, "cannot be opened"),
    ],
)
def test_what_does_not_exist_is_an_error(tree: Path, typed: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        find([f"{tree}/{typed}"])


def test_nothing_to_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt", b"words")
    with pytest.raises(InputError, match=r"found no .* 1 skipped, such as '.*notes.txt': text"):
        find([str(tmp_path)])
    with pytest.raises(InputError, match="no input was given"):
        find([])


def test_a_thousand_files(tmp_path: Path) -> None:
    for number in range(1000):
        put(tmp_path, f"{number}.png", PNG[:64])
    assert [path.stem for path in find([str(tmp_path)])] == [str(n) for n in range(1000)]


@given(st.lists(st.text(st.sampled_from("a1₂٣²0/ é"), max_size=6), max_size=6))
def test_any_names_can_be_sorted(parts: list[str]) -> None:
    paths = [Path(part) for part in parts]
    turned = paths[::-1]
    assert sorted(paths, key=natural_key) == sorted(turned, key=natural_key)


# --- names of cases -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photo.jpg", "photo"),
        ("photo.final.JPEG", "photo.final"),
        ("IM000001", "IM000001"),
        ("1.2.840.113619.2.5", "1.2.840.113619.2.5"),
        ("1.2.840.5.dcm", "1.2.840.5"),
        ("..hidden.png", "_hidden"),
        (".jpg", "_jpg"),
        ("眼底 左.png", "眼底 左"),
        ("e\u0301tude.png", "\u00e9tude"),
        ("a:b\\c*?.png", "a_b_c__"),
        ("tab\tnew\nline.png", "tab_new_line"),
        ("\u202egnp.exe.png", "_gnp.exe"),
        ("ends. .png", "ends_"),
        ("CON.png", "_CON"),
        ("   .png", "case"),
        (b"bad\xff.png".decode("utf-8", "surrogateescape"), "bad_"),
    ],
)
def test_case_ids(name: str, expected: str) -> None:
    assert case_id(Path("folder") / name) == expected


def test_long_names_are_cut_and_stay_apart() -> None:
    first, second = case_id("眼" * 80 + "1.jpg"), case_id("眼" * 80 + "2.jpg")
    assert first != second
    assert len(first.encode()) <= MAX_BYTES
    assert first.startswith("眼" * 30)


@given(st.text(max_size=200))
def test_any_text_becomes_a_folder_name(text: str) -> None:
    name = safe_name(text)
    assert 0 < len(name.encode()) <= MAX_BYTES
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert name not in (".", "..")
    assert not name.startswith(".")
    assert name == safe_name(name)


def test_cases_of_one_name_are_told_apart() -> None:
    paths = [Path("left/1.jpg"), Path("right/1.JPG"), Path("1.png"), Path("2.png")]
    ids = name_cases(paths)
    assert ids[Path("2.png")] == "2"
    assert len({id.casefold() for id in ids.values()}) == 4
    assert all(id.startswith(("1-", "2")) for id in ids.values())
    assert name_cases(reversed(paths)) == ids
