"""A case as DICOM objects: the picture, its segmentation, and its report."""

from contextlib import suppress
from pathlib import Path

from osler.errors import OutputError
from osler.io.dicom_context import instances
from osler.io.dicom_photo import source_dataset, write_photo
from osler.io.dicom_seg import FILE as SEGMENTATION
from osler.io.dicom_seg import build_seg
from osler.io.dicom_sr import FILE as REPORT
from osler.io.dicom_sr import NothingToReportError, write_measurements, write_sr
from osler.record import Box, Case, Contour, Image, Label, Mask, Measurement, Passage, Point

_IN_REPORT = (Box, Contour, Label, Measurement, Passage, Point)


def write(case: Case, folder: Path, *, item: str | None = None) -> list[Path]:
    """Write a case's image, masks and statements as DICOM into an existing folder.

    Of a picture ``photo.dcm``, ``segmentation.dcm`` and ``report.dcm``: the first only where it did
    not come from DICOM, since one that did is referred to where it is; the second only where a mask
    has a pixel, the third where something is said that a report holds. Of a volume
    ``segmentation.dcm``, and, where it came from DICOM and something is said of it in words or
    numbers, ``report.dcm``.

    Args:
        case: the case.
        folder: an existing folder.
        item: name of the image; by default that of the findings, else ``"photo"``.

    Returns:
        The files that were written.

    Raises:
        OutputError: the case has no image, or an image or a mask cannot be held by the object.
    """
    if not any(isinstance(one, Image) for one in case.items.values()):
        raise OutputError(
            f"case '{case.id}' has no image, and what is written in DICOM is about one; leave it "
            "out (FHIR takes any case)"
        )
    item = item or _item_of(case)
    image = case.image(item)
    if len(image.shape) == 3:
        return _write_volume(case, image, folder)
    written = []
    origin = image.origin
    if origin is not None and origin.dicom:
        source = source_dataset(case, item=item)
    else:
        written.append(folder / "photo.dcm")
        source = write_photo(case, written[0], item=item)
    seg = build_seg(case, item=item, source=source)
    if seg is not None:
        written.append(folder / SEGMENTATION)
        seg.save_as(written[-1])
    with suppress(NothingToReportError):
        written.append(write_sr(case, folder, seg=seg, item=item, source=source))
    return written


def _item_of(case: Case) -> str:
    """The image that the findings are about."""
    images = [name for name, item in case.items.items() if isinstance(item, Image)]
    if "photo" in images:
        return "photo"
    said = [f.item for f in case.findings.values() if f.item in images and f.item is not None]
    return next(iter([*said, *images]), "photo")


def _write_volume(case: Case, image: Image, folder: Path) -> list[Path]:
    from osler.io.dicom_seg_out import write_segmentation

    masks = [m for m in case.of(Mask) if m.item in (image.name, None) and m.mask.any()]
    written = []
    if masks:
        at = case.history[-1].at if case.history else None
        path = folder / SEGMENTATION
        written.append(write_segmentation(masks, image, path, patient_id=case.patient_id, at=at))
    said = any(isinstance(f, _IN_REPORT) for f in case.findings.values())
    if said and instances(image):
        seg = folder / SEGMENTATION if masks else None
        with suppress(NothingToReportError):
            written.append(write_measurements(case, folder / REPORT, item=image.name, seg=seg))
    return written
