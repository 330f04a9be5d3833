"""COCO files of instances: outlines become masks, boxes become boxes.

The outlines of a category are drawn together as one PNG beside the table, 255 inside: a pixel is
inside where its centre is. Boxes without an outline are written into the table.

Source: COCO data format, https://cocodataset.org/#format-data ; run-length codes as in pycocotools
(column by column, beginning with zeros).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.data.cohort import Row
from osler.data.importing import (
    UNKNOWN_PATIENTS,
    Imported,
    Names,
    Options,
    column_name,
    inside,
    patient_of,
    read_json,
    split_of,
)
from osler.errors import InputError, TooLargeError, UnreadableError
from osler.io.input_file import MAX_PIXELS
from osler.io.naming import safe_name

_PARTS: Final = ("images", "annotations", "categories")


def accepts(source: Path) -> bool:
    """Whether it is a JSON with images and categories, or a folder ``annotations/instances_*``."""
    if source.is_dir():
        return bool(_files(source))
    if source.suffix.lower() != ".json":
        return False
    with source.open("rb") as stream:
        head = stream.read(1 << 20)
    return any(f'"{part}"'.encode() in head for part in _PARTS) and b"resourceType" not in head


def read(source: Path, options: Options) -> Imported:
    """A case for each image.

    Raises:
        UnreadableError: the JSON is damaged or contradicts itself; the message names the entry.
        InputError: an image's file is not found.
    """
    imported = Imported(options.files, [])
    names = Names()
    for file in _files(source) if source.is_dir() else [source]:
        _add(file, options, imported, names)
    if options.patient is None:
        imported.notes.append(UNKNOWN_PATIENTS)
    return imported


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "annotations").glob("instances_*.json"))


def _add(file: Path, options: Options, imported: Imported, names: Names) -> None:
    head = read_json(file)
    if not isinstance(head, dict) or not all(isinstance(head.get(p), list) for p in _PARTS):
        raise UnreadableError(f"'{file}' lacks one of the lists {', '.join(_PARTS)}")
    split = split_of("".join(c for c in file.stem.partition("_")[2] if c.isalpha()))
    folder = options.images or _folder(file, head["images"])
    try:
        labels = {c["id"]: column_name(str(c["name"])) for c in head["categories"]}
        said: dict[Any, dict[Any, list[Any]]] = {image["id"]: {} for image in head["images"]}
        for one in head["annotations"]:
            said[one["image_id"]].setdefault(labels[one["category_id"]], []).append(one)
    except (KeyError, TypeError):
        raise UnreadableError(
            f"'{file}': an entry lacks its id, or names an image or category that is not there"
        ) from None
    for image in head["images"]:
        path = inside(folder, str(image.get("file_name")), file)
        if not path.is_file():
            raise InputError(
                f"'{path}', an image of '{file.name}', does not exist; name its folder (--images)"
            )
        case = names.new(Path(str(image["file_name"])).with_suffix("").as_posix())
        patient = patient_of(path, folder, options, case)
        found: dict[str, str] = {}
        for name, instances in said[image["id"]].items():
            found |= _label(name, instances, image, case, file, options)
        imported.rows.append(Row(case, patient, None, {"photo": path}, found, split))


def _folder(file: Path, images: Sequence[Mapping[str, Any]]) -> Path:
    """Where the first image lies: beside the file, or in the usual folders."""
    name = str(images[0].get("file_name")) if images and isinstance(images[0], dict) else ""
    inside(file.parent, name, file)
    part = file.stem.partition("_")[2]
    above = file.parent.parent
    tried = [file.parent, file.parent / "images", above / "images", above / part]
    tried += [above / "images" / part, above]
    return next((f for f in tried if name and (f / name).is_file()), file.parent)


def _label(
    name: str,
    instances: Sequence[Mapping[str, Any]],
    image: Mapping[str, Any],
    case: str,
    file: Path,
    options: Options,
) -> dict[str, str]:
    """The label columns of one category on one image."""
    try:
        outlined = [one for one in instances if one.get("segmentation")]
        boxed = [one["bbox"] for one in instances if not one.get("segmentation")]
        out = {}
        if outlined:
            mask = _mask(outlined, image, file)
            out[name] = _write(mask, options.files / safe_name(name) / f"{case}.png", options)
        if boxed:
            # a box is x, y, width, height; ours is first and beyond-last row and column
            texts = [";".join(_number(v) for v in (y, x, y + h, x + w)) for x, y, w, h in boxed]
            out[f"{name} box" if outlined else name] = " ".join(texts)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UnreadableError(
            f"'{file}': an annotation of image {image.get('id')} ({name}) is damaged"
        ) from None
    return out


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _mask(
    instances: Sequence[Mapping[str, Any]], image: Mapping[str, Any], file: Path
) -> NDArray[np.bool_]:
    shape = (int(image["height"]), int(image["width"]))
    if min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
        raise TooLargeError(f"'{file}' states an image of {shape[1]} x {shape[0]} pixels")
    mask = np.zeros(shape, bool)
    for one in instances:
        outline = one["segmentation"]
        if isinstance(outline, dict):
            mask |= runs(outline, shape)
        else:
            for polygon in outline:
                mask |= polygon_mask(polygon, shape)
    return mask


def polygon_mask(polygon: Sequence[float], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centres lie inside ``x0, y0, x1, y1, ...``; ``(0, 0)`` is a pixel's corner."""
    from skimage.draw import polygon2mask

    points = np.asarray(polygon, float).reshape(-1, 2)
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(points.shape)
    # ours counts from pixel centres
    out: NDArray[np.bool_] = polygon2mask(shape, points[:, ::-1] - 0.5)  # type: ignore[no-untyped-call]
    return out


def runs(code: Mapping[str, Any], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A run-length code as a mask.

    Raises:
        ValueError: its size is not the image's, or its runs do not fill it.
    """
    counts = code["counts"]
    lengths = _unpack(counts) if isinstance(counts, str) else [int(n) for n in counts]
    if tuple(code["size"]) != shape or sum(lengths) != shape[0] * shape[1] or min(lengths) < 0:
        raise ValueError(shape)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(shape[::-1]).T


def _unpack(text: str) -> list[int]:
    """The compressed form: five bits a letter, each run from the third on as a difference."""
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError(letter)
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths


def _write(mask: NDArray[np.bool_], path: Path, options: Options) -> str:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path.relative_to(options.files).as_posix()
