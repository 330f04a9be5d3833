"""A bundle of the retina on a photograph: the score that is explained, on the bundle's own input.

Bundles that read a photograph are explained on its canvas; one that reads what another bundle gave
(as retina-dr reads the cells of retina-lesions) on that, which the other bundle made once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler import bundles
from osler.bundles import Bundle, probability
from osler.bundles.card import Output
from osler.errors import RecipeError
from osler.explain.absent import absent
from osler.explain.occlusion import Score
from osler.explain.redrawn import Redrawn
from osler.explain.subject import Subject, chosen, curves_for, windows_for
from osler.record import Case, Source
from osler.tasks import canvas_masks
from osler.tasks.canvas import Canvas, rgb, undraw
from osler.tasks.field import find_field

Run = Callable[[Mapping[str, NDArray[np.float32]]], dict[str, NDArray[Any]]]

_CELLS = 3  # side of the windows on a grid of cells
_EVEN = 0.5


def on_photograph(bundle: Bundle, case: Case, *, label: str | None = None) -> Subject:
    """One answer of a bundle of the retina to a photograph.

    Args:
        bundle: one whose card has a ``preprocessing``.
        case: holds the image ``photo``.
        label: ``LABEL`` of the first output that has it, ``OUTPUT``, or ``OUTPUT=LABEL``; None
            takes what the bundle says: the likeliest class, or the structure of most pixels.

    Raises:
        RecipeError: the bundle has no such label.
        InputError: the case has no photograph.
    """
    pixels = rgb(case.image("photo"))
    inputs, changed, canvas = _inputs(bundle, pixels)
    image = inputs[changed][0]
    said = bundle.run(inputs)
    output, number = _asked(bundle, said, label)
    field = _field_on(inputs, changed, pixels, bundle, image.shape[1:], canvas)
    region = _region(output, said[output.name], number, field)

    def score_of(run: Run) -> Score:
        def score(stack: NDArray[np.float32]) -> NDArray[np.floating]:
            return np.array(
                [
                    _reduced(
                        output, run({**inputs, changed: one[None]})[output.name], number, region
                    )
                    for one in stack
                ]
            )

        return score

    def redrawn() -> Score | None:
        other = Redrawn(bundle)
        return score_of(other.run) if other.tensors else None

    first = next(one for one in bundle.card.inputs if one.name == changed)
    cells = first.source == "output"
    if cells:
        gone = np.zeros_like(image)
        words = "what lies beyond the edge of the field of view (zeros)"
        size = step = (_CELLS,) * (image.ndim - 1)
    else:
        gone = absent(image, "blur", within=field)
        gone[3:] = image[3:]  # the channel that says where the field is stays as it is
        words = "the photograph blurred to a twelfth of its width, so that its colour stays"
        size, step = windows_for(image.shape[1:])
    shown = output.labels[number].name
    question = _question(output, shown, region is not None)
    steps, orders = curves_for(canvas.size)
    return Subject(
        case=case,
        item="photo",
        source=Source("bundle", bundle.card.name, bundle.card.version),
        image=image,
        score=score_of(bundle.run),
        home=lambda heat: _home(heat, canvas),
        within=field,
        absent=gone,
        absent_words=words,
        window=size,
        stride=step,
        label=f"{output.name}={shown}",
        question=question,
        value=_reduced(output, said[output.name], number, region),
        native=tuple(pixels.shape[1:]),
        given={
            one.name: np.asarray(said[one.name][0, 0], np.float32)
            for one in bundle.card.outputs
            if one.activation == "none" and said[one.name].shape[1:] == (1, *image.shape[1:])
        },
        redrawn=redrawn,
        odds=region is None and output.activation != "none",
        steps=steps,
        orders=orders,
        notes=(
            (
                f"{bundle.card.name} reads what {first.bundle} saw in squares of the photograph; "
                f"those squares are taken away, not the pixels before {first.bundle} saw them",
            )
            if cells
            else ()
        ),
    )


def _inputs(
    bundle: Bundle, pixels: NDArray[np.uint8]
) -> tuple[dict[str, NDArray[np.float32]], str, Canvas]:
    """What the bundle takes, the name of the one that is explained, and its canvas."""
    card = bundle.card
    if card.preprocessing is None:
        raise RecipeError(f"bundle '{card.name}' reads no photographs of the fundus")
    field = find_field(pixels)
    image, canvas = canvas_masks.encode(pixels, field, diameter=card.preprocessing.diameter)
    inputs: dict[str, NDArray[np.float32]] = {}
    for one in card.inputs:
        if one.source == "photograph":
            inputs[one.name] = image
        else:
            assert one.bundle is not None
            assert one.output is not None
            needed = bundles.load(one.bundle)
            before, _, _ = _inputs(needed, pixels)
            inputs[one.name] = needed.run(before)[one.output].astype(np.float32)
    drawn = [one.name for one in card.inputs if one.source == "photograph"]
    return inputs, (drawn or list(inputs))[0], canvas


def _field_on(
    inputs: Mapping[str, NDArray[np.float32]],
    changed: str,
    pixels: NDArray[np.uint8],
    bundle: Bundle,
    shape: tuple[int, ...],
    canvas: Canvas,
) -> NDArray[np.bool_]:
    """The field of view on the grid of the input that is explained."""
    array = inputs[changed]
    if tuple(array.shape[2:]) == canvas.size and array.shape[1] == 4:
        return np.asarray(array[0, 3] > 0)
    preprocessing = bundle.card.preprocessing
    assert preprocessing is not None
    drawn, _ = canvas_masks.encode(pixels, canvas.field, diameter=preprocessing.diameter)
    rows = np.array_split(np.arange(drawn.shape[2]), shape[0])
    columns = np.array_split(np.arange(drawn.shape[3]), shape[1])
    return np.array([[drawn[0, 3][np.ix_(r, c)].any() for c in columns] for r in rows])


def _asked(
    bundle: Bundle, said: Mapping[str, NDArray[Any]], label: str | None
) -> tuple[Output, int]:
    """The output and the number of the label in it."""
    outputs = [one for one in bundle.card.outputs if one.labels]
    if not outputs:
        raise RecipeError(
            f"bundle '{bundle.card.name}' gives no labels; there is nothing to explain"
        )
    if label is None:
        return outputs[0], _said(outputs[0], said[outputs[0].name])
    name, mark, value = label.partition("=")
    for one in outputs:
        names = [each.name for each in one.labels]
        if mark and one.name == name:
            number = chosen(value, names, whose=f"the output '{name}' of '{bundle.card.name}'")
            assert number is not None
            return one, number
        if not mark and label in names:
            return one, names.index(label)
        if not mark and one.name == label:
            return one, _said(one, said[one.name])
    known = [f"{one.name}={each.name}" for one in outputs for each in one.labels]
    chosen(label, known, whose=f"bundle '{bundle.card.name}'")
    raise AssertionError


def _said(output: Output, scores: NDArray[Any]) -> int:
    """The label that the bundle says: the likeliest, or the structure of most pixels."""
    values = probability(output, scores)[0]
    if values.ndim == 1:
        return int(values.argmax())
    counts = [
        0 if each.name == "background" else int(mask.sum())
        for each, mask in zip(output.labels, _masks(output, values), strict=True)
    ]
    return int(np.argmax(counts))


def _masks(output: Output, values: NDArray[np.float32]) -> NDArray[np.bool_]:
    if output.activation == "softmax":
        return np.asarray(values.argmax(axis=0) == np.arange(len(values))[:, None, None])
    limits = [_EVEN if one.threshold is None else one.threshold for one in output.labels]
    return np.asarray(values >= np.array(limits).reshape(-1, 1, 1))


def _region(
    output: Output, scores: NDArray[Any], number: int, field: NDArray[np.bool_]
) -> NDArray[np.bool_] | None:
    """Where a segmentation says the label; the whole field where it says it nowhere."""
    values = probability(output, scores)[0]
    if values.ndim == 1:
        return None
    mask = _masks(output, values)[number]
    return mask if mask.any() else np.asarray(field, bool)


def _reduced(
    output: Output, scores: NDArray[Any], number: int, region: NDArray[np.bool_] | None
) -> float:
    values = probability(output, scores)[0, number]
    return float(values if region is None else values[region].mean(dtype=np.float64))


def _question(output: Output, label: str, region: bool) -> str:
    if region:
        return f"mean probability of '{label}' over the pixels that the bundle marks"
    if output.activation == "softmax":
        return f"probability of '{label}' among the labels of '{output.name}'"
    return f"probability of '{label}' ({output.name})"


def _home(heat: NDArray[np.float32], canvas: Canvas) -> NDArray[np.float32]:
    """From the grid of the bundle's input over its canvas to the photograph."""
    from PIL import Image as Pillow

    if heat.shape != canvas.size:
        drawn = Pillow.fromarray(np.ascontiguousarray(heat, np.float32))
        heat = np.asarray(drawn.resize(canvas.size[::-1], Pillow.Resampling.BILINEAR))
    return np.asarray(undraw(np.asarray(heat, np.float32)[None], canvas)[0])
