"""Disc, cup, fovea and the side of the eye, from maps whose truth is drawn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from stand_ins import case_of, painted, said_of, unrun

from osler.errors import InputError
from osler.record import Label, Mask, Point
from osler.retina.anatomy import centroid, describe_anatomy, largest_part

SHAPE = (240, 320)
RADIUS = 16  # of the disc, so that a disc diameter is 32 pixels
BUNDLE = unrun(
    "retina-anatomy",
    [{"name": "scores", "activation": "sigmoid", "labels": [{"name": "optic disc"}]}],
    task="segmentation",
)
PHOTO = painted(SHAPE)


def blob(h, w, radius, *, peak=0.95):
    """A round map that falls to a third of its peak at ``radius``."""
    hh, ww = np.mgrid[: SHAPE[0], : SHAPE[1]]
    away = np.hypot(hh - h, ww - w)
    return (peak * np.clip(1 - (2 / 3) * (away / radius) ** 4, 0, 1)).astype(np.float32)


def drawn(h, w, radius):
    hh, ww = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (np.hypot(hh - h, ww - w) <= radius).astype(np.float32) * 0.95


def described(disc=None, fovea=None, cup=None, *, laterality=None, threshold=0.5):
    nothing = np.zeros(SHAPE, np.float32)
    maps = {"optic disc": disc, "optic cup": cup, "fovea": fovea}
    maps = {label: nothing if values is None else values for label, values in maps.items()}
    case = case_of(PHOTO, laterality=laterality)
    describe_anatomy(case, BUNDLE, said_of(PHOTO, maps, threshold=threshold))
    return case


RIGHT = {"disc": drawn(120, 220, RADIUS), "fovea": blob(124, 140, 7)}
LEFT = {"disc": drawn(120, 100, RADIUS), "fovea": blob(124, 180, 7)}


def test_a_right_eye():
    case = described(**RIGHT, cup=drawn(118, 224, 8))
    disc, cup, fovea = case["disc"], case["cup"], case["fovea"]
    assert isinstance(disc, Mask)
    assert disc.flags == ()
    assert abs(disc.mask.sum() - math.pi * RADIUS**2) < 40
    assert disc.probabilities.dtype == np.float16
    assert disc.probabilities.shape == SHAPE
    assert cup.flags == ("pseudo-label",)
    assert cup.evidence == ("disc",)
    assert isinstance(fovea, Point)
    assert fovea.position == pytest.approx((124, 140), abs=0.2)
    assert fovea.probability == pytest.approx(0.95, abs=0.01)
    assert "fovea-implausible" not in fovea.flags
    side = case["laterality"]
    assert isinstance(side, Label)
    assert (side.value, side.meaning, side.flags) == ("R", "right eye", ())
    assert side.probability > 0.9
    assert sum(side.probabilities.values()) == pytest.approx(1)
    assert side.evidence == ("disc", "fovea")


def test_the_mirror_image_is_a_left_eye():
    right, left = described(**RIGHT)["laterality"], described(**LEFT)["laterality"]
    assert (right.value, left.value) == ("R", "L")
    assert left.probability == pytest.approx(right.probability, abs=1e-6)


def test_no_disc_is_an_empty_mask_and_a_flag_and_has_no_cup():
    case = described(fovea=RIGHT["fovea"], cup=drawn(118, 224, 8))
    assert not case["disc"].mask.any()
    assert case["disc"].mask.shape == SHAPE
    assert case["disc"].flags == ("disc-not-found",)
    assert "cup" not in case
    assert "laterality" not in case
    assert case["fovea"].flags == ("pseudo-label",)


def test_a_faint_disc_is_not_believed_whatever_threshold_was_chosen():
    case = described(drawn(120, 220, RADIUS) * 0.4, RIGHT["fovea"], threshold=0.2)
    assert not case["disc"].mask.any()
    assert case["disc"].flags == ("disc-not-found",)
    assert case["disc"].probabilities.max() > 0.3
    assert "cup" not in case


def test_nothing_at_all():
    case = described()
    assert [id for id in case.findings if id != "field"] == ["disc"]


@pytest.mark.parametrize("side", ["R", "L"])
def test_what_the_file_states_is_kept_where_nothing_is_seen(side):
    label = described(laterality=side)["laterality"]
    assert (label.value, label.probability, label.flags) == (side, 1.0, ())
    assert label.source.name == "stated in the file"


def test_the_cup_stays_inside_the_disc():
    case = described(**RIGHT, cup=drawn(120, 230, 20))
    assert case["cup"].mask.any()
    assert not (case["cup"].mask & ~case["disc"].mask).any()


def test_a_disc_without_a_cup_has_an_empty_one():
    assert not described(**RIGHT)["cup"].mask.any()


def test_only_the_largest_disc_counts_and_its_holes_are_filled():
    disc = np.maximum(drawn(120, 220, RADIUS), drawn(60, 60, 9))
    disc[118:122, 219:223] = 0
    found = described(disc, RIGHT["fovea"])["disc"].mask
    assert found[120, 220]
    assert not found[60, 60]


def test_of_two_foveas_the_surer_one_is_taken():
    fovea = np.maximum(blob(124, 140, 7, peak=0.9), blob(60, 230, 14, peak=0.7))
    assert described(RIGHT["disc"], fovea)["fovea"].position == pytest.approx((124, 140), abs=0.5)


def test_a_faint_fovea_is_absent_and_so_is_the_side():
    case = described(RIGHT["disc"], blob(124, 140, 7, peak=0.45))
    assert "fovea" not in case
    assert "laterality" not in case


@pytest.mark.parametrize("column", [220 - 20, 220 - 180])
def test_a_fovea_too_near_or_too_far_is_doubted_and_so_is_the_side(column):
    case = described(RIGHT["disc"], blob(120, column, 7))
    assert "fovea-implausible" in case["fovea"].flags
    assert case["laterality"].value == "R"
    assert case["laterality"].probability <= 0.75
    assert "uncertain" in case["laterality"].flags


def test_a_fovea_straight_below_the_disc_leaves_the_side_open():
    label = described(drawn(80, 160, RADIUS), blob(160, 160, 7))["laterality"]
    assert label.probability == pytest.approx(0.5, abs=0.05)
    assert label.flags == ("uncertain",)


def test_a_clear_contradiction_of_the_file_is_flagged_and_the_file_kept():
    label = described(**RIGHT, laterality="L")["laterality"]
    assert label.value == "L"
    assert label.flags == ("laterality-conflict",)
    assert label.source.name == "stated in the file"
    assert described(**RIGHT, laterality="R")["laterality"].flags == ()


def test_a_doubtful_side_contradicts_nothing():
    label = described(drawn(80, 164, RADIUS), blob(160, 160, 7), laterality="L")["laterality"]
    assert (label.value, label.flags) == ("L", ())


def test_anatomy_is_described_once():
    case = described(**RIGHT)
    with pytest.raises(InputError, match="disc"):
        describe_anatomy(case, BUNDLE, said_of(PHOTO, {
            "optic disc": RIGHT["disc"], "optic cup": RIGHT["disc"], "fovea": RIGHT["fovea"],
        }))  # fmt: skip


masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def parts(mask):
    """The parts of a mask, 4 neighbours, by filling from each pixel."""
    left = {tuple(map(int, at)) for at in np.argwhere(mask)}
    while left:
        todo, part = [left.pop()], set()
        while todo:
            h, w = todo.pop()
            part.add((h, w))
            near = {(h - 1, w), (h + 1, w), (h, w - 1), (h, w + 1)} & left
            left -= near
            todo += near
        yield part


def filled(part, shape):
    """The part with the pixels from which the frame cannot be reached without crossing it."""
    open_ = np.ones((shape[0] + 2, shape[1] + 2), bool)
    for h, w in part:
        open_[h + 1, w + 1] = False
    outside = next(p for p in parts(open_) if (0, 0) in p)
    return {
        (h, w) for h in range(shape[0]) for w in range(shape[1]) if (h + 1, w + 1) not in outside
    }


@settings(max_examples=150, deadline=None)
@given(masks)
def test_the_largest_part_is_the_one_an_oracle_finds(mask):
    found = {tuple(map(int, at)) for at in np.argwhere(largest_part(mask))}
    every = list(parts(mask))
    most = max(map(len, every), default=0)
    assert found in ([filled(p, mask.shape) for p in every if len(p) == most] or [set()])


@settings(max_examples=150, deadline=None)
@given(masks, st.randoms(use_true_random=False))
def test_with_values_the_part_that_holds_the_greatest_is_taken(mask, random):
    order = list(range(mask.size))
    random.shuffle(order)
    values = np.array(order, np.float32).reshape(mask.shape) / mask.size
    found = {tuple(map(int, at)) for at in np.argwhere(largest_part(mask, at=values))}
    every = list(parts(mask))
    best = max(every, key=lambda p: max(values[at] for at in p), default=set())
    assert found == (filled(best, mask.shape) if best else set())


@settings(max_examples=100, deadline=None)
@given(masks.filter(lambda mask: mask.any()), st.integers(0, 2**32 - 1))
def test_centroids_are_what_an_oracle_finds(mask, seed):
    weights = np.random.default_rng(seed).uniform(0.1, 1, mask.shape).astype(np.float32)
    at = np.argwhere(mask)
    assert centroid(mask) == pytest.approx(tuple(at.mean(0)))
    heavy = [float(weights[h, w]) for h, w in at]
    expected = [sum(k * p for k, p in zip(heavy, at[:, a], strict=True)) for a in (0, 1)]
    assert centroid(mask, weights=weights) == pytest.approx(
        tuple(value / sum(heavy) for value in expected), rel=1e-5, abs=1e-5
    )
