"""One bundle on one photograph: probabilities, masks and labels in the photograph's grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler import bundles
from osler.bundles import Bundle, probability
from osler.errors import BundleError
from osler.record import Case
from osler.retina.segments import settle
from osler.tasks import canvas_masks
from osler.tasks.canvas import Canvas, rgb
from osler.tasks.field import Field, find_field

_BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a bundle says about a photograph.

    Attributes:
        labels: the labels of its masks, or of its first output.
        masks: label to ``(H, W)``, for a segmentation.
        probability: ``(L, H, W)`` in the order of ``labels``, for a segmentation; None else.
        probabilities: output to label to probability, for a classification.
        label: the likeliest label of the first output, for a classification; empty else.
        scores: output to what the graph gave, ``(1, L, ...)`` on the canvas.
        canvas: where the canvas lies.
    """

    labels: tuple[str, ...]
    canvas: Canvas
    scores: Mapping[str, NDArray[Any]]
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    probability: NDArray[np.float32] | None = None
    probabilities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    label: str = ""


def predict(
    bundle: Bundle,
    case: Case,
    *,
    item: str = "photo",
    field: Field | None = None,
    given: Mapping[str, Prediction] | None = None,
) -> Prediction:
    """Run a bundle on a case's photograph, and the bundles it builds on before it.

    Args:
        bundle: the bundle.
        case: holds the photograph; nothing is added to it.
        item: the photograph's name in the case.
        field: the field of view, if it is known already.
        given: bundle name to what it said about this photograph, if it was run already.

    Raises:
        InputError: the item is no photograph that a bundle takes.
        BundleError: the bundle, or one that it needs, is damaged or missing, or bundles need each
            other in a circle.
    """
    return _predict(bundle, case, item, field, dict(given or {}), ())


def _predict(
    bundle: Bundle,
    case: Case,
    item: str,
    field: Field | None,
    known: dict[str, Prediction],
    waiting: tuple[str, ...],
) -> Prediction:
    """As ``predict``; ``waiting`` are the bundles that this one is run for, outermost first."""
    waiting = (*waiting, bundle.card.name)
    pixels = rgb(case.image(item))
    field = field or find_field(pixels)
    for name in bundle.card.requires:
        if name in known:
            continue
        if name in waiting:
            circle = " -> ".join((*waiting[waiting.index(name) :], name))
            raise BundleError(f"bundles need each other in a circle: {circle}; mend 'requires'")
        known[name] = _predict(bundles.load(name), case, item, field, known, waiting)
    drawn = bundle.card.preprocessing
    assert drawn is not None  # the caller has seen that it takes a photograph
    image, canvas = canvas_masks.encode(pixels, field, diameter=drawn.diameter)
    inputs: dict[str, NDArray[np.float32]] = {}
    for one in bundle.card.inputs:
        if one.source == "photograph":
            inputs[one.name] = image
        else:
            assert one.bundle is not None
            assert one.output is not None
            scores = known[one.bundle].scores
            if one.output not in scores:
                raise BundleError(
                    f"bundle '{bundle.card.name}' takes the output '{one.output}' of "
                    f"'{one.bundle}', which gives {', '.join(map(repr, scores))}"
                )
            inputs[one.name] = scores[one.output].astype(np.float32)
    scores = bundle.run(inputs)
    if bundle.card.task == "segmentation":
        return _segmented(bundle, scores, canvas, known, image[0])
    return _classified(bundle, scores, canvas)


def _segmented(
    bundle: Bundle,
    scores: Mapping[str, NDArray[Any]],
    canvas: Canvas,
    known: Mapping[str, Prediction],
    picture: NDArray[np.float32],
) -> Prediction:
    output = bundle.card.outputs[0]
    values = probability(output, scores[output.name])[0]
    exclusive = output.activation == "softmax"
    labels = list(output.labels)
    if labels[0].name == _BACKGROUND:
        values, labels = values[1:], labels[1:]
    rules = [
        canvas_masks.Rule(label.threshold, label.min_area or 0, label.single, label.thin)
        for label in labels
    ]
    home, masks = canvas_masks.decode(values, canvas, rules, exclusive=exclusive, picture=picture)
    if output.vote == "segment":
        whole = masks[0] | masks[1]
        if output.divides is not None:
            whole = next(iter(known[output.divides].masks.values()))
        first = settle(whole, _leaning(home))
        masks = [first, whole & ~first]
    names = tuple(label.name for label in labels)
    return Prediction(names, canvas, scores, dict(zip(names, masks, strict=True)), home)


def _leaning(home: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each pixel leans to the first label, -1 to 1, whether or not it has any at all.

    Where the network sees next to nothing the two are compared all the same, if less is said: a
    vessel that another bundle found needs a side.
    """
    together = home[0] + home[1]
    return np.asarray((home[0] - home[1]) / np.sqrt(np.maximum(together, 1e-3)), np.float32)


def _classified(bundle: Bundle, scores: Mapping[str, NDArray[Any]], canvas: Canvas) -> Prediction:
    said: dict[str, dict[str, float]] = {}
    for output in bundle.card.outputs:
        if output.labels:
            values = probability(output, scores[output.name])[0]
            said[output.name] = {
                label.name: float(value) for label, value in zip(output.labels, values, strict=True)
            }
    first = said[next(iter(said))]
    return Prediction(
        tuple(first), canvas, scores, probabilities=said, label=max(first, key=lambda k: first[k])
    )


def half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Probabilities in half precision; those below its smallest normal number become 0.

    Processors convert such numbers one by one, which takes eight times as long for a map that
    is mostly next to nothing.
    """
    return np.where(values < np.finfo(np.float16).tiny, np.float32(0), values).astype(np.float16)
