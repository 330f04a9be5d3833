"""Points, lines, boxes, masks, words and the window of an image as a presentation state [1].

A grey image gets a Grayscale, a colour image a Color Softcopy Presentation State. Everything that
has a place is drawn relative to the image, so that it moves with it when a viewer zooms.

1. DICOM PS3.3, A.33, C.10.4 (Displayed Area), C.10.5 (Graphic Annotation), C.11.8 (Softcopy VOI).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import OutputError
from osler.io import identity
from osler.io.contour_fill import OFF_PLANE
from osler.io.contour_trace import rings_of
from osler.io.dicom_context import frame_number, header_of, instances, new_object, write_dataset
from osler.io.dicom_graphic_layers import layer, layers_of, said_by
from osler.io.dicom_photo import sound
from osler.io.dicom_rtstruct_out import refuse_unplaced
from osler.io.dicom_sr_groups import outline
from osler.record import Box, Case, Contour, Finding, Image, Mask, Passage, Point

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GREY = "1.2.840.10008.5.1.4.1.1.11.1"
COLOUR = "1.2.840.10008.5.1.4.1.1.11.2"
_LONGEST_TEXT = 1024  # characters of a short text (ST)
_WINDOW_SECTION = "display"
_ROUND = 1e-3
"""Points are on a circle where they stray from it by less than this, in pixels."""

Window = tuple[float, float] | Literal["image"] | None


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One graphic of a plane: its kind, and ``(N, 2)`` of ``(h, w)`` in pixels."""

    finding: Finding
    plane: int | None
    kind: str
    points: NDArray[np.float64]


def write_presentation(
    case: Case,
    path: str | Path,
    *,
    item: str | None = None,
    masks: bool = False,
    window: Window = "image",
    at: datetime | None = None,
) -> Path:
    """Write what is drawn and said on an image from DICOM as a softcopy presentation state.

    Points become points, lines polylines or circles, boxes closed polylines, passages texts. A
    passage whose evidence is a point is written at that point, others in a corner of the screen.

    Args:
        case: the case.
        path: the file, which appears whole or not at all.
        item: the image; the first from DICOM by default.
        masks: draw the outlines of masks too.
        window: centre and width in the values of the image; ``"image"`` for its own, None for
            none. Colour has none.
        at: when it was drawn; now by default.

    Returns:
        The path.

    Raises:
        OutputError: there is nothing to write, the image came from no DICOM file, or the file
            cannot be written.
        InputError: the case has no such image.
    """
    image = case.image(item) if item is not None else _image_of(case)
    drawn = [one for f in case.findings.values() for one in _graphics(f, image, masks=masks)]
    words = [
        p
        for p in case.of(Passage)
        if p.item in (image.name, None) and p.section != _WINDOW_SECTION and p.text.strip()
    ]
    grey = image.channel_count == 1
    shown = _window(image, window) if grey else None
    if not (drawn or words or shown):
        raise OutputError(
            f"case '{case.id}' has nothing that is drawn or said on image '{image.name}', nor a "
            "window; masks are outlined where that is asked for (masks=True)"
        )
    at = at or datetime.now().astimezone()
    uids = instances(image)
    key = _key(uids, drawn, words, shown)
    ds = new_object(
        image, GREY if grey else COLOUR, "PR", key=key, patient_id=case.patient_id, at=at
    )
    ds.SeriesNumber, ds.SeriesDescription = 106, "Osler annotations"
    ds.Laterality = image.laterality
    ds.ContentLabel, ds.ContentDescription = "OSLER", None
    ds.PresentationCreationDate, ds.PresentationCreationTime = ds.ContentDate, ds.ContentTime
    del ds.ContentDate, ds.ContentTime  # no attributes of this object
    ds.ContentCreatorName = None
    ds.ReferencedSeriesSequence = [_referenced(image, uids)]
    ds.DisplayedAreaSelectionSequence = [_area(image)]
    if drawn or words:
        layers = layers_of([*(one.finding for one in drawn), *words])
        annotations = _annotations(case, image, uids, drawn, words, layers)
        ds.GraphicAnnotationSequence = list(annotations)
        ds.GraphicLayerSequence = [layer(*one) for one in enumerate(layers, 1)]
    if grey:
        _grey(ds, image, shown)
    else:
        ds.ICCProfile = _srgb()
    write_dataset(ds, Path(path))
    return Path(path)


def _image_of(case: Case) -> Image:
    images = (i for i in case.items.values() if isinstance(i, Image) and i.modality != "SEG")
    image = next((i for i in images if header_of(i) and instances(i)), None)
    if image is None:
        raise OutputError(
            f"case '{case.id}' has no image from DICOM, and a presentation state must name one; "
            "write the image as DICOM, load that, and draw on it"
        )
    return image


def _graphics(finding: Finding, image: Image, *, masks: bool) -> Iterator[_Drawn]:
    """What is drawn of a finding; nothing where it is about something else."""
    refuse_unplaced(finding)
    if isinstance(finding, Contour) and finding.frame:
        frame = sound(header_of(image), "FrameOfReferenceUID")
        if image.affine is None or frame != finding.frame:
            return
        to_index = np.linalg.inv(image.affine)
        rings = [ring @ to_index[:3, :3].T + to_index[:3, 3] for ring in finding.rings]
        for ring in rings:
            yield _line(finding, ring[:, -len(image.shape) :], image)
        return
    if finding.item not in (image.name, None):
        return
    if isinstance(finding, Point):
        flat, plane = _in_plane(finding, np.array([finding.position], np.float64), image)
        yield _Drawn(finding, plane, "POINT", flat)
    elif isinstance(finding, Contour):
        for ring in finding.rings:
            yield _line(finding, ring, image)
    elif isinstance(finding, Box):
        yield from _box(finding, image)
    elif isinstance(finding, Mask) and masks and finding.shape == image.shape:
        voxels = finding.mask if finding.mask.ndim == 3 else finding.mask[None]
        for plane in np.flatnonzero(voxels.any((1, 2))).tolist():
            for ring in rings_of(voxels[plane]):
                closed = np.concatenate([ring, ring[:1]])
                where = plane if len(image.shape) == 3 else None
                yield _Drawn(finding, where, "POLYLINE", closed)


def _line(contour: Contour, ring: NDArray[np.float64], image: Image) -> _Drawn:
    flat, plane = _in_plane(contour, ring, image)
    if len(flat) == 1:
        return _Drawn(contour, plane, "POINT", flat)
    if contour.closed:
        centre, radius = flat.mean(0), float(np.linalg.norm(flat - flat.mean(0), axis=1).mean())
        circle = np.array([centre, (centre[0], centre[1] + radius)])
        as_drawn = outline("CIRCLE", circle)
        if as_drawn.shape == flat.shape and np.abs(as_drawn - flat).max() < _ROUND:
            return _Drawn(contour, plane, "CIRCLE", circle)
        flat = np.concatenate([flat, flat[:1]])
    return _Drawn(contour, plane, "POLYLINE", flat)


def _box(box: Box, image: Image) -> Iterator[_Drawn]:
    """A rectangle around the pixels, in each plane that the box takes in."""
    if len(box.start) != len(image.shape):
        raise OutputError(
            f"box '{box.id}' has {len(box.start)} axes and image '{image.name}' "
            f"{len(image.shape)}; give boxes of that image"
        )
    (top, left), (below, beyond) = box.start[-2:], box.stop[-2:]
    corners = [(top, left), (top, beyond), (below, beyond), (below, left), (top, left)]
    points = np.array(corners, np.float64) - 0.5
    planes: Sequence[int | None] = [None]
    if len(box.start) == 3:
        planes = range(max(box.start[0], 0), min(box.stop[0], image.shape[0]))
    for plane in planes:
        yield _Drawn(box, plane, "POLYLINE", points)


def _in_plane(
    finding: Finding, points: NDArray[np.float64], image: Image
) -> tuple[NDArray[np.float64], int | None]:
    """``(N, 2)`` in the plane of an image, and which plane."""
    if points.shape[1] != len(image.shape):
        raise OutputError(
            f"'{finding.id}' has {points.shape[1]} coordinates and image '{image.name}' "
            f"{len(image.shape)}; give findings of that image"
        )
    if len(image.shape) == 2:
        return points, None
    plane = int(np.rint(points[:, 0].mean()))
    if np.abs(points[:, 0] - plane).max() > OFF_PLANE and len(points) > 1:
        raise OutputError(
            f"'{finding.id}' lies in no one slice of '{image.name}', and a presentation state "
            "draws on slices; write it as a structure set"
        )
    if not 0 <= plane < image.shape[0]:
        raise OutputError(f"'{finding.id}' lies beyond the slices of '{image.name}'")
    return points[:, 1:], plane


def _window(image: Image, window: Window) -> tuple[float, float] | None:
    if window != "image":
        if window is not None and not (np.isfinite(window).all() and window[1] >= 1):
            raise OutputError(f"window is {window}; give a centre and a width of at least 1")
        return window
    if "monochrome1-inverted" in image.flags:
        # the window of an image turned round is not that of its stored values
        said = [sound(header_of(image), f"Window{part}") for part in ("Center", "Width")]
        values = [v[0] if isinstance(v, list | tuple) else v for v in said]
        return (float(values[0]), float(values[1])) if None not in values else None
    return image.window


def _grey(ds: "Dataset", image: Image, window: tuple[float, float] | None) -> None:
    """The way from stored values to the screen."""
    from pydicom.dataset import Dataset

    known = header_of(image)
    photometric = sound(known, "PhotometricInterpretation")
    ds.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    if window is None:
        return
    slope, intercept = _rescale(image)
    ds.RescaleIntercept, ds.RescaleSlope = f"{intercept:.10g}", f"{slope:.10g}"
    ds.RescaleType = str(sound(known, "RescaleType") or "US")[:16]
    shown = Dataset()
    shown.WindowCenter, shown.WindowWidth = f"{window[0]:.10g}", f"{window[1]:.10g}"
    ds.SoftcopyVOILUTSequence = [shown]


def _rescale(image: Image) -> tuple[float, float]:
    """Slope and intercept of every file and frame that the image was made of."""
    import pydicom

    known = header_of(image)
    found = {_numbers(pydicom.Dataset.from_json(dict(known)))} if known else set()
    for path in image.origin.files if image.origin is not None else ():
        tags = ["RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"]
        try:
            found.add(_numbers(pydicom.dcmread(path, specific_tags=list(tags), force=True)))
        except (OSError, ValueError) as error:
            raise OutputError(f"'{path}' cannot be read any more; put it back") from error
    if len(found) != 1 or None in found:
        raise OutputError(
            f"image '{image.name}' has slices of different scales (RescaleSlope, "
            "RescaleIntercept) or a table of values, for which a presentation state has no one "
            "window; pass window=None"
        )
    slope, intercept = next(pair for pair in found if pair is not None)
    return slope, intercept


def _numbers(ds: "Dataset") -> tuple[float, float] | None:
    from osler.io.dicom_multiframe import groups

    if ds.get("ModalityLUTSequence"):
        return None
    frames = len(ds.get("PerFrameFunctionalGroupsSequence") or ()) or 1
    pairs = {
        (float(item.get("RescaleSlope") or 1), float(item.get("RescaleIntercept") or 0))
        for item in groups(ds, "PixelValueTransformationSequence", frames)
        if item is not None
    }
    if len(pairs) > 1:
        return None
    stated = float(ds.get("RescaleSlope") or 1), float(ds.get("RescaleIntercept") or 0)
    return pairs.pop() if pairs else stated


def _referenced(image: Image, uids: tuple[str, ...]) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.SeriesInstanceUID = str(sound(header_of(image), "SeriesInstanceUID") or "")
    out.ReferencedImageSequence = [_instance(image, uid) for uid in uids]
    if not out.SeriesInstanceUID or not out.ReferencedImageSequence:
        raise OutputError(
            f"image '{image.name}' came from no DICOM file that says its series and instance, and "
            "a presentation state must name them; write the image as DICOM and load that"
        )
    return out


def _instance(image: Image, uid: str, plane: int | None = None) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.ReferencedSOPClassUID = str(sound(header_of(image), "SOPClassUID") or "")
    out.ReferencedSOPInstanceUID = uid
    if plane is not None:
        out.ReferencedFrameNumber = frame_number(image, plane)
    return out


def _target(image: Image, uids: tuple[str, ...], plane: int | None) -> "list[Dataset]":
    """The images that something is drawn on: the slice, the frame, or all of them."""
    if plane is None:
        return [_instance(image, uid) for uid in uids]
    if len(uids) > 1:
        return [_instance(image, uids[plane])]
    return [_instance(image, uids[0], plane)]


def _area(image: Image) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.DisplayedAreaTopLeftHandCorner = [1, 1]
    out.DisplayedAreaBottomRightHandCorner = [image.shape[-1], image.shape[-2]]
    out.PresentationSizeMode = "SCALE TO FIT"
    spacing = image.spacing
    if spacing is not None:
        out.PresentationPixelSpacing = [f"{v:.10g}" for v in spacing[-2:]]
    else:
        out.PresentationPixelAspectRatio = [1, 1]
    return out


def _annotations(
    case: Case,
    image: Image,
    uids: tuple[str, ...],
    drawn: Sequence[_Drawn],
    words: Sequence[Passage],
    layers: Mapping[str, str],
) -> "Iterator[Dataset]":
    """An item for each layer of a plane that something is drawn on, and for words without place."""
    from pydicom.dataset import Dataset

    texts: dict[tuple[int | None, str], list[Dataset]] = {}
    loose = 0
    for passage in words:
        named = (case.get(id, Point) for id in passage.evidence)
        point = next((p for p in named if p is not None and p.item in (image.name, None)), None)
        for part in _parts(passage.text.strip()):
            if point is None:
                texts.setdefault((None, said_by(passage)), []).append(_in_corner(part, loose))
                loose += 1
            else:
                at = np.array([point.position], np.float64)
                flat, plane = _in_plane(point, at, image)
                texts.setdefault((plane, said_by(passage)), []).append(_at_point(part, flat[0]))
    graphics_of: dict[tuple[int | None, str], list[Dataset]] = {}
    for one in drawn:
        where = one.plane, said_by(one.finding)
        graphics_of.setdefault(where, []).append(_graphic(one, uids[0]))
    for plane, by in dict.fromkeys([*graphics_of, *texts]):
        drawing = Dataset()
        drawing.ReferencedImageSequence = _target(image, uids, plane)
        drawing.GraphicLayer = layers[by]
        if (plane, by) in texts:
            drawing.TextObjectSequence = texts[plane, by]
        graphics = graphics_of.get((plane, by))
        if graphics:
            drawing.GraphicObjectSequence = graphics
        yield drawing


def _parts(text: str) -> list[str]:
    return [text[n : n + _LONGEST_TEXT] for n in range(0, len(text), _LONGEST_TEXT)]


def _in_corner(text: str, line: int) -> "Dataset":
    """Words without a place: at the left of the screen, one below the other."""
    from pydicom.dataset import Dataset

    out = Dataset()
    top = min(0.02 + 0.04 * line, 0.9)
    out.BoundingBoxAnnotationUnits, out.UnformattedTextValue = "DISPLAY", text
    out.BoundingBoxTopLeftHandCorner = [0.02, top]
    out.BoundingBoxBottomRightHandCorner = [0.6, top + 0.04]
    out.BoundingBoxTextHorizontalJustification = "LEFT"
    return out


def _at_point(text: str, point: NDArray[np.float64]) -> "Dataset":
    from pydicom.dataset import Dataset

    out = Dataset()
    out.AnchorPointAnnotationUnits, out.UnformattedTextValue = "PIXEL", text
    out.AnchorPoint = [float(point[1]) + 0.5, float(point[0]) + 0.5]
    out.AnchorPointVisibility = "Y"
    return out


def _graphic(one: _Drawn, uid: str) -> "Dataset":
    from pydicom.dataset import Dataset

    # DICOM counts (column, row) from the top left corner of the first pixel
    points = one.points[:, ::-1] + 0.5
    out = Dataset()
    out.GraphicAnnotationUnits, out.GraphicDimensions = "PIXEL", 2
    out.NumberOfGraphicPoints, out.GraphicData = len(points), points.ravel().tolist()
    out.GraphicType = one.kind
    if one.kind == "CIRCLE" or (one.kind == "POLYLINE" and np.array_equal(points[0], points[-1])):
        out.GraphicFilled = "N"
    out.TrackingID = one.finding.id[:64]
    out.TrackingUID = identity.uid("drawn", uid, one.finding.id)
    return out


def _srgb() -> bytes:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return bytes(profile) + b"\0" * (len(profile) % 2)


def _key(
    uids: tuple[str, ...], drawn: Sequence[_Drawn], words: Sequence[Passage], window: Any
) -> str:
    total = hashlib.sha256("\\".join(uids).encode())
    for one in drawn:
        total.update(f"{one.finding.id}\\{one.plane}\\{one.kind}".encode())
        total.update(np.round(one.points, 4).tobytes())
    for passage in words:
        total.update(f"{passage.id}\\{passage.text}".encode())
    total.update(repr(window).encode())
    return total.hexdigest()
