"""What the slices of one series must have in common to be one volume."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from osler.errors import GeometryError, InputError, UnreadableError
from osler.io.dicom_scan import TAGS

if TYPE_CHECKING:
    from osler.io.dicom_series import Slice


def refuse_unlike(slices: "Sequence[Slice]") -> None:
    """Raise where slices differ in what one image has only one of.

    Raises:
        InputError: they are of several series or patients.
        GeometryError: in frame of reference, size or unit.
        UnreadableError: in how their samples are stored, or only some state how they are scaled.
    """
    first = slices[0]
    for one in slices[1:]:
        pair = f"'{one.name}' and '{first.name}'"
        for keyword in ("PatientID", "SeriesInstanceUID"):
            if _differ(one, first, keyword):
                raise InputError(
                    f"{pair} are of different series ({keyword}); give the files of one series, "
                    "or their folder to osler.load"
                )
        if _differ(one, first, "FrameOfReferenceUID"):
            raise GeometryError(
                f"{pair} have different frames of reference (FrameOfReferenceUID), so their "
                "positions cannot be compared; load them apart"
            )
        if one.rescale.table is None and first.rescale.table is None:
            for keyword in ("RescaleIntercept", "RescaleSlope"):
                if bool(one.scan.text(keyword)) != bool(first.scan.text(keyword)):
                    raise UnreadableError(
                        f"of {pair} only one states {keyword}, so their values are not of one "
                        "scale; export them again, or load them apart"
                    )
        a, b = one.layout, first.layout
        if (a.rows, a.columns) != (b.rows, b.columns):
            raise GeometryError(
                f"{pair} have {a.rows} x {a.columns} and {b.rows} x {b.columns} pixels (Rows, "
                "Columns), so they are no one volume; load them apart"
            )
        if one.rescale.units != first.rescale.units:
            raise GeometryError(
                f"{pair} are in different units (RescaleType, Units), so they are no one volume; "
                "load them apart"
            )
        if a is b:
            continue
        alike = ("samples", "allocated", "signed", "photometric", "real")
        if any(getattr(a, field) != getattr(b, field) for field in alike):
            raise UnreadableError(
                f"{pair} store their samples differently (SamplesPerPixel, BitsAllocated, "
                "PixelRepresentation, PhotometricInterpretation); load them apart"
            )


def _differ(one: "Slice", other: "Slice", keyword: str) -> bool:
    tag = TAGS[keyword][0]
    if one.scan.values.get(tag) == other.scan.values.get(tag):
        charset = TAGS["SpecificCharacterSet"][0]
        if one.scan.values.get(charset) == other.scan.values.get(charset):
            return False
    return one.scan.text(keyword) != other.scan.text(keyword)
