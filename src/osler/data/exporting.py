"""Cohorts to other tools' layouts. A folder appears whole or not at all."""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.data.cohort import Cohort, Row
from osler.data.importing import PICTURES
from osler.data.locations import Marked, marked
from osler.data.opening import map_image, read_map
from osler.errors import OutputError, RecipeError, UnsupportedError
from osler.io.naming import safe_name
from osler.record import Image
from osler.terminal import counted

LOSSLESS: Final = (".nii.gz", ".nrrd", ".mha", ".png", ".bmp", ".tif")
"""Endings that nnU-Net reads and that keep every value."""

Write = Callable[[Path], None]


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when the block ends.

    Raises:
        OutputError: the name is taken, or the disk refuses.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"'{out}' exists and is not empty; choose another folder")
    part = out.with_name(f".{out.name}.{secrets.token_hex(6)}.part")
    try:
        part.mkdir(parents=True)
        yield part
        os.replace(part, out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise OutputError(f"'{out}' is being written by another run") from None
        raise OutputError(f"'{out}' cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def export_image_folder(
    cohort: Cohort, out: Path, *, label: str | None = None, item: str | None = None
) -> list[str]:
    """Write ``[SPLIT/]CLASS/CASE.ext``, a copy of each picture in the folder of its class.

    Args:
        cohort: the cases.
        out: a folder that is new or empty.
        label: the label that is the class; by default the only one.
        item: the item that is copied; by default the only one.

    Returns:
        What was left out, in words.

    Raises:
        RecipeError: the label or item is not in the cohort, or not the only one, or a picture is
            no file of this machine.
        OutputError: the folder cannot be written.
    """
    label = _only(cohort, "labels", label)
    item = _only(cohort, "items", item)
    left = 0
    with _whole(out) as part:
        for row in cohort.rows:
            if label not in row.labels or item not in row.items:
                left += 1
                continue
            file = _local(row, item, cohort)
            text = row.labels[label]
            if marked(text, cohort.root):
                raise RecipeError(f"{_where(cohort, row)}: label '{label}' is a path, no class")
            folder = part / (safe_name(row.split) if row.split else ".") / safe_name(text)
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / f"{safe_name(row.case_id)}{''.join(_ending(file))}"
            if target.exists():
                raise RecipeError(f"{_where(cohort, row)}: two cases become '{target.name}'")
            shutil.copyfile(file, target)
    return [f"{counted(left, 'case')} without '{label}' or '{item}' left out"] if left else []


def export_nnunet(
    cohort: Cohort,
    out: Path,
    *,
    items: Sequence[str] = (),
    labels: Sequence[str] = (),
    missing_is_background: bool = False,
    later_wins: bool = False,
) -> list[str]:
    """Write ``imagesTr``, ``labelsTr``, ``imagesTs`` and ``dataset.json`` as nnU-Net v2 wants them.

    Files are copied byte for byte where they can be; pictures that lose nothing by it (JPEG) are
    decoded and written as PNG. Values of label maps become 1, 2, … in the order of ``labels``.

    Args:
        cohort: the cases; those of the split ``test`` go to ``imagesTs``.
        out: a folder that is new or empty; nnU-Net wants it named ``DatasetNNN_NAME``.
        items: the channels, in order; by default every item of the cohort.
        labels: the structures, in order; by default every label that is a mask.
        missing_is_background: a structure without a label is absent; else that is refused.
        later_wins: where structures overlap the later one stands; else that is refused.

    Returns:
        What a person should know, in words.

    Raises:
        RecipeError: a case lacks a channel or mask, structures overlap, or a name is unknown.
        UnsupportedError: the files have several endings, or one that is not lossless.
        OutputError: the folder cannot be written.
    """
    items = _known(cohort, "items", items)
    masks = [
        n for n in cohort.columns("labels") if any(_is_mask(r, n, cohort) for r in cohort.rows)
    ]
    labels = _known(cohort, "labels", labels) if labels else masks
    if not labels:
        raise RecipeError(f"the cohort '{cohort.path}' has no label that is a mask")
    ending, decode = _common_ending(cohort, items)
    colour: set[int] = set()
    with _whole(out) as part:
        for row in cohort.rows:
            test = row.split == "test"
            for number, item in enumerate(items):
                name = f"{safe_name(row.case_id)}_{number:04d}{ending}"
                target = part / f"images{'Ts' if test else 'Tr'}" / name
                target.parent.mkdir(exist_ok=True)
                file = _local(row, item, cohort)
                if decode:
                    colour.add(_write_png(file, target))
                else:
                    shutil.copyfile(file, target)
            _write_map(
                row, cohort, labels, part / f"labels{'Ts' if test else 'Tr'}", ending,
                missing=missing_is_background or test, later_wins=later_wins,
            )  # fmt: skip
        channels = list(items)
        if 3 in colour:
            if len(items) > 1 or colour != {3}:
                raise UnsupportedError(
                    "colour pictures are three channels of one file in nnU-Net; export them alone"
                )
            channels = ["R", "G", "B"]
        training = [row for row in cohort.rows if row.split != "test"]
        head = {
            "channel_names": {str(k): name for k, name in enumerate(channels)},
            "labels": {"background": 0} | {name: k for k, name in enumerate(labels, start=1)},
            "numTraining": len(training),
            "file_ending": ending,
        }
        _write_json(part / "dataset.json", head)
        folds = sorted({row.fold for row in training if row.fold is not None})
        if len(folds) > 1:
            _write_json(part / "splits_final.json", [_fold(training, fold) for fold in folds])
    return ["the pictures were decoded and written as PNG"] if decode else []


def _fold(rows: Sequence[Row], fold: int) -> dict[str, list[str]]:
    sides: dict[str, list[str]] = {"train": [], "val": []}
    for row in rows:
        sides["val" if row.fold == fold else "train"].append(safe_name(row.case_id))
    return sides


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _where(cohort: Cohort, row: Row) -> str:
    return f"the cohort '{cohort.path}', {row.where or row.case_id}"


def _only(cohort: Cohort, kind: str, name: str | None) -> str:
    known = _known(cohort, kind, [name] if name else [])
    if len(known) != 1:
        listed = ", ".join(known) or "none"
        raise RecipeError(f"the cohort '{cohort.path}' has these {kind}: {listed}; name one")
    return known[0]


def _known(cohort: Cohort, kind: str, names: Sequence[str]) -> list[str]:
    known = cohort.columns(kind)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RecipeError(
            f"the cohort '{cohort.path}' has no {kind} named {', '.join(unknown)}; it has: "
            f"{', '.join(known) or 'none'}"
        )
    return list(names or known)


def _local(row: Row, item: str, cohort: Cohort) -> Path:
    location = row.items.get(item)
    if location is None:
        raise RecipeError(f"{_where(cohort, row)}: the case has no '{item}'")
    if not isinstance(location, Path) or not location.is_file():
        raise RecipeError(f"{_where(cohort, row)}: '{item}' is no single file of this machine")
    return location


def _is_mask(row: Row, name: str, cohort: Cohort) -> bool:
    return name in row.labels and marked(row.labels[name], cohort.root) is not None


def _ending(file: Path) -> tuple[str, ...]:
    """What the name ends with: a compression keeps what stands before it."""
    suffixes = file.suffixes[-2:]
    return tuple(suffixes) if suffixes[-1:] == [".gz"] else tuple(suffixes[-1:])


def _common_ending(cohort: Cohort, items: Sequence[str]) -> tuple[str, bool]:
    """The ending that all files get, and whether they are decoded for it."""
    found = {"".join(_ending(_local(row, item, cohort))) for row in cohort.rows for item in items}
    if len(found) == 1 and (one := next(iter(found))) in LOSSLESS:
        return one, False
    if found and all(ending.lower() in PICTURES for ending in found):
        return ".png", True
    raise UnsupportedError(
        f"the files end with {', '.join(sorted(found))}; nnU-Net wants one of "
        f"{', '.join(LOSSLESS)} for all: convert them with 'osler convert'"
    )


def _write_png(file: Path, target: Path) -> int:
    """Write a picture's values as PNG; gives the number of channels."""
    from PIL import Image as Pillow

    array = map_image(file).array
    if array.ndim != 3 or array.dtype not in (np.uint8, np.uint16) or len(array) not in (1, 3):
        raise UnsupportedError(f"'{file}' is {array.dtype} {array.shape}, no picture for PNG")
    if len(array) == 3 and array.dtype != np.uint8:
        raise UnsupportedError(f"'{file}' is a colour picture of more than 8 bits")
    pixels = array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(target)
    return len(array)


def _write_map(
    row: Row,
    cohort: Cohort,
    labels: Sequence[str],
    folder: Path,
    ending: str,
    *,
    missing: bool,
    later_wins: bool,
) -> None:
    """The label map of a case: background 0, then 1, 2, … as ``labels`` names them."""
    marks: dict[str, Marked] = {}
    for name in labels:
        mark = marked(row.labels[name], cohort.root) if name in row.labels else None
        if mark is None and not missing:
            raise RecipeError(
                f"{_where(cohort, row)}: '{name}' is not labelled; say that missing is background, "
                "or leave the structure out"
            )
        if mark is not None:
            marks[name] = mark
    if not marks:
        if row.split == "test":
            return
        raise RecipeError(f"{_where(cohort, row)}: no structure is labelled")
    maps = {mark.location: read_map(mark.location) for mark in marks.values()}
    out = np.zeros(next(iter(maps.values())).shape, np.uint8)
    for code, name in enumerate(labels, start=1):
        if name not in marks:
            continue
        values = maps[marks[name].location]
        inside = np.isin(values, marks[name].values) if marks[name].values else values > 0
        if inside.shape != out.shape:
            raise RecipeError(f"{_where(cohort, row)}: masks have shapes that differ")
        overlap = int((out[inside] > 0).sum())
        if overlap and not later_wins:
            raise RecipeError(
                f"{_where(cohort, row)}: '{name}' overlaps other structures in {overlap} voxels, "
                "and a label map holds one each; choose structures, or let the later one win"
            )
        out[inside] = code
    folder.mkdir(exist_ok=True)
    target = folder / f"{safe_name(row.case_id)}{ending}"
    _store(out, maps, target, ending)


def _store(
    out: NDArray[np.uint8], maps: Mapping[Any, NDArray[Any]], target: Path, ending: str
) -> None:
    """Copy the one label map that says the same already; else write it in its image's format."""
    if len(maps) == 1:
        location, values = next(iter(maps.items()))
        same = np.array_equal(values, out)
        if same and isinstance(location, Path) and "".join(_ending(location)) == ending:
            shutil.copyfile(location, target)
            return
    if ending in (".png", ".bmp", ".tif"):
        from PIL import Image as Pillow

        Pillow.fromarray(out).save(target)
        return
    source = next((m for m in maps if "".join(_ending(Path(m))) == ending), None)
    if ending != ".nii.gz" or source is None:
        raise UnsupportedError(
            f"the label map of '{target.name}' has to be written anew, which is done for "
            ".nii.gz, .png, .bmp and .tif: convert the cohort's files first"
        )
    from osler.io.nifti_out import write_nifti

    like = map_image(source)
    write_nifti(Image("mask", out[None], spacing=like.spacing, affine=like.affine), target)
