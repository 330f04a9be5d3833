import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from osler.retina.segments import settle


def lines(shape: tuple[int, int] = (120, 160)) -> tuple[np.ndarray, np.ndarray]:
    """Two parallel vessels, 5 pixels wide; the first is artery."""
    vessels = np.zeros(shape, bool)
    vessels[30:35, 10:150] = True
    vessels[80:85, 10:150] = True
    truth = np.zeros(shape, bool)
    truth[30:35] = vessels[30:35]
    return vessels, truth


def test_a_segment_outvotes_its_pixels() -> None:
    vessels, truth = lines()
    rng = np.random.default_rng(0)
    margin = np.where(truth, 0.3, -0.3) + rng.normal(0, 0.5, vessels.shape)
    before = ((margin >= 0) == truth)[vessels].mean()
    after = (settle(vessels, margin.astype(np.float32)) == truth)[vessels].mean()
    assert before < 0.8
    assert after > 0.95


def test_a_piece_without_a_mind_follows_what_it_continues() -> None:
    """At a branching, the arm that the network knows nothing of goes with the straight trunk."""
    vessels = np.zeros((160, 240), bool)
    vessels[78:83, 10:230] = True  # a trunk that runs on
    for step in range(60):  # a branch that leaves half-way at a steep angle
        vessels[20 + step : 24 + step, 116:121] = True
    margin = np.zeros(vessels.shape, np.float32)
    margin[78:83, 10:116] = 0.6  # the trunk is artery before the branching
    margin[20:74, 116:121] = -0.6  # the branch is vein
    said = settle(vessels, margin)
    assert said[78:83, 150:220].mean() > 0.9
    assert said[24:60, 116:121].mean() < 0.1


def test_nothing_outside_the_vessels_and_nothing_from_nothing() -> None:
    vessels, _ = lines()
    said = settle(vessels, np.ones(vessels.shape, np.float32))
    assert not (said & ~vessels).any()
    assert said[vessels].all()
    empty = np.zeros((40, 40), bool)
    assert not settle(empty, np.ones(empty.shape, np.float32)).any()


@settings(max_examples=30, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.integers(0, 9))
def test_any_mask_is_settled(vessels: np.ndarray, seed: int) -> None:
    margin = np.random.default_rng(seed).uniform(-1, 1, vessels.shape).astype(np.float32)
    assert not (settle(vessels, margin) & ~vessels).any()
