"""Learnt registration: a network that sees a pair and says where every voxel of one lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from osler import metrics
from osler.errors import InputError
from osler.metrics.segmentation import dice
from osler.record import Case, Finding, Image, Mask, Source, Transform
from osler.tasks.image_input import Intensity, adjusted
from osler.tasks.registration_warp import (
    Frame,
    folded_share,
    frame_of,
    warped_labels,
)
from osler.tasks.task import Arrays, Figure, InputSpec, OutputSpec, Row, Sample, Settings, Task


class RegistrationSettings(Settings):
    """The keys of learnt registration.

    Attributes:
        fixed: name of the item that stays (a column of the cohort).
        moving: name of the item that is brought onto it.
        size: ``([d,] h, w)`` of the grid that the network sees, multiples of ``multiple``.
        spacing: its step in mm; None takes the pixels of the fixed image, of whatever size.
        multiple: what the network wants its sides to be divisible by.
        intensity: how values are made alike, each image by itself.
        similarity: ``"ncc"`` is the squared local correlation of reference 1 of `Registration`'s
            class, ``"mse"`` the squared difference.
        window: side of the neighbourhood of ``"ncc"``, voxels.
        smooth: weight of the squared slopes of the displacement.
        structures: names of masks; that of the fixed image is the cohort's column ``fixed NAME``
            and that of the moving one ``moving NAME``. They judge, and teach nothing.
    """

    fixed: str = "fixed"
    moving: str = "moving"
    size: tuple[int, ...] = Field(min_length=2, max_length=3)
    spacing: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    multiple: Annotated[int, Field(gt=0)] = 8
    intensity: Intensity = Intensity(method="z-score")
    similarity: Literal["ncc", "mse"] = "ncc"
    window: Annotated[int, Field(ge=3)] = 7
    smooth: Annotated[float, Field(ge=0)] = 1.0
    structures: list[str] = []


@dataclass(frozen=True, slots=True, eq=False)
class _Home:
    """The way of a pair to the network's grids and back.

    Attributes:
        fixed: frame of the fixed image.
        moving: frame of the moving image.
        seen: frame of the grid that the network sees over the fixed image.
        sought: frame of the grid that it sees over the moving one: the same axes, another place.
    """

    fixed: Frame
    moving: Frame
    seen: Frame
    sought: Frame


class LearntRegistration(Task):
    """Registration of pairs without a truth: what is moved shall look like what stays [1]_.

    The centres of the two are put on each other; both are seen with the axes and the step of the
    fixed one. Pairs that lie far apart or turned need a rigid or affine map first
    (`osler.tasks.registration`). See `RegistrationSettings`.

    References:
        .. [1] Balakrishnan et al., "VoxelMorph: a learning framework for deformable medical image
           registration", IEEE TMI 38:1788-1800, 2019.
    """

    name: ClassVar[str] = "registration"
    title: ClassVar[str] = "Registration"
    Settings: ClassVar[type[Settings]] = RegistrationSettings
    images: tuple[str, ...] = ("moving", "fixed")

    settings: RegistrationSettings

    def inputs(self) -> tuple[InputSpec, ...]:
        said = self.settings
        return tuple(
            InputSpec(name, ("intensity",), size=said.size, axes=len(said.size))
            for name in ("moving", "fixed")
        )

    def outputs(self) -> tuple[OutputSpec, ...]:
        return (
            OutputSpec("warped", "none", (), "the moving image in the fixed grid"),
            OutputSpec("displacement", "none", (), "voxels along each axis, fixed to moving"),
        )

    def network(self) -> tuple[str, Mapping[str, Any]]:
        return ("voxelmorph-2d" if len(self.settings.size) == 2 else "voxelmorph"), {}

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        fixed, moving = _image(case, said.fixed), _image(case, said.moving)
        home = self._home(case, fixed, moving)
        inputs = {
            "moving": self._seen(moving, home.moving, home.sought),
            "fixed": self._seen(fixed, home.fixed, home.seen),
        }
        sample = Sample(case.id, case.patient_id or case.id, inputs, case=case)
        sample.home = {"home": home}
        if truth:
            for name in said.structures:
                for of, image in ((said.fixed, fixed), (said.moving, moving)):
                    _truth(case, f"{of} {name}", image)
        return sample

    def _home(self, case: Case, fixed: Image, moving: Image) -> _Home:
        said = self.settings
        n = len(said.size)
        if len(fixed.shape) != n or len(moving.shape) != n:
            raise InputError(
                f"case '{case.id}': images of {fixed.shape} and {moving.shape} do not fit "
                f"settings.size {said.size}; they need as many axes"
            )
        scale: Any = "pixels" if said.spacing is None else "millimetres"
        one, other = frame_of(fixed, scale=scale), frame_of(moving, scale=scale)
        steps = np.array(said.spacing or (1.0,) * n)
        if len(steps) != n:
            raise InputError(f"settings.spacing has {len(steps)} lengths and settings.size {n}")
        frames = []
        for frame in (one, other):
            affine = np.eye(n + 1)
            affine[:n, :n] = one.directions * steps
            middle = frame.places((np.array(frame.shape, float) - 1) / 2)
            affine[:n, n] = middle - affine[:n, :n] @ ((np.array(said.size) - 1) / 2)
            frames.append(Frame(said.size, affine, one.unit))
        return _Home(one, other, *frames)

    def _seen(self, image: Image, native: Frame, grid: Frame) -> NDArray[np.float32]:
        """The image on one of the network's grids; its mean where it shows nothing."""
        from scipy import ndimage

        grey = image.array.mean(axis=0, keepdims=True, dtype=np.float32)
        values = adjusted(grey, self.settings.intensity)[0]
        index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"))
        way = np.linalg.solve(native.affine, grid.affine)
        n = len(grid.shape)
        places = np.tensordot(way[:n, :n], index, axes=1) + way[:n, n].reshape(-1, *(1,) * n)
        out = np.empty(grid.shape)
        ndimage.map_coordinates(
            values, places, order=1, mode="constant", cval=float(values.mean()), output=out
        )
        return out.astype(np.float32)[None]

    # Learning ------------------------------------------------------------------------------------

    def loss(
        self, net: Any, inputs: Mapping[str, Any], targets: Mapping[str, Any], *, step: int
    ) -> Any:
        """The fixed image is the truth of the moved one."""
        said = self.named(net(inputs["moving"], inputs["fixed"]))
        return self.criterion(said, {"fixed": inputs["fixed"]})

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Unlikeness after the warp plus the mean squared slope of the displacement."""
        warped, field = outputs["warped"].float(), outputs["displacement"].float()
        fixed = targets["fixed"].float()
        if self.settings.similarity == "mse":
            unlike = ((warped - fixed) ** 2).mean()
        else:
            unlike = 1 - _local_correlation(warped, fixed, self.settings.window).mean()
        axes = range(2, field.ndim)
        slopes = sum(((field.diff(dim=axis)) ** 2).mean() for axis in axes) / len(axes)
        return unlike + self.settings.smooth * slopes

    # From arrays to findings and figures ---------------------------------------------------------

    def transform(self, outputs: Arrays, sample: Sample, *, source: Source) -> Transform:
        """The displacement as a transform between the native grids."""
        from scipy import ndimage

        said, home = self.settings, sample.home["home"]
        field = np.asarray(outputs["displacement"], np.float32)
        n = len(said.size)
        down = np.linalg.solve(home.seen.affine, home.fixed.affine)
        index = np.stack(np.meshgrid(*map(np.arange, home.fixed.shape), indexing="ij"))
        places = np.tensordot(down[:n, :n], index, axes=1) + down[:n, n].reshape(-1, *(1,) * n)
        steps = home.seen.spacing
        vectors = np.empty((n, *home.fixed.shape), np.float32)
        for axis in range(n):
            ndimage.map_coordinates(
                field[axis] * np.float32(steps[axis]), places, order=1, mode="nearest",
                output=vectors[axis],
            )  # fmt: skip
        matrix = np.linalg.solve(home.moving.affine, home.sought.affine) @ down
        return Transform(
            id=f"{said.fixed}-to-{said.moving}", name="Registration", source=source,
            item=said.fixed, target=said.moving, matrix=np.asarray(matrix, np.float64),
            displacement=vectors, unit=home.fixed.unit,
        )  # fmt: skip

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        found = self.transform(outputs, sample, source=source)
        case = sample.need_case()
        fixed, moving = _image(case, found.item or ""), _image(case, found.target)
        if folded_share(found, fixed=fixed, moving=moving):
            found.flags = (*found.flags, "folding")
        return [found]

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        """Dice of each structure before and after the warp, and the share that folds.

        Before is with the centres of the two images on each other; both in the fixed native grid.
        """
        said, case = self.settings, sample.need_case()
        fixed, moving = _image(case, said.fixed), _image(case, said.moving)
        found = self.transform(outputs, sample, source=Source("algorithm", "judge"))
        start = Transform(
            id="start", name="Start", source=found.source, item=found.item, target=found.target,
            matrix=found.matrix,
        )  # fmt: skip
        out: Row = {"folding": folded_share(found, fixed=fixed, moving=moving)}
        warped = np.asarray(outputs["warped"], np.float64)[0].ravel()
        shown = sample.inputs["fixed"][0].ravel()
        out["correlation"] = float(np.corrcoef(warped, shown)[0, 1])
        for name in said.structures:
            truth = _truth(case, f"{said.fixed} {name}", fixed)
            brought = _truth(case, f"{said.moving} {name}", moving)
            for key, one in (("before", start), ("after", found)):
                mask = warped_labels(brought, one, onto=fixed, moving=moving)
                out[f"dice-{key}/{name}"] = dice(truth, mask)
        return out

    def score(self, rows: Sequence[Row]) -> float:
        """Mean Dice after the warp; the correlation of the images where there are no masks."""
        names = [f"dice-after/{name}" for name in self.settings.structures] or ["correlation"]
        known = [row[name] for row in rows for name in names if row[name] is not None]
        return float(np.mean(known)) if known else 0.0

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        how = "per pair in the fixed image's native grid, then the mean over pairs"
        wanted = [
            *(
                (f"dice-{key}/{name}", f"Dice {words}, {name}", True)
                for name in self.settings.structures
                for key, words in (("after", "after warp"), ("before", "before"))
            ),
            ("correlation", "correlation after warp", True),
            ("folding", "folding", False),
        ]
        out = []
        for key, words, better in wanted:
            done = metrics.summarise(
                [row[key] for row in rows], seed=seed, groups=list(patients), replicates=replicates
            )
            out.append(Figure(words, done.mean, done.cases, how, done.left_out, better))
        return out


def _image(case: Case, name: str) -> Image:
    item = case.items.get(name)
    if isinstance(item, Image):
        return item
    known = ", ".join(f"'{one.name}'" for one in case.items.values() if isinstance(one, Image))
    raise InputError(
        f"case '{case.id}' has no image '{name}'; its images: {known or 'none'}. Registration "
        "needs two in a case: the columns of a table that settings.fixed and settings.moving name; "
        "one case of it is TABLE.csv#CASE"
    )


def _truth(case: Case, name: str, image: Image) -> NDArray[np.bool_]:
    for one in case.of(Mask):
        if one.name == name and one.source.kind == "person":
            if one.shape != image.shape:
                raise InputError(
                    f"case '{case.id}': the mask '{name}' has the shape {one.shape}, its image "
                    f"{image.shape}"
                )
            return np.asarray(one.mask, bool)
    raise InputError(
        f"case '{case.id}' has no mask '{name}'; name the cohort's column 'label:{name}', or take "
        "it out of settings.structures"
    )


def _local_correlation(one: Any, other: Any, window: int) -> Any:
    """Squared correlation of two images within a window about each voxel, 0 to 1 (torch)."""
    from torch.nn import functional

    flat = one.ndim == 4
    pool: Any = functional.avg_pool2d if flat else functional.avg_pool3d

    def mean(values: Any) -> Any:
        return pool(values, window, stride=1, padding=window // 2, count_include_pad=False)

    left, right = mean(one), mean(other)
    shared = mean(one * other) - left * right
    spread = (mean(one * one) - left * left).clamp(min=0)
    other_spread = (mean(other * other) - right * right).clamp(min=0)
    return shared * shared / (spread * other_spread + 1e-3)
