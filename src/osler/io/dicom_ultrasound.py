"""The scale of ultrasound pictures by the regions that the device calibrated.

Source: DICOM PS3.3 C.8.5.5 (US Region Calibration).
"""

import math
from typing import TYPE_CHECKING

from osler.io import dicom_header as header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TWO_DIMENSIONS = 1
_CENTIMETRES = 3
_SAME = 1e-3
_LARGEST_MM = 1000.0
"""No picture of a body is wider; what is has a damaged scale."""


def region_spacing(
    dataset: "Dataset", *, shape: tuple[int, ...]
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Millimetres between pixel centres along ``(H, W)``, where all regions have the same.

    Only regions that are plane pictures with a scale in centimetres count. The scale of a region
    beside a spectrum or a motion curve does not hold there, so such a picture has none.

    Args:
        dataset: the header.
        shape: ``(H, W)`` in pixels, to see whether the picture would be of a possible size.

    Returns:
        The spacing or None, and why: ``"us-regions-disagree"`` (of several kinds or scales),
        ``"us-region-uncalibrated"`` (no centimetres), ``"spacing-implausible"``.
    """
    regions = list(dataset.get("SequenceOfUltrasoundRegions") or ())
    if not regions or header.text(dataset, "Modality") not in ("US", "IVUS"):
        return None, ()
    scales = [_scale(region) for region in regions]
    known = [scale for scale in scales if scale is not None]
    if not known:
        return None, ("us-region-uncalibrated",)
    first = known[0]
    if len(known) < len(scales) or any(
        abs(scale[n] / first[n] - 1) > _SAME for scale in known for n in (0, 1)
    ):
        return None, ("us-regions-disagree",)
    if not all(side <= _LARGEST_MM for side in (first[0] * shape[0], first[1] * shape[1])):
        return None, ("spacing-implausible",)
    return first, ()


def _scale(region: "Dataset") -> tuple[float, float] | None:
    """Millimetres along ``(H, W)`` of a plane picture; None for any other region."""
    kinds = [
        header.decimal(region, keyword)
        for keyword in (
            "RegionSpatialFormat",
            "PhysicalUnitsXDirection",
            "PhysicalUnitsYDirection",
        )
    ]
    if kinds != [_TWO_DIMENSIONS, _CENTIMETRES, _CENTIMETRES]:
        return None
    # a negative increment says which way the axis runs, not how far apart pixels are
    down, across = (
        abs(header.decimal(region, f"PhysicalDelta{axis}") or 0.0) * 10 for axis in "YX"
    )
    whole = all(math.isfinite(side) and side > 0 for side in (down, across))
    return (down, across) if whole else None
