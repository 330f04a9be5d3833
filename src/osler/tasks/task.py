"""What a task is: how a case becomes tensors, how outputs become findings, how it is scored.

A task is one class in one file and one entry in `osler.tasks.catalogue.TASKS`. It holds its
settings and nothing else: what a recipe leaves open is planned from the teaching cases, what comes
of that stands in the bundle's card, and so training, serving and export cannot drift apart.
Everything here runs on numpy; only `Task.criterion` sees torch, and imports it itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from osler.errors import RecipeError
from osler.metrics import Interval
from osler.record import Case, Finding, Source

Arrays = dict[str, NDArray[Any]]
Predict = Callable[[Arrays], Arrays]
"""A network or a bundle: inputs with a batch axis to outputs (scores) with a batch axis."""

Row = dict[str, Any]
"""What one case gives to the figures: plain JSON values, from which they can be computed again."""


class Settings(BaseModel):
    """The keys of a task: exact, no unknown ones, no changes after they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An array that the network takes, described for the bundle's card.

    Attributes:
        name: of the graph's input.
        channels: what each channel of axis 1 holds.
        size: the one size of the axes after it, or None for any.
        multiple: what those sizes must be divisible by, where any will do.
        axes: how many axes follow the channels.
    """

    name: str
    channels: tuple[str, ...]
    size: tuple[int, ...] | None = None
    multiple: int = 1
    axes: int = 2


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An array that the network gives, described for the bundle's card.

    Attributes:
        name: of the graph's output.
        activation: ``"sigmoid"``, ``"softmax"`` or ``"none"``.
        labels: names of the channels of axis 1; empty for plain values.
        description: what it is, in a sentence.
        thresholds: for each label the probability from which it is said; None for the likeliest.
    """

    name: str
    activation: str
    labels: tuple[str, ...] = ()
    description: str = ""
    thresholds: tuple[float | None, ...] = ()


@dataclass(slots=True, eq=False)
class Sample:
    """A case as a network sees it, without a batch axis.

    Attributes:
        id: the case's.
        patient: the unit of splitting and of intervals.
        inputs: input name to ``float32`` array.
        targets: target name to array; empty where the truth is not known or was not asked for.
        case: the case it was made from; None where only the arrays were kept.
        home: what `Task.decode` needs for the way back, such as grids.
        group: what balanced sampling balances, such as the class; None for no group.
    """

    id: str
    patient: str
    inputs: Arrays
    targets: Arrays = field(default_factory=dict)
    case: Case | None = None
    home: dict[str, Any] = field(default_factory=dict)
    group: str | None = None

    def need_case(self) -> Case:
        """The case.

        Raises:
            ValueError: only the arrays were kept.
        """
        if self.case is None:
            raise ValueError(f"sample '{self.id}' was made without its case")
        return self.case


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over cases.

    Attributes:
        name: such as ``"Dice, anterior"``.
        interval: the figure with its interval by patient.
        cases: how many cases it stands on.
        left_out: how many cases gave none.
        how: how it was computed, in a sentence.
        greater_is_better: which way is better.
    """

    name: str
    interval: Interval
    cases: int
    how: str
    left_out: int = 0
    greater_is_better: bool = True


class Task(ABC):
    """A kind of question, with its settings.

    Attributes:
        name: as recipes and cards say it.
        title: as a person reads it.
        Settings: the keys that a recipe may set under ``settings:``.
        images: names of inputs (and targets) that augmentation changes as images, linearly.
        apart: each of the images is changed by itself, as pictures of several things are; else all
            alike, as those that lie on one grid.
        masks: names of targets that move with them, taken from the nearest voxel.
        boxes: names of targets ``(K, 2 n)`` that move with them, first corner and the one opposite
            in pixels of the example, stop exclusive; they may come to reach beyond it.
        planned_from_all: settings that say what is read and which classes there are, which are
            planned from all cases that teach, also where a recipe takes labels away.
        settings: the keys' values.
        calibration: of the outputs by name, as a card holds them; empty before it is fitted.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Settings: ClassVar[type[Settings]]
    images: tuple[str, ...] = ()
    apart: bool = False
    masks: ClassVar[tuple[str, ...]] = ()
    boxes: ClassVar[tuple[str, ...]] = ()
    planned_from_all: ClassVar[tuple[str, ...]] = ("labels", "table", "inputs")

    def __init__(
        self, settings: Any, *, calibration: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        if not isinstance(settings, self.Settings):
            raise RecipeError(
                f"the task '{self.name}' takes {self.Settings.__name__}, not "
                f"{type(settings).__name__}"
            )
        self.settings: Any = settings
        self.calibration = dict(calibration or {})

    # What it needs to know before it starts ------------------------------------------------------

    def planned(self, samples: Callable[[], Iterable[Case]]) -> Self:
        """The task with what its settings leave open, found in the teaching cases.

        Args:
            samples: gives the teaching cases with their labels, once through.
        """
        return self

    def planned_again(self, before: Self, samples: Callable[[], Iterable[Case]]) -> Self:
        """The task planned from the cases that keep their label, where a recipe takes labels away.

        Args:
            before: the task as it was before it was `planned` from all cases that teach.
            samples: gives the cases that keep their label, once through.
        """
        kept = {one: getattr(self.settings, one) for one in self.planned_from_all
                if one in type(self.settings).model_fields}  # fmt: skip
        return type(self)(before.settings.model_copy(update=kept)).planned(samples)

    @abstractmethod
    def inputs(self) -> tuple[InputSpec, ...]:
        """What the network takes."""

    @abstractmethod
    def outputs(self) -> tuple[OutputSpec, ...]:
        """What the network gives, in order."""

    def network(self) -> tuple[str, Mapping[str, Any]]:
        """The network that is built where the recipe names none, and its options."""
        raise RecipeError(f"the task '{self.name}' has no network of its own; name one: network")

    def batch(self) -> int | None:
        """Examples a step where the recipe sets no ``learner.batch``; None leaves the default."""
        return None

    def wanted(self) -> Mapping[str, Any]:
        """The sizes that any network for this task must have.

        Of these keys a network gets those that it takes, under its own names: ``channels`` of the
        input, ``labels`` of the output, ``dims`` (2 or 3), ``size`` of the input.
        """
        first, last = self.inputs()[0], self.outputs()[0]
        said: dict[str, Any] = {"channels": len(first.channels), "dims": first.axes}
        if last.labels:
            said["labels"] = len(last.labels)
        if first.size is not None:
            said["size"] = first.size
        return said

    def beside(self) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
        """Networks that learn beside the first one: a key to the name and options of each."""
        return {}

    def completed(self, net: Any, beside: Mapping[str, Any]) -> Any:
        """The network with those of `beside` as the one module (torch) that learns.

        It is called with the inputs in their order, and exported; parts that only the loss uses
        are trained and kept with it, and left out of the graph.
        """
        return net

    def exportable(self, net: Any) -> Any:
        """The part of the trained network that answers a case, which the graph is made of."""
        return net

    def more_graphs(self, net: Any) -> Mapping[str, tuple[Any, Mapping[str, Any], Sequence[str]]]:
        """Further graphs of the bundle, such as an encoder of texts.

        Args:
            net: the trained network.

        Returns:
            The file's name to a module (torch), an example of its inputs by name, and the names of
            its outputs.
        """
        return {}

    def more_files(self, net: Any, folder: Path) -> Mapping[str, bytes]:
        """Further files of the bundle, by name.

        Args:
            net: the trained network.
            folder: of the run, where it may keep what is not of the bundle.
        """
        return {}

    def opened(self, bundle: Any) -> None:
        """Take note of the bundle that the task answers from, whose further files it may ask."""
        return

    # From cases to arrays ------------------------------------------------------------------------

    @abstractmethod
    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        """A case as the network sees it.

        Args:
            case: with the items that the settings name.
            truth: also fill ``targets`` from the case's findings by a person.

        Raises:
            InputError: an item is missing or cannot be used; with ``truth``, a label too. The
                message names the case.
        """

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        """Inputs and targets of one training step, all of one size; the whole sample by default."""
        return sample.inputs, sample.targets

    # Learning (torch, imported inside) -----------------------------------------------------------

    def loss(
        self, net: Any, inputs: Mapping[str, Any], targets: Mapping[str, Any], *, step: int
    ) -> Any:
        """The loss of a batch of tensors; runs the network and asks `criterion`."""
        return self.criterion(self.named(net(*inputs.values())), targets)

    @abstractmethod
    def criterion(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """The loss, a tensor of no axes, from outputs by name and targets by name (torch)."""

    def named(self, said: Any) -> dict[str, Any]:
        """What a network's forward gave, by the names of `outputs`."""
        names = [one.name for one in self.outputs()]
        if isinstance(said, Mapping):
            return {name: said[name] for name in names}
        values = list(said) if isinstance(said, tuple | list) else [said]
        return dict(zip(names, values, strict=False))

    # From arrays to findings and figures ---------------------------------------------------------

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        """Ask a network about a whole case: outputs (scores) without a batch axis."""
        said = predict({name: array[None] for name, array in sample.inputs.items()})
        return {name: array[0] for name, array in said.items()}

    def calibrated(self, outputs: Arrays) -> Arrays:
        """Scores ``s`` as ``s / temperature + bias``, where an output has a calibration."""
        out = dict(outputs)
        for name, fitted in self.calibration.items():
            if name in out and fitted.get("method", "none") != "none":
                scale = np.float32(fitted.get("temperature", 1.0))
                out[name] = out[name] / scale + np.float32(fitted.get("bias", 0.0))
        return out

    @abstractmethod
    def decode(self, outputs: Arrays, sample: Sample, *, source: Source) -> list[Finding]:
        """Findings in the case's native grid, from calibrated scores."""

    def attributed(self, predict: Predict, sample: Sample, found: list[Finding]) -> list[Finding]:
        """The findings of a case with what each of its inputs contributed, where that is known.

        It asks the network many times; training and evaluation do without.

        Args:
            predict: the network.
            sample: the case.
            found: of `decode`.
        """
        return found

    @abstractmethod
    def judge(self, outputs: Arrays, sample: Sample) -> Row:
        """What one case with its truth gives to the figures, from calibrated scores."""

    @abstractmethod
    def figures(
        self, rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int = 2000
    ) -> list[Figure]:
        """The figures of a cohort, each with its interval by patient, from what `judge` gave."""

    @abstractmethod
    def score(self, rows: Sequence[Row]) -> float:
        """The one number by which weights are chosen; greater is better."""

    def calibrate(
        self, outputs: Sequence[Arrays], samples: Sequence[Sample], *, on: str
    ) -> dict[str, dict[str, Any]]:
        """Calibrations (as a card holds them) by output name, from cases that did not teach.

        Args:
            outputs: raw scores of each case.
            samples: the same cases with their truth.
            on: which cases they are, for the card.
        """
        return {}

    def concluded(
        self, taught: Sequence[Arrays], teach: Sequence[Sample], held: Sequence[Arrays],
        tune: Sequence[Sample],
    ) -> Self:  # fmt: skip
        """The task with what is only known once its network is trained and calibrated.

        Args:
            taught: calibrated outputs of the cases that taught.
            teach: those cases; only their arrays were kept.
            held: calibrated outputs of the cases that tuned.
            tune: those cases.
        """
        return self


def softmax(scores: NDArray[Any], axis: int = 0) -> NDArray[np.float64]:
    """Probabilities of classes that exclude each other, along an axis of scores."""
    z = np.asarray(scores, np.float64)
    raised = np.exp(z - z.max(axis=axis, keepdims=True))
    return np.asarray(raised / raised.sum(axis=axis, keepdims=True))


def sigmoid(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Probability of each label by itself, without overflow."""
    z = np.asarray(scores, np.float64)
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, small) / (1.0 + small))
