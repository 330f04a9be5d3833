"""What is explained: an input, one answer to it, and the way home to the patient's own image."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import RecipeError
from osler.explain.occlusion import Score
from osler.record import Case, Source

Home = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(slots=True, eq=False, kw_only=True)
class Subject:
    """One answer of one model to one case.

    Attributes:
        case: the case.
        item: name of the image that the map lies on.
        source: the model.
        image: ``(C, [D,] H, W)``, as the model takes it.
        score: the answer for changed copies of ``image``, ``(N, C, ...)`` to ``(N,)``.
        home: ``([D,] H, W)`` on the grid of ``image`` to the native grid of the item.
        within: ``([D,] H, W)``, where there is a picture.
        absent: the shape of ``image``, what stands where something is taken away.
        absent_words: the same in words.
        window: sides of the window of occlusion and of the parts of deletion, pixels of ``image``.
        stride: of occlusion.
        label: name of the answer.
        question: what the score is, in words.
        value: the score of ``image``.
        odds: the score is the probability of a class, and maps are made of its log-odds: near 1 a
            probability hardly moves whatever is taken away, and its odds do.
        native: ``([D,] H, W)`` of the item.
        given: maps on the grid of ``image`` that the model itself gives, such as its attention.
        redrawn: a score of the same model with random weights; None where there is none.
        net: the torch network, where the model is one; ``target`` is its answer.
        batch: copies that the model takes at once.
        steps: points of the curves of deletion and insertion.
        orders: random orders beside them.
        notes: what a reader must know.
    """

    case: Case
    item: str
    source: Source
    image: NDArray[np.float32]
    score: Score
    home: Home
    within: NDArray[np.bool_]
    absent: NDArray[np.float32]
    absent_words: str
    window: tuple[int, ...]
    stride: tuple[int, ...]
    label: str
    question: str
    value: float
    native: tuple[int, ...]
    given: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    redrawn: Callable[[], Score | None] | None = None
    net: Any = None
    target: Any = None
    odds: bool = False
    batch: int = 1
    steps: int = 20
    orders: int = 3
    notes: tuple[str, ...] = ()


def log_odds(score: Score) -> Score:
    """The natural logarithm of the odds of a probability, kept within 16 (of ``float32``)."""

    def odds(stack: NDArray[np.float32]) -> NDArray[np.floating]:
        p = np.clip(np.asarray(score(stack), np.float64), 1e-7, 1 - 1e-7)
        return np.asarray(np.log(p / (1 - p)))

    return odds


def chosen(asked: str | None, known: Sequence[str], *, whose: str) -> int | None:
    """The number of a label by its name; None for no name.

    Raises:
        RecipeError: there is none of that name; the message has the nearest.
    """
    if asked is None:
        return None
    if asked in known:
        return list(known).index(asked)
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'? It has" if near else "; it has"
    raise RecipeError(
        f"{whose} has no label '{asked}'{hint} {', '.join(repr(one) for one in known)}"
    )


def windows_for(shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Window and stride of occlusion: an eighth of each side of a picture, a quarter of a volume's.

    Windows overlap by half on pictures up to 512 x 512 pixels; beyond that each run of a network
    takes long, and they lie side by side.
    """
    parts = 8 if len(shape) == 2 else 4
    size = tuple(max(1, -(-n // parts)) for n in shape)
    overlap = len(shape) == 2 and int(np.prod(shape)) <= 512 * 512
    return size, tuple(max(1, n // 2) if overlap else n for n in size)


def curves_for(shape: Sequence[int]) -> tuple[int, int]:
    """Steps of the curves and random orders: fewer where each run of a network takes long."""
    if len(shape) == 3:
        return 8, 1
    return (20, 3) if int(np.prod(shape)) <= 512 * 512 else (10, 2)
