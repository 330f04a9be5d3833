"""From a photograph to a canvas, and from probabilities to masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from osler.tasks.canvas import plan
from osler.tasks.canvas_masks import Rule, decode, encode, expected_dice_threshold
from osler.tasks.field import Field

SIDE = 64


def whole(side=SIDE) -> Field:
    """A square that is all field, so that the canvas is the photograph."""
    return Field(((side - 1) / 2,) * 2, side / 2, (0, 0, side, side), (side, side), circular=False)


def same_size():
    canvas = plan(whole(), diameter=SIDE)
    assert canvas.size == canvas.content == (SIDE, SIDE)
    return canvas


def squares(*places, level=0.9):
    """Probabilities ``(1, SIDE, SIDE)`` with squares ``(h, w, side)`` on 0.05."""
    out = np.full((1, SIDE, SIDE), 0.05, np.float32)
    for h, w, side in places:
        out[0, h : h + side, w : w + side] = level
    return out


def test_a_photograph_is_encoded_in_0_to_1_with_its_field():
    image = np.full((3, SIDE, SIDE), 255, np.uint8)
    array, canvas = encode(image, whole(), diameter=100)
    assert array.shape == (1, 4, *canvas.size)
    assert array.dtype == np.float32
    assert array.min() == 0.0
    assert array.max() == 1.0
    assert array[0, 3].sum() == canvas.content[0] * canvas.content[1]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_threshold_belongs_to_the_mask(threshold):
    ramp = np.broadcast_to(np.linspace(0, 1, SIDE, dtype=np.float32), (1, SIDE, SIDE))
    home, (mask,) = decode(ramp, same_size(), [Rule(threshold)])
    assert (mask == (home[0] >= threshold)).all()
    assert mask.dtype == bool


def test_parts_below_the_least_area_are_left_out():
    values = squares((4, 4, 2), (20, 20, 4), (40, 40, 10))
    home, (mask,) = decode(values, same_size(), [Rule(0.5, min_area=16)])
    assert not mask[4:6, 4:6].any()
    assert mask[20:24, 20:24].all()
    assert mask[40:50, 40:50].all()
    assert mask.sum() == 16 + 100
    assert home[0, 4, 4] == pytest.approx(0.9)  # the probabilities themselves are kept


def test_parts_joined_at_a_corner_are_one():
    _, (mask,) = decode(squares((8, 8, 3), (11, 11, 3)), same_size(), [Rule(0.5, min_area=18)])
    assert mask.sum() == 18


def test_least_area_counts_pixels_of_the_canvas():
    canvas = plan(whole(256), diameter=SIDE)  # four photograph pixels a canvas pixel
    _, (mask,) = decode(squares((4, 4, 2), (30, 30, 8)), canvas, [Rule(0.5, min_area=16)])
    assert mask.shape == (256, 256)
    assert not mask[:60, :60].any()
    assert mask[124:148, 124:148].all()


def test_labels_that_exclude_each_other_share_no_pixel():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(3, SIDE, SIDE)).astype(np.float32)
    share = np.exp(scores) / np.exp(scores).sum(axis=0)
    home, masks = decode(share[1:], same_size(), [Rule(0.5), Rule(0.9)], exclusive=True)
    assert not (masks[0] & masks[1]).any()
    together = home.sum(axis=0) >= 0.5  # the first rule speaks for all
    assert ((masks[0] | masks[1]) == together).all()
    assert (masks[0] == (together & (home[0] >= home[1]))).all()


def test_labels_that_may_overlap_do():
    values = np.concatenate([squares((10, 10, 20)), squares((15, 15, 20))])
    _, (first, second) = decode(values, same_size(), [Rule(0.5), Rule(0.5)])
    assert (first & second).sum() == 15 * 15


def test_too_few_rules_are_refused():
    with pytest.raises(ValueError, match="zip"):
        decode(np.zeros((2, SIDE, SIDE), np.float32), same_size(), [Rule(0.5)])


def slow_expected_dice(probability, threshold):
    chosen = probability >= threshold
    return 2 * probability[chosen].sum() / max(chosen.sum() + probability.sum(), 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    probability=hnp.arrays(
        np.float32, (12, 12), elements=st.floats(0, 1, width=32, allow_subnormal=False)
    ),
    power=st.sampled_from([1, 3, 8]),
)
def test_the_chosen_threshold_has_the_greatest_expected_dice(probability, power):
    probability = probability**power
    chosen = expected_dice_threshold(probability)
    assert 0.15 <= chosen <= 0.75
    within = [k / 256 for k in range(256) if 0.15 <= k / 256 <= 0.75]
    best = max(slow_expected_dice(probability, t) for t in within)
    assert slow_expected_dice(probability, chosen) >= best - 1e-4


def test_no_signal_gives_a_threshold_all_the_same():
    assert 0.15 <= expected_dice_threshold(np.zeros((8, 8), np.float32)) <= 0.75
    assert 0.15 <= expected_dice_threshold(np.ones((8, 8), np.float32)) <= 0.75


def test_a_timid_network_gets_a_lower_threshold():
    bold, timid = squares((10, 10, 30), level=0.95), squares((10, 10, 30), level=0.35)
    _, (mask,) = decode(timid, same_size(), [Rule(None)])
    assert mask.sum() == 900
    assert expected_dice_threshold(timid) < expected_dice_threshold(bold)


def test_a_thin_structure_keeps_its_finest_branches_on_a_coarse_photograph():
    canvas = plan(whole(32), diameter=64)
    line = np.full((2, *canvas.size), 0.05, np.float32)
    line[:, 20] = 0.6  # half a pixel of the photograph
    _, (thin, broad) = decode(line, canvas, [Rule(0.5, thin=True), Rule(0.5)])
    assert thin.sum() == 32
    assert thin[10].all()
    assert not broad.any()


def test_of_two_round_bright_parts_the_disc_is_where_vessels_enter():
    canvas = plan(whole(128), diameter=128)
    probability = np.zeros((1, *canvas.size), np.float32)
    hh, ww = np.indices(canvas.size)
    left, right = ((hh - 64) ** 2 + (ww - at) ** 2 <= 144 for at in (32, 96))
    probability[0, left | right] = 0.9
    probability[0, 52:77:6, 90:110] = 0  # notches: the disc is less of an ellipse
    picture = np.full((4, *canvas.size), 0.6, np.float32)
    picture[1, :, 95:98] = 0.3  # vessels through the right one
    picture[1, 40:42, 60:128] = 0.3
    rule = [Rule(0.5, single=True)]
    _, (by_shape,) = decode(probability, canvas, rule)
    _, (by_vessels,) = decode(probability, canvas, rule, picture=picture)
    assert by_shape[64, 32]
    assert not by_shape[:, 64:].any()
    assert by_vessels[66, 96]
    assert not by_vessels[:, :64].any()
