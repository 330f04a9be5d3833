"""What of a case a network takes: an image or a signal, a table, or any named set of items.

Tasks whose answer is about the whole case take these keys alike. Where a table stands beside an
image or a signal, a network of its own reads it and the two networks' scores are added. Of named
``inputs`` any may be missing, and one network reads all that are there.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from osler.record import Case, Table
from osler.tasks.fusion_input import (
    PRESENT,
    described,
    encode_fusion,
    example_fusion,
    fusion_specs,
    image_names,
    run_fusion,
)
from osler.tasks.fusion_planning import fusion_row, planned_fusion
from osler.tasks.fusion_settings import AnyFused
from osler.tasks.image_input import ImageInput, encode_image, image_of
from osler.tasks.signal_input import SignalInput, encoded_signal, signal_of, windows
from osler.tasks.table_input import TableInput, encoded_table, planned_table, values_of
from osler.tasks.task import Arrays, InputSpec, OutputSpec, Predict, Sample, Settings

IMAGE, SIGNAL, LEADS, LENGTH, TABLE, KNOWN = (
    "image", "signal", "leads", "length", "table", "known"
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class CaseInput(Settings):
    """The keys of what a network takes.

    Attributes:
        image: which image, and how it is made alike; ``size`` must be set.
        signal: which signal, and how it is made alike.
        table: which values, and how they are made alike; alone, or beside an image or a signal.
        inputs: instead of those, any number of items by name, each a kind (``fundus``, ``number``,
            ``text``) or its keys with a ``kind``; a case may lack all of them but one.
    """

    image: ImageInput | None = None
    signal: SignalInput | None = None
    table: TableInput | None = None
    inputs: Annotated[dict[str, AnyFused], Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _kinds_by_word(cls, said: Any) -> Any:
        return kinds_by_word(said)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.inputs is not None:
            return self._named_alone()
        if self.image is not None and self.signal is not None:
            raise ValueError("image and signal are alternatives; set one of them")
        if self.image is None and self.signal is None and self.table is None:
            raise ValueError("one of image, signal and table must be set")
        if self.image is not None and self.image.size is None:
            raise ValueError("image.size must be set, such as [224, 224]")
        return self

    def _named_alone(self) -> Self:
        if self.image is not None or self.signal is not None or self.table is not None:
            raise ValueError("inputs stands for image, signal and table; set the one or the others")
        check_names(self.inputs or {})
        return self


def kinds_by_word(said: Any) -> Any:
    """Settings whose ``inputs`` may be words, ``{age: number}``, with each input's keys."""
    named = said.get("inputs") if isinstance(said, dict) else None
    if not isinstance(named, dict):
        return said
    spelt = {name: {"kind": one} if isinstance(one, str) else one for name, one in named.items()}
    filled = {
        name: {"item": str(name), **one} if isinstance(one, dict) else one
        for name, one in spelt.items()
    }
    return {**said, "inputs": filled}


def check_names(inputs: Iterable[str], *, kept: tuple[str, ...] = (PRESENT,)) -> None:
    """Refuse names of inputs that a network cannot have.

    Raises:
        ValueError: one is no word, or is ``kept`` for something else.
    """
    for name in inputs:
        if not _NAME.fullmatch(name) or name in kept:
            raise ValueError(
                f"inputs: '{name}' is no name for an input; letters, digits, _ and - after a "
                f"letter, and not {' or '.join(map(repr, kept))}"
            )


def table_row(case: Case, wanted: CaseInput) -> Any:
    """What `planned_input` needs of a teaching case."""
    if wanted.inputs is not None:
        return fusion_row(case, wanted.inputs)
    return {} if wanted.table is None else values_of(case, wanted.table)


def planned_input(wanted: CaseInput, rows: Iterable[Any]) -> dict[str, Any]:
    """The keys that planning changes, with their new values.

    Raises:
        RecipeError: as for `planned_table` and `planned_fusion`.
    """
    if wanted.inputs is not None:
        return {"inputs": planned_fusion(wanted.inputs, rows)}
    return {} if wanted.table is None else {"table": planned_table(wanted.table, rows)}


def input_specs(wanted: CaseInput) -> tuple[InputSpec, ...]:
    """The arrays that `encode_input` gives, in order."""
    if wanted.inputs is not None:
        return fusion_specs(wanted.inputs)
    out: list[InputSpec] = []
    if wanted.image is not None:
        size = wanted.image.size
        assert size is not None
        out.append(InputSpec(IMAGE, wanted.image.channels, size=size, axes=len(size)))
    if wanted.signal is not None:
        names = tuple(wanted.signal.channels)
        out.append(InputSpec(SIGNAL, names, size=(wanted.signal.samples,), axes=1))
        out.append(InputSpec(LEADS, names, size=(), axes=0))
        out.append(InputSpec(LENGTH, ("samples",), size=(), axes=0))
    if wanted.table is not None:
        channels = wanted.table.channels
        out.append(InputSpec(TABLE, channels, size=(), axes=0))
        out.append(InputSpec(KNOWN, channels, size=(), axes=0))
    return tuple(out)


def encode_input(case: Case, wanted: CaseInput) -> Arrays:
    """The arrays of a case; a recording that is longer than a window stays whole.

    Raises:
        InputError: an item is missing or cannot be used; of ``inputs``, all are missing.
    """
    if wanted.inputs is not None:
        return encode_fusion(case, wanted.inputs)
    out: Arrays = {}
    if wanted.image is not None:
        out[IMAGE], *_ = encode_image(case, wanted.image)
    if wanted.signal is not None:
        out[SIGNAL], out[LEADS], length = encoded_signal(case, wanted.signal)
        out[LENGTH] = np.array([length], np.float32)
    if wanted.table is not None:
        values = values_of(case, wanted.table)
        out[TABLE], out[KNOWN] = encoded_table(values, wanted.table, case=case.id)
    return out


def example_input(inputs: Arrays, wanted: CaseInput, rng: np.random.Generator) -> Arrays:
    """The arrays of one training step: of a recording, a window drawn at random."""
    if wanted.inputs is not None:
        return example_fusion(inputs, wanted.inputs, rng)
    if wanted.signal is None:
        return inputs
    slack = int(inputs[LENGTH][0]) - wanted.signal.samples
    return _window(inputs, wanted.signal, int(rng.integers(slack + 1)) if slack > 0 else 0)


def run_input(predict: Predict, sample: Sample, wanted: CaseInput) -> Arrays:
    """Ask a network about a whole case: of a recording, the mean of the windows' scores."""
    if wanted.inputs is not None:
        said = run_fusion(predict, sample.inputs, wanted.inputs)
        return {name: array[0] for name, array in said.items()}
    if wanted.signal is None:
        begins = [0]
        parts = [sample.inputs]
    else:
        begins = windows(int(sample.inputs[LENGTH][0]), wanted.signal.samples)
        parts = [_window(sample.inputs, wanted.signal, begin) for begin in begins]
    each = [predict({name: array[None] for name, array in part.items()}) for part in parts]
    if len(begins) == 1:
        return {name: array[0] for name, array in each[0].items()}
    return {name: np.mean([one[name][0] for one in each], axis=0) for name in each[0]}


def _window(inputs: Arrays, wanted: SignalInput, begin: int) -> Arrays:
    out = dict(inputs)
    out[SIGNAL] = np.ascontiguousarray(inputs[SIGNAL][:, begin : begin + wanted.samples])
    length = min(wanted.samples, int(inputs[LENGTH][0]) - begin)
    out[LENGTH] = np.array([length], np.float32)
    return out


def item_of(case: Case, wanted: CaseInput) -> str | None:
    """The name of the item that an answer is about; None where the case has none, or several."""
    if wanted.inputs is not None:
        return next(iter(case.items)) if len(case.items) == 1 else None
    if wanted.image is not None:
        return image_of(case, wanted.image.items[0]).name
    if wanted.signal is not None:
        return signal_of(case, wanted.signal.item).name
    return next((item.name for item in case.items.values() if isinstance(item, Table)), None)


def default_network(wanted: CaseInput) -> tuple[str, dict[str, Any]]:
    """The network that is built where a recipe names none."""
    if wanted.inputs is not None:
        return "fusion", {}
    if wanted.image is not None:
        return "densenet-121", {}
    return ("signal-resnet", {}) if wanted.signal is not None else ("tabular-transformer", {})


def moved_images(wanted: CaseInput) -> tuple[str, ...]:
    """The inputs that augmentation changes as images."""
    return (IMAGE,) if wanted.inputs is None else image_names(wanted.inputs)


def network_inputs(wanted: CaseInput, outputs: Sequence[OutputSpec]) -> dict[str, Any]:
    """What a network of named inputs is told of its sizes; empty where there are none."""
    if wanted.inputs is None:
        return {}
    return {"inputs": described(wanted.inputs), "labels": len(outputs[-1].labels)}
