"""The automatic plan of a segmentation, from one pass over the cases that teach."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, RecipeError
from osler.record import Case, Image, Mask
from osler.tasks.image_input import Intensity, images_of
from osler.tasks.planning import Normalisation, make_plan
from osler.tasks.segmentation_settings import Planned, SegmentationSettings

_FEW = 5000  # labelled voxels that a case gives to the statistics of its values


class Survey:
    """What a plan needs to know of the teaching cases, gathered as they pass.

    Attributes:
        taught: names of the masks that were met.
    """

    def __init__(self, settings: SegmentationSettings) -> None:
        self.taught: set[str] = set()
        self._settings = settings
        self._shapes: list[tuple[int, ...]] = []
        self._spacings: list[tuple[float, ...] | None] = []
        self._values: list[list[NDArray[np.float32]]] = []
        self._modalities: list[str] = []

    def over(self, cases: Iterable[Case]) -> "Survey":
        """Look at all the cases; pixels are read only where a plan is wanted."""
        for number, case in enumerate(cases):
            masks = [one for one in case.of(Mask) if one.source.kind == "person"]
            self.taught |= {one.name for one in masks}
            if self._settings.plan == "auto":
                self._look(case, masks, np.random.default_rng(number))
        return self

    def _look(self, case: Case, masks: list[Mask], rng: np.random.Generator) -> None:
        found = images_of(case, self._settings.image)
        self._shapes.append(tuple(found[0].shape))
        self._spacings.append(found[0].spacing)
        if not self._modalities:
            self._modalities = [_modality(image, self._settings) for image in found]
            self._values = [[] for _ in found]
        inside = np.zeros(found[0].shape, bool)
        for mask in masks:
            if mask.name in self._settings.labels and mask.shape == inside.shape:
                inside |= mask.mask
        places = np.flatnonzero(inside)
        if len(places):
            places = rng.choice(places, min(_FEW, len(places)), replace=False)
        for image, modality, values in zip(found, self._modalities, self._values, strict=True):
            if modality == "CT" and tuple(image.shape) == inside.shape:
                values.append(np.asarray(image.array[0], np.float32).ravel()[places])

    def settled(self) -> SegmentationSettings:
        """The settings with everything that they leave open; keys that are given stay.

        Raises:
            RecipeError: the cohort cannot be planned for; the message says why.
        """
        said = self._settings
        volumes = all(len(shape) == 3 for shape in self._shapes)
        scaled = [one for one in self._spacings if one is not None]
        known = volumes and len(scaled) == len(self._shapes)
        own = said.image.spacing
        shapes, spacings = self._shapes, scaled if known else None
        if own is not None and known:  # the grid is given: plan in it
            shapes = [
                tuple(max(1, round(n * a / b)) for n, a, b in zip(shape, mm, own, strict=True))
                for shape, mm in zip(shapes, scaled, strict=True)
            ]
            spacings = [own] * len(shapes)
        if said.image.size is not None:
            shapes = [said.image.size] * len(shapes)
        channels = list(self._modalities) * (3 if said.image.colour else 1)
        prompts = ["PROMPT"] * (2 if said.prompt != "none" else 0)
        try:
            plan = make_plan(
                shapes, spacings, channels + prompts,
                labels=len(said.labels) + (not said.overlapping),
                foreground=[np.concatenate(v) if v else None for v in self._values]
                + [None] * (len(channels) + len(prompts) - len(self._values)),
                memory=said.memory, width=said.width,
            )  # fmt: skip
        except InputError as error:
            raise RecipeError(f"settings.plan: {error}") from error
        image = said.image.model_dump(exclude_unset=True)
        if known and plan.spacing is not None and "spacing" not in image:
            image["spacing"] = plan.spacing
        if "intensity" not in image:
            image["intensity"] = _intensity(plan.normalisation[: len(channels)])
        patch = said.patch if "patch" in said.model_fields_set else plan.patch
        decided = Planned(
            network=plan.network,
            options={key: plan.options[key] for key in ("widths", "kernels", "strides")},
            batch=plan.batch, memory=round(plan.memory, 3), reasons=list(plan.reasons),
        )  # fmt: skip
        changed = {**said.model_dump(exclude_unset=True), "image": image, "patch": patch,
                   "planned": decided.model_dump()}  # fmt: skip
        return SegmentationSettings.model_validate(changed)


def _modality(image: Image, settings: SegmentationSettings) -> str:
    """DICOM's code; formats that do not say it leave it to the column's name."""
    if settings.image.colour:
        return "OP"
    if image.modality.upper() not in ("", "OT"):
        return image.modality.upper()
    return "CT" if image.name.lower().split("-")[0] == "ct" else "OT"


def _intensity(schemes: tuple[Normalisation, ...]) -> Intensity:
    """One way for all channels, as `ImageInput` has it."""
    kinds = {one.scheme for one in schemes}
    if kinds == {"photograph"}:
        return Intensity(method="range", range=(0.0, 255.0))
    if kinds == {"ct"} and len(schemes) == 1:
        low, high, mean, std = (
            float(getattr(schemes[0], key)) for key in ("low", "high", "mean", "std")
        )
        return Intensity(method="clip", range=(low, high), mean=mean, deviation=max(std, 1e-3))
    return Intensity(method="z-score")
