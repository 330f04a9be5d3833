"""TIFF files that are no plain photographs: stacks, deep grey, and pages too large to decode whole.

Dots per inch describe paper, so a spacing comes only from what microscopes write: OME [1], ImageJ
and Aperio headers.

[1] The OME-TIFF specification, https://ome-model.readthedocs.io/en/stable/ome-tiff/.
"""

import math
import re
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from osler.io.input_file import InputFile
from osler.io.tiff_pages import LargePage, Pages, Stack, pages_of, sound
from osler.record import Deferred, Image, Origin

_MOST_XML: Final = 4 << 20
_GREY, _RGB, _YCBCR = (0, 1), 2, 6
_UPRIGHT = 1
_DEEP: Final = ("int8", "int16", "int32", "uint32", "int64", "uint64", "float16", "float32",
                "float64")  # fmt: skip
_MILLIMETRES: Final = {
    "mm": 1.0, "cm": 10.0, "m": 1e3, "µm": 1e-3, "um": 1e-3, "μm": 1e-3, "nm": 1e-6,
    "micron": 1e-3, "microns": 1e-3, "\\u00b5m": 1e-3,
}  # fmt: skip
_SECONDS: Final = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0}
_ICC_PROFILE = 34675


def read_special(file: InputFile, format: str, *, max_pixels: int) -> Image | None:
    """A stack, a deep grey page or a page beyond ``max_pixels``; None for a plain photograph.

    Raises:
        UnreadableError: it is such a file, and damaged.
    """
    try:
        tiff, pages = pages_of(cast(BinaryIO, file.stream))
        count = len(cast(Any, tiff.pages))
    except Exception:  # noqa: BLE001 - the plain reader says what is wrong with it
        return None
    first: Any = pages[0]
    if not sound(first, file.size):
        return None
    if _is_stack(pages, file.size):
        return _stack(file, format, pages, tiff, max_pixels=max_pixels)
    if first.imagewidth * first.imagelength > max_pixels and _is_viewable(first):
        flags = ("first-page-only",) if count > 1 else ()
        return _large(file, format, first, tiff, flags, max_pixels=max_pixels)
    if count == 1 and first.photometric in _GREY and str(first.dtype) in _DEEP:
        return _stack(file, format, pages, tiff, max_pixels=max_pixels)
    return None


def _orientation(page: Any) -> int:
    tag = page.tags.get(274)
    return int(tag.value) if tag is not None and isinstance(tag.value, int) else _UPRIGHT


def _is_stack(pages: list[Any], size: int) -> bool:
    """Whether all pages are grey and alike; pages of colour are several photographs."""
    first = pages[0]
    return (
        len(pages) > 1
        and first.photometric in _GREY
        and first.samplesperpixel == 1
        and first.dtype.kind in "iuf"
        and first.bitspersample in (8, 16, 32, 64)
        and _orientation(first) == _UPRIGHT
        and not first.is_reduced
        and all(_alike(page, first, size) for page in pages[1:])
    )


def _alike(page: Any, first: Any, size: int) -> bool:
    return (
        page.keyframe.shape == first.shape
        and page.keyframe.dtype == first.dtype
        and page.keyframe.compression == first.compression
        and page.keyframe.photometric == first.photometric
        and len(page.dataoffsets) == len(first.dataoffsets)
        and len(page.databytecounts) == len(first.databytecounts)
        and all(
            o > 0 and n > 0 and o + n <= size
            for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
    )


def _is_viewable(page: Any) -> bool:
    """Whether its samples are 8- or 16-bit grey or colour, one way up."""
    return (
        str(page.dtype) in ("uint8", "uint16")
        and page.bitspersample in (8, 16)
        and _orientation(page) == _UPRIGHT
        and (
            (page.photometric in _GREY and page.samplesperpixel == 1)
            or (page.photometric == _RGB and page.samplesperpixel in (3, 4))
            or (page.photometric == _YCBCR and page.compression == 7)
        )
    )


def _large(
    file: InputFile, format: str, page: Any, tiff: Any, flags: tuple[str, ...], *, max_pixels: int
) -> Image:
    """A page of which only parts are decoded."""
    colour = page.photometric not in _GREY
    deep = colour and page.dtype == np.uint16
    flags = (*flags, *(("16-bit-scaled",) if deep else ()))
    flags = (*flags, *(("alpha-dropped",) if page.samplesperpixel == 4 else ()))
    flags = (*flags, *(("icc-not-applied",) if _ICC_PROFILE in page.tags else ()))
    dtype = np.dtype(np.uint8) if colour else page.dtype.newbyteorder("=")
    shape = (3 if colour else 1, page.imagelength, page.imagewidth)

    pages = Pages(file.path, file.size, file.name, format, [page])
    large = LargePage(pages, shape, dtype, deep, max_pixels)
    spacing = _spacing(tiff, page)
    return Image(
        name="photo",
        array=Deferred(shape, dtype, large.load, large.region),
        modality="OP" if spacing is None else "SM",
        spacing=None if spacing is None else spacing[1:],
        origin=Origin(path=file.name, sha256="", format=format),
        flags=(*file.extension_flags(format), *flags),
    )


def _stack(file: InputFile, format: str, pages: list[Any], tiff: Any, *, max_pixels: int) -> Image:
    """Grey pages as a volume, or one deep grey page as a plane."""
    first = pages[0]
    order, times, channels = _order(pages, tiff)
    rows, columns = first.imagelength, first.imagewidth
    dtype = first.dtype.newbyteorder("=")
    flat = len(pages) == 1
    shape = (1, rows, columns) if flat else (*order.shape, rows, columns)
    held = Pages(file.path, file.size, file.name, format, pages)
    stack = Stack(held, order, shape, dtype, max_pixels)
    spacing = _spacing(tiff, first)
    if spacing is not None and not flat and math.isnan(spacing[0]):
        spacing = None
    return Image(
        name="photo" if flat else "volume",
        array=Deferred(shape, dtype, stack.load, stack.region),
        spacing=spacing[1:] if spacing and flat else spacing,
        origin=Origin(path=file.name, sha256="", format=format),
        flags=(*file.extension_flags(format), *(() if spacing else ("no-scale",))),
        channels=channels,
        times=times,
    )


def _order(
    pages: list[Any], tiff: Any
) -> tuple[NDArray[np.int64], tuple[float, ...], tuple[str, ...]]:
    """Index of the page for each ``(C, D)``, times in seconds, and names of channels."""
    plain = np.arange(len(pages))[None]
    series = _series(tiff)
    if series is None or not series.axes.endswith("YX"):
        return plain, (), ()
    letters, sizes = series.axes[:-2], series.shape[:-2]
    found = {id(page): i for i, page in enumerate(pages)}
    where = {page.index: i for i, page in enumerate(pages)}
    order = [found.get(id(page), where.get(getattr(page, "index", None))) for page in series.pages]
    depth = [i for i, letter in enumerate(letters) if letter not in "CT"]
    unusable = len(depth) > 1 or math.prod(sizes) != len(order) or None in order
    if unusable or len(order) != len(pages):
        return plain, (), ()
    others = [letters.index(letter) for letter in "TC" if letter in letters]
    table = np.array(order).reshape(sizes).transpose(*others, *depth)
    table = table.reshape(math.prod(sizes[i] for i in others), -1)
    if "T" in letters and "C" in letters:
        names = tuple(
            f"t{t}-c{c}" for t in range(sizes[others[0]]) for c in range(sizes[others[1]])
        )
        return table, (), names
    return table, _times(tiff, len(table)) if "T" in letters else (), ()


def _series(tiff: Any) -> Any:
    """The first series as tifffile understands it, or None."""
    description = tiff.pages[0].description
    if len(description) > _MOST_XML or "<!DOCTYPE" in description or "<!ENTITY" in description:
        return None
    try:
        return tiff.series[0]
    except Exception:  # noqa: BLE001 - a header of any program's making; the pages are still good
        return None


def _attributes(tiff: Any) -> dict[str, str]:
    """Those of the first ``Pixels`` element of an OME header; no XML parser is let near it."""
    found = re.search(r"<(?:\w+:)?Pixels\b([^<>]*)>", tiff.pages[0].description[:_MOST_XML])
    return dict(re.findall(r'(\w+)="([^"<>]*)"', found[1])) if found and tiff.is_ome else {}


def _times(tiff: Any, count: int) -> tuple[float, ...]:
    stated = _attributes(tiff)
    unit = _SECONDS.get(stated.get("TimeIncrementUnit", "s"))
    step = _number(stated.get("TimeIncrement", ""))
    return () if unit is None or step is None else tuple(i * step * unit for i in range(count))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _spacing(tiff: Any, page: Any) -> tuple[float, float, float] | None:
    """Millimetres along ``(D, H, W)`` that a microscope's header states; NaN for an unknown D."""
    if tiff.is_ome:
        stated = _attributes(tiff)
        steps = []
        for axis in "ZYX":
            step = _number(stated.get(f"PhysicalSize{axis}", ""))
            unit = _MILLIMETRES.get(stated.get(f"PhysicalSize{axis}Unit", "µm"))
            steps.append(math.nan if step is None or unit is None else step * unit)
        return None if any(map(math.isnan, steps[1:])) else (steps[0], steps[1], steps[2])
    if page.is_svs:
        found = re.search(r"\bMPP\s*=\s*([0-9.]+)", page.description[:100_000])
        micrometres = _number(found[1]) if found else None
        return None if micrometres is None else (math.nan, micrometres / 1e3, micrometres / 1e3)
    return _imagej_spacing(tiff, page) if tiff.is_imagej else None


def _imagej_spacing(tiff: Any, page: Any) -> tuple[float, float, float] | None:
    """ImageJ keeps pixels a unit in the resolution tags, and the unit in its description."""
    stated = tiff.imagej_metadata or {}
    unit = _MILLIMETRES.get(str(stated.get("unit", "")))
    steps = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        top, bottom = tag.value if tag is not None and len(tag.value) == 2 else (0, 0)
        steps.append(bottom / top if top and bottom else math.nan)
    if unit is None or any(map(math.isnan, steps)):
        return None
    depth = _number(str(stated.get("spacing", ""))) or math.nan
    return depth * unit, steps[0] * unit, steps[1] * unit
