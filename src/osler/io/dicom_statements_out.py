"""What is said about a case's images, as one DICOM object of a kind that a user names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from osler.errors import InputError, OutputError
from osler.record import Case, Mask


def write_statements(
    case: Case, kind: str, path: str | Path, *, item: str | None = None, masks: bool = False
) -> Path:
    """Write the findings of a case as one DICOM object.

    Args:
        case: the case.
        kind: ``"seg"`` (masks as a segmentation), ``"sr"`` (measurements, labels and points as a
            report), ``"rtstruct"`` (contours and points as a structure set) or ``"gsps"`` (what
            is drawn and said, and the window, as a presentation state).
        path: the file, which appears whole or not at all.
        item: the image that they are about; the first that fits by default.
        masks: draw the outlines of masks in a structure set or presentation state too.

    Returns:
        The path.

    Raises:
        InputError: no such kind, or no such image.
        OutputError: the case has nothing of that kind, or the file cannot be written.
    """
    if kind not in KINDS:
        raise InputError(f"findings are not written as '{kind}'; choose one of {', '.join(KINDS)}")
    return KINDS[kind](case, Path(path), item, masks)


def _seg(case: Case, path: Path, item: str | None, masks: bool) -> Path:
    from osler.io.dicom_seg_out import write_segmentation

    named = item or next((m.item for m in case.of(Mask) if m.item), None)
    if named is None:
        raise OutputError(f"case '{case.id}' has no masks to write as a segmentation")
    image = case.image(named)
    about = [m for m in case.of(Mask) if m.item in (named, None) and m.shape == image.shape]
    if not about:
        raise OutputError(f"image '{named}' has no masks to write as a segmentation")
    return write_segmentation(about, image, path)


def _sr(case: Case, path: Path, item: str | None, masks: bool) -> Path:
    from osler.io.dicom_sr import write_measurements

    return write_measurements(case, path, item=item)


def _rtstruct(case: Case, path: Path, item: str | None, masks: bool) -> Path:
    from osler.io.dicom_rtstruct_out import write_structures

    return write_structures(case, path, item=item, masks=masks)


def _gsps(case: Case, path: Path, item: str | None, masks: bool) -> Path:
    from osler.io.dicom_presentation_out import write_presentation

    return write_presentation(case, path, item=item, masks=masks)


KINDS: Final[Mapping[str, Callable[[Case, Path, str | None, bool], Path]]] = {
    "seg": _seg,
    "sr": _sr,
    "rtstruct": _rtstruct,
    "gsps": _gsps,
}
"""What findings are written as."""
