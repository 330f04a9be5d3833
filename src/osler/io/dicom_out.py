"""A case as DICOM objects: the photograph, its segmentation, and its report."""

from pathlib import Path

from osler.io.dicom_photo import source_dataset, write_photo
from osler.io.dicom_seg import FILE as SEGMENTATION
from osler.io.dicom_seg import build_seg
from osler.io.dicom_sr import write_sr
from osler.record import Case


def write(case: Case, folder: Path, *, item: str = "photo") -> list[Path]:
    """Write ``photo.dcm``, ``segmentation.dcm`` and ``report.dcm`` into an existing folder.

    ``photo.dcm`` is written only for an image that did not come from DICOM, since one that did
    is referred to where it is; ``segmentation.dcm`` only where a mask has a pixel.

    Args:
        case: the case.
        folder: an existing folder.
        item: name of the image.

    Returns:
        The files that were written.

    Raises:
        OutputError: an image or a mask cannot be held by the object.
    """
    written = []
    origin = case.image(item).origin
    if origin is not None and origin.dicom:
        source = source_dataset(case, item=item)
    else:
        written.append(folder / "photo.dcm")
        source = write_photo(case, written[0], item=item)
    seg = build_seg(case, item=item, source=source)
    if seg is not None:
        written.append(folder / SEGMENTATION)
        seg.save_as(written[-1])
    return [*written, write_sr(case, folder, seg=seg, item=item, source=source)]
