"""Detection: where the objects of each kind are, as boxes, in pictures and in volumes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.errors import InputError, RecipeError
from osler.record import Box, Case, Finding, Mask, Source
from osler.tasks.detection_boxes import (
    Boxes,
    Truth,
    boxes_at,
    filled,
    first_of_each,
    peaks,
    suppressed,
    truth_of,
)
from osler.tasks.detection_figures import Judged, figures_of, matches_of, table_of
from osler.tasks.detection_settings import DetectionSettings
from osler.tasks.image_input import encode_image, image_of
from osler.tasks.labels import identifier
from osler.tasks.sliding_window import windows
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
    sigmoid,
)

_OUTPUTS = ("heatmap", "size", "offset")


class Detection(Task):
    """See `DetectionSettings`; the method is that of objects as points [1]_.

    References:
        .. [1] Zhou, Wang & Krähenbühl, "Objects as points", arXiv:1904.07850, 2019.
    """

    name: ClassVar[str] = "detection"
    title: ClassVar[str] = "Detection"
    Settings: ClassVar[type[Settings]] = DetectionSettings
    images: tuple[str, ...] = ("image",)
    masks: ClassVar[tuple[str, ...]] = ("ignore",)
    boxes: ClassVar[tuple[str, ...]] = ("boxes",)

    settings: DetectionSettings

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Find the usual side and how many boxes a case has, and check that labels are taught."""
        said, sides, most = self.settings, [], 1
        taught: set[str] = set()
        marked: set[str] = set()
        for case in samples():
            marked |= {
                one.name
                for one in case.findings.values()
                if isinstance(one, Box | Mask) and one.source.kind == "person"
            }
            image = image_of(case, said.image.items[0])
            # what an empty cell means is asked case by case, when they are encoded
            truth = self._truth(case, tuple(image.shape), absent="unknown")
            taught |= {said.labels[k] for k in truth.classes}
            boxes = truth.boxes * self._factor(tuple(image.shape), image.spacing)
            axes = boxes.shape[1] // 2
            sides.append(boxes[:, axes:] - boxes[:, :axes])
            most = max(most, len(boxes))
        if missing := [label for label in said.labels if label not in taught]:
            raise RecipeError(
                f"no teaching case has a box or a mask of {', '.join(map(repr, missing))} of "
                f"{said.smallest} voxels or more; there are: {', '.join(sorted(marked)) or 'none'}"
            )
        every = np.concatenate(sides)
        unit = float(np.exp(np.log(np.maximum(every, 1e-3)).mean()))
        return type(self)(said.model_copy(update={"unit": round(unit, 3), "count": most}))

    def _factor(self, native: Sequence[int], spacing: Sequence[float] | None) -> NDArray[Any]:
        """What native corners are multiplied by in the network's grid: outer faces stay together.

        Twice over, for both corners.
        """
        said = self.settings.image
        if said.size is not None:
            shape: Sequence[float] = said.size
        elif said.spacing is not None and spacing is not None:
            new = zip(native, spacing, said.spacing, strict=True)
            shape = [max(1, round(n * now / wanted)) for n, now, wanted in new]
        else:
            shape = native
        return np.tile(np.array(shape, float) / np.array(native, float), 2)

    def inputs(self) -> tuple[InputSpec, ...]:
        said = self.settings
        axes = len(said.patch) if said.patch else 2
        many = 1 if said.patch else said.multiple
        return (
            InputSpec("image", said.image.channels, size=said.patch, axes=axes, multiple=many),
        )  # fmt: skip

    def outputs(self) -> tuple[OutputSpec, ...]:
        said = self.settings
        cut = (said.threshold,) * len(said.labels)
        return (
            OutputSpec(
                "heatmap", "sigmoid", tuple(said.labels), "a score of a centre, a label and cell",
                thresholds=cut,
            ),
            OutputSpec("size", "none", (), f"logarithm of the sides over {said.unit} pixels"),
            OutputSpec("offset", "none", (), "of the centre from its cell's, cells"),
        )  # fmt: skip

    def network(self) -> tuple[str, Mapping[str, Any]]:
        return ("centre-detector" if self._axes == 2 else "centre-detector-3d"), {}

    @property
    def _axes(self) -> int:
        return self.inputs()[0].axes

    def wanted(self) -> Mapping[str, Any]:
        said = self.settings
        return {
            **super().wanted(), "labels": len(said.labels), "stride": said.stride
        }  # fmt: skip

    def named(self, said: Any) -> dict[str, Any]:
        """Heatmap, size and offset; one array of all their channels is cut into the three."""
        if isinstance(said, list):  # of several scales, the finest
            said = said[0]
        if isinstance(said, Mapping | tuple):
            return super().named(said)
        labels, axes = len(self.settings.labels), self._axes
        if said.shape[1] != labels + 2 * axes:
            raise RecipeError(
                f"the network gives {said.shape[1]} maps; detection of {labels} labels takes "
                f"{labels + 2 * axes} (a score a label, {axes} sizes and {axes} offsets): set the "
                "option of network.options that says how many"
            )
        ends = (0, labels, labels + axes, labels + 2 * axes)
        return {name: said[:, a:b] for name, a, b in zip(_OUTPUTS, ends, ends[1:], strict=False)}

    # From cases to arrays ------------------------------------------------------------------------

    def _truth(self, case: Case, shape: Sequence[int], *, absent: str | None) -> Truth:
        said = self.settings
        image = image_of(case, said.image.items[0])
        return truth_of(
            case, shape, labels=said.labels, ignore=said.ignore, merge=said.merge,
            absent=absent, smallest=said.smallest, spacing=image.spacing,
        )  # fmt: skip

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        array, native, *_ = encode_image(case, said.image)
        if array.ndim - 1 != self._axes:
            raise InputError(
                f"case '{case.id}': an image of {array.ndim - 1} axes, and settings are for "
                f"{self._axes}; volumes need settings.patch of three sides"
            )
        image = image_of(case, said.image.items[0])
        sample = Sample(case.id, case.patient_id or case.id, {"image": array}, case=case)
        factor = np.tile(np.array(array.shape[1:], float) / np.array(native, float), 2)
        sample.home = {"native": native, "factor": factor, "spacing": image.spacing}
        if truth:
            found = self._truth(case, native, absent=said.absent)
            sample.home["truth"] = found
            sample.targets = {
                "boxes": (found.boxes * factor).astype(np.float32),
                "classes": found.classes,
                "known": found.known.astype(np.float32),
            }
            if said.ignore or said.smallest > 1:
                sample.targets["ignore"] = _ignored(found, factor, array.shape[1:])
            sample.group = "found" if len(found.boxes) else "empty"
        return sample

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        """A patch, with `foreground` probability one in which a box's centre lies."""
        said = self.settings
        image, targets = sample.inputs["image"], sample.targets
        shape = image.shape[1:]
        patch = said.patch or tuple(-(-side // said.multiple) * said.multiple for side in shape)
        axes = len(shape)
        if "boxes" not in targets:  # cut like any other, with nothing to centre on
            blank: Arrays = {
                "boxes": np.zeros((0, 2 * axes), np.float32),
                "classes": np.zeros(0, np.int64),
                "known": np.zeros(len(said.labels), np.float32),
            }
            return self.example(replace(sample, targets=blank), rng)[0], {}
        boxes, classes = targets["boxes"], targets["classes"]
        centre: NDArray[Any] | None = None
        if len(boxes) and rng.random() < said.foreground:
            label = rng.choice(np.unique(classes))
            one = boxes[rng.choice(np.flatnonzero(classes == label))]
            centre = (one[:axes] + one[axes:]) / 2
        start = []
        for axis, (size, side) in enumerate(zip(shape, patch, strict=True)):
            last = max(size - side, 0)
            low, high = 0, last
            if centre is not None:  # anywhere such that the centre is inside
                at = int(np.clip(centre[axis], 0, size - 1))
                low, high = max(0, at - side + 1), min(last, at)
            start.append(int(rng.integers(min(low, high), high + 1)))
        cut = (slice(None), *(slice(a, a + side) for a, side in zip(start, patch, strict=True)))
        moved = boxes - np.tile(np.array(start, np.float32), 2)
        seen = (moved[:, axes:] > 0).all(axis=1) & (moved[:, :axes] < patch).all(axis=1)
        count = max(said.count, len(boxes) if said.patch is None else 0)
        out: Arrays = {
            "boxes": np.zeros((count, 2 * axes), np.float32),
            "classes": np.full(count, -1, np.int64),
            "known": targets["known"],
        }
        kept = np.flatnonzero(seen)[:count]
        out["boxes"][: len(kept)], out["classes"][: len(kept)] = moved[kept], classes[kept]
        if "ignore" in targets:
            out["ignore"] = _padded(targets["ignore"][cut], patch, "constant")
        return {"image": _padded(image[cut], patch, "edge")}, out

    # Learning ------------------------------------------------------------------------------------

    def loss(
        self, net: Any, inputs: Mapping[str, Any], targets: Mapping[str, Any], *, step: int
    ) -> Any:
        image = inputs["image"]
        outputs = self.named(net(image))
        stride = self.settings.stride
        grid, sides = tuple(outputs["heatmap"].shape[2:]), tuple(image.shape[2:])
        if grid != tuple(side // stride for side in sides):
            raise RecipeError(
                f"the network makes a heatmap of {grid} out of {sides} pixels, and "
                f"settings.stride is {stride}; they must agree"
            )
        return self.criterion(outputs, targets)

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Focal loss of the heatmap, plus sizes and offsets at the centres."""
        from osler.tasks.detection_loss import detection_loss

        said = self.settings
        return detection_loss(
            outputs, targets, stride=said.stride, unit=said.unit, spread=said.spread,
            sizes=said.sizes, weight=said.weight,
        )  # fmt: skip

    # From arrays to findings and figures ---------------------------------------------------------

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """Candidates of a whole image, the likeliest first.

        Each window gives the peaks whose centres are nearer to its middle than to a neighbour's
        (and a cell beyond); of boxes that two windows gave, `suppressed` keeps one.

        Returns:
            ``heatmap`` ``(K,)`` scores, ``labels`` ``(K,)``, and ``boxes`` ``(K, 2 n)`` in the
            native grid, within the image.
        """
        said = self.settings
        image = sample.inputs["image"]
        shape = image.shape[1:]
        patch = said.patch or tuple(-(-side // said.multiple) * said.multiple for side in shape)
        whole = _padded(image, [max(a, b) for a, b in zip(shape, patch, strict=True)], "edge")
        laid = windows(whole.shape[1:], patch, overlap=said.overlap)
        least = float(np.log(said.least / (1 - said.least)))
        found: list[tuple[Boxes, NDArray[Any], NDArray[Any]]] = []
        for start in product(*laid.starts):
            cut = (slice(None), *(slice(a, a + b) for a, b in zip(start, patch, strict=True)))
            maps = self.named(predict({"image": np.ascontiguousarray(whole[cut])[None]}))
            heat, size, offset = (np.asarray(maps[name][0], np.float32) for name in _OUTPUTS)
            labels, cells, scores = peaks(heat, least=least, most=said.most)
            boxes = boxes_at(cells, size, offset, stride=said.stride, unit=said.unit)
            boxes += np.tile(np.array(start, float), 2)
            own = _own(boxes, start, laid.starts, patch, slack=said.stride, shape=shape)
            found.append((boxes[own], scores[own], labels[own]))
        boxes, scores, labels = (np.concatenate(one) for one in zip(*found, strict=True))
        boxes = np.clip(boxes, 0, np.tile(np.array(shape, float), 2))
        kept = suppressed(boxes, scores, labels, iou=said.nms)
        kept = kept[first_of_each(labels[kept], said.most)]
        return {
            "heatmap": scores[kept], "labels": labels[kept],
            "boxes": boxes[kept] / sample.home["factor"],
        }  # fmt: skip

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        """A box for each candidate from the threshold on, the likeliest of a label first."""
        said = self.settings
        item = image_of(sample.need_case(), said.image.items[0]).name
        axes, counted = self._axes, [0] * len(said.labels)
        found: list[Finding] = []
        for box, k, p in zip(
            outputs["boxes"], outputs["labels"], sigmoid(outputs["heatmap"]), strict=True
        ):
            if p < said.threshold:
                continue
            native = sample.home["native"]
            start = [
                min(int(np.floor(a + 0.5)), side - 1)
                for a, side in zip(box[:axes], native, strict=True)
            ]
            stop = [
                max(int(np.floor(b + 0.5)), a + 1) for a, b in zip(start, box[axes:], strict=True)
            ]
            counted[k] += 1
            label = said.labels[k]
            found.append(
                Box(
                    id=f"{identifier(label)}-{counted[k]}", name=label, source=source, item=item,
                    start=tuple(start), stop=tuple(stop), probability=float(p),
                )
            )  # fmt: skip
        return found

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        """True boxes and candidates of each label, in the native grid, with what is excused."""
        truth: Truth = sample.home["truth"]
        probability = sigmoid(outputs["heatmap"])
        spacing = sample.home["spacing"]
        labels: Row = {}
        for k, label in enumerate(self.settings.labels):
            own = outputs["labels"] == k
            boxes = np.asarray(outputs["boxes"][own], float)
            labels[label] = None if not truth.known[k] else {
                "truth": np.round(truth.boxes[truth.classes == k], 2).tolist(),
                "too_small": int((truth.small_classes == k).sum()),
                "boxes": np.round(boxes, 2).tolist(),
                "probability": np.round(probability[own], 6).tolist(),
                "excused": truth.excuses(k, boxes).astype(int).tolist(),
            }  # fmt: skip
        step = None if spacing is None else [float(mm) for mm in spacing]
        return {"spacing": step, "labels": labels}

    def _judged(self, rows: Sequence[Row]) -> dict[str, list[Judged | None]]:
        said = self.settings

        def one(row: Row, label: str) -> Judged | None:
            marked: Row | None = row["labels"][label]
            return matches_of(marked, row["spacing"], iou=said.iou, hit=said.hit, reach=said.reach)

        return {
            label: [one(row, label) for row in rows] for label in said.labels
        }  # fmt: skip

    def score(self, rows: Sequence[Row]) -> float:
        """The mean of mAP and of the mean sensitivity of FROC."""
        table = table_of(self._judged(rows), np.arange(len(rows)))
        known = [table[key] for key in ("ap", "froc")]
        return float(np.mean([one for one in known if one is not None] or [0.0]))

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        said = self.settings
        hit = f"IoU of {said.iou:g} or more"
        if said.hit == "centre":
            hit = "centre within half of the longest side of the object"
            hit += f", {said.reach:g} mm or pixels at least" if said.reach else ""
        return figures_of(
            self._judged(rows), patients, iou=said.iou, hit=hit, seed=seed, replicates=replicates
        )

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """Platt's scaling of the candidates' scores to how often such a candidate hits."""
        rows = [self.judge(one, sample) for one, sample in zip(outputs, samples, strict=True)]
        every = [one for judged in self._judged(rows).values() for one in judged if one]
        p = np.concatenate([np.empty(0), *(one.hit.scores for one in every)])
        hits = np.concatenate([np.empty(0, bool), *(one.hit.hits for one in every)])
        p = np.clip(p, 1e-6, 1 - 1e-6)
        try:
            temperature, bias = metrics.fit_platt(hits.astype(int), np.log(p / (1 - p)))
        except InputError:  # no candidate, all hit or none, or the surer the wronger
            return {}
        return {
            "heatmap": {
                "method": "platt", "temperature": float(temperature), "bias": float(bias),
                "fitted_on": on,
            }
        }  # fmt: skip


def _ignored(truth: Truth, factor: NDArray[Any], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Where nothing is taught, in the network's grid ``(1, [D,] H, W)``."""
    out = filled(truth.small * factor, shape)
    if truth.region is not None:
        axes = len(shape)
        index = [
            np.minimum(((np.arange(side) + 0.5) / step).astype(int), size - 1)
            for side, step, size in zip(shape, factor[:axes], truth.region.shape, strict=True)
        ]
        out |= truth.region[np.ix_(*index)]
    return out.astype(np.uint8)[None]


def _own(
    boxes: Boxes, start: Sequence[int], starts: Sequence[Sequence[int]], patch: Sequence[int],
    *, slack: float, shape: Sequence[int],
) -> NDArray[np.bool_]:  # fmt: skip
    """Which centres are nearer to this window's middle than to a neighbour's, and in the image."""
    axes = len(patch)
    centres = (boxes[:, :axes] + boxes[:, axes:]) / 2
    within = (centres >= 0) & (centres <= np.array(shape))
    own = np.asarray(within.all(axis=1), np.bool_)
    for axis in range(axes):
        every = sorted(starts[axis])
        k, middle = every.index(start[axis]), patch[axis] / 2
        if k > 0:
            own &= centres[:, axis] >= (every[k - 1] + every[k]) / 2 + middle - slack
        if k < len(every) - 1:
            own &= centres[:, axis] <= (every[k] + every[k + 1]) / 2 + middle + slack
    return own


def _padded(array: NDArray[Any], shape: Sequence[int], mode: Any) -> NDArray[Any]:
    """An array ``(C, ...)`` made as large as ``shape`` at its far ends."""
    margins = [(0, max(0, side - size)) for size, side in zip(array.shape[1:], shape, strict=True)]
    if not any(after for _, after in margins):
        return np.ascontiguousarray(array)
    return np.pad(array, [(0, 0), *margins], mode=mode)
