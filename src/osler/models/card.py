"""The card of a network: what it is, what it takes and gives, whose it is. No torch is needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osler.errors import RecipeError
from osler.models.preprocessing import Preprocessing

Group = Literal[
    "general vision",
    "retinal foundation",
    "grading",
    "segmentation",
    "cross-modal",
    "image and language",
    "generative language",
    "generation and registration",
    "signals, tables, omics",
]
Answer = Literal[
    "features",
    "classification",
    "segmentation",
    "detection",
    "promptable segmentation",
    "zero-shot",
    "captioning",
    "question answering",
    "generation",
    "reconstruction",
    "registration",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Strict):
    """One thing that a network takes.

    Attributes:
        name: as the argument of ``forward`` is called.
        kind: what it is.
        shape: in words or letters, such as ``(B, 3, H, W)``.
        sizes: which sizes it can take, such as ``any multiple of 16``.
        optional: it may be absent.
        size: of the published network's own input, ``[T]``, ``[H, W]`` or ``[D, H, W]``, for
            which its work is counted; None where an option says it.
    """

    name: str
    kind: Literal["image", "volume", "text", "signal", "table", "genes", "prompt", "noise", "label"]
    shape: str
    sizes: str = ""
    optional: bool = False
    size: tuple[int, ...] | None = None


class Paper(_Strict):
    """Where a method was published."""

    title: str
    year: int
    link: str = Field(pattern=r"^(doi:|arXiv:|https://)")


class Card(_Strict):
    """What a person must know of a network before using it.

    Attributes:
        name: as ``create`` takes it.
        title: as its authors call it.
        group: the part of the field it belongs to.
        summary: one sentence for a user.
        answers: what it can be asked.
        inputs: what it takes, in the order of ``forward``.
        gives: what ``forward`` returns, with shapes.
        paper: where it was published; None for a network of Osler's own.
        source: the official repository; None where there is none.
        code_licence: of the official code, which is not used here.
        weights_licence: of the published weights; None where none are published.
        weights: how a person gets them, and the name of the file.
        options: what the published network was built with.
        tiny: options that differ in a small network of the same layout, for tests.
        preprocessing: what the published weights expect of a picture.
        alternatives: other preprocessing by name: for other options, or as other code of the same
            authors does it.
        chosen_by: options whose values choose one of ``alternatives``: their values joined by
            ``-``, or those of the first of them; ``preprocessing`` where there is none so named.
        answers_with: what it can be asked instead where one of those options has this value.
        exportable: an ONNX graph of it exists and equals it.
        pyramid: it gives feature maps of several scales (``pyramid(x)``).
        classes: what the outputs of the published network are called, in order, where they are
            always the same.
        parameters: number, as published.
        gflops: multiply-adds of one forward of the published network, in thousands of millions.
        notes: official mistakes that are mirrored behind an option, limits, interpretations.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str
    group: Group
    summary: str
    answers: list[Answer] = Field(min_length=1)
    inputs: list[Input] = Field(min_length=1)
    gives: str
    paper: Paper | None = None
    source: str | None = None
    code_licence: str
    weights_licence: str | None = None
    weights: str | None = None
    options: dict[str, Any] = {}
    tiny: dict[str, Any] = {}
    preprocessing: Preprocessing | None = None
    alternatives: dict[str, Preprocessing] = {}
    chosen_by: list[str] = []
    answers_with: dict[str, list[Answer]] = {}
    classes: list[str] = []
    exportable: bool = True
    pyramid: bool = False
    parameters: int | None = None
    gflops: float | None = None
    notes: list[str] = []

    def chosen(self, options: Mapping[str, Any]) -> "Card":
        """The card of a network built with these options: its preprocessing and answers are theirs.

        Args:
            options: of the network; ``preprocessing`` names one of ``alternatives`` outright.

        Raises:
            RecipeError: there is no preprocessing of that name.
        """
        named = options.get("preprocessing")
        if named is not None and named not in self.alternatives:
            raise RecipeError(
                f"'{self.name}' has no preprocessing '{named}'; beside its own it has "
                f"{', '.join(self.alternatives) or 'none'}"
            )
        values = [str(options.get(name)) for name in self.chosen_by]
        keys = ["-".join(values[:number]) for number in range(len(values), 0, -1)]
        fitting = named or next((key for key in keys if key in self.alternatives), None)
        changes: dict[str, Any] = {}
        if fitting is not None:
            changes["preprocessing"] = self.alternatives[fitting]
        other = next((value for value in values if value in self.answers_with), None)
        if other is not None:
            changes["answers"] = self.answers_with[other]
        return self.model_copy(update=changes) if changes else self


@dataclass(frozen=True, slots=True)
class System:
    """One entry of the list of networks.

    Attributes:
        name: of the network and of its card, ``cards/NAME.yaml``.
        builder: ``"module:function"`` that takes the options and returns the network.
        fixed: options that the name itself says, as pairs.
    """

    name: str
    builder: str
    fixed: tuple[tuple[str, Any], ...] = ()

    @property
    def card(self) -> Card:
        """Its card, read once; one of a family has the family's under its own name."""
        family = self.name.partition("/")[0]
        card = read_card(family)
        return card if family == self.name else card.model_copy(update={"name": self.name})

    @property
    def module(self) -> str:
        """The module that builds it, and knows the layouts of its checkpoints (``LAYOUTS``)."""
        return self.builder.partition(":")[0]


@cache
def read_card(name: str) -> Card:
    """The card of that name.

    Raises:
        RecipeError: there is none, or it is wrong.
    """
    file = files("osler.models") / "cards" / f"{name}.yaml"
    if not file.is_file():
        raise RecipeError(f"the network '{name}' has no card; write models/cards/{name}.yaml")
    try:
        said: Mapping[str, Any] = yaml.safe_load(file.read_text("utf-8"))
        card = Card.model_validate({"name": name, **said})
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        raise RecipeError(f"the card of the network '{name}' is wrong:\n{error}") from error
    return card
