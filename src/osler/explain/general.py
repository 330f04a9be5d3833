"""A bundle of any task on a case: the score that is explained, on the image that its task makes."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.bundles import Bundle
from osler.bundles.answering import task_of
from osler.errors import InputError, RecipeError
from osler.explain.absent import absent
from osler.explain.occlusion import Score
from osler.explain.redrawn import Redrawn
from osler.explain.subject import Subject, chosen, curves_for, windows_for
from osler.record import Case, Image, Source
from osler.tasks.fusion_input import homeward
from osler.tasks.image_input import ImageInput, part_of, resized
from osler.tasks.task import Arrays, OutputSpec, Predict, Sample, Task, sigmoid, softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

_EVEN = 0.5
_BOXES = "boxes"  # what a task that finds objects gives beside scores and labels


def on_case(
    bundle: Bundle,
    case: Case,
    *,
    label: str | None = None,
    input: str | None = None,
    tasks: "Sequence[type[Task]]" = (),
) -> Subject:
    """One answer of a bundle of any task to a case with an image.

    Args:
        bundle: one whose card names a task and its settings.
        case: with the items that the settings name.
        label: name of a label of the first output; None takes what the bundle says.
        input: of several named inputs, the image that is looked at.
        tasks: tasks of one's own.

    Raises:
        RecipeError: there is no such label, or the task gives none.
        InputError: the case lacks an item, or none of them is an image.
    """
    task = task_of(bundle.card, tasks=tasks)
    task.opened(bundle)
    return of_task(
        task,
        bundle.run,
        case,
        label=label,
        input=input,
        source=Source("bundle", bundle.card.name, bundle.card.version),
        redrawn=lambda: _drawn(bundle),
    )


def _drawn(bundle: Bundle) -> Predict | None:
    other = Redrawn(bundle)
    return other.run if other.tensors else None


def of_task(
    task: Task,
    predict: Predict,
    case: Case,
    *,
    source: Source,
    label: str | None = None,
    input: str | None = None,
    redrawn: Callable[[], Predict | None] | None = None,
) -> Subject:
    """One answer to a task by anything that answers it.

    Args:
        task: the task.
        predict: inputs with a batch axis to outputs with a batch axis: a bundle or a network.
        case: with the items that the task's settings name.
        source: the model.
        label: name of a label of the first output.
        input: of several named inputs, the image that is looked at.
        redrawn: the same with random weights.

    Raises:
        RecipeError: there is no such label, or the task gives none.
        InputError: the case lacks an item, or none of them is an image.
    """
    sample = task.encode(case)
    arrays = sample.inputs if input is None else {input: sample.inputs[input]}
    name = next((key for key, array in arrays.items() if array.ndim >= 3), None)
    output = next((one for one in task.outputs() if one.labels), None)
    if name is None:
        raise InputError(f"{source.name} takes no image; only answers to images are explained")
    if output is None:
        raise RecipeError(f"{source.name} gives no labels; there is nothing to explain")
    image = np.asarray(sample.inputs[name], np.float32)
    said = probabilities(task, predict, sample, output)
    number = chosen(label, output.labels, whose=source.name)
    if number is None:
        number = label_said(output, said)
    region = region_of(output, said, number)
    box = surest_box(task, predict, sample, number)

    def score_of(run: Predict) -> Score:
        def score(stack: NDArray[np.float32]) -> NDArray[np.floating]:
            answers = []
            for one in stack:
                changed = replace(sample, inputs={**sample.inputs, name: one})
                values = probabilities(task, run, changed, output, near=box)[number]
                answers.append(float(values if region is None else values[region].mean()))
            return np.array(answers)

        return score

    def other() -> Score | None:
        run = redrawn() if redrawn is not None else None
        return None if run is None else score_of(run)

    item, home = item_of(case, task, input)
    size, step = windows_for(image.shape[1:])
    steps, orders = curves_for(image.shape[1:])
    value = said[number]
    return Subject(
        case=case,
        item=item.name,
        source=source,
        image=image,
        score=score_of(predict),
        home=home,
        within=np.ones(image.shape[1:], bool),
        absent=absent(image, "blur"),
        absent_words="the image blurred to a twelfth of its shortest side",
        window=size,
        stride=step,
        label=f"{output.name}={output.labels[number]}",
        question=(
            f"probability of '{output.labels[number]}'{'' if box is None else where_of(box)}"
            if region is None
            else f"mean probability of '{output.labels[number]}' over what the bundle marks"
        ),
        value=float(value if region is None else value[region].mean()),
        native=tuple(item.shape),
        redrawn=other,
        odds=region is None and output.activation != "none",
        steps=steps,
        orders=orders,
    )


def probabilities(
    task: Task, predict: Predict, sample: Sample, output: OutputSpec, *,
    near: NDArray[Any] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """``(L, ...)`` calibrated probabilities.

    Of a task that finds boxes ``(L,)``, the surest of each label, 0 for none; where a box ``near``
    ``(2 n,)`` of the native grid is given, of those whose centre is a side or less from its own.
    """
    said: Arrays = task.calibrated(task.run(predict, sample))
    values = activated(output, said[output.name])
    if _BOXES not in said:
        return values
    labels, boxes = said["labels"], said[_BOXES]
    if near is not None:
        axes = len(near) // 2
        centres = (boxes[:, :axes] + boxes[:, axes:]) / 2
        middle, sides = (near[:axes] + near[axes:]) / 2, near[axes:] - near[:axes]
        within = (np.abs(centres - middle) <= sides).all(axis=1)
        values, labels = values[within], labels[within]
    surest = np.zeros(len(output.labels))
    np.maximum.at(surest, labels, values)
    return surest


def surest_box(
    task: Task, predict: Predict, sample: Sample, number: int
) -> NDArray[np.float64] | None:
    """The likeliest box of a label, ``(2 n,)`` in the native grid; None where none is found."""
    if not task.boxes:
        return None
    said: Arrays = task.run(predict, sample)
    own = said[_BOXES][said["labels"] == number]  # the likeliest come first
    return np.asarray(own[0], np.float64) if len(own) else None


def where_of(box: NDArray[np.float64]) -> str:
    """A box in words."""
    axes = len(box) // 2
    start, stop = (", ".join(f"{one:.0f}" for one in part) for part in (box[:axes], box[axes:]))
    return f" in the box from ({start}) to ({stop})"


def activated(output: OutputSpec, scores: NDArray[Any]) -> NDArray[np.float64]:
    """Scores ``(L, ...)`` as probabilities, where the output says how."""
    if output.activation == "softmax":
        return softmax(scores)
    return sigmoid(scores) if output.activation == "sigmoid" else np.asarray(scores, np.float64)


def label_said(output: OutputSpec, values: NDArray[np.float64]) -> int:
    """The label that is said: the likeliest, or the structure of most pixels."""
    if values.ndim == 1:
        return int(values.argmax())
    counts = [
        0 if name == "background" else int(_mask(output, values, number).sum())
        for number, name in enumerate(output.labels)
    ]
    return int(np.argmax(counts))


def _mask(output: OutputSpec, values: NDArray[np.float64], number: int) -> NDArray[np.bool_]:
    if output.activation == "softmax":
        return np.asarray(values.argmax(axis=0) == number)
    limit = output.thresholds[number] if output.thresholds else None
    return np.asarray(values[number] >= (_EVEN if limit is None else limit))


def region_of(
    output: OutputSpec, values: NDArray[np.float64], number: int
) -> NDArray[np.bool_] | None:
    """Where a segmentation says the label; everywhere, where it says it nowhere."""
    if values.ndim == 1:
        return None
    mask = _mask(output, values, number)
    return mask if mask.any() else np.ones_like(mask)


Home = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def item_of(case: Case, task: Task, input: str | None) -> tuple[Image, Home]:
    """The image that the task's first input is made of, and the way of a map to its grid."""
    if input is not None:
        return homeward(case, input, task.settings.inputs)
    wanted: Any = getattr(task.settings, "image", None)
    names = list(getattr(wanted, "items", ()))
    images = {item.name: item for item in case.items.values() if isinstance(item, Image)}
    image = next((images[name] for name in (*names, *images) if name in images), None)
    if image is None:
        raise InputError(f"case '{case.id}' has no image")
    part = part_of(image, wanted, case) if isinstance(wanted, ImageInput) else None

    def home(heat: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.zeros(image.shape, np.float32)
        seen = out if part is None else out[part]
        seen[...] = resized(heat[None], seen.shape)[0]
        return out

    return image, home
