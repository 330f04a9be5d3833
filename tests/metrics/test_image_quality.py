import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from osler.errors import InputError
from osler.metrics import psnr, ssim


def pair(shape: tuple[int, ...], dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(len(shape))
    one = generator.integers(0, 200, shape)
    return one.astype(dtype), (one + generator.integers(0, 50, shape)).astype(dtype)


@pytest.mark.parametrize("shape", [(20, 24), (13, 14, 15)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_scikit_image_agrees(shape: tuple[int, ...], dtype: type) -> None:
    one, other = pair(shape, dtype)
    assert psnr(one, other, value_range=255) == pytest.approx(
        peak_signal_noise_ratio(one, other, data_range=255)
    )
    theirs = structural_similarity(
        one, other, data_range=255, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(one, other, value_range=255) == pytest.approx(theirs, abs=1e-6)


def test_one_window_by_hand() -> None:
    one, other = (a.astype(float) for a in pair((11, 11)))
    line = [math.exp(-((n - 5) ** 2) / (2 * 1.5**2)) for n in range(11)]
    weights = np.array([[a * b for a in line] for b in line])
    weights /= weights.sum()
    mean, other_mean = (weights * one).sum(), (weights * other).sum()
    spread = (weights * (one - mean) ** 2).sum()
    other_spread = (weights * (other - other_mean) ** 2).sum()
    shared = (weights * (one - mean) * (other - other_mean)).sum()
    c1, c2 = 2.55**2, 7.65**2
    wanted = ((2 * mean * other_mean + c1) * (2 * shared + c2)) / (
        (mean**2 + other_mean**2 + c1) * (spread + other_spread + c2)
    )
    assert ssim(one, other, value_range=255) == pytest.approx(wanted)
    loop = sum((float(a) - float(b)) ** 2 for a, b in zip(one.flat, other.flat, strict=True)) / 121
    assert psnr(one, other, value_range=255) == pytest.approx(10 * math.log10(255**2 / loop))


def test_edges_are_as_defined() -> None:
    one, other = pair((20, 20))
    nothing = np.zeros((20, 20), bool)
    assert psnr(one, one, value_range=255) == math.inf
    assert ssim(one, one, value_range=255) == pytest.approx(1)
    assert psnr(one, other, value_range=255, within=nothing) is None
    assert ssim(one, other, value_range=255, within=nothing) is None
    assert ssim(one[:10], other[:10], value_range=255) is None
    half = nothing.copy()
    half[:, :10] = True
    mixed = np.where(half, one, other)
    assert psnr(one, mixed, value_range=255, within=half) == math.inf
    with pytest.raises(InputError, match="'value_range'"):
        psnr(one, other, value_range=0)
    with pytest.raises(InputError, match="'sigma'"):
        ssim(one, other, value_range=1, sigma=0)
