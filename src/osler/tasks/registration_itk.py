"""The one file that calls SimpleITK: images and transforms in, transforms out.

All of it is in ITK's order ``(x, y[, z])`` and in the unit of the frames. One thread and seeded
samples: the same images give the same transform, to the bit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError, InputError, MissingExtraError
from osler.tasks.registration_warp import Frame

_BINS: Final = 32
_MOST_SAMPLES: Final = 30_000
_SPLINE_SAMPLES: Final = 15_000  # each touches 64 control points, which is what takes the time
_FEWEST_VOXELS: Final = 14  # an axis is not reduced below so many
_UNIT_ERROR: Final = 1e-4  # how far the axes may be from square


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Problem:
    """Two images and what is asked.

    Attributes:
        fixed: ``([D,] H, W)`` values.
        moving: the same.
        fixed_frame: where the fixed pixels lie.
        moving_frame: where the moving pixels lie.
        fixed_mask: the fixed pixels that count, or None.
        moving_mask: the moving pixels that count, or None.
        similarity: ``"mutual-information"``, ``"correlation"`` or ``"squared-difference"``.
        linear: ``"rigid"`` or ``"affine"``.
        bend: ``""``, ``"spline"`` or ``"demons"``.
        centred: start with the centres of the two on each other, else at the identity.
        levels: resolutions at most, each half the one before.
        iterations: of the linear part, at most, a level.
        bends: of what bends, the same.
        control: distance of the spline's control points.
        smooth: standard deviation of the Gaussian that smooths the demons' field, in voxels of
            the level.
        seed: of the samples.
    """

    fixed: NDArray[np.float32]
    moving: NDArray[np.float32]
    fixed_frame: Frame
    moving_frame: Frame
    fixed_mask: NDArray[np.bool_] | None
    moving_mask: NDArray[np.bool_] | None
    similarity: str
    linear: str
    bend: str
    centred: bool
    levels: int
    iterations: int
    bends: int
    control: float
    smooth: float
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What came of a problem.

    Attributes:
        linear: ``(n+1, n+1)``, fixed places to moving places.
        way: ``(n, [D,] H, W)``, from each fixed place to the moving one, the linear part
            included; None for a linear map.
        before: the similarity at the start, higher is better.
        after: the similarity at the end.
        converged: whether every level ended because it was done.
    """

    linear: NDArray[np.float64]
    way: NDArray[np.float64] | None
    before: float
    after: float
    converged: bool


def itk() -> Any:
    """SimpleITK.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise MissingExtraError(
            "SimpleITK", extra="registration", purpose="register images"
        ) from error
    return SimpleITK


def solve(problem: Problem) -> Found:
    """Find the transform.

    Raises:
        MissingExtraError: SimpleITK is not installed.
        GeometryError: the images do not overlap where the search starts, or their axes are not
            at right angles.
    """
    with _one_thread():
        return _solved(problem)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order. The threads of a metric can only be set for the whole process."""
    process = itk().ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(before)


def _solved(problem: Problem) -> Found:
    fixed = _image(problem.fixed, problem.fixed_frame, "fixed")
    moving = _image(problem.moving, problem.moving_frame, "moving")
    masks = {
        "fixed": _mask(problem.fixed_mask, problem.fixed_frame),
        "moving": _mask(problem.moving_mask, problem.moving_frame),
    }
    transform = _start(fixed, moving, problem)
    try:
        before = _similarity(fixed, moving, masks, transform, problem)
        transform, done = _linear(fixed, moving, masks, transform, problem)
        whole = transform
        if problem.bend == "spline":
            whole, bent = _spline(fixed, moving, masks, transform, problem)
            done = done and bent
        elif problem.bend == "demons":
            whole = _demons(fixed, moving, transform, problem)
        after = _similarity(fixed, moving, masks, whole, problem)
    except RuntimeError as error:  # ITK's only kind
        raise _ours(error) from error
    way = None if whole is transform else _way(whole, fixed)
    return Found(_matrix(transform, len(fixed.GetSize())), way, before, after, done)


def _ours(error: RuntimeError) -> InputError:
    text = str(error)
    lost = ("All samples map outside", "map outside moving image", "too many", "No valid points")
    if any(words in text for words in lost):
        return GeometryError(
            "hardly any part of the fixed image meets the moving one where the search starts (or "
            "where it went); start with their centres on each other (start='centre'), or check "
            "positions and masks"
        )
    reason = text.strip().splitlines()[-1].strip()
    return InputError(f"the images could not be registered: {reason}")


def _image(array: NDArray[Any], frame: Frame, which: str) -> Any:
    directions = frame.directions[:, ::-1]  # ITK counts axes from the last
    n = len(frame.shape)
    if np.abs(directions.T @ directions - np.eye(n)).max() > _UNIT_ERROR:
        raise GeometryError(
            f"the axes of the {which} image are not at right angles (a tilted gantry?); resample "
            "it to a straight grid first"
        )
    # the nearest exact rotation, which ITK insists on
    left, _, right = np.linalg.svd(directions)
    image = itk().GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing([float(step) for step in frame.spacing[::-1]])
    image.SetOrigin([float(place) for place in frame.affine[:n, n]])
    image.SetDirection((left @ right).ravel().tolist())
    return image


def _mask(mask: NDArray[np.bool_] | None, frame: Frame) -> Any:
    return None if mask is None else _image(mask.astype(np.uint8), frame, "masked")


def _start(fixed: Any, moving: Any, problem: Problem) -> Any:
    sitk = itk()
    flat = fixed.GetDimension() == 2
    kinds = {
        "rigid": sitk.Euler2DTransform if flat else sitk.VersorRigid3DTransform,
        "affine": (lambda: sitk.AffineTransform(2)) if flat else (lambda: sitk.AffineTransform(3)),
    }
    transform = kinds[problem.linear]()
    if problem.centred:
        return sitk.CenteredTransformInitializer(
            fixed, moving, transform, sitk.CenteredTransformInitializerFilter.GEOMETRY
        ).Downcast()
    transform.SetCenter(_centre(fixed))
    return transform


def _centre(image: Any) -> tuple[float, ...]:
    middle = [(side - 1) / 2 for side in image.GetSize()]
    return tuple(image.TransformContinuousIndexToPhysicalPoint(middle))


def _factors(image: Any, times: float, finest: float) -> tuple[int, ...]:
    return tuple(
        max(1, min(round(times * finest / step), side // _FEWEST_VOXELS))
        for step, side in zip(image.GetSpacing(), image.GetSize(), strict=True)
    )


def _levels(fixed: Any, problem: Problem) -> list[float]:
    """How many times the finest step each level has, coarsest first.

    Small images have fewer levels than were asked for: one that is no coarser than the next would
    only take its larger steps.
    """
    finest = _finest(fixed)
    first: dict[tuple[int, ...], float] = {}
    for level in range(problem.levels):
        first.setdefault(_factors(fixed, 2.0**level, finest), 2.0**level)
    return sorted(first.values(), reverse=True)


def _reduced(image: Any, times: float, finest: float) -> Any:
    """The image with voxels of about ``times`` the finest step, smoothed as that asks for."""
    sitk = itk()
    factors = _factors(image, times, finest)
    if all(factor == 1 for factor in factors):
        return image
    variances = [
        (0.5 * factor * step) ** 2 if factor > 1 else 0.0
        for factor, step in zip(factors, image.GetSpacing(), strict=True)
    ]
    smoother = sitk.DiscreteGaussianImageFilter()
    smoother.SetVariance(variances)
    smoother.SetUseImageSpacing(True)
    return sitk.Shrink(smoother.Execute(image), list(factors))


def _finest(fixed: Any) -> float:
    return float(min(fixed.GetSpacing()))


def _method(fixed: Any, masks: Mapping[str, Any], problem: Problem, *, samples: int) -> Any:
    sitk = itk()
    method = sitk.ImageRegistrationMethod()
    method.SetInterpolator(sitk.sitkLinear)
    if problem.similarity == "mutual-information":
        method.SetMetricAsMattesMutualInformation(_BINS)
    elif problem.similarity == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMeanSquares()
    if masks["fixed"] is not None:
        method.SetMetricFixedMask(masks["fixed"])
    if masks["moving"] is not None:
        method.SetMetricMovingMask(masks["moving"])
    voxels = int(np.prod(fixed.GetSize()))
    if voxels > samples:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(samples / voxels, problem.seed + 1)  # 0 is the clock
    return method


def _similarity(
    fixed: Any, moving: Any, masks: Mapping[str, Any], transform: Any, problem: Problem
) -> float:
    method = _method(fixed, masks, problem, samples=_MOST_SAMPLES)
    # a field of displacements may not be what is optimised, but may be where that starts
    method.SetMovingInitialTransform(transform)
    method.SetInitialTransform(itk().TranslationTransform(fixed.GetDimension()))
    return -float(method.MetricEvaluate(fixed, moving))


def _linear(
    fixed: Any, moving: Any, masks: Mapping[str, Any], transform: Any, problem: Problem
) -> tuple[Any, bool]:
    done = True
    finest = _finest(fixed)
    for times in _levels(fixed, problem):
        small, other = (_reduced(image, times, finest) for image in (fixed, moving))
        method = _method(small, masks, problem, samples=_MOST_SAMPLES)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=min(small.GetSpacing()),
            minStep=finest * 2e-3,
            numberOfIterations=problem.iterations,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-8,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(small, other)
        stop = method.GetOptimizerStopConditionDescription()
        # only the last level has to be done: the ones before are its start
        done = "maximum number of iterations" not in stop.lower()
    return transform, done


def _spline(
    fixed: Any, moving: Any, masks: Mapping[str, Any], linear: Any, problem: Problem
) -> tuple[Any, bool]:
    sitk = itk()
    lengths = [n * step for n, step in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
    mesh = [max(1, round(length / problem.control)) for length in lengths]
    spline = sitk.BSplineTransformInitializer(fixed, mesh, 3)
    finest = _finest(fixed)
    done = True
    for times in _levels(fixed, problem):
        small, other = (_reduced(image, times, finest) for image in (fixed, moving))
        method = _method(small, masks, problem, samples=_SPLINE_SAMPLES)
        method.SetMovingInitialTransform(linear)
        method.SetInitialTransform(spline, inPlace=True)
        method.SetOptimizerAsLBFGSB(
            gradientConvergenceTolerance=1e-6,
            numberOfIterations=problem.bends,
            maximumNumberOfCorrections=5,
            maximumNumberOfFunctionEvaluations=2 * problem.bends,
            costFunctionConvergenceFactor=1e8,
        )
        method.Execute(small, other)
        done = "maximum number of" not in method.GetOptimizerStopConditionDescription().lower()
    return sitk.CompositeTransform([linear, spline]), done


def _demons(fixed: Any, moving: Any, linear: Any, problem: Problem) -> Any:
    """Diffeomorphic demons on what the linear map left, after matching the histograms."""
    sitk = itk()
    finest = _finest(fixed)
    field = None
    for times in _levels(fixed, problem):
        small = _reduced(fixed, times, finest)
        other = sitk.Resample(
            _reduced(moving, times, finest), small, linear, sitk.sitkLinear,
            float(problem.moving.min()),
        )  # fmt: skip
        other = sitk.HistogramMatching(other, small, 256, 15, True)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(problem.bends)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(problem.smooth)
        if field is None:
            field = demons.Execute(small, other)
        else:
            field = sitk.Resample(field, small, sitk.Transform(), sitk.sitkLinear)
            field = demons.Execute(small, other, field)
    bend = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    return sitk.CompositeTransform([linear, bend])


def _matrix(transform: Any, n: int) -> NDArray[np.float64]:
    turn = np.array(transform.GetMatrix()).reshape(n, n)
    centre = np.array(transform.GetCenter())
    out = np.eye(n + 1)
    out[:n, :n] = turn
    out[:n, n] = np.array(transform.GetTranslation()) + centre - turn @ centre
    return out


def _way(transform: Any, fixed: Any) -> NDArray[np.float64]:
    sitk = itk()
    filled = sitk.TransformToDisplacementFieldFilter()
    filled.SetReferenceImage(fixed)
    return np.asarray(np.moveaxis(sitk.GetArrayFromImage(filled.Execute(transform)), -1, 0))
