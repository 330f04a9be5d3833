"""Prompts for bundles that are told what to mark: boxes and points that a user gives in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from osler.errors import InputError, RecipeError
from osler.record import Box, Case, Point, Source
from osler.tasks.image_input import image_of
from osler.tasks.segmentation_prompt import OFF

if TYPE_CHECKING:
    from osler.tasks.task import Task

SOURCE: Final = Source("person", "prompt")
_BOX: Final = {2: "X0,Y0,X1,Y1", 3: "X0,Y0,Z0,X1,Y1,Z1"}
_POINT: Final = {2: "X,Y", 3: "X,Y,Z"}


@dataclass(frozen=True, slots=True)
class Prompts:
    """Places in each image that is read, in pixels from its first corner: across, down, slice.

    Attributes:
        boxes: the first pixel inside of each, then the first beyond it: ``(x0, y0, x1, y1)``, of
            volumes ``(x0, y0, z0, x1, y1, z1)``.
        points: pixels of what is to be marked, ``(x, y)`` or ``(x, y, z)``.
        background: pixels that are not to be marked, in the same way.
    """

    boxes: Sequence[Sequence[float]] = ()
    points: Sequence[Sequence[float]] = ()
    background: Sequence[Sequence[float]] = ()

    def __bool__(self) -> bool:
        return bool(self.boxes or self.points or self.background)


def kind_of(task: "Task") -> str:
    """What a task is told by: ``"none"``, ``"box"`` or ``"point"``."""
    return str(getattr(task.settings, "prompt", "none"))


def check(prompts: Prompts, task: "Task", name: str) -> None:
    """Refuse prompts that a bundle does not take, before anything is read.

    Raises:
        RecipeError: they are of another kind, or the bundle takes none.
    """
    kind = kind_of(task)
    if not prompts:
        return
    if kind == "none":
        raise RecipeError(
            f"'{name}' is a bundle that is not told what to mark; leave --box, --point and "
            "--background out (a recipe with 'settings.prompt' trains one that is told)"
        )
    if kind == "box" and (prompts.points or prompts.background):
        raise RecipeError(f"'{name}' is told by boxes: --box {_BOX[2]}, no points")
    if kind == "point" and prompts.boxes:
        raise RecipeError(f"'{name}' is told by points: --point {_POINT[2]}, no boxes")
    if kind == "point" and not prompts.points:
        raise RecipeError("--background says what not to mark; say what to mark as well: --point")


def add(prompts: Prompts, case: Case, task: "Task") -> None:
    """Put prompts into a case, as findings of a person.

    Raises:
        InputError: the case brings its own, or one does not lie in the image.
    """
    if not prompts:
        return
    image = image_of(case, task.settings.image.items[0])
    kind: type[Box] | type[Point] = Box if prompts.boxes else Point
    if any(one.item in (image.name, None) for one in case.of(kind)):
        raise InputError(
            f"case '{case.id}' says itself what to mark, and --{kind.__name__.lower()} says it "
            "too; give one of the two"
        )
    shape = tuple(image.shape)
    for number, box in enumerate(prompts.boxes, 1):
        start, stop = _corners(box, shape, case)
        case.add(
            Box(
                id=_free(case, f"prompt-{number}"), name="prompt", source=SOURCE, item=image.name,
                start=start, stop=stop,
            )
        )  # fmt: skip
    for name, places in (("prompt", prompts.points), (OFF, prompts.background)):
        for number, place in enumerate(places, 1):
            case.add(
                Point(
                    id=_free(case, f"{name}-{number}"), name=name, source=SOURCE, item=image.name,
                    position=_position(place, shape, case),
                )
            )  # fmt: skip


def _free(case: Case, id: str) -> str:
    return id if id not in case else f"{id}-given"


def _corners(
    box: Sequence[float], shape: tuple[int, ...], case: Case
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    axes = len(shape)
    if len(box) != 2 * axes:
        raise InputError(
            f"case '{case.id}' has an image of {axes} axes; a box in it is --box {_BOX[axes]}"
        )
    start = tuple(round(at) for at in reversed(box[:axes]))
    stop = tuple(round(at) for at in reversed(box[axes:]))
    said = ",".join(f"{at:g}" for at in box)
    if any(high <= low for low, high in zip(start, stop, strict=True)):
        raise InputError(
            f"--box {said} holds no pixel; it is {_BOX[axes]}, the first pixel inside and the "
            "first beyond"
        )
    if any(low < 0 or high > n for low, high, n in zip(start, stop, shape, strict=True)):
        raise InputError(f"--box {said} leaves the image of case '{case.id}', {_size(shape)}")
    return start, stop


def _position(place: Sequence[float], shape: tuple[int, ...], case: Case) -> tuple[float, ...]:
    axes = len(shape)
    if len(place) != axes:
        raise InputError(
            f"case '{case.id}' has an image of {axes} axes; a point in it is {_POINT[axes]}"
        )
    position = tuple(float(at) for at in reversed(place))
    if any(not -0.5 <= at <= n - 0.5 for at, n in zip(position, shape, strict=True)):
        said = ",".join(f"{at:g}" for at in place)
        raise InputError(
            f"the point {said} is not in the image of case '{case.id}', {_size(shape)}"
        )
    return position


def _size(shape: tuple[int, ...]) -> str:
    across = " x ".join(str(n) for n in reversed(shape))
    return f"{across} {'pixels' if len(shape) == 2 else 'voxels'} (X, Y{', Z' * (len(shape) > 2)})"
