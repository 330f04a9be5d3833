"""The keys of each kind of input of a task that takes any named set of items, any missing."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_serializer, model_validator

from osler.tasks.image_input import ImageInput, Intensity
from osler.tasks.signal_input import SignalInput
from osler.tasks.table_input import Scale, TableInput
from osler.tasks.task import Settings

_COLOUR = frozenset({"fundus", "photo", "image"})
_CT = Intensity(method="clip", range=(-1000.0, 1000.0), mean=0.0, deviation=500.0)
_HEAD = Intensity(method="z-score", foreground=True)
_SPREAD = Intensity(method="z-score")
SIDES: Final = {"left": "L", "right": "R"}
"""The side of an input of such a name, where it says no other."""

Side = Literal["L", "R"]
Visit = Annotated[int, Field(le=0)]


class Fused(Settings):
    """What every input has.

    Attributes:
        item: name of the item (column of the cohort), or of the value; the input's own by default.
        visit: of several dates of the item, 0 for the last, -1 for the one before, and so on; None
            takes the item of this very name, whenever it is of.
    """

    item: str | None = None
    visit: Visit | None = None

    @property
    def shape(self) -> str:
        """The kind as a network is told it: what its array means."""
        return str(getattr(self, "kind"))  # noqa: B009 - each kind declares its own words

    @property
    def named(self) -> str:
        """The item's name, once the input's own has been filled in."""
        return self.item or ""


class FusedImage(Fused):
    """A picture.

    Attributes:
        side: the eye or side that is meant, where no item has the name; ``left`` and ``right`` say
            it by themselves.
        size: ``(H, W)`` pixels to which it is resized.
        colour: three channels, grey ones repeated; else one. By kind.
        intensity: how stored values become what a network takes. By kind.
        field: of the fundus: cut out the field of view, as a square.
    """

    kind: Literal["image", "fundus", "photo", "x-ray", "oct", "us"]
    side: Side | None = None
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = (128, 128)
    colour: bool | None = None
    intensity: Intensity | None = None
    field: bool | None = None

    @property
    def shape(self) -> str:
        return "image"

    @property
    def coloured(self) -> bool:
        """Whether it has three channels."""
        return self.kind in _COLOUR if self.colour is None else self.colour

    @property
    def framed(self) -> bool:
        """Whether the field of view is cut out."""
        return self.kind == "fundus" if self.field is None else self.field

    def image_input(self, item: str) -> ImageInput:
        """As an image that a network takes alone."""
        usual = Intensity() if self.kind in _COLOUR else _SPREAD
        return ImageInput(
            items=[item], colour=self.coloured, size=self.size, intensity=self.intensity or usual
        )


class FusedVolume(Fused):
    """A volume.

    Attributes:
        size: ``(D, H, W)`` voxels to which it is resized.
        spacing: millimetres to which it is resampled before that; None leaves them.
        intensity: see `FusedImage`.
        frame: time frame that is taken, by number from 0; None for a volume without time.
    """

    kind: Literal["volume", "ct", "mr", "pt"]
    size: tuple[
        Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]
    ] = (32, 64, 64)
    spacing: tuple[float, float, float] | None = None
    intensity: Intensity | None = None
    frame: Annotated[int, Field(ge=0)] | None = None

    @property
    def shape(self) -> str:
        return "volume"

    def image_input(self, item: str) -> ImageInput:
        """As an image that a network takes alone."""
        usual = {"ct": _CT, "mr": _HEAD}.get(self.kind, _SPREAD)
        return ImageInput(
            items=[item], size=self.size, spacing=self.spacing,
            frames=None if self.frame is None else [self.frame],
            intensity=self.intensity or usual,
        )  # fmt: skip


class FusedSeries(Fused):
    """A cine: frames of one view over time.

    Attributes:
        size: ``(H, W)`` pixels to which frames are resized.
        frames: moments that the network sees.
        steady: frames are registered to the first before that.
        method: the freedom of their motion.
        course: mean value at each moment, to which all series are laid; found by itself.
    """

    kind: Literal["series"]
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = (64, 64)
    frames: Annotated[int, Field(ge=4)] = 16
    steady: bool = True
    method: Literal["rigid", "affine"] = "rigid"
    course: list[float] = []

    @property
    def shape(self) -> str:
        return "volume"

    @property
    def usual(self) -> Intensity:
        """How stored values become what a network takes."""
        return _SPREAD

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.course and len(self.course) != self.frames:
            raise ValueError(f"course has {len(self.course)} moments and frames is {self.frames}")
        return self


class FusedSignal(Fused):
    """A recording; channels that it lacks are absent ones.

    Attributes:
        channels: by name; found by itself: all that a teaching case has.
        rate: samples a second; found by itself: 100 of an ECG, else the lowest there is.
        seconds: of a window; found by itself: 10 of an ECG, else the median length.
        units, scale, divisor, bridge: as for `SignalInput`; an ECG is in mV.
    """

    kind: Literal["signal", "ecg"]
    channels: list[str] = []
    rate: Annotated[float, Field(gt=0)] | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    units: str | None = None
    scale: Literal["z-score", "units"] = "z-score"
    divisor: Annotated[float, Field(gt=0)] = 1.0
    bridge: Annotated[float, Field(ge=0)] = 0.0

    @property
    def shape(self) -> str:
        return "signal"

    @model_validator(mode="before")
    @classmethod
    def _in_millivolts(cls, said: Any) -> Any:
        if isinstance(said, dict) and said.get("kind") == "ecg" and "units" not in said:
            return {**said, "units": "mV"}
        return said

    def signal_input(self, item: str) -> SignalInput:
        """As a signal that a network takes alone; once it is planned."""
        return SignalInput(
            item=item, channels=self.channels or ["1"], rate=self.rate or 100.0,
            seconds=self.seconds or 10.0, units=self.units, scale=self.scale,
            divisor=self.divisor, lacking="absent", bridge=self.bridge,
        )  # fmt: skip


class FusedNumber(Fused):
    """A number.

    Attributes:
        taken: what is taken off and divided by; found by itself.
    """

    kind: Literal["number"]
    taken: Scale | None = None

    def table_input(self) -> TableInput:
        """As a table of one column."""
        numbers = {} if self.taken is None else {self.named: self.taken}
        return TableInput(columns=[self.named], numbers=numbers)


class FusedInterval(Fused):
    """Days from the item of a visit to the item's last: how long ago it was.

    Attributes:
        taken: see `FusedNumber`; found by itself.
    """

    kind: Literal["interval"]
    visit: Visit | None = -1
    taken: Scale | None = None

    @property
    def shape(self) -> str:
        return "number"


class FusedCategory(Fused):
    """A word out of a set.

    Attributes:
        categories: found by itself, sorted; another one is missing.
    """

    kind: Literal["category"]
    categories: list[str] = []

    def table_input(self) -> TableInput:
        """As a table of one column."""
        known = {self.named: self.categories} if self.categories else {}
        return TableInput(columns=[self.named], categories=known, unseen="missing")


class FusedTable(Fused):
    """Several values, each of which may be missing.

    Attributes:
        columns: their names; empty takes all of the item of the input's name.
        items: the table items in which they are looked for; empty for all.
        numbers, categories: found by itself.
    """

    kind: Literal["table"]
    columns: list[str] = []
    items: list[str] = []
    numbers: dict[str, Scale] = {}
    categories: dict[str, list[str]] = {}

    def table_input(self) -> TableInput:
        """As a table that a network takes alone."""
        return TableInput(
            columns=self.columns or [self.named], items=self.items, numbers=self.numbers,
            categories=self.categories, unseen="missing",
        )  # fmt: skip


class FusedText(Fused):
    """A text, such as an old report or a note; an item or a value of that name.

    Attributes:
        section: of it, such as ``impression``; None for all of it.
        encoder: ``minilm`` (English; the extra ``text``), ``words`` (parts of words, without a
            model) or the folder of a BERT, whose vector is taken; None counts words.
        words: how many are looked for.
        least: patients in whose texts a word must stand.
        vocabulary: the words; found by itself.
        weights: of each; found by itself.
        version: a digest of the encoder's weights; found by itself.
        dim: numbers of its vector; found by itself.
    """

    kind: Literal["text"]
    section: str | None = None
    encoder: Annotated[str, Field(min_length=1)] | None = None
    words: Annotated[int, Field(ge=1, le=20_000)] = 512
    least: Annotated[int, Field(ge=1)] = 3
    vocabulary: list[str] = []
    weights: list[float] = []
    version: str = ""
    dim: Annotated[int, Field(ge=0)] = 0

    @field_serializer("encoder")
    def _no_path(self, encoder: str | None) -> str | None:
        return encoder and Path(encoder).name

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(self.vocabulary) != len(self.weights):
            raise ValueError("vocabulary and weights are given together, one for one")
        return self


class FusedOmics(Fused):
    """Values of many features, such as the expression of genes, of one sample.

    Attributes:
        most: how many features are kept: those that differ most among the teaching cases.
        features: their names; found by itself.
        taken: scale of each; found by itself.
    """

    kind: Literal["omics"]
    most: Annotated[int, Field(ge=1)] = 256
    features: list[str] = []
    taken: dict[str, Scale] = {}


AnyFused = Annotated[
    FusedImage
    | FusedVolume
    | FusedSeries
    | FusedSignal
    | FusedNumber
    | FusedInterval
    | FusedCategory
    | FusedTable
    | FusedText
    | FusedOmics,
    Field(discriminator="kind"),
]
