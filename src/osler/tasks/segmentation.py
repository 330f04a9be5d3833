"""Segmentation: which voxels belong to which structure, in pictures and in volumes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, RecipeError
from osler.record import Case, Finding, Image, Mask, Source
from osler.tasks import segmentation_figures, segmentation_prompt
from osler.tasks.grid import Grid
from osler.tasks.image_input import encode_image, image_of, resized
from osler.tasks.labels import identifier, unknown_without
from osler.tasks.largest_part import keep_largest
from osler.tasks.missing_items import PRESENT, default_network, encode_present, present_items
from osler.tasks.native_grid import native_labels, native_masks
from osler.tasks.sampling import Sampling, between, same_extent
from osler.tasks.segmentation_losses import named_loss, shares_of
from osler.tasks.segmentation_plan import Survey
from osler.tasks.segmentation_settings import SegmentationSettings
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

_OUTPUT = "scores"


class Segmentation(Task):
    """See `SegmentationSettings`."""

    name: ClassVar[str] = "segmentation"
    title: ClassVar[str] = "Segmentation"
    Settings: ClassVar[type[Settings]] = SegmentationSettings
    images: tuple[str, ...] = ("image",)
    masks: ClassVar[tuple[str, ...]] = ("labels",)

    settings: SegmentationSettings

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Check that every label is taught by some case, and plan what is to be planned."""
        survey = Survey(self.settings).over(samples())
        if missing := [label for label in self.settings.labels if label not in survey.taught]:
            known = ", ".join(sorted(survey.taught)) or "none"
            raise RecipeError(
                f"no teaching case has a mask of {', '.join(map(repr, missing))}; there are masks "
                f"of: {known}"
            )
        if self.settings.plan == "none":
            return self
        return type(self)(survey.settled(), calibration=self.calibration)

    def batch(self) -> int | None:
        planned = self.settings.planned
        return None if planned is None else planned.batch

    def inputs(self) -> tuple[InputSpec, ...]:
        said = self.settings
        size = said.patch or said.image.size
        axes = len(size) if size else 2 if said.image.spacing is None else 3
        fixed = size if said.patch or said.image.size else None
        prompt = segmentation_prompt.CHANNELS if said.prompt != "none" else ()
        image = InputSpec(
            "image", (*said.image.channels, *prompt), size=fixed, axes=axes,
            multiple=1 if fixed else said.multiple,
        )  # fmt: skip
        if not said.missing:
            return (image,)
        return (image, InputSpec(PRESENT, said.image.channels, size=(), axes=0))

    def outputs(self) -> tuple[OutputSpec, ...]:
        said = self.settings
        if said.overlapping:
            cut = (said.threshold,) * len(said.labels)
            what = "a score a label and voxel"
            return (OutputSpec(_OUTPUT, "sigmoid", tuple(said.labels), what, thresholds=cut),)
        names = ("background", *said.labels)
        return (OutputSpec(_OUTPUT, "softmax", names, "a score a class and voxel"),)

    def network(self) -> tuple[str, Mapping[str, Any]]:
        if self.settings.planned is not None:
            return self.settings.planned.network, self.settings.planned.options
        if self.settings.missing:
            return default_network(self.inputs()[0], self.settings.image)
        if self.inputs()[0].axes == 3:
            return "dynunet", {"widths": [16, 32, 64, 128]}
        return "dynunet-2d", {"widths": [16, 32, 64, 128, 128]}

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        inputs: Arrays = {}
        if said.missing:
            inputs["image"], inputs[PRESENT], native, source, target = encode_present(
                case, said.image
            )
        else:
            inputs["image"], native, source, target = encode_image(case, said.image)
        image = inputs["image"]
        sample = Sample(case.id, case.patient_id or case.id, inputs, case=case)
        sample.home = {"native": native, "source": source, "target": target}
        axes = image.ndim - 1
        if said.patch is not None and len(said.patch) != axes:
            raise InputError(
                f"case '{case.id}': its image has {axes} axes and settings.patch {len(said.patch)}"
            )
        if truth:
            sample.targets = {"labels": self._targets(case, sample)}
            sample.group = "labelled" if (sample.targets["labels"] > 0).any() else "empty"
        if said.prompt != "none":
            drawn = self._prompt(case, sample).drawn(said.prompt, image.shape[1:])
            sample.inputs["image"] = np.concatenate([image, drawn])
        return sample

    def _prompt(self, case: Case, sample: Sample) -> segmentation_prompt.Prompt:
        """The case's own prompts, else, where the truth is known, those that follow from it."""
        said = self.settings
        item = image_of(case, said.image.items[0]).name
        found = segmentation_prompt.of_case(case, said.prompt, item, self._moved(sample))
        if found is not None:
            return found
        if not sample.targets:
            raise segmentation_prompt.missing(case, said.prompt)
        parts = segmentation_prompt.parts_of(sample.targets["labels"][0] == 1)
        return segmentation_prompt.exact(parts, said.prompt)

    def _moved(self, sample: Sample) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Native indices to those of the network's grid."""
        source, target = sample.home["source"], sample.home["target"]
        ratio = np.array(sample.inputs["image"].shape[1:]) / np.array(sample.home["native"])

        def moved(place: NDArray[np.float64]) -> NDArray[np.float64]:
            if source is None:
                return np.asarray((place + 0.5) * ratio - 0.5)
            return np.asarray(target.to_index(source.to_millimetres(place[None]))[0])

        return moved

    def _targets(self, case: Case, sample: Sample) -> NDArray[Any]:
        """Of labels that exclude each other a map ``(1, ...)``, else ``(L, ...)``, 2 for unknown.

        Masks go to the network's grid as probabilities do (linear, a half belongs to it), so that
        thin structures are not lost to the choice of a nearest voxel.
        """
        said = self.settings
        shape = sample.inputs["image"].shape[1:]
        planes = np.zeros((len(said.labels), *shape), np.float32)
        known = np.ones(len(said.labels), bool)
        for k, label in enumerate(said.labels):
            mask = self._mask(case, label)
            if mask is None:
                known[k] = not self._unknown(case, label)
                continue
            planes[k] = self._to_network(mask.mask, sample)
        if said.overlapping:
            out = (planes >= 0.5).astype(np.uint8)
            out[~known] = 2
            return out
        return np.where(planes.max(0) >= 0.5, planes.argmax(0) + 1, 0).astype(np.uint8)[None]

    def _to_network(self, mask: NDArray[np.bool_], sample: Sample) -> NDArray[np.float32]:
        shape = tuple(sample.inputs["image"].shape[1:])
        array = mask.astype(np.float32)[None]
        source, target = sample.home["source"], sample.home["target"]
        if source is not None:
            from osler.tasks.native_grid import resample

            array = resample(array, between(source, target))
        if tuple(array.shape[1:]) != shape:
            array = resized(array, shape)
        return np.asarray(array[0], np.float32)

    def _mask(self, case: Case, label: str) -> Mask | None:
        for one in case.of(Mask):
            if one.name == label and one.source.kind == "person":
                return one
        return None

    def _first(self, case: Case) -> Image:
        """The image in whose grid the masks lie: the first of those that there are."""
        said = self.settings
        names = present_items(case, said.image) if said.missing else said.image.items
        return image_of(case, names[0])

    def _unknown(self, case: Case, label: str) -> bool:
        """Whether a mask that is missing was not drawn; else nothing is there."""
        return unknown_without(case, label, absent=self.settings.absent, what="mask")

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        """A patch, with `foreground` probability around a labelled voxel; the whole else."""
        image = sample.inputs["image"]
        beside = {name: one for name, one in sample.inputs.items() if name != "image"}
        if "labels" not in sample.targets:  # cut like any other, with nothing to centre on
            blank = {"labels": np.zeros((1, *image.shape[1:]), np.int64)}
            return self.example(replace(sample, targets=blank), rng)[0], {}
        labels = sample.targets["labels"]
        places: NDArray[np.int64] | None = None
        if self.settings.prompt != "none":
            image, labels = self._prompted(sample, rng)
            places = np.flatnonzero(labels[0] == 1)
        patch = self.settings.patch
        if patch is None:
            return {"image": image, **beside}, {"labels": labels}
        shape = image.shape[1:]
        centre: Sequence[int] | None = None
        if rng.random() < self.settings.foreground:
            places = self._places(sample) if places is None else places
            if len(places):
                centre = [int(x) for x in np.unravel_index(rng.choice(places), shape)]
        start = []
        for axis, (size, side) in enumerate(zip(shape, patch, strict=True)):
            last = max(size - side, 0)
            if centre is None:
                start.append(int(rng.integers(0, last + 1)))
            else:  # anywhere such that the chosen voxel is inside
                low, high = max(0, centre[axis] - side + 1), min(last, centre[axis])
                start.append(int(rng.integers(min(low, high), high + 1)))
        cut = (slice(None), *(slice(a, a + side) for a, side in zip(start, patch, strict=True)))
        return (
            {"image": _filled(image[cut], patch, "edge"), **beside},
            {"labels": _filled(labels[cut], patch, "constant")},
        )

    def _prompted(
        self, sample: Sample, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Image and labels under a prompt drawn anew; the parts are found once a sample."""
        image, labels = sample.inputs["image"], sample.targets["labels"]
        if "parts" not in sample.home:
            sample.home["parts"] = segmentation_prompt.parts_of(labels[0] == 1)
        kind = self.settings.prompt
        prompt, meant = segmentation_prompt.simulated(sample.home["parts"], kind, rng)
        count = len(segmentation_prompt.CHANNELS)
        drawn = prompt.drawn(kind, image.shape[1:])
        unknown = labels == 2
        return (
            np.concatenate([image[:-count], drawn]),
            np.where(unknown, labels, meant[None]).astype(labels.dtype),
        )

    def _places(self, sample: Sample) -> NDArray[np.int64]:
        """Flat indices of labelled voxels, some thousand of them, kept with the sample."""
        kept: NDArray[np.int64] | None = sample.home.get("places")
        if kept is None:
            labels = sample.targets["labels"]
            found = [np.flatnonzero(plane == 1) for plane in labels]
            if not self.settings.overlapping:
                found = [
                    np.flatnonzero(labels[0] == k + 1) for k in range(len(self.settings.labels))
                ]
            # each label alike, so that small ones are met too
            rng = np.random.default_rng(0)
            chosen = [rng.choice(one, 2000) for one in found if len(one)]
            kept = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
            sample.home["places"] = kept
        return kept

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """What `settings.loss` names, at every scale that the network gives."""
        import torch
        from torch.nn import functional

        scores = outputs[_OUTPUT]
        deep = list(scores) if isinstance(scores, list | tuple) else [scores]
        total = torch.zeros((), device=deep[0].device)
        for share, one in zip(shares_of(deep), deep, strict=True):
            labels = targets["labels"].float()
            if one.shape[2:] != labels.shape[2:]:
                labels = functional.interpolate(labels, one.shape[2:], mode="nearest")
            value = named_loss(
                one.float(), labels, overlapping=self.settings.overlapping,
                loss=self.settings.loss, weight=self.settings.dice,
            )  # fmt: skip
            total = total + share * value
        return total

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """Scores ``(L, [D,] H, W)`` in the network's grid, by sliding windows where it has a patch.

        Where ``mirror`` names axes, the mean of the scores of all flips of them.
        """
        image = sample.inputs["image"]
        beside = {name: one for name, one in sample.inputs.items() if name != "image"}

        def ask(windows: NDArray[np.float32]) -> NDArray[Any]:
            total: NDArray[Any] | None = None
            flips = _flips(self.settings.mirror, windows.ndim - 2)
            for axes in flips:
                turned = np.ascontiguousarray(np.flip(windows, axes)) if axes else windows
                more = {name: np.repeat(one[None], len(turned), 0) for name, one in beside.items()}
                said = predict({"image": turned, **more})[_OUTPUT]
                said = np.flip(said, axes) if axes else said
                total = said if total is None else total + said
            assert total is not None
            return total / np.float32(len(flips)) if len(flips) > 1 else total

        if self.settings.patch is not None:
            scores = sliding_window(
                image, ask, patch=self.settings.patch, overlap=self.settings.overlap
            )
            return {_OUTPUT: scores}
        shape = image.shape[1:]
        step = 1 if self.settings.image.size else self.settings.multiple
        padded = [-(-side // step) * step for side in shape]
        scores = ask(_filled(image, padded, "edge")[None])[0]
        return {_OUTPUT: scores[(slice(None), *(slice(0, side) for side in shape))]}

    def way_home(self, outputs: Arrays, sample: Sample) -> Sampling:
        """The way from the network's grid to the native one, of volumes."""
        native = sample.home["native"]
        target: Grid | None = sample.home["target"]
        source: Grid | None = sample.home["source"]
        shape = outputs[_OUTPUT].shape[1:]
        if target is not None and source is not None and tuple(target.shape) == shape:
            return between(target, source)
        return same_extent(shape, native)

    def native(self, outputs: Arrays, sample: Sample) -> list[NDArray[np.bool_]]:
        """The mask of each label in the native grid."""
        said, scores = self.settings, np.asarray(outputs[_OUTPUT], np.float32)
        native = tuple(sample.home["native"])
        if not said.overlapping:
            if scores.ndim == 4:
                labels = native_labels(scores, self.way_home(outputs, sample))
            else:
                whole = scores if scores.shape[1:] == native else resized(scores, native)
                labels = whole.argmax(0).astype(np.uint8)
            kept = [said.labels.index(one) + 1 for one in said.largest_part]
            if kept:
                keep_largest(labels if labels.ndim == 3 else labels[None], kept)
            return [labels == k + 1 for k in range(len(said.labels))]
        if scores.ndim == 4:
            limits = [said.threshold] * len(scores)
            masks = list(native_masks(scores, self.way_home(outputs, sample), limits))
        else:
            whole = scores if scores.shape[1:] == native else resized(scores, native)
            logit = np.log(said.threshold / (1 - said.threshold))
            masks = [plane >= logit for plane in whole]
        for k, label in enumerate(said.labels):
            if label in said.largest_part:
                one = masks[k].astype(np.uint8)
                keep_largest(one if one.ndim == 3 else one[None], [1])
                masks[k] = one > 0
        return masks

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        said = self.settings
        image = self._first(sample.need_case())
        item = image.name
        masks = self.native(outputs, sample)
        found: list[Finding] = [
            Mask(id=identifier(label), name=label, source=source, item=item, mask=mask)
            for label, mask in zip(said.labels, masks, strict=True)
        ]
        ids = [one.id for one in found]
        found += segmentation_figures.measurements(
            said, masks, ids, spacing=image.spacing, item=item, source=source
        )
        return found

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        """Figures and sizes of each label, in the native grid, per case, and what is measured.

        A structure that is missed or invented costs the image's diagonal in HD95; one that is in
        neither truth nor prediction has no figure and is counted as left out.
        """
        said, case = self.settings, sample.need_case()
        image = self._first(case)
        spacing = image.spacing or (1.0,) * len(image.shape)
        out: Row = {}
        masks = self.native(outputs, sample)
        true: dict[str, NDArray[np.bool_]] = {}
        for label, mask in zip(said.labels, masks, strict=True):
            truth = self._mask(case, label)
            if truth is None and self._unknown(case, label):
                out |= segmentation_figures.unknown(label, settings=said)
                continue
            true[label] = np.zeros(mask.shape, bool) if truth is None else np.asarray(truth.mask)
            if true[label].shape != mask.shape:
                raise InputError(
                    f"case '{case.id}': the mask '{label}' has shape {true[label].shape}, its "
                    f"image {mask.shape}"
                )
            out |= segmentation_figures.judged(
                true[label], mask, label, spacing=spacing, settings=said
            )
        named = dict(zip(said.labels, masks, strict=True))
        for one in said.measure:
            known = {*one.of, *one.to} <= set(true)
            out[f"measure/{one.name}"] = segmentation_figures.value_of(one, named, spacing)
            out[f"true_measure/{one.name}"] = (
                segmentation_figures.value_of(one, true, spacing) if known else None
            )
        return out

    def score(self, rows: Sequence[Row]) -> float:
        """Mean over the labels of the mean Dice over cases."""
        means = []
        for label in self.settings.labels:
            known = [row[f"dice/{label}"] for row in rows if row[f"dice/{label}"] is not None]
            means += [float(np.mean(known))] if known else []
        return float(np.mean(means)) if means else 0.0

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        axes = self.inputs()[0].axes
        return segmentation_figures.figures(
            rows, patients, self.settings, axes=axes, seed=seed, replicates=replicates
        )


def _filled(array: NDArray[Any], shape: Sequence[int], mode: Any) -> NDArray[Any]:
    """An array ``(C, ...)`` made as large as ``shape`` at its far ends."""
    margins = [(0, max(0, side - size)) for size, side in zip(array.shape[1:], shape, strict=True)]
    if not any(after for _, after in margins):
        return np.ascontiguousarray(array)
    return np.pad(array, [(0, 0), *margins], mode=mode)


def _flips(axes: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Every combination of flips of the named axes, as axes of ``(N, C, ...)``; none first."""
    out: list[tuple[int, ...]] = [()]
    for axis in axes:
        if not 0 <= axis < count:
            raise RecipeError(f"settings.mirror names axis {axis}; there are 0 to {count - 1}")
        out += [(*one, axis + 2) for one in out]
    return out
