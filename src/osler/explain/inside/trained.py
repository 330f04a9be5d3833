"""A bundle whose torch network is at hand: one of its answers to a case, looked at from inside."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.bundles import Bundle
from osler.bundles.answering import task_of
from osler.errors import InputError, RecipeError
from osler.explain.absent import absent
from osler.explain.general import (
    activated,
    item_of,
    label_said,
    probabilities,
    region_of,
    surest_box,
)
from osler.explain.inside.network import score_of
from osler.explain.inside.places import label_score
from osler.explain.subject import Subject, chosen, curves_for, windows_for
from osler.record import Case, Source
from osler.tasks.task import Arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from osler.tasks.task import InputSpec, Task

_DIFFERENT: Final = 0.05
"""Greatest difference of probability between a graph, in half precision, and its network."""


def on_trained(bundle: Bundle, net: Any, case: Case, *, label: str | None = None) -> Subject:
    """One score of the network of a bundle to a case with an image.

    A network that sees patches is looked at in the one patch that holds the middle of what it
    marks.

    Args:
        bundle: whose card names a task and its settings.
        net: the torch network that its graph was made of.
        case: with the items that the settings name.
        label: name of a label of the first output; None takes what the bundle says.

    Raises:
        RecipeError: there is no such label, the task gives none, or the network does not say what
            the bundle says.
        InputError: the case lacks an item, or none of them is an image.
    """
    import torch

    task, whose = task_of(bundle.card), bundle.card.name
    task.opened(bundle)
    sample = task.encode(case)
    output = next((one for one in task.outputs() if one.labels), None)
    spec = next((one for one in task.inputs() if one.axes >= 2), None)
    if spec is None:
        raise InputError(f"{whose} takes no image; only answers to images are explained")
    if output is None:
        raise RecipeError(f"{whose} gives no labels; there is nothing to explain")
    said = probabilities(task, bundle.run, sample, output)
    number = chosen(label, output.labels, whose=whose)
    number = label_said(output, said) if number is None else number
    whole = np.asarray(sample.inputs[spec.name], np.float32)
    box = surest_box(task, bundle.run, sample, number)
    if box is not None:  # of the native grid
        box = box * sample.home["factor"]
    marked = region_of(output, said, number) if box is None else _filled(box, whole.shape[1:])
    part, x = _window(whole, spec, marked)
    others = {one.name: sample.inputs[one.name] for one in task.inputs() if one.name != spec.name}
    module = _answering(task.exportable(net).eval(), task, spec.name, output.name, others)
    with torch.no_grad():
        answer = module(torch.from_numpy(x)[None])
    answer = (answer[0] if isinstance(answer, list | tuple) else answer).double().numpy()[0]
    feed = {name: array[None] for name, array in {**others, spec.name: x}.items()}
    graph = activated(output, np.asarray(bundle.run(feed)[output.name], np.float64)[0])
    values = activated(output, answer)
    if values.shape != graph.shape or float(np.abs(values - graph).max()) > _DIFFERENT:
        raise RecipeError(
            f"the checkpoint beside '{whose}' does not say what the bundle says: what followed its "
            "training (a strategy, or no cases that tune) changed the network; use occlusion"
        )
    if box is None:
        region = region_of(output, values, number)
    else:
        region = _peak(values[number], box, part, x.shape[1:])
    target = label_score(number, region=None if region is None else torch.from_numpy(region))
    item, home = item_of(case, task, None)
    size, step = windows_for(x.shape[1:])
    steps, orders = curves_for(x.shape[1:])
    cut = part != tuple(slice(0, n) for n in whole.shape[1:])

    def native(heat: NDArray[np.float32]) -> NDArray[np.float32]:
        seen = np.zeros(whole.shape[1:], np.float32)
        room = seen[part]
        room[...] = heat[tuple(slice(0, n) for n in room.shape)]
        return home(seen)

    where = "" if region is None else ", over what it marks" if box is None else ", at a box's peak"
    return Subject(
        case=case,
        item=item.name,
        source=Source("bundle", whose, bundle.card.version),
        image=x,
        score=score_of(module, target),
        home=native,
        within=np.ones(x.shape[1:], bool),
        absent=absent(x, "blur"),
        absent_words="the image blurred to a twelfth of its shortest side",
        window=size,
        stride=step,
        label=f"{output.name}={output.labels[number]}",
        question=f"score of '{output.labels[number]}' before any activation{where}",
        value=float(target(torch.from_numpy(answer)[None])[0]),
        native=tuple(item.shape),
        net=module,
        target=target,
        steps=steps,
        orders=orders,
        batch=8 if x.ndim == 3 else 1,  # volumes fill the memory one by one
        notes=("the network sees patches; this is the one around what it marks",) if cut else (),
    )


def _filled(box: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The positions of a grid whose centres lie in a box, one at least."""
    axes = len(shape)
    out = np.zeros(shape, bool)
    starts = [min(max(round(a), 0), n - 1) for a, n in zip(box[:axes], shape, strict=True)]
    stops = [max(round(b), a + 1) for a, b in zip(starts, box[axes:], strict=True)]
    out[tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))] = True
    return out


def _peak(
    scores: NDArray[np.float64], box: NDArray[np.float64], part: tuple[slice, ...],
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:  # fmt: skip
    """The cell of a heatmap, within a part of the image, that the box came of: its surest."""
    begin = np.tile([one.start for one in part], 2)
    scale = np.tile([cells / side for cells, side in zip(scores.shape, shape, strict=True)], 2)
    own = _filled((box - begin) * scale, scores.shape)
    at = np.where(own, scores, -np.inf).argmax()
    return np.asarray(np.arange(scores.size).reshape(scores.shape) == at)


def _answering(net: Any, task: "Task", image: str, output: str, others: Arrays) -> Any:
    """The network itself where that will do, so that its layers keep their names."""
    if not others and len(task.outputs()) == 1:
        return net
    from osler.models.image_alone import ImageAlone

    return ImageAlone(
        net, image=image, order=[one.name for one in task.inputs()], others=others,
        answer=lambda said: task.named(said)[output],
    )  # fmt: skip


def _window(
    whole: NDArray[np.float32], spec: "InputSpec", region: NDArray[np.bool_] | None
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """Which part of the image ``(C, [D,] H, W)`` is looked at, and that part as it is given.

    Sides that are too short are filled up with their last pixels at the far end.
    """
    shape = whole.shape[1:]
    sides: Sequence[int] = spec.size or [-(-n // spec.multiple) * spec.multiple for n in shape]
    middle = [n / 2 for n in shape]
    if region is not None and region.shape == shape and not region.all():
        middle = [float(axis.mean()) for axis in np.nonzero(region)]
    start = [
        int(np.clip(round(at - side / 2), 0, max(n - side, 0)))
        for at, side, n in zip(middle, sides, shape, strict=True)
    ]
    part = tuple(slice(a, min(a + side, n)) for a, side, n in zip(start, sides, shape, strict=True))
    cut = whole[(slice(None), *part)]
    short = [(0, side - n) for side, n in zip(sides, cut.shape[1:], strict=True)]
    return part, np.ascontiguousarray(np.pad(cut, [(0, 0), *short], mode="edge"))
