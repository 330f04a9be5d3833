"""Guessing all places at once gives the text of asking place by place, whatever the first guess."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.tasks import writing_decoding
from osler.tasks.writing_decoding import beam, before, greedy, log_softmax
from osler.tasks.writing_tokens import BEGIN, END, PAD

V, T = 7, 5


def network(seed):
    """Scores of each place that depend on all tokens before it, as a causal network's do."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1.5, (T, V, V)).astype(np.float32)

    def ask(written, start=0, stop=T):
        assert written.shape == (T,)
        assert written.dtype == np.float32
        columns = []
        for place in range(start, stop):
            seen = written[: place + 1].astype(int)
            columns.append(sum(weight[k, one] for k, one in enumerate(seen)))
        return np.stack(columns, axis=1)

    return ask


def slow_greedy(ask):
    numbers = []
    for place in range(T):
        guess = np.full(T, PAD)
        guess[:place] = numbers
        column = log_softmax(ask(before(guess)))[:, place]
        numbers.append(int(column.argmax()))
        if numbers[-1] == END:
            return numbers[:-1], True
    return numbers, False


@given(st.integers(0, 200), st.lists(st.integers(0, V - 1), max_size=8), st.booleans())
def test_greedy_is_that_of_one_token_at_a_time(seed, draft, few):
    ask = network(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing_decoding, "_FEWEST", 1)
        done = greedy(ask, T, draft=draft, few=few)
    assert (list(done.numbers), done.ended) == slow_greedy(ask)
    assert len(done.logs) == len(done.numbers) + done.ended
    assert done == greedy(ask, T)
    assert all(one <= 0 for one in done.logs)


def test_a_right_draft_is_asked_about_once():
    ask = network(3)
    calls = []

    def counting(written, start, stop):
        calls.append(1)
        return ask(written, start, stop)

    numbers, ended = slow_greedy(ask)
    greedy(counting, T, draft=[*numbers, END] if ended else numbers)
    assert len(calls) == 1


@pytest.mark.parametrize("seed", range(6))
def test_beams_as_wide_as_all_texts_find_the_best(seed):
    ask = network(seed)
    best = None
    for length in range(T + 1):
        for numbers in itertools.product(range(V), repeat=length):
            if {PAD, BEGIN, END} & set(numbers):
                continue
            full = [*numbers, END] if length < T else list(numbers)
            guess = np.full(T, PAD)
            guess[: len(full)] = full
            scores = log_softmax(ask(before(guess)))
            mean = np.mean([scores[one, k] for k, one in enumerate(full)])
            if length < T and (best is None or mean > best):
                best = mean
    done = beam(ask, T, beams=V**T)
    assert done.ended
    assert np.mean(done.logs) == pytest.approx(best)


def test_one_beam_is_greedy():
    for seed in range(20):
        ask = network(seed)
        assert beam(ask, T, beams=1).numbers == greedy(ask, T).numbers


def test_padding_and_the_beginning_are_never_written():
    scores = np.zeros((V, T), np.float32)
    scores[[PAD, BEGIN]] = 99
    done = greedy(lambda written, start, stop: scores[:, start:stop], T)
    assert not {PAD, BEGIN} & set(done.numbers)
