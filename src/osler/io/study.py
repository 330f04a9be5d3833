"""One study of a sorted folder as a case: volumes, photographs, and what is said about them."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from osler.errors import OslerError
from osler.io.content import Content
from osler.io.dicom_findings import put, read_findings
from osler.io.dicom_image import read_dicom
from osler.io.dicom_series import read_series
from osler.io.input_file import decoding, opened, printable
from osler.io.readers import reader_for
from osler.io.reading import read_file
from osler.record import Case, Image

if TYPE_CHECKING:
    from osler.io.sorting import DicomFile, Series, Study

_PROJECTIONS = ("CR", "DX", "MG", "XA", "RF", "PX", "IO")
_GEOMETRY = ("allow_tilt", "allow_irregular", "split_by")


def load_study(
    study: "Study", *, max_pixels: int, allow_empty: bool = False, **options: Any
) -> Case:
    """Load a study; what cannot be read is left out with the reason.

    Args:
        study: of ``sort``.
        max_pixels: refuse a frame of more pixels.
        allow_empty: give a case without items where nothing can be read.
        options: of the readers.

    Raises:
        InputError: nothing can be read; the first reason is given.
    """
    errors: list[OslerError] = []
    case = Case(study.id, study.patient_id)
    later: list[str] = []
    for series in study.series:
        # a segmentation has pixels, but speaks of images
        alone = series.modality == "SEG"
        images = [file for file in series.files if file.image and not alone]
        later.extend(file.path for file in series.files if alone or not file.image)
        for some in parts(series, images):
            add_content(case, errors, some[0].path, partial(images_of, some, max_pixels, options))
    # what speaks of images comes after them
    for path in later:
        add_content(case, errors, path, partial(statement, case, path, max_pixels))
    for path, fields in study.files:
        add_content(case, errors, path, partial(_other, path, max_pixels, options), fields)
    if errors and not (case.items or case.findings or allow_empty):
        raise errors[0]
    return case


def parts(series: "Series", files: "list[DicomFile]") -> "list[list[DicomFile]]":
    """The slices of a volume together, every other image alone."""
    if series.modality in _PROJECTIONS:
        return [[file] for file in files]
    placed = [file for file in files if file.placed]
    alone = [[file] for file in files if not file.placed]
    return ([placed] if placed else []) + alone


def images_of(files: "list[DicomFile]", max_pixels: int, options: dict[str, Any]) -> Content:
    """The volume of several slices, or the image or the findings of one file."""
    known = {name: value for name, value in options.items() if name in _GEOMETRY}
    if len(files) > 1:
        seen = {file.path: (file.scan, file.stamp) for file in files if file.scan is not None}
        return read_series([file.path for file in files], max_pixels=max_pixels, seen=seen, **known)
    known.pop("split_by", None)
    with opened(files[0].path) as file:
        content = read_findings(file, "dicom", max_pixels=max_pixels)
        if content is not None:
            return content
        return read_dicom(file, "dicom", max_pixels=max_pixels, at_once=False, **known)


def _other(path: str, max_pixels: int, options: dict[str, Any]) -> Content:
    with opened(path) as file:
        reader = reader_for(file.head, file.path.suffix[1:].lower())
    taken = reader.options if reader else ()
    known = {name: value for name, value in options.items() if name in taken}
    return read_file(path, max_pixels=max_pixels, **known)


def statement(case: Case, path: str, max_pixels: int) -> Content:
    """What a file says of the images of a case."""
    images = [item for item in case.items.values() if isinstance(item, Image)]
    with opened(path) as file, decoding(file, "dicom"):
        content = read_findings(file, "dicom", max_pixels=max_pixels, images=images)
    return content if content is not None else read_file(path, max_pixels=max_pixels)


def add_content(
    case: Case,
    errors: list[OslerError],
    path: str,
    read: Callable[[], Content],
    fields: "dict[str, str] | None" = None,
) -> None:
    """Read something onto a case; what fails is left out with its reason.

    Args:
        case: the case.
        errors: gets what failed.
        path: what is read, for the reason.
        read: reads it.
        fields: what a pattern of paths says of it.
    """
    try:
        content = read()
    except OslerError as error:
        errors.append(error)
        case.left_out.append((printable(path), str(error)))
        return
    fields = fields or {}
    for item in content.items:
        if "item" in fields and len(content.items) == 1:
            item.name = fields["item"]
        if "eye" in fields and isinstance(item, Image):
            _set_side(item, fields["eye"])
    put(case, content)
    if case.patient_id is None:
        case.patient_id = content.patient_id


def _set_side(image: Image, side: str) -> None:
    if image.laterality is None and "laterality-contradictory" not in image.flags:
        image.laterality = "R" if side == "R" else "L"
    elif image.laterality != side:
        image.laterality = None
        image.flags = (*image.flags, "laterality-contradictory")
