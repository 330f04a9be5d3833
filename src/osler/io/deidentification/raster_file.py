"""A photograph (JPEG, PNG, TIFF, BMP) → the same picture and nothing else."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from osler.errors import UnreadableError, UnsupportedError
from osler.io.deidentification import raster_bytes
from osler.io.deidentification.device_rules import Box
from osler.io.deidentification.draft import Cleaned
from osler.io.deidentification.options import Options
from osler.io.input_file import MAX_PIXELS, InputFile, check_size, decoding
from osler.io.signatures import is_jpeg, is_png, is_tiff
from osler.terminal import counted


def clean(file: InputFile, options: Options) -> Cleaned:
    """The picture without what its file tells besides.

    Raises:
        UnreadableError: it is damaged.
        UnsupportedError: it is an animation.
        TooLargeError: it has more pixels than the limit.
    """
    kind = "TIFF" if is_tiff(file.head) else "JPEG" if is_jpeg(file.head) else "picture"
    with decoding(file, kind):
        try:
            return _tiff(file, options) if is_tiff(file.head) else _stream(file, options)
        except UnsupportedError as error:
            raise UnsupportedError(f"'{file.name}': {error}") from None
        except UnreadableError as error:
            raise UnreadableError(f"'{file.name}': {error}; copy it from its source") from None


def _stream(file: InputFile, options: Options) -> Cleaned:
    from PIL import Image

    file.stream.seek(0)
    data = file.stream.read()
    picture = Cleaned(".bmp", lambda _: None)
    if is_jpeg(file.head):
        picture.ending, data = ".jpg", raster_bytes.jpeg(data, picture.counts)
    elif is_png(file.head):
        picture.ending, data = ".png", raster_bytes.png(data, picture.counts)
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "BMP")) as image:
        check_size(file, width=image.width, height=image.height, max_pixels=MAX_PIXELS)
        boxes = _text(np.asarray(image.convert("RGB")), options)
        if boxes or picture.ending == ".bmp":
            data = _drawn(image, boxes, picture)
    picture.write = lambda path: _save(data, path)
    return picture


def _save(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _text(picture: Any, options: Options) -> list[Box]:
    from osler.io.deidentification import text_boxes

    if options.pixels == "rules":
        return []
    return text_boxes.find(picture, markers=options.markers)


def _drawn(image: Any, boxes: list[Box], picture: Cleaned) -> bytes:
    """The picture, coded again with the rectangles black."""
    from PIL import JpegImagePlugin

    out = io.BytesIO()
    more: dict[str, Any] = {}
    exif = image.getexif().get(0x0112)
    if image.format == "JPEG":
        more = {
            "qtables": image.quantization,
            "subsampling": JpegImagePlugin.get_sampling(image),
            "icc_profile": image.info.get("icc_profile"),
        }
        if exif:
            more["exif"] = raster_bytes.orientation_segment(exif)
    elif image.format == "PNG":
        more = {"icc_profile": image.info.get("icc_profile")}
    format = image.format
    image.load()
    for box in boxes:
        image.paste(0 if len(image.getbands()) == 1 else (0,) * len(image.getbands()), tuple(box))
    image.save(out, format, **more)
    if boxes:
        picture.counts["burnt-in text", "blacked out"] += len(boxes)
        lossy = " with its own quantisation" if format == "JPEG" else " without loss"
        picture.notes.append(f"{counted(len(boxes), 'rectangle')} blacked out; coded again{lossy}")
    return out.getvalue()


def _tiff(file: InputFile, options: Options) -> Cleaned:
    import tifffile

    picture = Cleaned(".tif", lambda _: None)
    with tifffile.TiffFile(file.path) as tiff:
        pages: list[Any] = list(tiff.pages)
        for page in pages:
            check_size(file, width=page.imagewidth, height=page.imagelength, max_pixels=MAX_PIXELS)
        arrays = list(_pages(pages, options, picture))
    picture.counts["TIFF tags", "removed"] += sum(len(page.tags) for page in pages)

    def write(path: Path) -> None:
        with tifffile.TiffWriter(path) as out:
            for array, how in arrays:
                out.write(array, **how)

    picture.write = write
    return picture


def seen_pages(path: Path) -> Iterator[Any]:
    """The pages of a TIFF file as a person sees them."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        for page in cast("Any", tiff.pages):
            array = page.asarray()
            yield _eight_bits(array, colour=_is_colour(array, page))


def _is_colour(array: Any, page: Any) -> bool:
    return bool(array.ndim == 3 and array.shape[-1] in (3, 4) and page.planarconfig == 1)


def _pages(pages: Any, options: Options, picture: Cleaned) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Pixels of each page and how they are written: without a word."""
    for page in pages:
        array = page.asarray()
        colour = _is_colour(array, page)
        reads = options.pixels != "rules"
        boxes = _text(_eight_bits(array, colour=colour), options) if reads else []
        if boxes:
            array = np.array(array)
            picture.counts["burnt-in text", "blacked out"] += len(boxes)
        for box in boxes:
            rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
            array[(rows, columns) if colour or array.ndim == 2 else (..., rows, columns)] = 0
        yield array, _how(page, colour=colour)


def _eight_bits(array: Any, *, colour: bool) -> Any:
    """A page as a person sees it, ``(H, W)`` or ``(H, W, 3)``.

    Raises:
        UnsupportedError: it is neither grey nor in colours.
    """
    if array.ndim == 3 and not colour and array.shape[0] <= 4:  # planes of colours
        array, colour = np.moveaxis(array, 0, -1), True
    if array.ndim != 2 and not colour:
        raise UnsupportedError(f"its pages have the shape {array.shape}, which is not searched")
    seen = array[..., :3] if colour and array.shape[-1] >= 3 else array
    scaled = (seen if seen.ndim == 2 or seen.shape[-1] == 3 else seen[..., 0]).astype(np.float32)
    low, high = float(scaled.min()), float(scaled.max())
    return np.uint8((scaled - low) * (255 / max(high - low, 1e-6)))


def _how(page: Any, *, colour: bool) -> dict[str, Any]:
    how: dict[str, Any] = {
        "compression": "zlib",
        "metadata": None,
        "software": False,
        "datetime": False,
        "contiguous": False,
    }
    name = page.photometric.name.lower()
    how["photometric"] = "rgb" if colour and name == "ycbcr" else name
    if page.colormap is not None:
        how["colormap"] = page.colormap
    if page.extrasamples:
        how["extrasamples"] = [int(e) for e in page.extrasamples]
    if "XResolution" in page.tags and page.resolutionunit > 1:
        how |= {"resolution": page.resolution, "resolutionunit": page.resolutionunit}
    if page.planarconfig == 2:
        how["planarconfig"] = "separate"
    return how
