"""DICOM objects that say something about images: which reader takes which, and onto which case."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from osler.io.input_file import MAX_PIXELS, InputFile, decoding, opened
from osler.record import Case, Finding, Image, Mask, Measurement

if TYPE_CHECKING:
    from osler.io.content import Content

_SOP_CLASS = 0x00080016


def _seg(file: InputFile, format: str, max_pixels: int, images: Sequence[Image]) -> "Content":
    from osler.io.content import Content
    from osler.io.dicom_seg_in import read_seg

    own, masks, patient = read_seg(file, format, max_pixels=max_pixels, images=images)
    return Content(own, masks, patient)


def _sr(file: InputFile, format: str, max_pixels: int, images: Sequence[Image]) -> "Content":
    from osler.io.content import Content
    from osler.io.dicom_sr_in import read_sr

    text, findings, patient = read_sr(file, format, images=images)
    return Content([text], findings, patient)


def _waveform(file: InputFile, format: str, max_pixels: int, images: Sequence[Image]) -> "Content":
    from osler.io.dicom_waveform import read_waveform

    return read_waveform(file, format, max_pixels=max_pixels)


def _rtstruct(file: InputFile, format: str, max_pixels: int, images: Sequence[Image]) -> "Content":
    from osler.io.content import Content
    from osler.io.dicom_rtstruct import read_rtstruct

    return Content((), *read_rtstruct(file, format, images=images))


def _shown(file: InputFile, format: str, max_pixels: int, images: Sequence[Image]) -> "Content":
    from osler.io.content import Content
    from osler.io.dicom_presentation import read_presentation

    return Content((), *read_presentation(file, format, images=images))


def _document(file: InputFile, format: str, max_pixels: int, images: Sequence[Image]) -> "Content":
    from osler.io.content import Content
    from osler.io.dicom_pdf import read_document

    text, patient = read_document(file, format)
    return Content([text], (), patient)


_Read = Callable[[InputFile, str, int, Sequence[Image]], "Content"]

READERS: tuple[tuple[str, _Read], ...] = (
    ("1.2.840.10008.5.1.4.1.1.66.4", _seg),  # Segmentation
    ("1.2.840.10008.5.1.4.1.1.66.7", _seg),  # Label Map Segmentation
    ("1.2.840.10008.5.1.4.1.1.9.", _waveform),  # every waveform
    ("1.2.840.10008.5.1.4.1.1.88.", _sr),  # every structured report
    ("1.2.840.10008.5.1.4.1.1.481.3", _rtstruct),  # RT Structure Set
    ("1.2.840.10008.5.1.4.1.1.11.", _shown),  # every presentation state
    ("1.2.840.10008.5.1.4.1.1.104.", _document),  # encapsulated PDF, CDA
)
"""Start of the SOP class to what reads it, in order."""


def read_findings(
    file: InputFile, format: str, *, max_pixels: int, images: Sequence[Image] = ()
) -> "Content | None":
    """Read an object whose content is findings or words; None for one of any other class.

    Args:
        file: the opened file.
        format: ``"dicom"``.
        max_pixels: refuse a grid of more voxels than this.
        images: images that the findings may be about.

    Raises:
        InputError: as ``osler.load``.
    """
    kind = _sop_class(file, format)
    read = next((read for start, read in READERS if kind.startswith(start)), None)
    return read(file, format, max_pixels, images) if read else None


def add(
    case: Case, path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> tuple[str, ...]:
    """Read a DICOM object onto a case that may hold the images that it is about.

    A segmentation comes in the native grid of the image that it refers to, contours become masks
    there. What the case already has under the same name gets a number behind it.

    Args:
        case: the case.
        path: a DICOM segmentation, structured report, structure set, presentation state or
            encapsulated document.
        max_pixels: refuse a grid of more voxels than this.

    Returns:
        The ids of the findings that were added.

    Raises:
        UnsupportedError: the file is a DICOM object of another kind.
        InputError: as ``osler.load``.
    """
    from osler.errors import UnsupportedError

    images = [item for item in case.items.values() if isinstance(item, Image)]
    with opened(path) as file:
        content = read_findings(file, "dicom", max_pixels=max_pixels, images=images)
        if content is None:
            raise UnsupportedError(
                f"'{file.name}' holds no findings; open it with osler.load instead"
            )
    return put(case, content)


def put(case: Case, content: "Content") -> tuple[str, ...]:
    """Put items and findings onto a case, under names that are not taken yet."""
    from osler.io.dicom_seg_in import unused

    renamed: dict[str, str] = {}
    for item in content.items:
        renamed[item.name] = unused(item.name, {*case.items, *case.findings})
        item.name = renamed[item.name]
        case.items[item.name] = item
    here = {item.name for item in content.items}
    added: list[str] = []
    for finding in content.findings:
        _rename(finding, renamed, here)
        _point_at_mask(finding, case)
        wanted = finding.id
        finding.id = unused(wanted, {*case.items, *case.findings})
        renamed[wanted] = finding.id
        added.append(case.add(finding).id)
    return tuple(added)


def _rename(finding: Finding, renamed: dict[str, str], here: set[str]) -> None:
    finding.evidence = tuple(renamed.get(id, id) for id in finding.evidence)
    if finding.item in renamed and renamed[finding.item] in here:
        finding.item = renamed[finding.item]


def _point_at_mask(finding: Finding, case: Case) -> None:
    """A number of a report stands on the mask that the case has under the tracked name."""
    if isinstance(finding, Measurement) and not finding.evidence:
        mask = case.get(finding.structure, Mask)
        if mask is not None and mask.item == finding.item:
            finding.evidence = (mask.id,)


def _sop_class(file: InputFile, format: str) -> str:
    from osler.io.dicom_whole import read_start

    with decoding(file, format):
        header = read_start(file, _SOP_CLASS)
        named = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
        return str(named or "")
