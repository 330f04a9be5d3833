"""Any named set of items as what a network takes, any of them missing.

Every input has an array of one size, and a last array says which of them are there. What is absent
is 0 throughout and said to be absent; a network's answer must not depend on what stands there. What
the arrays hold by kind of input: a picture ``(C, H, W)``; a volume ``(C, D, H, W)``; a signal ``(2
L, T)``, values and then 1 where they were recorded; numbers, words out of a set, tables and omics
``(2 K,)``, values and then 1 where they are known; a text ``(V,)``, the weights of its words.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record import Case, Image, Signal, Table
from osler.tasks.fusion_items import interval_of, item_for, text_for, values_for
from osler.tasks.fusion_sentences import encoded_sentences
from osler.tasks.fusion_series import encoded_series
from osler.tasks.fusion_settings import (
    Fused,
    FusedCategory,
    FusedImage,
    FusedInterval,
    FusedNumber,
    FusedOmics,
    FusedSeries,
    FusedSignal,
    FusedTable,
    FusedText,
    FusedVolume,
)
from osler.tasks.fusion_text import encoded_words
from osler.tasks.image_input import encode_image, resized
from osler.tasks.signal_input import encoded_signal, windows
from osler.tasks.table_input import Scale, encoded_table
from osler.tasks.task import Arrays, InputSpec, Predict

PRESENT: Final = "present"
_PART = 16  # cases that a network is asked about at a time

Inputs = Mapping[str, Fused]


def fusion_specs(inputs: Inputs) -> tuple[InputSpec, ...]:
    """The arrays that `encode_fusion` gives, in order; the last says which inputs are there."""
    out = [_spec(name, wanted) for name, wanted in inputs.items()]
    return (*out, InputSpec(PRESENT, tuple(inputs), size=(), axes=0))


def _spec(name: str, wanted: Fused) -> InputSpec:
    if isinstance(wanted, FusedImage | FusedVolume):
        channels = wanted.image_input(name).channels
        return InputSpec(name, channels, size=tuple(wanted.size), axes=len(wanted.size))
    if isinstance(wanted, FusedSeries):
        return InputSpec(name, (name,), size=(wanted.frames, *wanted.size), axes=3)
    if isinstance(wanted, FusedSignal):
        signal = wanted.signal_input(name)
        return InputSpec(name, _and_known(signal.channels), size=(signal.samples,), axes=1)
    if isinstance(wanted, FusedText):
        words = tuple(map(str, range(wanted.dim))) or tuple(wanted.vocabulary) or ("words",)
        return InputSpec(name, words, size=(), axes=0)
    if isinstance(wanted, FusedOmics):
        names: Iterable[str] = wanted.features or ("features",)
    elif isinstance(wanted, FusedInterval):
        names = ("days",)
    else:
        assert isinstance(wanted, FusedNumber | FusedCategory | FusedTable)
        names = wanted.table_input().channels
    return InputSpec(name, _and_known(names), size=(), axes=0)


def _and_known(names: Iterable[str]) -> tuple[str, ...]:
    listed = tuple(names)
    return (*listed, *(f"{one} known" for one in listed))


def described(inputs: Inputs) -> list[dict[str, Any]]:
    """The inputs as a network is told them: name, kind, channels (of axis 0) and size after it."""
    specs = {one.name: one for one in fusion_specs(inputs)}
    return [
        {
            "name": name, "kind": wanted.shape, "channels": len(specs[name].channels),
            "size": list(specs[name].size or ()),
        }
        for name, wanted in inputs.items()
    ]  # fmt: skip


def image_names(inputs: Inputs) -> tuple[str, ...]:
    """The inputs that augmentation changes as images."""
    return tuple(n for n, one in inputs.items() if isinstance(one, FusedImage | FusedVolume))


def encode_fusion(case: Case, inputs: Inputs, *, needed: bool = True) -> Arrays:
    """The arrays of a case; a recording that is longer than a window stays whole.

    Args:
        case: the case.
        inputs: what is looked at.
        needed: one of them must be there.

    Raises:
        InputError: an item cannot be used, or the case has none of the inputs and needs one.
    """
    specs = {one.name: one for one in fusion_specs(inputs)}
    out: Arrays = {}
    present = []
    for name in inputs:
        made = _encoded(case, name, inputs)
        present.append(float(made is not None))
        if made is None:
            spec = specs[name]
            made = np.zeros((len(spec.channels), *(spec.size or ())), np.float32)
        out[name] = made
    if needed and not any(present):
        wanted = ", ".join(f"'{one.named}'" for one in inputs.values())
        known = ", ".join(f"'{name}'" for name in case.items) or "none"
        raise InputError(
            f"case '{case.id}' has none of what is looked at ({wanted}); its items: {known}. Name "
            "what there is: a row of a table, or a mapping of names to files and values"
        )
    out[PRESENT] = np.array(present, np.float32)
    return out


def _encoded(case: Case, name: str, inputs: Inputs) -> NDArray[np.float32] | None:
    wanted = inputs[name]
    if isinstance(wanted, FusedImage | FusedVolume):
        image = item_for(case, name, inputs, Image)
        return None if image is None else _picture(case, name, wanted, image)
    if isinstance(wanted, FusedSeries):
        image = item_for(case, name, inputs, Image)
        return None if image is None else encoded_series(image, wanted)
    if isinstance(wanted, FusedSignal):
        signal = item_for(case, name, inputs, Signal)
        return None if signal is None else _recording(case, wanted, signal)
    if isinstance(wanted, FusedText):
        text = text_for(case, name, inputs)
        if text is None:
            return None
        if wanted.dim:
            return encoded_sentences(text, wanted, case=case.id)
        if not wanted.vocabulary:
            return np.zeros(1, np.float32)
        return encoded_words(text, wanted.vocabulary, wanted.weights)
    if isinstance(wanted, FusedOmics):
        return _omics(features_of(case, name, inputs), wanted)
    if isinstance(wanted, FusedInterval):
        days = interval_of(case, name, inputs, wanted.visit or 0)
        scale = wanted.taken or Scale()
        if days is None:
            return None
        return np.array([(days - scale.mean) / scale.deviation, 1], np.float32)
    assert isinstance(wanted, FusedNumber | FusedCategory | FusedTable)
    table = wanted.table_input()
    values = values_for(case, name, inputs, table)
    array, known = encoded_table(values, table, case=case.id)
    return np.concatenate([array, known]) if known.any() else None


def _picture(
    case: Case, name: str, wanted: FusedImage | FusedVolume, image: Image
) -> NDArray[np.float32]:
    if len(image.shape) != len(wanted.size):
        what = "volume" if len(image.shape) == 3 else "picture"
        raise InputError(
            f"case '{case.id}': '{image.name}' is a {what}, and the input '{name}' takes the kind "
            f"'{wanted.shape}'"
        )
    if isinstance(wanted, FusedImage) and wanted.framed:
        image = _square_field(image)[0]
    alone = Case(case.id, case.patient_id, {image.name: image})
    return encode_image(alone, wanted.image_input(image.name))[0]


def _square_field(image: Image) -> tuple[Image, tuple[slice, slice], tuple[slice, slice]]:
    """The field of view of a photograph as a square, black beyond the frame.

    Returns:
        The square; where in the photograph it lies, and where in the square that part lies.
    """
    from osler.tasks.field import find_field

    array = image.array
    everything = (slice(0, image.shape[0]), slice(0, image.shape[1]))
    if array.dtype != np.uint8:
        return image, everything, everything
    field = find_field(array)
    if not field.circular:
        return image, everything, everything
    h0, w0, h1, w1 = field.box
    side = max(h1 - h0, w1 - w0)
    out = np.zeros((len(array), side, side), np.uint8)
    top = min(max(0, round(field.radius - field.centre[0])), side - (h1 - h0))
    left = min(max(0, round(field.radius - field.centre[1])), side - (w1 - w0))
    there = (slice(h0, h1), slice(w0, w1))
    here = (slice(top, top + h1 - h0), slice(left, left + w1 - w0))
    out[:, here[0], here[1]] = array[:, there[0], there[1]]
    return Image(image.name, out, image.modality), there, here


def homeward(
    case: Case, name: str, inputs: Inputs
) -> tuple[Image, Callable[[NDArray[np.float32]], NDArray[np.float32]]]:
    """The image that an input takes, and the way of a map from the network's grid to its own.

    Raises:
        InputError: the case has no such image.
    """
    wanted, image = inputs[name], item_for(case, name, inputs, Image)
    if image is None:
        raise InputError(f"case '{case.id}' has no image for the input '{name}'")
    framed = isinstance(wanted, FusedImage) and wanted.framed
    if not framed:
        return image, lambda heat: resized(heat[None], image.shape)[0]
    square, there, here = _square_field(image)

    def home(heat: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.zeros(image.shape, np.float32)
        out[there] = resized(heat[None], square.shape)[0][here]
        return out

    return image, home


def _recording(case: Case, wanted: FusedSignal, signal: Signal) -> NDArray[np.float32]:
    alone = Case(case.id, case.patient_id, {signal.name: signal})
    array, there, length = encoded_signal(alone, wanted.signal_input(signal.name))
    known = np.zeros_like(array)
    known[:, :length] = there[:, None]
    return np.concatenate([array, known])


def features_of(case: Case, name: str, inputs: Inputs) -> dict[str, float] | None:
    """The features of an omics input by name; None where the case has none.

    Raises:
        InputError: the item holds several samples.
    """
    table = item_for(case, name, inputs, Table)
    if table is None:
        return None
    if table.matrix is None:
        pairs = [(key, value) for key, value in table.values.items() if _is_number(value)]
    elif len(table.matrix) == 1:
        row = np.asarray(table.matrix[0], np.float64)
        pairs = list(zip(table.features, row.tolist(), strict=True))
    else:
        raise InputError(
            f"case '{case.id}': '{table.name}' holds {len(table.matrix)} samples, and a case is one"
        )
    found = {key: float(value) for key, value in pairs if np.isfinite(value)}
    return found or None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)


def _omics(found: dict[str, float] | None, wanted: FusedOmics) -> NDArray[np.float32] | None:
    if found is None:
        return None
    if not wanted.features:
        return np.zeros(2, np.float32)
    known = np.array([key in found for key in wanted.features], np.float32)
    scaled = [
        (found[key] - wanted.taken[key].mean) / wanted.taken[key].deviation if key in found else 0.0
        for key in wanted.features
    ]
    return np.concatenate([np.array(scaled, np.float32), known]) if known.any() else None


# Recordings that are longer than a window ---------------------------------------------------------


def _cut(inputs: Arrays, wanted: Inputs, begin: Callable[[int, int], int]) -> Arrays:
    """Windows of recordings, each from where `begin` says for its length and the window's."""
    out = dict(inputs)
    for name, one in wanted.items():
        if isinstance(one, FusedSignal):
            array, samples = inputs[name], one.signal_input(name).samples
            start = begin(array.shape[-1], samples)
            out[name] = np.ascontiguousarray(array[..., start : start + samples])
    return out


def example_fusion(inputs: Arrays, wanted: Inputs, rng: np.random.Generator) -> Arrays:
    """The arrays of one training step: of each recording, a window drawn at random."""

    def drawn(length: int, samples: int) -> int:
        return int(rng.integers(length - samples + 1)) if length > samples else 0

    return _cut(inputs, wanted, drawn)


def run_fusion(
    predict: Predict, inputs: Arrays, wanted: Inputs, *, present: NDArray[Any] | None = None
) -> Arrays:
    """Ask a network about a case, as it is or with inputs taken away.

    Args:
        predict: the network.
        inputs: of `encode_fusion`.
        wanted: the settings.
        present: ``(B, n)``, which inputs are shown each time; None shows those that there are.

    Returns:
        Outputs with a batch axis of B (of 1); of recordings that are longer than a window, the
        mean over windows.
    """
    shown = inputs[PRESENT][None] if present is None else np.asarray(present, np.float32)
    begins = [
        windows(inputs[name].shape[-1], one.signal_input(name).samples)
        for name, one in wanted.items()
        if isinstance(one, FusedSignal)
    ]
    count = max((len(one) for one in begins), default=1)
    said: list[Arrays] = []
    for number in range(count):
        part = _cut(inputs, wanted, partial(_nth, number))
        answers = []
        for first in range(0, len(shown), _PART):
            some = shown[first : first + _PART]
            feed = {
                name: np.repeat(array[None], len(some), axis=0)
                for name, array in part.items()
                if name != PRESENT
            }
            answers.append(predict({**feed, PRESENT: np.ascontiguousarray(some)}))
        said.append({key: np.concatenate([one[key] for one in answers]) for key in answers[0]})
    return {key: np.mean([one[key] for one in said], axis=0) for key in said[0]}


def _nth(number: int, length: int, samples: int) -> int:
    begins = windows(length, samples)
    return begins[number % len(begins)]
