"""From a network that scores the next token to a text: the likeliest token each time, or beams."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from osler.tasks.task import Arrays
from osler.tasks.writing_tokens import BEGIN, END, PAD

Ask = Callable[[NDArray[np.float32], int, int], NDArray[np.float32]]
"""What was written before each place ``(T,)``, and the places from the first to before the last
that are asked about, to scores ``(V, last - first)`` of what comes there."""

_FEWEST: Final = 8
"""Places that are asked about at a time, at least."""


@runtime_checkable
class Continues(Protocol):
    """A network that remembers what it read, so that asking about few places takes little."""

    def continuing(self, fixed: Arrays) -> Ask:
        """It with all but the text read: arrays by name, with a batch axis of 1."""


@dataclass(frozen=True, slots=True)
class Written:
    """A text as numbers.

    Attributes:
        numbers: without the end.
        logs: logarithm of the probability of each, and of the end where it came.
        ended: whether the end came before the places ran out.
    """

    numbers: tuple[int, ...]
    logs: tuple[float, ...]
    ended: bool


def greedy(ask: Ask, length: int, *, draft: Sequence[int] = (), few: bool = False) -> Written:
    """The likeliest token at each place, given those before it.

    All places are guessed at once and asked about again until nothing changes: what stands after
    right tokens is right, so at least one place is settled each time, and often many. The text is
    that of asking place by place, whatever the draft.

    Source: Santilli et al., "Accelerating transformer inference for translation via parallel
    decoding", ACL 2023 (Jacobi iteration).

    Args:
        ask: the network.
        length: places, the end's included.
        draft: a guess to begin with.
        few: asking about few places takes less than about all, so no more are asked about than
            were lately settled twice over.
    """
    guess = np.full(length, PAD, np.int64)
    guess[: min(len(draft), length)] = np.asarray(draft[:length], np.int64)
    logs = np.zeros(length)
    settled, most = 0, length
    while settled < length:
        last = min(settled + most, length)
        scores = log_softmax(ask(before(guess), settled, last))
        best = scores.argmax(axis=0)
        differ = np.flatnonzero(best != guess[settled:last])
        stop = settled + int(differ[0]) + 1 if len(differ) else last
        count = stop - settled
        logs[settled:stop] = scores[best[:count], np.arange(count)]
        guess[settled:last] = best
        if few:
            most = max(_FEWEST, 2 * count)
        ends = np.flatnonzero(guess[settled:stop] == END)
        if len(ends):
            place = settled + int(ends[0])
            return Written(_ints(guess[:place]), _floats(logs[: place + 1]), ended=True)
        settled = stop
    return Written(_ints(guess), _floats(logs), ended=False)


def beam(ask: Ask, length: int, *, beams: int) -> Written:
    """The text of the greatest mean log probability a token among those that ``beams`` ways find.

    Args:
        ask: the network.
        length: places, the end's included.
        beams: texts that are followed at a time.
    """
    open_: list[tuple[tuple[int, ...], tuple[float, ...]]] = [((), ())]
    done: list[Written] = []
    for place in range(length):
        grown = []
        for numbers, logs in open_:
            guess = np.full(length, PAD, np.int64)
            guess[:place] = numbers
            column = log_softmax(ask(before(guess), place, place + 1))[:, 0]
            for one in np.argsort(-column, kind="stable")[:beams]:
                grown.append(((*numbers, int(one)), (*logs, float(column[one]))))
        grown.sort(key=lambda way: (-sum(way[1]), way[0]))
        open_ = []
        for numbers, logs in grown[:beams]:
            if numbers[-1] == END:
                done.append(Written(numbers[:-1], logs, ended=True))
            else:
                open_.append((numbers, logs))
        # what is open can at best go on without a loss to the last place
        reach = max((sum(logs) / length for _, logs in open_), default=-np.inf)
        if done and max(map(_mean, done)) >= reach:
            break
    done += [Written(numbers, logs, ended=False) for numbers, logs in open_ if not done]
    return max(done, key=_mean)


def _mean(done: Written) -> float:
    return sum(done.logs) / len(done.logs)


def before(guess: NDArray[np.int64]) -> NDArray[np.float32]:
    """What stands before each place: the beginning, then the guess."""
    return np.concatenate([[BEGIN], guess[:-1]]).astype(np.float32)


def log_softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log probabilities of tokens ``(V, T)``; padding and the beginning are never written."""
    out = np.asarray(scores, np.float64).copy()
    out[[PAD, BEGIN]] = -np.inf
    out -= out.max(axis=0)
    return np.asarray(out - np.log(np.exp(out).sum(axis=0)))


def _ints(values: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(one) for one in values)


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(one) for one in values)
