"""A plan for segmenting a cohort, from its sizes, spacings and values: no settings to choose.

In the manner of nnU-Net (Isensee et al. 2021, "nnU-Net: a self-configuring method for deep
learning-based biomedical image segmentation", doi:10.1038/s41592-020-01008-z, online methods and
supplementary note 2), and where the two differ, as said here:

- **Spacing**: the median of the cohort's along each axis. Where the coarsest axis is more than
  three times as coarse as the next and has less than a third of its pixels, its 10th percentile,
  but no finer than the others.
- **Values**: CT is clipped to the 0.5th and 99.5th percentile of the labelled voxels of all cases
  and scaled by their mean and standard deviation; colour photographs are divided by 255; anything
  else is scaled by each image's own mean and standard deviation.
- **Network**: a U-Net that halves each axis whose pixels are not yet twice as large as the
  smallest, until 4 pixels are left; convolutions span an axis once its pixels are less than twice
  as large as the smallest. Widths double from stage to stage, up to a limit.
- **Patch**: at first of the shape of a cube (square) in millimetres, of 256³ (2048²) pixels but
  no larger than the median image; then smaller, along the axis that is largest against the median
  image, until two patches fit into the memory. Sides are multiples of what the network halves.
- **Batch**: as many patches as the memory holds, but at most one in twenty of all the cohort's
  pixels, and at least two.

nnU-Net judges memory by one number for the network against that of a network known to fit 8 GB.
Here it is computed, in bytes, from what training keeps (:func:`training_memory`), so that plans
also hold for a processor's memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError

COLOUR: Final = frozenset({"OP", "XC", "ES", "GM", "SM", "DMS"})  # modalities of photographs

_COARSE: Final = 3  # times the next axis: beyond, the coarsest axis gets a finer spacing
_LEAST_SIDE: Final = 4  # pixels of the deepest maps
_FIRST: Final = {2: 2048, 3: 256}  # side of the first patch, pixels
_WIDEST: Final = {2: 512, 3: 320}
_LEAST_BATCH: Final = 2
_LEAST_STAGES: Final = 3
_SHARE: Final = 0.05  # of the cohort's pixels in a batch at most
_NETWORKS: Final = {2: "dynunet-2d", 3: "dynunet"}
_COPIES: Final = 5  # of each parameter: itself, its gradient, two moments, a running average
_GIGABYTE: Final = 1e9

TRANSIENT: Final = 8  # maps of the finest level held while its gradients pass; measured

Sides = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How the values of a channel are brought to a common scale.

    Attributes:
        scheme: ``ct``, ``z-score`` or ``photograph``; see above.
        low: of CT, to which values are clipped.
        high: likewise.
        mean: of CT, which is subtracted.
        std: of CT, which is divided by.
    """

    scheme: Literal["ct", "z-score", "photograph"]
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None

    def of(self, values: ArrayLike) -> NDArray[np.float32]:
        """One image's channel on the common scale; an image of one value becomes zero."""
        array = np.asarray(values, np.float32)
        if self.scheme == "photograph":
            return array / np.float32(255)
        mean, std = self.mean, self.std
        if mean is None or std is None:
            mean, std = float(array.mean(dtype=np.float64)), float(array.std(dtype=np.float64))
        if self.low is not None or self.high is not None:
            array = np.clip(array, self.low, self.high)
        return (array - np.float32(mean)) / np.float32(max(std, 1e-8))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a cohort is segmented.

    Attributes:
        spacing: to which images are resampled, millimetres along each axis; None leaves them.
        shape: of the median image then, pixels.
        patch: on which the network is trained, pixels.
        batch: patches a step.
        network: name, for ``osler.models.create``.
        options: of the network, for the same.
        normalisation: of each channel.
        memory: that training is expected to need, GB (1e9 bytes).
        reasons: why, in words, a sentence each.
    """

    spacing: tuple[float, ...] | None
    shape: Sides
    patch: Sides
    batch: int
    network: str
    options: Mapping[str, Any]
    normalisation: tuple[Normalisation, ...]
    memory: float
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "options": dict(self.options)}


@dataclass(frozen=True, slots=True)
class Topology:
    """A U-Net's shape.

    Attributes:
        strides: of each stage after the first.
        kernels: of each stage.
        divisor: a patch's sides are multiples of it.
        patch: the patch, enlarged to that.
    """

    strides: tuple[Sides, ...]
    kernels: tuple[Sides, ...]
    divisor: Sides
    patch: Sides


def make_plan(
    shapes: Sequence[Sides],
    spacings: Sequence[Sequence[float]] | None,
    modalities: Sequence[str],
    *,
    labels: int,
    foreground: Sequence[ArrayLike | None] | None = None,
    memory: float = 8.0,
    cases: int | None = None,
    width: int = 32,
    value_bytes: int = 4,
) -> Plan:
    """Plan a training.

    Args:
        shapes: ``(H, W)`` or ``(D, H, W)`` of each image, pixels.
        spacings: of each image, millimetres; None where they are not known.
        modalities: DICOM's code for each channel, such as ``CT``, ``MR``, ``OP``.
        labels: scores a pixel, background included.
        foreground: of each channel, values from labelled pixels of all cases; only CT's are used.
        memory: that training may take, GB (1e9 bytes).
        cases: of the training, where ``shapes`` are only some; by default their number.
        width: channels of the first stage.
        value_bytes: of the values that training keeps: 4, or 2 in mixed precision.

    Raises:
        InputError: the images are not all of one number of axes, or too small for a U-Net; CT is
            without values; or the memory is too small for any patch.
    """
    sizes, grid = _checked(shapes, spacings)
    dims = sizes.shape[1]
    reasons: list[str] = []
    target = None if grid is None else target_spacing(sizes, grid, reasons)
    if grid is None or target is None:
        resampled = sizes.astype(float)
        reasons.append("the spacing is not known, so images keep their pixels")
    else:
        resampled = np.rint(sizes * grid / target)
    median = tuple(int(n) for n in np.median(resampled, axis=0))
    values = tuple(
        _normalisation(modality, None if foreground is None else foreground[nth])
        for nth, modality in enumerate(modalities)
    )
    rule = {"width": width, "channels": len(modalities), "labels": labels, "bytes": value_bytes}
    step = np.ones(dims) if target is None else target
    patch, shape = _largest_patch(median, step, memory, rule, reasons)
    batch = _batch(
        patch, shape, memory, rule, (cases or len(sizes)) * float(np.prod(median)), reasons
    )
    return Plan(
        spacing=None if target is None else tuple(float(s) for s in target),
        shape=median,
        patch=patch,
        batch=batch,
        network=_NETWORKS[dims],
        options={
            "channels": len(modalities),
            "labels": labels,
            "widths": planned_widths(shape, width),
            "kernels": shape.kernels,
            "strides": shape.strides,
        },
        normalisation=values,
        memory=_needed(patch, batch, shape, rule) / _GIGABYTE,
        reasons=tuple(reasons),
    )


def target_spacing(
    shapes: ArrayLike, spacings: ArrayLike, reasons: list[str] | None = None
) -> NDArray[np.float64]:
    """To which spacing a cohort is brought, millimetres.

    Args:
        shapes: ``(N, n)`` pixels.
        spacings: ``(N, n)`` millimetres.
        reasons: takes a sentence that says why.
    """
    sizes, grid = np.asarray(shapes, float), np.asarray(spacings, float)
    target: NDArray[np.float64] = np.median(grid, axis=0)
    size = np.median(sizes, axis=0)
    words = "the spacing is the cohort's median"
    coarse = int(target.argmax())
    others = np.delete(target, coarse)
    if (
        len(target) > 2  # a picture has no slices
        and target[coarse] > _COARSE * others.max()
        and size[coarse] * _COARSE < np.delete(size, coarse).min()
    ):
        target[coarse] = max(float(np.percentile(grid[:, coarse], 10)), float(others.max()))
        words += "; across the thick slices, its 10th percentile"
    if reasons is not None:
        reasons.append(words)
    return target


def topology(patch: Sides, spacing: Sequence[float]) -> Topology:
    """What a U-Net halves, and where its convolutions reach.

    An axis is halved while 4 pixels or more are left after it and its pixels are less than twice
    as large as the smallest of those that can be halved; a last axis alone needs 12 pixels.
    """
    dims = len(patch)
    size, step = list(patch), list(spacing)
    wide = [False] * dims
    strides: list[Sides] = []
    kernels: list[Sides] = []
    while True:
        long = [a for a in range(dims) if size[a] >= 2 * _LEAST_SIDE]
        finest = min((step[a] for a in long), default=0.0)
        halved = [a for a in long if step[a] < 2 * finest]
        if not halved or (len(halved) == 1 and size[halved[0]] < 3 * _LEAST_SIDE):
            break
        wide = [w or step[a] < 2 * min(step) for a, w in enumerate(wide)]
        kernels.append(tuple(3 if w else 1 for w in wide))
        strides.append(tuple(2 if a in halved else 1 for a in range(dims)))
        for a in halved:
            size[a] = -(-size[a] // 2)
            step[a] *= 2
    kernels.append((3,) * dims)
    divisor = tuple(int(np.prod([s[a] for s in strides])) for a in range(dims))
    return Topology(
        tuple(strides),
        tuple(kernels),
        divisor,
        tuple(-(-n // d) * d for n, d in zip(patch, divisor, strict=True)),
    )


def parameters(shape: Topology, widths: Sequence[int], *, channels: int, labels: int) -> int:
    """Parameters of the network, deep supervision's heads included."""
    total, before = 0, channels
    for kernel, width in zip(shape.kernels, widths, strict=True):  # two convolutions and norms
        total += int(np.prod(kernel)) * (before * width + width * width) + 4 * width
        before = width
    for level, stride in enumerate(shape.strides):  # the way up
        shallow, deep = widths[level], widths[level + 1]
        total += int(np.prod(stride)) * shallow * deep + shallow
        total += int(np.prod(shape.kernels[level])) * 3 * shallow * shallow + 4 * shallow
        total += (shallow + 1) * labels
    return total


def training_memory(
    patch: Sides,
    batch: int,
    shape: Topology,
    widths: Sequence[int],
    *,
    channels: int,
    labels: int,
    value_bytes: int = 4,
) -> float:
    """Bytes that a step of training takes at its peak, above what Python and torch take.

    Five numbers for each parameter (itself, its gradient, AdamW's two moments, the running
    average), and for each patch the maps that are kept for the way back: at each level but the
    deepest ten (before and after each of four norms, and the two that are joined), at the deepest
    four, at the finest ``TRANSIENT`` more while its gradients pass, and four of each label's
    scores. What is kept and the number of parameters are counted against the network itself in the
    tests; the peak was measured on a processor, one thread, float32, batch 2, one channel, three
    labels (``benchmarks/planning.py``), GB:

    =================  ========  ========
    patch              measured  expected
    =================  ========  ========
    32 x 32 x 32       0.31      0.29
    40 x 56 x 40       0.66      0.61
    64 x 64 x 64       1.55      1.79
    16 x 80 x 80       0.87      0.90
    128 x 128          0.62      0.53
    256 x 256          1.16      1.14
    384 x 384          1.69      1.72
    =================  ========  ========

    A graphics card's libraries take workspace of their own, half a gigabyte and more, which is
    not in it: give ``make_plan`` what is left.
    """
    voxels = float(np.prod(patch))
    maps = TRANSIENT * widths[0] * voxels + 4 * labels * voxels + channels * voxels
    for level, width in enumerate(widths):
        deepest = level == len(widths) - 1
        maps += (4 if deepest else 10) * width * voxels
        if not deepest:
            voxels /= float(np.prod(shape.strides[level]))
    weights = parameters(shape, widths, channels=channels, labels=labels)
    return batch * maps * value_bytes + 4.0 * _COPIES * weights


def _checked(
    shapes: Sequence[Sides], spacings: Sequence[Sequence[float]] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    axes = {len(one) for one in shapes}
    if len(axes) != 1 or not axes <= {2, 3}:
        raise InputError(
            f"a plan needs images that are all pictures or all volumes; these have {sorted(axes)} "
            "axes"
        )
    sizes = np.array(shapes, np.int64)
    if spacings is None:
        return sizes, None
    if [len(s) for s in spacings] != [len(s) for s in shapes] or np.min(spacings) <= 0:
        raise InputError("each image needs a spacing above zero along each of its axes")
    return sizes, np.array(spacings, np.float64)


def _normalisation(modality: str, foreground: ArrayLike | None) -> Normalisation:
    if modality.upper() in COLOUR:
        return Normalisation("photograph")
    if modality.upper() != "CT":
        return Normalisation("z-score")
    values = np.asarray([] if foreground is None else foreground, np.float64).ravel()
    if not values.size or not np.isfinite(values).all():
        raise InputError("CT is scaled by values of its labelled voxels: give finite ones")
    low, high = np.percentile(values, (0.5, 99.5))
    return Normalisation("ct", float(low), float(high), float(values.mean()), float(values.std()))


def planned_widths(shape: Topology, width: int) -> tuple[int, ...]:
    """Channels of each stage: doubled from ``width``, up to 512 for pictures, 320 for volumes."""
    widest = _WIDEST[len(shape.divisor)]
    return tuple(min(widest, width * 2**level) for level in range(len(shape.kernels)))


def _needed(patch: Sides, batch: int, shape: Topology, rule: Mapping[str, int]) -> float:
    return training_memory(
        patch,
        batch,
        shape,
        planned_widths(shape, rule["width"]),
        channels=rule["channels"],
        labels=rule["labels"],
        value_bytes=rule["bytes"],
    )


def _largest_patch(
    median: Sides,
    step: NDArray[np.float64],
    memory: float,
    rule: Mapping[str, int],
    reasons: list[str],
) -> tuple[Sides, Topology]:
    """The patch of which two fit into the memory, and its network."""
    dims = len(median)
    cube = 1 / step
    cube *= (_FIRST[dims] ** dims / np.prod(cube)) ** (1 / dims)
    first = tuple(min(round(float(a)), b) for a, b in zip(cube, median, strict=True))
    shape = topology(first, list(step))
    whole = True
    while _needed(shape.patch, _LEAST_BATCH, shape, rule) > memory * _GIGABYTE:
        largest = int(np.argmax(np.array(shape.patch) / median))
        # what the smaller patch is a multiple of decides how much smaller it is
        tried = _less(shape.patch, largest, shape.divisor[largest])
        fine = topology(tried, list(step)).divisor[largest] if min(tried) > 0 else 0
        smaller = _less(shape.patch, largest, fine)
        if not fine or len(topology(smaller, list(step)).kernels) < _LEAST_STAGES:
            least = _needed(shape.patch, _LEAST_BATCH, shape, rule) / _GIGABYTE
            raise InputError(
                f"{memory:g} GB is too little: two patches of {_by(shape.patch)} pixels need "
                f"{least:.2f} GB; give more memory or a smaller width (now {rule['width']})"
            )
        shape, whole = topology(smaller, list(step)), False
    if len(shape.kernels) < _LEAST_STAGES:
        raise InputError(
            f"the median image has {_by(median)} pixels, too few for a U-Net: two axes must "
            f"be halved twice, to no less than {_LEAST_SIDE} pixels"
        )
    reasons.append(
        f"the patch of {_by(shape.patch)} covers the median image of {_by(median)}"
        if all(p >= m for p, m in zip(shape.patch, median, strict=True))
        else f"the patch of {_by(shape.patch)} is a part of the median image of {_by(median)}"
        + ("" if whole else f", so that two fit into {memory:g} GB")
    )
    return shape.patch, shape


def _batch(
    patch: Sides,
    shape: Topology,
    memory: float,
    rule: Mapping[str, int],
    pixels: float,
    reasons: list[str],
) -> int:
    one, two = (_needed(patch, n, shape, rule) for n in (1, 2))
    fits = int((memory * _GIGABYTE - one) // (two - one)) + 1
    share = round(_SHARE * pixels / float(np.prod(patch)))
    batch = max(_LEAST_BATCH, min(fits, share))
    reasons.append(
        f"the batch of {batch} is what {memory:g} GB hold"
        if batch == fits
        else f"the batch of {batch} is "
        + ("the smallest" if batch > share else "one in twenty of the cohort's pixels")
        + f"; {fits} would fit into {memory:g} GB"
    )
    return batch


def _less(patch: Sides, axis: int, by: int) -> Sides:
    return tuple(n - by * (a == axis) for a, n in enumerate(patch))


def _by(sides: Sides) -> str:
    return " x ".join(map(str, sides))
