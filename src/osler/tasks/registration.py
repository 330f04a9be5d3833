"""Registration: bring one image onto another, and say when that cannot be done.

The fixed image stays; the moving one is looked up where the transform leads. Rigid, affine and
deformable maps of flat images and volumes, in LPS millimetres, by SimpleITK (the extra
``registration``). Photographs of the retina have a method of their own
(`osler.tasks.fundus_registration`), and so have series over time
(`osler.tasks.time_alignment`). What a transform then does is in `osler.tasks.registration_warp`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError, InputError
from osler.record import Image, Source, Transform
from osler.tasks import registration_itk
from osler.tasks.registration_warp import Frame, Scale, folded_share, frame_of, overlap_of

Method = Literal["rigid", "affine", "deformable", "demons"]
Similarity = Literal["mutual-information", "correlation", "squared-difference"]
Start = Literal["auto", "position", "centre"]

_LEAST_OVERLAP: Final = 0.1  # of the fixed image; below, the two are not registered
_LITTLE_OVERLAP: Final = 0.5
_SCALES: Final = (0.5, 2.0)  # growth of an affine map beyond which it is doubted
_LEAST_SIDE: Final = 8
_WORSE: Final = 0.05  # images that lay well already end a little less alike: voxels lie between


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """What came of it.

    Attributes:
        transform: from the fixed image to the moving one, its doubts in its ``flags``; None where
            the two cannot be registered.
        reason: why there is no transform; empty where there is one.
        figures: what was measured on the way, such as ``"similarity-before"``, ``"overlap"`` and
            ``"folding"``.
    """

    transform: Transform | None
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def register(
    fixed: Image,
    moving: Image,
    *,
    method: Method = "rigid",
    similarity: Similarity = "mutual-information",
    fixed_mask: NDArray[np.bool_] | None = None,
    moving_mask: NDArray[np.bool_] | None = None,
    start: Start = "auto",
    scale: Scale = "millimetres",
    levels: int = 4,
    iterations: int | None = None,
    control_spacing: float | None = None,
    smooth: float = 1.5,
    seed: int = 0,
) -> Registration:
    """Find the transform that leads from the fixed image to the moving one.

    From coarse to fine, by gradient descent along Mattes' mutual information [1]_, which different
    MR sequences and modalities need. ``deformable`` adds a free-form B-spline [2]_ to an affine
    map; ``demons`` adds diffeomorphic demons [3]_, for two images of one sequence whose
    intensities mean the same.

    The transform's flags: ``"not-converged"`` (the iterations ran out), ``"less-alike"`` (the
    images are less alike than before), ``"little-overlap"`` (below half of the fixed image),
    ``"implausible-scale"`` (an affine map that halves or doubles space), ``"folding"`` and
    ``"pixel-units"``.

    Args:
        fixed: flat or a volume, grey or colour (whose channels are averaged).
        moving: of the same number of axes.
        method: the freedom of the map.
        similarity: what is made greatest.
        fixed_mask: the fixed pixels that count, of the fixed image's shape.
        moving_mask: the moving pixels that count.
        start: ``"position"`` trusts the places in the patient that both files state, ``"centre"``
            puts the centres of the two on each other; ``"auto"`` takes the first where both state
            one.
        scale: ``"pixels"`` for flat images without a spacing, which are refused otherwise.
        levels: resolutions, each half the one before.
        iterations: at most, a level; by default 150 for the linear part, 15 for the spline and
            30 for the demons.
        control_spacing: mm between the B-spline's control points; by default an eighth of the
            fixed image's longest side.
        smooth: standard deviation of the Gaussian that smooths the demons' field, voxels.
        seed: of the voxels that are sampled.

    Raises:
        MissingExtraError: SimpleITK is not installed.
        GeometryError: no scale is known, or nothing of the two overlaps.
        InputError: the images, masks or options do not fit.

    References:
        .. [1] Mattes et al., "PET-CT image registration in the chest using free-form
           deformations", IEEE TMI 22:120-128, 2003.
        .. [2] Rueckert et al., "Nonrigid registration using free-form deformations", IEEE TMI
           18:712-721, 1999.
        .. [3] Vercauteren et al., "Diffeomorphic demons: efficient non-parametric image
           registration", NeuroImage 45:S61-S72, 2009.
    """
    _check(fixed, moving, method, similarity, start)
    for name, value in (
        ("levels", levels),
        ("iterations", iterations),
        ("smooth", smooth),
        ("control_spacing", control_spacing),
    ):
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value}; expected more than 0")
    one, other = frame_of(fixed, scale=scale), frame_of(moving, scale=scale)
    masks = (_mask(fixed_mask, fixed, "fixed_mask"), _mask(moving_mask, moving, "moving_mask"))
    placed = len(fixed.shape) == 3 and fixed.affine is not None and moving.affine is not None
    if start == "position" and not placed:
        raise GeometryError(
            "start='position' needs two volumes whose files state where in the patient they lie; "
            "use start='centre'"
        )
    longest = float(max(np.array(one.shape) * one.spacing))
    found = registration_itk.solve(
        registration_itk.Problem(
            fixed=_grey(fixed),
            moving=_grey(moving),
            fixed_frame=one,
            moving_frame=other,
            fixed_mask=masks[0],
            moving_mask=masks[1],
            similarity=similarity,
            linear="rigid" if method == "rigid" else "affine",
            bend={"deformable": "spline", "demons": "demons"}.get(method, ""),
            centred=start == "centre" or not placed,
            levels=levels,
            iterations=iterations or 150,
            bends=iterations or {"deformable": 15, "demons": 30}.get(method, 0),
            control=control_spacing or longest / 8,
            smooth=smooth,
            seed=seed,
        )
    )
    transform = _transform(found, fixed, moving, one, other, method)
    return _judged(transform, found, fixed, moving, masks[0])


def _check(fixed: Image, moving: Image, method: str, similarity: str, start: str) -> None:
    for name, value, kind in (
        ("method", method, Method), ("similarity", similarity, Similarity), ("start", start, Start)
    ):  # fmt: skip
        if value not in get_args(kind):
            raise InputError(f"{name} is '{value}'; expected one of {', '.join(get_args(kind))}")
    if len(fixed.shape) != len(moving.shape):
        raise InputError(
            f"image '{fixed.name}' has the shape {fixed.shape} and '{moving.name}' "
            f"{moving.shape}; two flat images or two volumes are registered"
        )
    for image in (fixed, moving):
        if min(image.shape) < _LEAST_SIDE:
            raise InputError(
                f"image '{image.name}' has the shape {image.shape}; registration needs at least "
                f"{_LEAST_SIDE} voxels along each axis"
            )
        if image.channel_count not in (1, 3):
            raise InputError(
                f"image '{image.name}' has {image.channel_count} channels; register one of them"
            )


def _grey(image: Image) -> NDArray[np.float32]:
    grey = image.array.mean(axis=0, dtype=np.float32)
    if not np.isfinite(grey).all():
        raise InputError(f"image '{image.name}' has values that are no numbers; fill them first")
    if grey.min() == grey.max():
        raise InputError(f"image '{image.name}' is the same everywhere; nothing can be aligned")
    return np.asarray(grey, np.float32)


def _mask(mask: NDArray[np.bool_] | None, image: Image, name: str) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    if mask.shape != image.shape or not mask.any():
        raise InputError(
            f"'{name}' has the shape {mask.shape} and {int(mask.sum())} pixels; expected "
            f"{image.shape}, the shape of image '{image.name}', and at least one"
        )
    return np.asarray(mask, bool)


def _transform(
    found: registration_itk.Found,
    fixed: Image,
    moving: Image,
    one: Frame,
    other: Frame,
    method: str,
) -> Transform:
    """From places in ITK's order to indices and to vectors along the fixed axes."""
    matrix = np.asarray(np.linalg.solve(other.affine, found.linear @ one.affine), np.float64)
    displacement = None
    if found.way is not None:
        n = len(one.shape)
        index = np.stack(np.meshgrid(*map(np.arange, one.shape), indexing="ij")).astype(float)
        place = one.places(index)
        shift = found.linear[:n, n].reshape(-1, *(1,) * n)
        rest = found.way + place - np.tensordot(found.linear[:n, :n], place, axes=1) - shift
        displacement = np.tensordot(one.directions.T, rest, axes=1).astype(np.float32)
    return Transform(
        id=f"{fixed.name}-to-{moving.name}", name=f"Registration ({method})",
        source=Source("algorithm", f"osler.tasks.registration.{method}", _version()),
        item=fixed.name, target=moving.name, matrix=matrix, displacement=displacement,
        unit=one.unit,
    )  # fmt: skip


def _version() -> str:
    return str(registration_itk.itk().Version_VersionString())


def _judged(
    transform: Transform,
    found: registration_itk.Found,
    fixed: Image,
    moving: Image,
    mask: NDArray[np.bool_] | None,
) -> Registration:
    figures = {
        "similarity-before": found.before,
        "similarity-after": found.after,
        "overlap": overlap_of(transform, fixed=fixed, moving=moving, within=mask),
    }
    flags = []
    if not found.converged:
        flags.append("not-converged")
    if found.after < found.before - _WORSE * abs(found.before):
        flags.append("less-alike")
    if figures["overlap"] < _LITTLE_OVERLAP:
        flags.append("little-overlap")
    n = len(fixed.shape)
    if not _SCALES[0] <= abs(np.linalg.det(found.linear[:n, :n])) <= _SCALES[1]:
        flags.append("implausible-scale")
    if transform.displacement is not None:
        folded = folded_share(transform, fixed=fixed, moving=moving, within=mask)
        figures["folding"] = folded or 0.0
        if folded:
            flags.append("folding")
    if transform.unit != "mm":
        flags.append("pixel-units")
    if figures["overlap"] < _LEAST_OVERLAP:
        return Registration(
            None,
            f"only {figures['overlap']:.0%} of image '{fixed.name}' meets '{moving.name}' after "
            "the search",
            figures,
        )
    transform.flags = tuple(flags)
    return Registration(transform, "", figures)
