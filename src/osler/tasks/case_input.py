"""What of a case a network takes: an image or a signal, a table, or one of those with the table.

Tasks whose answer is about the whole case take these three keys alike. Where a table stands beside
an image or a signal, a network of its own reads it and the two networks' scores are added.
"""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from pydantic import model_validator

from osler.record import Case, Table
from osler.tasks.image_input import ImageInput, encode_image, image_of
from osler.tasks.signal_input import SignalInput, encoded_signal, signal_of, windows
from osler.tasks.table_input import TableInput, Value, encoded_table, planned_table, values_of
from osler.tasks.task import Arrays, InputSpec, Predict, Sample, Settings

IMAGE, SIGNAL, LEADS, LENGTH, TABLE, KNOWN = (
    "image", "signal", "leads", "length", "table", "known"
)  # fmt: skip


class CaseInput(Settings):
    """The keys of what a network takes.

    Attributes:
        image: which image, and how it is made alike; ``size`` must be set.
        signal: which signal, and how it is made alike.
        table: which values, and how they are made alike; alone, or beside an image or a signal.
    """

    image: ImageInput | None = None
    signal: SignalInput | None = None
    table: TableInput | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.image is not None and self.signal is not None:
            raise ValueError("image and signal are alternatives; set one of them")
        if self.image is None and self.signal is None and self.table is None:
            raise ValueError("one of image, signal and table must be set")
        if self.image is not None and self.image.size is None:
            raise ValueError("image.size must be set, such as [224, 224]")
        return self


def table_row(case: Case, wanted: CaseInput) -> dict[str, Value]:
    """What `planned_input` needs of a teaching case."""
    return {} if wanted.table is None else values_of(case, wanted.table)


def planned_input(wanted: CaseInput, rows: Iterable[dict[str, Value]]) -> dict[str, Any]:
    """The keys that planning changes, with their new values.

    Raises:
        RecipeError: as for `planned_table`.
    """
    return {} if wanted.table is None else {"table": planned_table(wanted.table, rows)}


def input_specs(wanted: CaseInput) -> tuple[InputSpec, ...]:
    """The arrays that `encode_input` gives, in order."""
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
        InputError: an item is missing or cannot be used.
    """
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
    if wanted.signal is None:
        return inputs
    slack = int(inputs[LENGTH][0]) - wanted.signal.samples
    return _window(inputs, wanted.signal, int(rng.integers(slack + 1)) if slack > 0 else 0)


def run_input(predict: Predict, sample: Sample, wanted: CaseInput) -> Arrays:
    """Ask a network about a whole case: of a recording, the mean of the windows' scores."""
    if wanted.signal is None:
        begins = [0]
        parts = [sample.inputs]
    else:
        begins = windows(int(sample.inputs[LENGTH][0]), wanted.signal.samples)
        parts = [_window(sample.inputs, wanted.signal, begin) for begin in begins]
    said = [predict({name: array[None] for name, array in part.items()}) for part in parts]
    if len(begins) == 1:
        return {name: array[0] for name, array in said[0].items()}
    return {name: np.mean([one[name][0] for one in said], axis=0) for name in said[0]}


def _window(inputs: Arrays, wanted: SignalInput, begin: int) -> Arrays:
    out = dict(inputs)
    out[SIGNAL] = np.ascontiguousarray(inputs[SIGNAL][:, begin : begin + wanted.samples])
    length = min(wanted.samples, int(inputs[LENGTH][0]) - begin)
    out[LENGTH] = np.array([length], np.float32)
    return out


def item_of(case: Case, wanted: CaseInput) -> str | None:
    """The name of the item that an answer is about; None where the case has none."""
    if wanted.image is not None:
        return image_of(case, wanted.image.items[0]).name
    if wanted.signal is not None:
        return signal_of(case, wanted.signal.item).name
    return next((item.name for item in case.items.values() if isinstance(item, Table)), None)


def default_network(wanted: CaseInput) -> tuple[str, dict[str, Any]]:
    """The network that is built where a recipe names none."""
    if wanted.image is not None:
        return "densenet-121", {}
    return ("signal-resnet", {}) if wanted.signal is not None else ("tabular-transformer", {})
