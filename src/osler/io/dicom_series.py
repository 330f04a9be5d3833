"""The files of a DICOM series as one volume: ordered, judged, and decoded when asked for.

Each file's header is walked over, not decoded; one of them is read in full for what the image
keeps. Geometry as in ``dicom_geometry``.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from osler.errors import GeometryError, InputError, OslerError
from osler.io import dicom_header as header
from osler.io.content import Content
from osler.io.dicom_alike import refuse_unlike
from osler.io.dicom_frames import Frames, locate, native_frame
from osler.io.dicom_geometry import Allowed, Grid, Pose, grid_of, numbers, pose_of_header
from osler.io.dicom_image import Opened, described, open_image, pixel_flags, profile_of
from osler.io.dicom_layout import DEFLATED, EXPLICIT_BIG, UNCOMPRESSED, Layout, layout_of
from osler.io.dicom_multiframe import Arrangement
from osler.io.dicom_palette import palette_of
from osler.io.dicom_pixels import Pixels, Plane
from osler.io.dicom_scan import TAGS, Scan, of_dataset, scan_tags
from osler.io.dicom_values import Rescale, rescale_of, result_type
from osler.io.input_file import MAX_PIXELS, InputFile, decoding, opened, printable
from osler.record import Image, Mask, Origin

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Seen = tuple[Scan, tuple[int, int]]
"""What a walk over a header found; length in bytes and time of the last change (ns) of its file."""

_REAL = (b"\x08\0", b"\x09\0")  # FloatPixelData and DoubleFloatPixelData, group left out

SPLITTING = (
    *("AcquisitionNumber", "EchoTime", "EchoNumbers", "TemporalPositionIdentifier"),
    *("TriggerTime", "DiffusionBValue", "ImageType"),
)
"""What usually tells several volumes of a series apart, most usual first."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One file of a series, its header walked over and its frame found.

    Attributes:
        path: the file.
        name: its name as it can be printed.
        scan: the elements of its header that matter.
        layout: how the samples are stored.
        frames: where they lie.
        rescale: how they become physical values.
        pose: where the plane lies.
    """

    path: str
    name: str
    scan: Scan
    layout: Layout
    frames: Frames
    rescale: Rescale
    pose: Pose


def read_series(
    paths: Iterable[str | os.PathLike[str]],
    *,
    max_pixels: int = MAX_PIXELS,
    split_by: str | None = None,
    allow_tilt: bool = False,
    allow_irregular: bool = False,
    seen: "Mapping[str, Seen] | None" = None,
) -> Content:
    """Read the files of one series as a volume, in any order.

    Args:
        paths: single-frame DICOM files.
        max_pixels: refuse a slice of more pixels.
        split_by: keyword of the element whose values tell several volumes apart, such as
            ``"EchoTime"``; each value gives an image of its own.
        allow_tilt: keep slices that move sideways; the affine has their shear.
        allow_irregular: keep slices without a regular grid; the image has no affine.
        seen: headers that have been walked over already, by path; one whose file has changed since
            is walked over again.

    Returns:
        One image (several with ``split_by``), ``(C, D, H, W)``, not decoded yet.

    Raises:
        GeometryError: slices are missing, double, tilted, uneven or without a place, or differ in
            direction, size or units; the message names files, element and way out.
        InputError: a file cannot be used, or the files are of several series.
    """
    opener = _Opener(max_pixels, split_by)
    known = seen or {}
    slices = [opener.open(path, known.get(os.fspath(path))) for path in paths]
    if not slices:
        raise InputError("a series has no files; name those of one series")
    return volumes(
        slices,
        max_pixels=max_pixels,
        split_by=split_by,
        allowed=Allowed(allow_tilt, allow_irregular),
    )


class Source(Protocol):
    """Where the slices of a volume are, if not in files of this machine."""

    def first(self, one: Slice) -> Slice:
        """The first slice as a file of this machine."""

    def pixels(self, pixels: Pixels, slices: Sequence[Slice]) -> Pixels:
        """The pixels, to be fetched when they are asked for; ``slices`` in their order."""


def volumes(
    slices: Sequence[Slice],
    *,
    max_pixels: int,
    allowed: Allowed,
    split_by: str | None = None,
    source: Source | None = None,
) -> Content:
    """As ``read_series``, of slices whose headers are known."""
    from osler.io.dicom_overlays_series import series_overlays

    images: list[Image] = []
    masks: list[Mask] = []
    for some in _split(slices, split_by):
        image, ordered = volume(some, max_pixels=max_pixels, allowed=allowed, source=source)
        if images:
            image.name = f"{image.name}-{len(images) + 1}"
        images.append(image)
        if source is None:
            masks += series_overlays(ordered, item=image.name, max_pixels=max_pixels)
        elif any("OverlayRows" in one.scan for one in ordered):
            image.flags = (*image.flags, "overlays-left-out")
    return Content(images, masks, patient_id=slices[0].scan.text("PatientID") or None)


def open_slice(path: str | os.PathLike[str], *, max_pixels: int, also: str | None = None) -> Slice:
    """Walk over the header of a single-frame file, and find its pixels.

    Raises:
        InputError: the file cannot be used, or has several frames.
    """
    return _Opener(max_pixels, also).open(path)


@dataclass(slots=True)
class _Opener:
    """Opens the slices of a series; what they have in common is understood once.

    Attributes:
        max_pixels: refuse a slice of more pixels.
        also: keyword of an element that is kept besides.
    """

    max_pixels: int
    also: str | None = None
    _layouts: dict[tuple[object, ...], Layout] = field(default_factory=dict)
    _rescales: dict[tuple[object, ...], Rescale] = field(default_factory=dict)
    _directions: dict[tuple[object, ...], Pose] = field(default_factory=dict)

    def open(self, path: str | os.PathLike[str], seen: "Seen | None" = None) -> Slice:
        """As ``open_slice``; what was seen of a file is believed where it has not changed."""
        name = printable(path)
        if seen is not None and not self._holds(path, seen):
            seen = None
        found, (size, _) = (None, (0, 0)) if seen is None else seen
        if found is not None and (quick := self._known(os.fspath(path), name, found, size)):
            return quick
        with opened(path) as file, decoding(file, "dicom"):
            if found is None:
                found = _walked(file, self.also)
            if found is None:
                whole = open_image(file, max_pixels=self.max_pixels)
                found, layout, frames = of_dataset(whole.dataset), whole.layout, whole.frames
                rescale = rescale_of(file.name, whole.dataset, layout)
            else:
                layout = self._layout(file, found)
                stream = cast(BinaryIO, file.stream)
                stream.seek(found.pixels or 0)
                frames = locate(file, stream, cast("Dataset", found), layout)
                rescale = self._rescale(file.name, found, layout)
            if layout.frames > 1:
                raise InputError(
                    f"'{file.name}' has {layout.frames} frames, so it is a volume or cine by "
                    "itself; load it alone"
                )
            pose = self._pose(file.name, found)
            return Slice(os.fspath(path), file.name, found, layout, frames, rescale, pose)

    def _holds(self, path: str | os.PathLike[str], seen: "Seen") -> bool:
        if (self.also and self.also not in TAGS) or not _plain(seen[0]):
            return False
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return False
        return (status.st_size, status.st_mtime_ns) == seen[1]

    def _known(self, path: str, name: str, found: Scan, size: int) -> Slice | None:
        """A slice that is stored like one before it, without opening its file."""
        layout = self._layouts.get(_values(found, _LAYOUT))
        if layout is None or found.pixels is None:
            return None
        frames = native_frame(path, name, size, layout, head=found.head, at=found.pixels)
        if frames is None:
            return None
        rescale = self._rescales.get(_values(found, _LAYOUT + _RESCALE))
        if rescale is None:
            return None
        return Slice(path, name, found, layout, frames, rescale, self._pose(name, found))

    def _layout(self, file: InputFile, found: Scan) -> Layout:
        key = _values(found, _LAYOUT)
        layout = self._layouts.get(key)
        if layout is None:
            layout = layout_of(
                file,
                cast("Dataset", found),
                syntax=found.syntax,
                real=False,
                max_pixels=self.max_pixels,
            )
            if layout.frames == 1:  # how many there may be depends on the file
                self._layouts[key] = layout
        return layout

    def _rescale(self, name: str, found: Scan, layout: Layout) -> Rescale:
        key = _values(found, _LAYOUT + _RESCALE)
        rescale = self._rescales.get(key)
        if rescale is None:
            rescale = self._rescales[key] = rescale_of(name, cast("Dataset", found), layout)
        return rescale

    def _pose(self, name: str, found: Scan) -> Pose:
        key = _values(found, _DIRECTION)
        like = self._directions.get(key)
        if like is None:
            like = pose_of_header(f"'{name}'", cast("Dataset", found))
            self._directions[key] = like
            return like
        position = numbers(found.get("ImagePositionPatient"), 3)
        return Pose(f"'{name}'", position, like.orientation, like.spacing)


def _tags(*keywords: str) -> tuple[int, ...]:
    return tuple(TAGS[keyword][0] for keyword in keywords)


_LAYOUT = _tags(
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_RESCALE = _tags(
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "Units", "Modality", "ImageType"),
)
_DIRECTION = _tags("ImageOrientationPatient", "PixelSpacing")


def _values(found: Scan, tags: tuple[int, ...]) -> tuple[object, ...]:
    """What tells two headers apart in these elements."""
    return (found.syntax, *map(found.values.get, tags))


def _plain(found: Scan) -> bool:
    """Whether the walk found all that there is to know, which takes no general reader."""
    return (
        found.pixels is not None
        and found.syntax not in ("", DEFLATED)
        and found.head[2:4] not in (b"", *_REAL)
        and "ModalityLUTSequence" not in found
        # an overlay may lie in unused bits, which only compressed samples bring along
        and ("OverlayRows" not in found or found.syntax in UNCOMPRESSED)
    )


def _walked(file: InputFile, also: str | None) -> Scan | None:
    """The elements that matter; None where the file takes a general reader."""
    tags = TAGS if also is None else {**TAGS, also: tag_of(also)}
    try:
        found = scan_tags(cast(BinaryIO, file.stream), tags, last=0x7FE00008)
    except ValueError:
        return None
    if not found.head and found.pixels is not None:  # the walk's last block ended there
        file.stream.seek(found.pixels)
        found.head = file.stream.read(12)
    return found if _plain(found) else None


def tag_of(keyword: str) -> tuple[int, str]:
    """Tag and VR of the keyword that ``split_by`` names.

    Raises:
        InputError: there is no such keyword.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise InputError(
            f"split_by='{keyword}' is no keyword of DICOM; give one such as {', '.join(SPLITTING)}"
        )
    return tag, dictionary_VR(tag)


def _split(slices: Sequence[Slice], keyword: str | None) -> list[list[Slice]]:
    if keyword is None:
        return [list(slices)]
    parts: dict[str, list[Slice]] = {}
    for one in slices:
        parts.setdefault(repr(one.scan.get(keyword)), []).append(one)
    return [parts[value] for value in sorted(parts, key=_natural)]


def _natural(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def volume(
    slices: Sequence[Slice], *, max_pixels: int, allowed: Allowed, source: Source | None = None
) -> tuple[Image, list[Slice]]:
    """One image of slices that make one volume, and these in the order of their planes.

    Raises:
        GeometryError: they do not.
    """
    what = f"the series of '{slices[0].name}'"
    refuse_unlike(slices)
    slices = sorted(slices, key=_instance)
    grid = _grid(slices, what=what, allowed=allowed)
    ordered = [slices[i] for i in grid.order]
    first = ordered[0] if source is None else source.first(ordered[0])
    with opened(first.path) as file, decoding(file, "dicom"):
        whole = open_image(file, max_pixels=max_pixels)
        image = _image(file, whole, ordered, grid, source)
        image.origin = Origin(
            path=file.name,
            sha256="",
            format="dicom",
            dicom=header.as_json(whole.dataset),
            files=tuple(printable(one.path) for one in ordered),
        )
    image.header = {
        "SOPInstanceUID": tuple(one.scan.text("SOPInstanceUID") for one in ordered),
    }
    return image, ordered


def _instance(one: Slice) -> tuple[int, str]:
    number = one.scan.get("InstanceNumber")
    return (number if isinstance(number, int) else 0), one.name


def _grid(slices: Sequence[Slice], *, what: str, allowed: Allowed) -> Grid:
    poses = [one.pose for one in slices]
    if len(slices) == 1:
        raise GeometryError(f"{what} is a single slice; load the file itself")
    try:
        return grid_of(poses, what=what, allowed=allowed)
    except GeometryError as error:
        way = _way_to_split(slices, allowed)
        if way is None:
            raise
        raise GeometryError(
            f"{str(error).split(': it holds several')[0]}; they differ in {way}, which makes "
            f"regular volumes: pass split_by='{way}' to get them apart"
        ) from None


def _way_to_split(slices: Sequence[Slice], allowed: Allowed) -> str | None:
    """The element whose values make a regular volume each, if one of the usual ones does."""
    for keyword in (*SPLITTING, "ImageOrientationPatient"):
        parts = _split(slices, keyword)
        if len(parts) < 2 or min(map(len, parts)) < 2:
            continue
        try:
            for part in parts:
                grid_of([one.pose for one in part], what="", allowed=Allowed(allowed.tilt, False))
        except OslerError:
            continue
        return keyword
    return None


def _image(
    file: InputFile, whole: Opened, slices: Sequence[Slice], grid: Grid, source: Source | None
) -> Image:
    count, dataset = len(slices), whole.dataset
    stored = max(one.layout.stored for one in slices)
    layout = replace(whole.layout, frames=count, stored=stored, high=stored - 1)
    rescales = tuple(one.rescale for one in slices)
    flags = pixel_flags(file, dataset, whole.layout, whole.frames, units=rescales[0].units)
    size = (layout.rows, layout.columns)
    palette = layout.photometric == "PALETTE COLOR"
    pixels = Pixels(
        files=tuple(one.frames for one in slices),
        layouts=tuple(one.layout for one in slices),
        planes=tuple(Plane(d, 0, 0, d, rescale) for d, rescale in enumerate(rescales)),
        shape=(1 if layout.grey else 3, count, *size),
        dtype=result_type(layout, tuple(set(rescales))),
        palette=palette_of(
            file.name, dataset, signed=layout.signed, big=layout.syntax == EXPLICIT_BIG
        )
        if palette
        else None,
        profile=profile_of(dataset),
        invert="monochrome1-inverted" in flags,
    )
    if source is not None:
        pixels = source.pixels(pixels, slices)
    places = tuple((0, d) for d in range(count))
    arrangement = Arrangement(places, 1, grid)
    return described(file, dataset, layout, pixels, arrangement, rescales[0], flags)
