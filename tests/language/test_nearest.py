"""The nearest of many vectors agree with a slow oracle, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import InputError
from osler.language import searching
from osler.language.searching import nearest
from osler.models.text_encoder import unit


def slowly(stored, query, k, allowed=None, groups=None, own=None):
    """One by one, sorted by score and row."""
    scored = []
    for row, vector in enumerate(stored):
        if allowed is not None and not allowed[row]:
            continue
        if own is not None and groups[row] == own:
            continue
        score = sum(float(a) * float(b) for a, b in zip(vector, query, strict=True))
        scored.append((-score, row))
    return [(row, -score) for score, row in sorted(scored)[:k]]


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_it_is_what_a_slow_search_finds(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    count, dim = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 9))
    queries = data.draw(st.integers(1, 7))
    k = data.draw(st.integers(1, 12))
    # few values, so that scores are exact and many of them equal
    stored = rng.integers(-2, 3, (count, dim)).astype(data.draw(st.sampled_from(["f4", "f2"])))
    asked = rng.integers(-2, 3, (queries, dim)).astype(np.float32)
    allowed = rng.random(count) < 0.7 if data.draw(st.booleans()) else None
    groups = own = None
    if data.draw(st.booleans()):
        groups, own = rng.integers(0, 5, count), rng.integers(-1, 5, queries)
    before = searching.BLOCK, searching._ALONE, searching._SPARE
    searching.BLOCK = searching._ALONE = data.draw(st.integers(1, 40))
    searching._SPARE = 90  # among many equal ones the earlier row is promised by the spare
    try:
        found = nearest(stored, asked, k, allowed=allowed, groups=groups, own=own)
    finally:
        searching.BLOCK, searching._ALONE, searching._SPARE = before
    for query in range(queries):
        expected = slowly(
            stored, asked[query], k, allowed, groups, None if own is None else own[query]
        )
        got = [
            (row, score)
            for row, score in zip(found.rows[query].tolist(), found.scores[query], strict=True)
            if row >= 0
        ]
        assert got == expected
        assert np.isnan(found.scores[query][found.rows[query] < 0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("block", [7, 100, 4096])
def test_blocks_do_not_change_the_answer(monkeypatch, dtype, block):
    rng = np.random.default_rng(1)
    stored = unit(rng.standard_normal((3000, 48))).astype(dtype)
    stored[1500:1510] = stored[3]  # equal vectors, far apart
    asked = np.concatenate([unit(rng.standard_normal((9, 48))), stored[3:4].astype(np.float32)])
    whole = nearest(stored, asked, 20)
    monkeypatch.setattr(searching, "BLOCK", block)
    monkeypatch.setattr(searching, "_ALONE", block)
    parts = nearest(stored, asked, 20)
    assert (parts.rows == whole.rows).all()
    assert (parts.scores == whole.scores).all()
    assert whole.rows[-1, :11].tolist() == [3, *range(1500, 1510)]
    exact = asked.astype(np.float64) @ stored.astype(np.float64).T
    best = -np.sort(-exact, axis=1)[:, :20]
    np.testing.assert_allclose(whole.scores, best, atol=1e-12)


def test_what_does_not_fit_is_refused():
    stored = np.eye(4, dtype=np.float32)
    with pytest.raises(InputError, match="one D"):
        nearest(stored, np.ones((1, 3)), 1)
    with pytest.raises(InputError, match="one neighbour"):
        nearest(stored, np.ones((1, 4)), 0)
    with pytest.raises(InputError, match="NaN"):
        nearest(stored, np.full((1, 4), np.nan), 1)
    with pytest.raises(InputError, match="'allowed'"):
        nearest(stored, np.ones((1, 4)), 1, allowed=np.ones(3, bool))
    with pytest.raises(InputError, match="groups"):
        nearest(stored, np.ones((1, 4)), 1, own=np.zeros(1, int))
    with pytest.raises(InputError, match="vector 1 has no direction"):
        unit(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(InputError, match="no direction"):
        unit(np.array([[np.inf, 0.0]]))
