"""Deletion, insertion and the randomisation test, against what they must be."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from osler.errors import InputError
from osler.explain.alike import likeness
from osler.explain.faithfulness import faithfulness


def linear(weights):
    return lambda stack: (stack * weights).sum(axis=tuple(range(1, stack.ndim)))


def slow_area(score, image, gone, heat, steps):
    """Petsiuk's deletion, pixel by pixel, for a map without ties."""
    places = sorted(np.ndindex(*heat.shape), key=lambda p: -heat[p])
    shown = image.copy()
    scores, shares, done = [score(shown[None])[0]], [0.0], 0
    for step in range(1, steps + 1):
        until = round(step * len(places) / steps)
        for place in places[done:until]:
            shown[(slice(None), *place)] = gone[(slice(None), *place)]
        done = until
        scores.append(score(shown[None])[0])
        shares.append(done / len(places))
    area = 0.0
    for k in range(steps):
        area += (shares[k + 1] - shares[k]) * (scores[k + 1] + scores[k]) / 2
    return area, scores


@pytest.mark.parametrize("shape", [(2, 7, 9), (1, 4, 5, 6)])
def test_deletion_and_insertion_are_their_definition(shape):
    random = np.random.default_rng(0)
    image, gone = random.normal(size=(2, *shape)).astype(np.float32)
    heat = random.normal(size=shape[1:])
    weights = random.normal(size=shape)

    def score(stack):
        return np.tanh(linear(weights)(stack) / 5)

    said = faithfulness(score, image, heat, absent=gone, steps=6, orders=1, batch=4)
    area, scores = slow_area(score, image, gone, heat, 6)
    assert said.deletion.area == pytest.approx(area, abs=1e-5)
    np.testing.assert_allclose(said.deletion.scores, scores, atol=1e-5)
    area, scores = slow_area(score, gone, image, heat, 6)
    assert said.insertion.area == pytest.approx(area, abs=1e-5)
    np.testing.assert_allclose(said.insertion.scores, scores, atol=1e-5)


def test_the_true_map_of_a_sum_beats_random_orders_and_its_contrary_loses():
    random = np.random.default_rng(1)
    image = random.random((1, 16, 16)).astype(np.float32)
    weights = random.random((1, 16, 16)) ** 4
    heat = (weights * image)[0]
    gone = np.zeros_like(image)
    good = faithfulness(linear(weights), image, heat, absent=gone, orders=5)
    assert good.better_than_random
    bad = faithfulness(linear(weights), image, -heat, absent=gone, orders=5)
    assert bad.deletion_gain < 0
    assert bad.insertion_gain < 0
    assert good.deletion.scores[0] == pytest.approx(heat.sum(), rel=1e-5)
    assert good.deletion.scores[-1] == pytest.approx(0, abs=1e-5)


def test_no_order_is_better_for_a_sum_than_its_own():
    """Deletion of a sum falls fastest where the greatest terms go first: a sorted oracle."""
    random = np.random.default_rng(5)
    image = random.random((1, 6, 6)).astype(np.float32)
    weights = random.random((1, 6, 6))
    terms = np.sort((weights * image).ravel())[::-1]
    left = np.concatenate([[terms.sum()], terms.sum() - np.cumsum(terms)])
    best = np.trapezoid(left, np.linspace(0, 1, 37))
    said = faithfulness(
        linear(weights), image, (weights * image)[0], absent=0 * image, steps=36, orders=4
    )
    assert said.deletion.area == pytest.approx(best, rel=1e-5)
    assert said.random_deletion.area > best


def test_a_constant_map_is_a_random_order():
    image = np.random.default_rng(2).random((1, 10, 10)).astype(np.float32)
    said = [
        faithfulness(
            linear(image), image, np.zeros((10, 10)), absent=0 * image, orders=1, seed=seed
        )
        for seed in range(20)
    ]
    gains = [one.deletion_gain for one in said]
    assert min(gains) < 0 < max(gains)


def test_parts_go_together_and_the_outside_stays():
    image = np.ones((1, 7, 10), np.float32)
    within = np.zeros((7, 10), bool)
    within[:, :9] = True
    seen = []

    def score(stack):
        seen.extend(stack.copy())
        return stack.sum(axis=(1, 2, 3))

    said = faithfulness(
        score, image, np.random.default_rng(0).random((7, 10)), absent=0 * image, side=(3, 4),
        steps=50, orders=1, within=within,
    )  # fmt: skip
    assert said.side == (3, 4)
    assert len(said.deletion.shares) == 1 + 3 * 3
    for one in seen:
        assert (one[0, :, 9] == 1).all()
        assert one[0, :3, :4].std() == 0


def test_maps_that_do_not_fit_are_refused():
    image = np.zeros((1, 4, 4), np.float32)
    with pytest.raises(InputError, match="on one grid"):
        faithfulness(linear(image), image, np.zeros((4, 5)), absent=image)
    with pytest.raises(InputError, match="NaN"):
        faithfulness(linear(image), image, np.full((4, 4), np.nan), absent=image)
    with pytest.raises(InputError, match="nothing to take away"):
        faithfulness(
            linear(image), image, np.zeros((4, 4)), absent=image, within=np.zeros((4, 4), bool)
        )


def test_likeness_is_what_scipy_and_scikit_image_say():
    random = np.random.default_rng(3)
    one = random.normal(size=(20, 24))
    other = np.round(one + random.normal(size=one.shape), 1)  # with ties
    said = likeness(one, other, stage="head")
    assert said.stage == "head"
    assert said.rank == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    sizes = spearmanr(abs(one).ravel(), abs(other).ravel()).statistic
    assert said.rank_of_size == pytest.approx(sizes)
    scaled = [(m - m.min()) / (m.max() - m.min()) for m in (one, other)]
    want = structural_similarity(
        *scaled, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert said.ssim == pytest.approx(want, abs=1e-3)
    assert said.alike
    assert not likeness(one, -one).alike


def test_a_constant_map_is_like_nothing_and_a_small_one_has_no_ssim():
    said = likeness(np.zeros((5, 5)), np.random.default_rng(0).random((5, 5)))
    assert said.rank is None
    assert said.ssim is None
    assert not said.alike
