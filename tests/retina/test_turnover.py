"""Which lesions came, went and stayed, against a slow count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.retina.turnover import turnover


def pieces(mask):
    """The lesions of a mask as lists of pixels, found by walking."""
    left = {tuple(p) for p in np.argwhere(mask)}
    out = []
    while left:
        room, edge = [], [left.pop()]
        while edge:
            h, w = edge.pop()
            room.append((h, w))
            near = {(h + i, w + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        out.append(room)
    return out


def slow(lesions, others, common, reach, faint, chance):
    """Alone, matched, unsure and outside, one lesion after the other."""
    alone = matched = unsure = outside = 0
    for piece in pieces(lesions):
        if sum(common[p] for p in piece) / len(piece) < 0.5:
            outside += 1
            continue
        others_at = np.argwhere(others)
        away = min((np.hypot(h - i, w - j) for h, w in piece for i, j in others_at), default=np.inf)
        side = int(np.ceil(reach))
        near = max(
            chance[max(0, h - side) : h + side + 1, max(0, w - side) : w + side + 1].max()
            for h, w in piece
        )
        if away <= reach:
            matched += 1
        elif near >= faint:
            unsure += 1
        else:
            alone += 1
    return alone, matched, unsure, outside


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 1.0, 2.5]))
def test_agrees_with_a_slow_count(seed, reach):
    rng = np.random.default_rng(seed)
    before, after = (rng.random((2, 18, 15)) > 0.93).astype(bool)
    common = np.zeros((18, 15), bool)
    common[2:14, 1:12] = True
    chances = tuple(np.where(m, 0.9, 0.3 * rng.random(m.shape)) for m in (before, after))
    said = turnover(before, after, common, reach=reach, faint=0.25, chances=chances)
    came = slow(after, before, common, reach, 0.25, chances[0])
    went = slow(before, after, common, reach, 0.25, chances[1])
    assert (said.came, said.stayed) == came[:2]
    assert said.went == went[0]
    assert said.unsure == came[2] + went[2]
    assert said.outside == came[3] + went[3]
    assert len(pieces(said.new)) == said.came
    assert len(pieces(said.gone)) == said.went


def test_nothing_changes_between_a_mask_and_itself():
    mask = np.zeros((20, 20), bool)
    mask[3:5, 3:5] = mask[10, 12] = True
    said = turnover(mask, mask, np.ones_like(mask), reach=0)
    assert (said.came, said.went, said.stayed, said.unsure) == (0, 0, 2, 0)
    assert said.before == said.after == 5
    assert not said.new.any()


@pytest.mark.parametrize("apart", [2, 3])
def test_reach_decides_what_is_the_same(apart):
    one, other = np.zeros((2, 9, 9), bool)
    one[4, 2], other[4, 2 + apart] = True, True
    said = turnover(one, other, np.ones_like(one), reach=2)
    assert said.stayed == (apart == 2)
    assert said.came == said.went == (apart == 3)
