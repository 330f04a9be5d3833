"""Occlusion, against loops that say the definition aloud."""

import itertools

import numpy as np
import pytest

from osler.errors import InputError, RecipeError
from osler.explain.absent import absent
from osler.explain.occlusion import occlusion, windows


def slow(score, image, gone, window, stride, within=None):
    """The definition, pixel by pixel, one image at a time."""
    shape = image.shape[1:]
    starts = []
    for n, w, s in zip(shape, window, stride, strict=True):
        at = []
        place = 0
        while place + w <= n:
            at.append(place)
            place += s
        if at[-1] + w != n:
            at.append(n - w)
        starts.append(at)
    effects = {pixel: [] for pixel in np.ndindex(*shape)}
    for corner in itertools.product(*starts):
        inside = [
            pixel
            for pixel in np.ndindex(*shape)
            if all(c <= p < c + w for c, p, w in zip(corner, pixel, window, strict=True))
        ]
        if within is not None and not any(within[pixel] for pixel in inside):
            continue
        changed = image.copy()
        for pixel in inside:
            changed[(slice(None), *pixel)] = gone[(slice(None), *pixel)]
        lost = score(image[None])[0] - score(changed[None])[0]
        for pixel in inside:
            effects[pixel].append(lost)
    out = np.zeros(shape)
    for pixel, lost in effects.items():
        if lost and (within is None or within[pixel]):
            out[pixel] = np.mean(lost)
    return out


def curved(seed, shape):
    """A score that is no sum over pixels."""
    weights = np.random.default_rng(seed).normal(size=shape)

    def score(stack):
        return np.array([np.tanh((one * weights).sum()) + one.max() for one in stack])

    return score


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((2, 9, 11), (3, 4), (2, 3)),
        ((1, 5, 6, 7), (2, 3, 3), (2, 2, 1)),
        ((3, 4, 4), (4, 4), (1, 1)),
    ],
)
@pytest.mark.parametrize("batch", [1, 5])
def test_occlusion_is_its_definition(shape, window, stride, batch):
    random = np.random.default_rng(1)
    image = random.normal(size=shape).astype(np.float32)
    gone = random.normal(size=shape).astype(np.float32)
    score = curved(2, shape)
    got = occlusion(score, image, absent=gone, window=window, stride=stride, batch=batch)
    assert got.shape == shape[1:]
    np.testing.assert_allclose(got, slow(score, image, gone, window, stride), atol=1e-5)


def test_what_is_outside_is_neither_asked_nor_coloured():
    image = np.random.default_rng(0).normal(size=(1, 8, 8)).astype(np.float32)
    within = np.zeros((8, 8), bool)
    within[:3, :5] = True
    asked = []

    def score(stack):
        asked.append(len(stack))
        return curved(3, image.shape)(stack)

    gone = np.zeros_like(image)
    got = occlusion(score, image, absent=gone, window=2, stride=2, within=within)
    assert sum(asked) == 1 + 2 * 3
    assert not got[~within].any()
    want = slow(curved(3, image.shape), image, gone, (2, 2), (2, 2), within)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_no_more_than_a_batch_of_copies_exists():
    sizes = []

    def score(stack):
        sizes.append(len(stack))
        return stack.reshape(len(stack), -1).sum(axis=1)

    image = np.ones((1, 12, 12), np.float32)
    occlusion(score, image, absent=0 * image, window=2, stride=1, batch=7)
    assert max(sizes) == 7
    assert sum(sizes) == 1 + 11 * 11


def test_of_a_sum_each_pixel_gets_what_its_windows_hold():
    image = np.arange(36, dtype=np.float32).reshape(1, 6, 6)
    got = occlusion(
        lambda stack: stack.sum(axis=(1, 2, 3)), image, absent=0 * image, window=1, stride=1
    )
    np.testing.assert_allclose(got, image[0])


def test_windows_reach_the_far_edge():
    covered = np.zeros((7, 10), int)
    for place in windows((7, 10), (3, 4), (2, 4)):
        covered[place] += 1
    assert covered.min() >= 1


def test_what_cannot_be_is_refused():
    image = np.zeros((1, 6, 6), np.float32)
    with pytest.raises(InputError, match="wider than the window"):
        occlusion(curved(0, image.shape), image, absent=image, window=2, stride=3)
    with pytest.raises(InputError, match="does not fit 2 axes"):
        occlusion(curved(0, image.shape), image, absent=image, window=(2, 2, 2))
    with pytest.raises(InputError, match="absent has shape"):
        occlusion(curved(0, image.shape), image, absent=image[:, 1:], window=2)
    with pytest.raises(RecipeError, match="blur, mean, zero"):
        absent(image, "grey")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 40, 52), (1, 14, 16, 18)])
def test_absent_is_smooth_keeps_the_mean_and_leaves_the_outside_alone(shape):
    random = np.random.default_rng(4)
    image = random.random(shape).astype(np.float32)
    within = np.zeros(shape[1:], bool)
    within[tuple(slice(2, -3) for _ in shape[1:])] = True
    blurred = absent(image, "blur", within=within)
    assert blurred.shape == shape
    np.testing.assert_array_equal(blurred[:, ~within], image[:, ~within])
    assert blurred[0][within].std() < image[0][within].std() / 3
    assert abs(blurred[0][within].mean() - image[0][within].mean()) < 0.02
    means = absent(image, "mean", within=within)
    np.testing.assert_allclose(means[0][within], image[0][within].mean(), rtol=1e-5)
    assert not absent(image, "zero", within=within)[:, within].any()


def test_the_dark_frame_does_not_bleed_into_the_blur():
    image = np.full((1, 120, 120), 0.6, np.float32)
    hh, ww = np.indices((120, 120)) - 59.5
    within = np.hypot(hh, ww) < 50
    image[0][~within] = 0
    blurred = absent(image, "blur", within=within)
    np.testing.assert_allclose(blurred[0][within], 0.6, atol=0.03)
