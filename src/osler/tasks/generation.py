"""Generation: pictures that nobody took, of a stated kind.

A case says what is wanted by a label or by masks; what comes out is flagged ``synthetic`` wherever
it goes. Pictures are compared with real ones in the features of a small reader that learns, beside
what draws, to tell the label (or where the masks lie), and travels in the same graph.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.errors import InputError, RecipeError
from osler.record import Case, DerivedImage, Finding, Image, Label, Mask, Source, Table
from osler.tasks import generation_figures as figures_of
from osler.tasks.generation_sampling import drawn, noisy, seeded
from osler.tasks.generation_settings import GenerationSettings
from osler.tasks.image_input import encode_image, resized
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

FLAG = "synthetic"


class _Known:
    """What figures need of the cases that taught: their features, and each pixel's Gaussian.

    It is kept for judging at the end of the training, and never written with the bundle: the
    features of a picture say much of it.
    """

    def __init__(self, taught: Sequence[Arrays], teach: Sequence[Sample]) -> None:
        self.features = np.stack([one["real"] for one in taught]).astype(np.float64)
        self.groups = np.array([one.group or "" for one in teach])
        self.pixels: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        for group in np.unique(self.groups):
            there = [
                one.targets["image"]
                for one, name in zip(teach, self.groups, strict=True)
                if name == group
            ]
            every = np.stack(there)
            self.pixels[str(group)] = every.mean(axis=0), every.std(axis=0)


class Generation(Task):
    """See `GenerationSettings`."""

    name: ClassVar[str] = "generation"
    title: ClassVar[str] = "Generation"
    Settings: ClassVar[type[Settings]] = GenerationSettings

    settings: GenerationSettings
    known: _Known | None = None

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """Take the labels that teach, or check that every mask is taught."""
        said = self.settings
        there: set[str] = set()
        for case in samples():
            if said.label is not None:
                there.add(_label(case, said.label))
            else:
                there |= {one.name for one in case.of(Mask)}
        if missing := [one for one in said.masks if one not in there]:
            raise RecipeError(
                f"no teaching case has a mask of {', '.join(missing)}; there are masks of: "
                f"{', '.join(sorted(there)) or 'none'}"
            )
        if said.label is None or said.labels is not None:
            return self
        return type(self)(said.model_copy(update={"labels": sorted(there)}))

    # Sizes ---------------------------------------------------------------------------------------

    @property
    def _size(self) -> tuple[int, int]:
        size = self.settings.image.size
        assert size is not None
        return size[0], size[1]

    @property
    def conditions(self) -> tuple[str, ...]:
        """What each channel of the condition holds."""
        said = self.settings
        return tuple(said.labels or ()) if said.label is not None else ("rest", *said.masks)

    def _drawn_shape(self) -> tuple[int, ...]:
        """Of what is drawn from noise: a picture, or a code."""
        said, (height, width) = self.settings, self._size
        channels = len(said.image.channels) if said.latent is None else said.latent.channels
        return channels, height // said.shrink, width // said.shrink

    def inputs(self) -> tuple[InputSpec, ...]:
        said = self.settings
        picture = InputSpec("picture", said.image.channels, size=self._size)
        if said.method == "adversarial":
            style = tuple(f"style {k + 1}" for k in range(said.style))
            return (
                InputSpec("noise", style, size=(), axes=0),
                InputSpec("condition", self.conditions, size=self._size),
                picture,
            )
        channels, *sides = self._drawn_shape()
        names = (
            said.image.channels
            if said.latent is None
            else tuple(f"code {k + 1}" for k in range(channels))
        )
        return (
            InputSpec("noisy", names, size=tuple(sides)),
            InputSpec("time", ("step",), size=(), axes=0),
            InputSpec("condition", self.conditions, size=(), axes=0),
            picture,
        )

    def outputs(self) -> tuple[OutputSpec, ...]:
        said = self.settings
        reader = (
            OutputSpec("features", "none", (), "of the picture given, by the reader"),
            OutputSpec("told", "none", (), "what the reader tells of the picture given"),
        )
        if said.method == "adversarial":
            what = "a synthetic picture, -1 to 1"
            return (OutputSpec("made", "none", (), what), *reader)
        first = OutputSpec(
            "said", "none", (), f"{said.diffusion.predicts} of the noisy picture or code"
        )
        if said.latent is None:
            return (first, *reader)
        return (first, *reader, OutputSpec("decoded", "none", (), "the code as a picture, -1 to 1"))

    def network(self) -> tuple[str, Mapping[str, Any]]:
        if self.settings.method == "adversarial":
            return "spade", {"widths": [16, 32, 64], "hidden": 32}
        return "latent-diffusion", {
            "widths": [32, 64, 64], "blocks": 1, "attention": [False, False, True],
            "head_channels": 32, "groups": 16,
        }  # fmt: skip

    def wanted(self) -> Mapping[str, Any]:
        said = self.settings
        if said.method == "adversarial":
            return {
                "dims": 2, "channels": len(said.image.channels), "labels": len(self.conditions),
                "size": self._size, "style": said.style,
            }  # fmt: skip
        return {"dims": 2, "channels": self._drawn_shape()[0], "labels": len(self.conditions)}

    def beside(self) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
        said, channels = self.settings, len(self.settings.image.channels)
        if said.method == "adversarial":
            seen = channels + len(self.conditions)
            layers = 2 if min(self._size) < 64 else 3
            options: dict[str, Any] = {"channels": seen, "width": 32, "layers": layers, "scales": 1}
            return {"judge": ("patch-discriminator", options)}
        if said.latent is None:
            return {}
        widths = said.latent.widths
        options = {
            "channels": channels, "widths": widths, "blocks": 1, "groups": min(8, *widths),
            "attention": [False] * len(widths), "latent": said.latent.channels, "middle": False,
        }  # fmt: skip
        return {"code": ("autoencoder-kl", options)}

    def completed(self, net: Any, beside: Mapping[str, Any]) -> Any:
        from osler.models.generation_networks import AdversarialNet, DiffusionNet, Reader

        said = self.settings
        told = 3 * len(said.masks) if said.label is None else len(self.conditions)
        reader = Reader(len(said.image.channels), told)
        if said.method == "adversarial":
            return AdversarialNet(net, beside["judge"], reader)
        return DiffusionNet(net, reader, beside.get("code"))

    # Arrays --------------------------------------------------------------------------------------

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        said = self.settings
        sample = Sample(case.id, case.patient_id or case.id, {}, case=case)
        if said.label is not None:
            value = _label(case, said.label)
            if value not in self.conditions:
                raise InputError(
                    f"case '{case.id}' has the value '{value}' of '{said.label}'; the bundle draws "
                    f"{', '.join(self.conditions)}"
                )
            place = self.conditions.index(value)
            condition = np.zeros(len(self.conditions), np.float32)
            condition[place] = 1
            sample.group = value
            sample.targets = {"class": np.array(place, np.int64)}
            if said.method == "adversarial":
                condition = np.broadcast_to(
                    condition[:, None, None], (len(condition), *self._size)
                ).copy()
        else:
            condition = self._map(case)
            sample.targets = {"places": _places(condition[1:])}
        sample.inputs = {"condition": condition}
        if truth:
            sample.targets["image"] = 2 * encode_image(case, said.image)[0] - 1
        else:
            sample.targets = {}
        return sample

    def _map(self, case: Case) -> NDArray[np.float32]:
        """One channel each mask and one for the rest, 1 where it is."""
        there = {one.name: one for one in case.of(Mask)}
        if not any(name in there for name in self.settings.masks):
            known = ", ".join(there) or "none"
            raise InputError(f"case '{case.id}' has no mask to draw by; its masks: {known}")
        out = np.zeros((len(self.conditions), *self._size), np.float32)
        for k, name in enumerate(self.settings.masks, 1):
            if name in there:
                plane = np.asarray(there[name].mask, np.float32)[None]
                if plane.ndim != 3:
                    raise InputError(f"case '{case.id}': the mask '{name}' is not of a picture")
                out[k] = resized(plane, self._size)[0] >= 0.5
        out[0] = 1 - out[1:].max(axis=0)
        return out

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        """A noisy picture at any step of training; or a style."""
        said, clean = self.settings, sample.targets["image"]
        inputs = {"condition": sample.inputs["condition"], "picture": clean}
        targets = {name: one for name, one in sample.targets.items() if name != "image"}
        if said.method == "adversarial":
            return {"noise": rng.standard_normal(said.style, np.float32), **inputs}, targets
        time = int(rng.integers(said.diffusion.steps))
        noise = rng.standard_normal(self._drawn_shape(), np.float32)
        shown, wanted = noise, noise
        if said.latent is None:
            shown, wanted = noisy(clean, noise, time, said.diffusion)
        targets["wanted"] = wanted
        targets["kept"] = np.array(said.diffusion.kept()[time], np.float32)
        return {"noisy": shown, "time": np.array([time], np.float32), **inputs}, targets

    # Learning ------------------------------------------------------------------------------------

    def loss(
        self, net: Any, inputs: Mapping[str, Any], targets: Mapping[str, Any], *, step: int
    ) -> Any:
        """What draws and the reader, which share nothing, by the sum of their losses."""
        said, picture = self.settings, inputs["picture"]
        if said.method == "adversarial":
            fool, tell = net.losses(inputs["noise"], inputs["condition"], picture)
            return fool + tell + self._read(net.reader(picture)[1], targets)
        if said.latent is not None:
            drawing = net.loss_of_code(
                inputs["noisy"], inputs["time"][:, 0].long(), targets["kept"], inputs["condition"],
                picture, velocity=said.diffusion.predicts == "velocity",
                weight=said.latent.weight,
            )  # fmt: skip
            return drawing + self._read(net.reader(picture)[1], targets)
        return self.criterion(self.named(net(*inputs.values())), targets)

    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        from torch.nn import functional

        drawing = functional.mse_loss(outputs["said"].float(), targets["wanted"])
        return drawing + self._read(outputs["told"], targets)

    def _read(self, told: Any, targets: Mapping[str, Any]) -> Any:
        from torch.nn import functional

        if self.settings.label is None:
            return functional.mse_loss(told.float(), targets["places"])
        return functional.cross_entropy(told.float(), targets["class"])

    # Answers -------------------------------------------------------------------------------------

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """Pictures ``made`` ``(count, C, H, W)``, 0 to 1, and their features.

        With the truth, also the features of the ``real`` picture; of a sample without its case
        only those, as nothing is drawn for it.
        """
        said = self.settings
        out: Arrays = {}
        if "image" in sample.targets:
            out |= self._read_picture(predict, sample, sample.targets["image"], "real")
        if sample.case is None:
            return out
        made = [self._draw(predict, sample, k) for k in range(said.count)]
        out |= self._read_picture(predict, sample, made[0], "made_features")
        if self.known is not None and "image" in sample.targets:
            mean, spread = self.known.pixels[sample.group or ""]
            rng = seeded(said.seed, sample.id, "gaussian")
            blurred = np.clip(mean + spread * rng.standard_normal(mean.shape, np.float32), -1, 1)
            found = self._read_picture(predict, sample, blurred, "gaussian")
            out["gaussian"] = found["gaussian"]
        out["made"] = (np.stack(made) + 1) / 2
        return out

    def _feed(self, sample: Sample, **given: NDArray[Any]) -> Arrays:
        """All that the graph takes, with a batch axis; zero where nothing is given."""
        out: Arrays = {}
        for spec in self.inputs():
            array = given.get(spec.name)
            if spec.name == "condition":
                array = sample.inputs["condition"]
            shape = (len(spec.channels), *(spec.size or ()))
            array = np.zeros(shape, np.float32) if array is None else array
            out[spec.name] = np.ascontiguousarray(array[None], np.float32)
        return out

    def _read_picture(
        self, predict: Predict, sample: Sample, picture: NDArray[Any], name: str
    ) -> Arrays:
        said = predict(self._feed(sample, picture=picture))
        return {name: said["features"][0], f"{name}/told": said["told"][0]}

    def _draw(self, predict: Predict, sample: Sample, number: int) -> NDArray[np.float32]:
        """A picture, -1 to 1."""
        said = self.settings
        rng = seeded(said.seed, sample.id, number)
        if said.method == "adversarial":
            noise = rng.standard_normal(said.style, np.float32)
            made = predict(self._feed(sample, noise=noise))["made"][0]
            return np.asarray(np.clip(made, -1, 1), np.float32)

        def denoise(x: NDArray[np.float32], time: int) -> NDArray[Any]:
            step = np.array([time], np.float32)
            return np.asarray(predict(self._feed(sample, noisy=x, time=step))["said"][0])

        start = rng.standard_normal(self._drawn_shape(), np.float32)
        x = drawn(denoise, start, said.diffusion, rng=rng, bounded=said.latent is None)
        if said.latent is not None:
            x = predict(self._feed(sample, noisy=x))["decoded"][0]
        return np.asarray(np.clip(x, -1, 1), np.float32)

    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        """Each picture as an image and a finding that are both flagged as synthetic."""
        said, case = self.settings, sample.need_case()
        low, high = said.image.intensity.range
        what = f"of {sample.group}" if said.label is not None else f"by {', '.join(said.masks)}"
        out: list[Finding] = []
        for number, picture in enumerate(outputs["made"], 1):
            array: NDArray[Any] = picture * np.float32(high - low) + np.float32(low)
            if (low, high) == (0.0, 255.0):
                array = np.rint(array).astype(np.uint8)
            image = Image(f"{FLAG}-{number}", array, flags=(FLAG,))
            out.append(
                DerivedImage(
                    id=f"{FLAG}-{number}", name=f"Synthetic picture {what}", source=source,
                    image=image, flags=(FLAG,),
                    note=f"Drawn by {source.name}; it shows nobody. Case {case.id}, "
                    f"seed {said.seed}, number {number}.",
                )
            )  # fmt: skip
        return out

    # Figures -------------------------------------------------------------------------------------

    def concluded(
        self, taught: Sequence[Arrays], teach: Sequence[Sample], held: Sequence[Arrays],
        tune: Sequence[Sample],
    ) -> Self:  # fmt: skip
        task = type(self)(self.settings, calibration=self.calibration)
        task.known = _Known(taught, teach)
        return task

    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        """Features of the real picture, of the drawn one, and of one that taught of the same kind.

        ``nearest`` and ``usual`` are the distances of the drawn and of the real picture to the
        nearest that taught.
        """
        out: Row = {
            "label": sample.group or "",
            "real": _numbers(outputs["real"]),
            "made": _numbers(outputs["made_features"]),
        }
        if "class" in sample.targets:
            truth = int(sample.targets["class"])
            out["told_real"] = int(outputs["real/told"].argmax()) == truth
            out["told_made"] = int(outputs["made_features/told"].argmax()) == truth
        if self.known is not None:
            rng = seeded(self.settings.seed, sample.id, "taught")
            alike = np.flatnonzero(self.known.groups == (sample.group or ""))
            out["taught"] = _numbers(self.known.features[rng.choice(alike)])
            out["gaussian"] = _numbers(outputs["gaussian"])
            out["nearest"] = self._to_taught(out["made"])
            out["usual"] = self._to_taught(out["real"])
        return out

    def _to_taught(self, features: Sequence[float]) -> float:
        assert self.known is not None
        away = self.known.features - np.asarray(features)
        return float(np.sqrt((away**2).sum(axis=1).min()))

    def score(self, rows: Sequence[Row]) -> float:
        """Less the Fréchet distance between real and drawn pictures."""
        if len(rows) < 2:
            return 0.0
        real, made = ([row[key] for row in rows] for key in ("real", "made"))
        return -metrics.frechet_distance(real, made)

    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        out: list[Figure] = []
        for part in (
            figures_of.distance_figures, figures_of.likeness_figures, figures_of.memory_figures,
            figures_of.told_figures,
        ):  # fmt: skip
            out += part(rows, patients, seed=seed, replicates=replicates)
        return out


def _label(case: Case, name: str) -> str:
    """What a case is of, or shall be of: its label or, of a table that is asked, its variable."""
    for one in case.of(Label):
        if one.name == name:
            return one.value
    for item in case.items.values():
        if isinstance(item, Table) and (said := item.values.get(name)) is not None:
            return str(int(said)) if isinstance(said, float) and said.is_integer() else str(said)
    known = ", ".join(sorted({one.name for one in case.of(Label)})) or "none"
    raise InputError(
        f"case '{case.id}' has no label '{name}', which says what to draw; its labels: {known}"
    )


def _places(masks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each mask its share of the picture and its centre, 0 to 1; zeros where it is absent."""
    out = []
    for mask in masks:
        found = np.argwhere(mask > 0)
        centre = (found.mean(axis=0) + 0.5) / mask.shape if len(found) else np.zeros(2)
        out += [mask.mean(), *centre]
    return np.array(out, np.float32)


def _numbers(array: NDArray[Any]) -> list[float]:
    return [round(float(one), 6) for one in np.asarray(array).ravel()]
