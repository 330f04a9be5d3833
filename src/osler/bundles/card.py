"""The card: everything a bundle says about itself, checked before anything of it is used.

A card is ``card.json`` beside the model. It owns the preprocessing, so that training, serving and
export cannot drift apart; the label codes; the calibration; the licence, the data and the metrics
with their intervals. Nothing in it is code, and nothing in it is evaluated.

What the graph returns are *scores*: logits where ``activation`` is ``"sigmoid"`` or ``"softmax"``,
plain values where it is ``"none"``. Calibration acts on the scores and the activation comes after
it (``osler.bundles.probability``).
"""

import json
import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from osler.errors import BundleError
from osler.record.code import Code

SCHEMA_VERSION: Final = 1
CARD_FILE = "card.json"
MODEL_FILE = "model.onnx"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]
Version = Annotated[
    str,
    StringConstraints(
        pattern=r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$", max_length=32
    ),
]
Text = Annotated[str, StringConstraints(min_length=1)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
IsoDate = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """What every part of a card shares: exact types, no unknown keys, no NaN, no changes."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class Input(_Part):
    """One array that the graph takes, ``(N, C, ...)`` in ``float32``.

    Attributes:
        name: the graph's name for it.
        channels: what each of the C channels holds, such as ``["red", "green", "blue"]``.
        dtype: always ``"float32"``.
        multiple: height and width must be divisible by it.
        size: the one size ``([D,] H, W)`` in pixels that it takes, or None for any size.
        source: a prepared ``photograph``, the ``output`` of another bundle, or what the task makes
            of a ``case`` by the card's ``settings``.
        bundle: the other bundle, where ``source`` is ``"output"``.
        output: the name of that bundle's output.
    """

    name: Text
    channels: Annotated[list[Text], Field(min_length=1)]
    dtype: Literal["float32"] = "float32"
    multiple: Positive = 1
    size: tuple[Positive, ...] | None = None
    source: Literal["photograph", "output", "case"] = "photograph"
    bundle: Name | None = None
    output: Text | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.source == "output") != (self.bundle is not None and self.output is not None):
            raise ValueError("'bundle' and 'output' are given exactly where 'source' is \"output\"")
        if self.size is not None and any(side % self.multiple for side in self.size):
            raise ValueError(f"'size' {list(self.size)} is not divisible by {self.multiple}")
        return self


class Label(_Part):
    """One channel of an output.

    Attributes:
        name: what a reader sees, such as ``"hard exudate"``.
        code: the concept in a shared vocabulary.
        threshold: a pixel or case counts as this label from this calibrated probability on.
        min_area: smaller connected parts are dropped; pixels at canvas scale.
        single: there is one such structure in a photograph; one connected part is kept.
        thin: the structure can be thinner than a pixel of the photograph; a pixel that it passes
            through belongs to it.
    """

    name: Text
    code: Code | None = None
    threshold: Fraction | None = None
    min_area: Count | None = None
    single: bool = False
    thin: bool = False


class Calibration(_Part):
    """How scores become probabilities that mean what they say.

    Attributes:
        method: ``"temperature"`` divides the scores by ``temperature``; ``"platt"`` divides and
            then adds ``bias``; ``"none"`` leaves them.
        temperature: divisor of the scores, above 0.
        bias: added to the divided scores (``"platt"``).
        conformal_quantile: a label belongs to the prediction set where its calibrated probability
            is at least ``1 - conformal_quantile`` (``osler.metrics.conformal_set``).
        coverage: the share of cases whose set holds the truth that the quantile was chosen for.
        fitted_on: the data it was fitted on, and how.
    """

    method: Literal["temperature", "platt", "none"] = "none"
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    bias: float = 0.0
    conformal_quantile: Fraction | None = None
    coverage: OpenFraction | None = None
    fitted_on: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.conformal_quantile is None) != (self.coverage is None):
            raise ValueError("'conformal_quantile' and 'coverage' are given together or not at all")
        if self.method == "none" and (self.temperature != 1.0 or self.bias != 0.0):
            raise ValueError("'method' \"none\" takes temperature 1 and bias 0")
        if self.method == "temperature" and self.bias != 0.0:
            raise ValueError('\'method\' "temperature" takes bias 0; a bias needs "platt"')
        return self


class Output(_Part):
    """One array that the graph gives, ``(N, L, ...)`` with a channel for each label.

    Attributes:
        name: the graph's name for it.
        activation: what turns calibrated scores into probabilities; ``"none"`` for features.
        labels: one for each channel, in order; empty for features.
        calibration: how scores become calibrated.
        vote: labels that exclude each other are decided for each ``pixel``, or for a whole vessel
            ``segment`` between two branchings.
        divides: the bundle whose first mask the labels share out among themselves; None where
            each has the mask that its own probabilities make.
        description: what it is, in a sentence.
    """

    name: Text
    activation: Literal["sigmoid", "softmax", "none"]
    labels: list[Label] = []
    calibration: Calibration | None = None
    vote: Literal["pixel", "segment"] = "pixel"
    divides: Name | None = None
    description: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _unique("labels", [label.name for label in self.labels])
        if self.activation == "softmax" and len(self.labels) < 2:
            raise ValueError("'activation' \"softmax\" needs at least two labels")
        if self.activation == "sigmoid" and not self.labels:
            raise ValueError("'activation' \"sigmoid\" needs at least one label")
        return self


class Preprocessing(_Part):
    """How a photograph becomes the canvas that the graph takes.

    Attributes:
        frame: the photograph is cropped to its field of view.
        diameter: pixels of the field's diameter on the canvas.
        range: least and greatest value on the canvas.
        field_channel: whether the last channel is the mask of the field, 0 or 1.
    """

    frame: Literal["field-of-view"] = "field-of-view"
    diameter: Positive
    range: tuple[float, float] = (0.0, 1.0)
    field_channel: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.range[0] >= self.range[1]:
            raise ValueError(f"'range' {list(self.range)} does not rise")
        return self


class Data(_Part):
    """Photographs that the bundle was made or measured with.

    Attributes:
        name: the data set.
        source: where it is published.
        licence: its licence, as an SPDX identifier where there is one.
        images: how many were used.
        patients: how many people they are of; None where the source does not say.
        role: such as ``"training"``, ``"pretraining"`` or ``"test"``.
    """

    name: Text
    source: Text
    licence: Text
    images: Count
    patients: Count | None = None
    role: Text


class Training(_Part):
    """How the bundle was made.

    Attributes:
        recipe: name of the recipe.
        seed: seed of the run.
        minutes: how long it took, minutes.
        parameters: how many numbers were learnt.
        software: package to version.
        date: day of the run, ``YYYY-MM-DD``.
        cohort_sha256: digest of what it was taught with: cases, values, labels and every file; None
            where that was not kept.
        split_sha256: digest of which case was in which part and fold; None where that was not kept.
    """

    recipe: Text
    seed: int
    minutes: Annotated[float, Field(ge=0.0)]
    parameters: Count
    software: dict[str, str] = {}
    date: IsoDate
    cohort_sha256: Digest | None = None
    split_sha256: Digest | None = None


class Metric(_Part):
    """One figure, with the images it stands on.

    Attributes:
        name: such as ``"dice"``.
        value: the figure.
        low: lower end of its interval.
        high: upper end of its interval.
        level: level of the interval, such as 0.95.
        images: how many images it was measured on.
        data: which images.
        how: how it and its interval were computed.
    """

    name: Text
    value: float
    low: float | None = None
    high: float | None = None
    level: OpenFraction | None = None
    images: Positive
    data: Text
    how: Text

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        given = {self.low is not None, self.high is not None, self.level is not None}
        if len(given) == 2:
            raise ValueError("'low', 'high' and 'level' are given together or not at all")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"'low' {self.low} is above 'high' {self.high}")
        return self


class Runtime(_Part):
    """What the graph is run with, chosen by measurement.

    Attributes:
        provider: ONNX Runtime's execution provider; ``"openvino"`` falls back to ``"cpu"``
            where it is not installed.
        precision: of the weights.
        threads: how many threads one run uses; None for all cores this process may use.
    """

    provider: Literal["cpu", "openvino"] = "cpu"
    precision: Literal["float32", "int8", "float16"] = "float32"
    threads: Positive | None = None


class File(_Part):
    """One file of the bundle.

    Attributes:
        sha256: digest of its content, 64 lower-case hexadecimal digits.
        bytes: its size.
    """

    sha256: Digest
    bytes: Count


class Card(_Part):
    """Everything a bundle says about itself.

    Attributes:
        schema_version: version of this layout.
        name: such as ``"retina-vessels"``.
        version: ``MAJOR.MINOR.PATCH``.
        task: what it is asked; ``settings`` are the keys of the task of this name.
        title: what a reader sees.
        description: what it does, in a few sentences.
        inputs: the arrays it takes.
        outputs: the arrays it gives.
        preprocessing: how a photograph of the fundus becomes its input; None where ``settings`` say
            how a case does.
        settings: the task's own keys, from which a case becomes inputs and outputs become findings.
        requires: the bundles whose outputs it takes.
        licence: licence of the weights, as an SPDX identifier where there is one.
        data: what it was made and measured with.
        training: how it was made; None where that is not known.
        metrics: what it reaches, on which images.
        intended_use: what it is for.
        limits: what it must not be used for, and where it is known to fail.
        runtime: what it is run with.
        files: path inside the bundle to digest and size; ``card.json`` is not among them.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Name
    version: Version
    task: Name
    title: Text
    description: str = ""
    inputs: Annotated[list[Input], Field(min_length=1)]
    outputs: Annotated[list[Output], Field(min_length=1)]
    preprocessing: Preprocessing | None = None
    settings: dict[str, Any] = {}
    requires: list[Name] = []
    licence: Text
    data: list[Data] = []
    training: Training | None = None
    metrics: list[Metric] = []
    intended_use: Text
    limits: list[Text] = []
    runtime: Runtime = Runtime()
    files: dict[str, File]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, File]) -> dict[str, File]:
        for name in files:
            if reason := _path_fault(name):
                raise ValueError(f"the path {name!r} {reason}")
        if MODEL_FILE not in files:
            raise ValueError(f"'{MODEL_FILE}' is missing")
        return files

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _unique("inputs", [one.name for one in self.inputs])
        _unique("outputs", [one.name for one in self.outputs])
        _unique("requires", self.requires)
        if self.name in self.requires:
            raise ValueError(f"'requires' names '{self.name}' itself")
        for one in self.inputs:
            if one.bundle is not None and one.bundle not in self.requires:
                raise ValueError(f"input '{one.name}' takes '{one.bundle}', not in 'requires'")
        drawn = any(one.source == "photograph" for one in self.inputs)
        if drawn and self.preprocessing is None:
            raise ValueError("an input made of a photograph needs 'preprocessing'")
        if self.preprocessing is not None and self.task not in ("segmentation", "classification"):
            raise ValueError(
                f"'task' is {self.task!r}; photographs of the fundus are read for 'segmentation' "
                "or 'classification'"
            )
        for output in self.outputs:
            if output.divides is not None and output.divides not in self.requires:
                raise ValueError(
                    f"output '{output.name}' divides '{output.divides}', not in 'requires'"
                )
        return self

    def output(self, name: str) -> Output:
        """The output called ``name``.

        Raises:
            BundleError: there is none; the message names those there are.
        """
        for one in self.outputs:
            if one.name == name:
                return one
        known = ", ".join(f"'{one.name}'" for one in self.outputs)
        raise BundleError(f"bundle '{self.name}' has no output '{name}'; it has {known}")

    def to_json(self) -> bytes:
        """The card as it is written to ``card.json``, UTF-8, ending in a newline."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        return (text + "\n").encode()


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a card, as shipped in ``schema/card-1.schema.json``."""
    out = Card.model_json_schema()
    out["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return out


def _unique(field: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"'{field}' names {twice[0]!r} more than once")


def _path_fault(name: str) -> str | None:
    """Why a path does not name a file inside the bundle, or None."""
    if not name or "\\" in name or "\x00" in name or re.match(r"^[A-Za-z]:", name):
        return "is not a relative path with forward slashes"
    if name.startswith("/"):
        return "is absolute; paths are relative to the bundle's folder"
    if any(part in {"", ".", ".."} for part in name.split("/")):
        return "leaves the bundle or is not in its plain form"
    if name.lower() == CARD_FILE:
        return "is the card itself, which cannot hold its own digest"
    return None
