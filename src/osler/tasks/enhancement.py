"""Enhancement: an image to a better one of the same place, or to what another sequence shows.

Denoising and super-resolution learn from good images that are made worse in a stated way;
transfer learns from two images of a case. The network works on the input's grid: where the answer
is finer, its channels are the finer pixels of a block, so that cost grows with the input.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.errors import InputError, RecipeError
from osler.record import Case, DerivedImage, Finding, Image, Source
from osler.tasks.enhancement_arrays import (
    degraded,
    divisible,
    enlarged,
    finer_affine,
    looked_up,
    table_of,
    unfolded,
)
from osler.tasks.enhancement_settings import EnhancementSettings
from osler.tasks.image_input import ImageInput, Intensity, adjusted, encode_image, image_of, resized
from osler.tasks.sampling import between
from osler.tasks.sliding_window import sliding_window
from osler.tasks.task import (
    Arrays,
    Figure,
    InputSpec,
    OutputSpec,
    Predict,
    Row,
    Sample,
    Settings,
    Task,
)

_OUTPUT = "made"
_MOST_PSNR = 100.0  # dB of an image that equals the truth
_TRIES = 8


class Enhancement(Task):
    """See `EnhancementSettings`."""

    name: ClassVar[str] = "enhancement"
    title: ClassVar[str] = "Enhancement"
    Settings: ClassVar[type[Settings]] = EnhancementSettings
    planned_from_all: ClassVar[tuple[str, ...]] = ()  # its table is made of the truth
    settings: EnhancementSettings

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Learn the table of intensities, of a transfer."""
        said = self.settings
        if said.target is None or said.table is not None:
            return self
        low, high = _ends(said.image.intensity)
        pairs = [
            (one.inputs["image"][0], one.targets["image"][0])
            for one in (self.encode(case, truth=True) for case in samples())
        ]
        table = table_of(pairs, low=low, high=high)
        return type(self)(said.model_copy(update={"table": table}))

    # Sizes ---------------------------------------------------------------------------------------

    def factors(self, axes: int) -> tuple[int, ...]:
        """How much finer the answer is, of each axis."""
        said = self.settings.degradation.factor
        if isinstance(said, int):
            return (said,) * axes
        if len(said) != axes:
            raise InputError(f"settings.degradation.factor {said} for an image of {axes} axes")
        return said

    @property
    def _channels(self) -> int:
        said = self.settings
        return 1 if said.target is not None else len(said.image.channels)

    def _window_factors(self) -> tuple[int, ...]:
        """Those of the axes that the network sees."""
        said = self.settings.degradation.factor
        if isinstance(said, int):
            return (said,) * len(self.settings.patch)
        if len(said) > len(self.settings.patch):
            if said[0] != 1:
                raise RecipeError(
                    "settings.degradation.factor makes slices thinner, which slices one by one "
                    "(settings.patch of two axes) cannot show; set a patch of three"
                )
            return said[1:]
        return said

    def inputs(self) -> tuple[InputSpec, ...]:
        said = self.settings
        return (
            InputSpec("image", said.image.channels, size=said.patch, axes=len(said.patch)),
        )  # fmt: skip

    def outputs(self) -> tuple[OutputSpec, ...]:
        what = "what to add to the enlarged input" if self.settings.residual else "the image"
        finer = math.prod(self._window_factors())
        if finer > 1:
            what += f"; {finer} finer pixels of each channel in a block of channels"
        return (OutputSpec(_OUTPUT, "none", (), what),)

    def network(self) -> tuple[str, Mapping[str, Any]]:
        name = "dynunet" if len(self.settings.patch) == 3 else "dynunet-2d"
        return name, {"widths": [32, 64, 96], "deep_supervision": False}

    def wanted(self) -> Mapping[str, Any]:
        count = self._channels * math.prod(self._window_factors())
        return {**super().wanted(), "labels": count}

    # Arrays --------------------------------------------------------------------------------------

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        image, native, source, target = encode_image(case, said.image)
        axes = image.ndim - 1
        factors = self.factors(axes)
        if len(said.patch) > axes:
            raise InputError(f"case '{case.id}': a patch of three axes for a picture")
        sample = Sample(case.id, case.patient_id or case.id, {}, case=case)
        sample.home = {"native": native, "source": source, "target": target}
        if truth and said.target is None:
            whole = np.ascontiguousarray(divisible(image, factors))
            worse = said.degradation
            image = degraded(
                whole, case=case.id, factors=factors, noise=worse.noise, seed=worse.seed
            )
            sample.targets = {"image": whole}
        elif truth:
            sample.targets = {"image": self._other(case)}
        sample.inputs = {"image": image}
        sample.home["base"] = enlarged(image, factors)
        return sample

    def _other(self, case: Case) -> NDArray[np.float32]:
        """The target item in the grid of the first input."""
        said = self.settings
        plain = Intensity(range=(0.0, 1.0))
        names = [said.image.items[0], str(said.target)]
        both = ImageInput(
            items=names, size=said.image.size, spacing=said.image.spacing, intensity=plain
        )
        return adjusted(encode_image(case, both)[0][1:], said.wanted_intensity)

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        """A patch of the input with what it shall become."""
        image, truth, base = (
            sample.inputs["image"], sample.targets["image"], sample.home["base"],
        )  # fmt: skip
        patch, factors = self._whole_patch(image), self.factors(image.ndim - 1)
        above = self.settings.above
        start: list[int] = []
        for _ in range(_TRIES):
            start = [
                int(rng.integers(0, max(n - side, 0) + 1))
                for n, side in zip(image.shape[1:], patch, strict=True)
            ]
            there = self._cut(truth, start, patch, factors)
            if above is None or (there.max(axis=0) > above).mean() >= 0.5:
                break
        one = (1,) * len(factors)
        targets = {"image": self._cut(truth, start, patch, factors)}
        if self.settings.residual:
            targets["base"] = self._cut(base[: self._channels], start, patch, factors)
        inputs = {"image": self._cut(image, start, patch, one)}
        if len(self.settings.patch) < len(patch):  # a slice of a volume is a picture
            inputs = {name: array[:, 0] for name, array in inputs.items()}
            targets = {name: array[:, 0] for name, array in targets.items()}
        turned = [axis + 1 for axis in self.settings.mirror if rng.random() < 0.5]
        return _mirrored(inputs, turned), _mirrored(targets, turned)

    def _whole_patch(self, image: NDArray[Any]) -> tuple[int, ...]:
        patch = self.settings.patch
        return patch if len(patch) == image.ndim - 1 else (1, *patch)

    @staticmethod
    def _cut(
        array: NDArray[np.float32], start: Sequence[int], patch: Sequence[int],
        factors: Sequence[int],
    ) -> NDArray[np.float32]:  # fmt: skip
        cut = [slice(a * f, (a + n) * f) for a, n, f in zip(start, patch, factors, strict=True)]
        part = array[(slice(None), *cut)]
        short = [(0, n * f - had) for n, f, had in zip(patch, factors, part.shape[1:], strict=True)]
        return np.pad(part, [(0, 0), *short], mode="edge")

    # Learning ------------------------------------------------------------------------------------

    def loss(
        self, net: Any, inputs: Mapping[str, Any], targets: Mapping[str, Any], *, step: int
    ) -> Any:
        return self.criterion(self.named(net(inputs["image"])), targets)

    def named(self, said: Any) -> dict[str, Any]:
        # of several scales the finest
        return {_OUTPUT: said[0] if isinstance(said, list | tuple) else said}

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        said, truth = self.settings, targets["image"].float()
        made = unfolded(outputs[_OUTPUT].float(), self._window_factors())
        if said.residual:
            made = made + targets["base"].float()
        away = made - truth
        total = away.abs().mean() if said.loss == "l1" else away.square().mean()
        if said.structure:
            total = total + said.structure * (1 - _likeness(made, truth, self._range()))
        return total

    # Answers -------------------------------------------------------------------------------------

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """The image ``(C, [D,] H, W)`` as the network sees values, on the finer grid."""
        said, image = self.settings, sample.inputs["image"]

        def ask(windows: NDArray[np.float32]) -> NDArray[Any]:
            return predict({"image": np.ascontiguousarray(windows, np.float32)})[_OUTPUT]

        def whole(one: NDArray[np.float32]) -> NDArray[np.float32]:
            blocks = sliding_window(one, ask, patch=said.patch, overlap=said.overlap)
            return np.asarray(unfolded(blocks[None], self._window_factors())[0])

        if len(said.patch) == image.ndim - 1:
            made = whole(image)
        else:
            made = np.stack([whole(image[:, k]) for k in range(image.shape[1])], axis=1)
        if said.residual:
            made = made + sample.home["base"][: self._channels]
        return {_OUTPUT: self._bounded(made)}

    def _bounded(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Within what the output's intensities can be."""
        how = self.settings.wanted_intensity
        if how.method == "z-score":
            return np.asarray(array, np.float32)
        low, high = _ends(how)
        return np.clip(array, np.float32(low), np.float32(high))

    def _range(self) -> float:
        if self.settings.value_range is not None:
            return self.settings.value_range
        low, high = _ends(self.settings.wanted_intensity)
        return high - low

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        """The image in the native grid, or in the finer one with its own spacing and place."""
        said, case = self.settings, sample.need_case()
        first = image_of(case, said.image.items[0])
        array = self._native(np.asarray(outputs[_OUTPUT], np.float32), sample)
        factors = self.factors(array.ndim - 1)
        array = self._stored(array, first)
        flag, words = self._said()
        same = said.target is None
        image = Image(
            name=f"{first.name}-{flag}",
            array=array,
            modality=first.modality,
            spacing=None if first.spacing is None else
            tuple(mm / f for mm, f in zip(first.spacing, factors, strict=True)),
            affine=None if first.affine is None else finer_affine(first.affine, factors),
            laterality=first.laterality,
            acquired=first.acquired,
            flags=tuple(dict.fromkeys((*first.flags, flag))),
            units=first.units if same else "",
            window=first.window if same else None,
        )  # fmt: skip
        return [DerivedImage(id=flag, name=words, source=source, item=first.name, image=image)]

    def _said(self) -> tuple[str, str]:
        """The flag of what comes out, and what it is in words.

        What a transfer gives was never measured, so it is ``synthetic``.
        """
        said = self.settings
        if said.target is not None:
            return "synthetic", f"{said.target} as told from {', '.join(said.image.items)}"
        return "enhanced", f"{said.image.items[0]}, enhanced"

    def _native(self, array: NDArray[np.float32], sample: Sample) -> NDArray[np.float32]:
        home = sample.home
        if home["target"] is not None:
            from osler.tasks.native_grid import resample

            return resample(array, between(home["target"], home["source"]))
        if self.settings.image.size is not None:
            return resized(array, home["native"])
        return array

    def _stored(self, array: NDArray[np.float32], first: Image) -> NDArray[Any]:
        """In the units of the first image where it is its better self, else in the target's."""
        how = self.settings.wanted_intensity
        if how.method == "range":
            low, high = how.range
            array = array * np.float32(high - low) + np.float32(low)
        elif how.method == "clip":
            array = array * np.float32(how.deviation) + np.float32(how.mean)
        elif self.settings.target is None:
            array = _from_scores(array, np.asarray(first.array, np.float32), how)
        kind = first.array.dtype
        if self.settings.target is None and kind.kind in "iu":
            ends = np.iinfo(kind)
            return np.clip(np.rint(array), ends.min, ends.max).astype(kind)
        return np.asarray(array, np.float32)

    # Figures -------------------------------------------------------------------------------------

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        """PSNR and SSIM of what came out, of what went in, and of the table, on the same pixels."""
        truth = sample.targets["image"]
        base = sample.home["base"][: self._channels]
        out: Row = {}
        out |= self._pair("", truth, np.asarray(outputs[_OUTPUT]))
        out |= self._pair("before/", truth, self._bounded(base))
        if self.settings.table is not None:
            low, high = _ends(self.settings.image.intensity)
            plain = looked_up(sample.inputs["image"][:1], self.settings.table, low=low, high=high)
            out |= self._pair("table/", truth, self._bounded(plain))
        return out

    def _pair(self, prefix: str, truth: NDArray[Any], made: NDArray[Any]) -> Row:
        extent, above = self._range(), self.settings.above
        within = None if above is None else truth.max(axis=0) > above
        every = None if within is None else np.broadcast_to(within, truth.shape)
        noise = metrics.psnr(truth, made, value_range=extent, within=every)
        like = [
            metrics.ssim(one, other, value_range=extent, within=within)
            for one, other in zip(_planes(truth), _planes(made), strict=True)
        ]
        known = [one for one in like if one is not None]
        return {
            f"{prefix}psnr": None if noise is None else min(float(noise), _MOST_PSNR),
            f"{prefix}ssim": float(np.mean(known)) if len(known) == len(like) else None,
        }

    def score(self, rows: Sequence[Row]) -> float:
        """Mean gain of PSNR over what went in, dB."""
        gains = [row["psnr"] - row["before/psnr"] for row in rows if row["psnr"] is not None]
        return float(np.mean(gains)) if gains else 0.0

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        finer = max(self._window_factors()) > 1
        before = "enlarged by cubic interpolation" if finer else "input as it is"
        columns = [("", "enhanced"), ("before/", before)]
        if self.settings.table is not None:
            columns.append(("table/", "table of intensities"))
        if self.settings.target is not None:
            columns[0] = ("", "transferred")
        out = []
        for key, unit in (("psnr", "PSNR (dB)"), ("ssim", "SSIM")):
            said = {prefix: [row[f"{prefix}{key}"] for row in rows] for prefix, _ in columns}
            known = {f"{unit}, {words}": said[prefix] for prefix, words in columns}
            for prefix, words in columns[1:]:
                known[f"{unit}, gain over {words}"] = [
                    None if a is None or b is None else a - b
                    for a, b in zip(said[""], said[prefix], strict=True)
                ]
            for name, values in known.items():
                done = metrics.summarise(
                    values, seed=seed, groups=list(patients), replicates=replicates
                )
                how = f"per case, range {self._range():g}, then the mean over cases"
                if self.settings.above is not None:
                    how = f"where the truth is above {self.settings.above:g}; {how}"
                out.append(Figure(name, done.mean, done.cases, how, done.left_out))
        return out


def _ends(how: Intensity) -> tuple[float, float]:
    """Least and greatest value that a network is given; of z-scores, what is usual."""
    if how.method == "range":
        return 0.0, 1.0
    if how.method == "clip":
        low, high = ((end - how.mean) / how.deviation for end in how.range)
        return low, high
    return -3.0, 5.0


def _mirrored(arrays: Arrays, axes: Sequence[int]) -> Arrays:
    return {name: np.ascontiguousarray(np.flip(one, tuple(axes))) for name, one in arrays.items()}


def _planes(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Each channel as a picture or volume; a volume too thin for a window in slices."""
    out: list[NDArray[Any]] = []
    for channel in array:
        out += list(channel) if channel.ndim == 3 and len(channel) < 12 else [channel]
    return out


def _from_scores(
    array: NDArray[np.float32], native: NDArray[np.float32], how: Intensity
) -> NDArray[np.float32]:
    """Z-scores back to the values of the image that they were taken of."""
    out = np.empty_like(array)
    for channel, scores, values in zip(out, array, native, strict=False):
        used = values[values > 0] if how.foreground and (values > 0).any() else values
        channel[...] = scores * np.float32(max(float(used.std()), 1e-8)) + np.float32(used.mean())
    return out


def _likeness(made: Any, truth: Any, extent: float) -> Any:
    """Mean structural similarity in even windows of 7 pixels (torch), for a loss."""
    from torch.nn import functional

    axes = made.ndim - 2
    pool = functional.avg_pool2d if axes == 2 else functional.avg_pool3d
    side = [min(7, n) for n in made.shape[2:]]

    def mean(x: Any) -> Any:
        return pool(x, side, 1)

    a, b = mean(made), mean(truth)
    spread, other = mean(made * made) - a * a, mean(truth * truth) - b * b
    shared = mean(made * truth) - a * b
    small, large = (0.01 * extent) ** 2, (0.03 * extent) ** 2
    top = (2 * a * b + small) * (2 * shared + large)
    return (top / ((a * a + b * b + small) * (spread + other + large))).mean()
