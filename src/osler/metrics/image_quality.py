"""How like a reference a restored or transferred image is. Both need the range of values stated."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, finite, same_shape


def psnr(
    truth: ArrayLike, image: ArrayLike, *, value_range: float, within: ArrayLike | None = None
) -> float | None:
    r"""Peak signal-to-noise ratio, :math:`10 \log_{10}(R^2 / \text{MSE})` dB [1]_.

    Infinite where the two are equal; None where no pixel counts. Average it over cases as it is,
    but not where one is infinite.

    Args:
        truth: any shape.
        image: the same shape.
        value_range: R, greatest less smallest value that could occur (255, 1, or the window's
            width), the same for all cases; taken from each image it would not be comparable.
        within: the pixels that count; None for all. Empty background flatters.

    Raises:
        InputError: shapes differ, a value is not finite, or ``value_range`` is not above 0.

    References:
        .. [1] Huynh-Thu & Ghanbari, "Scope of validity of PSNR in image/video quality assessment",
           Electronics Letters 44:800-801, 2008.
    """
    one, other = _pair(truth, image, value_range)
    errors = (one - other) ** 2
    if within is not None:
        kept = binary(within, name="within")
        same_shape(truth=one, within=kept)
        errors = errors[kept]
    if not errors.size:
        return None
    mean = float(errors.mean())
    return 10 * math.log10(value_range**2 / mean) if mean else math.inf


def ssim(
    truth: ArrayLike,
    image: ArrayLike,
    *,
    value_range: float,
    sigma: float = 1.5,
    within: ArrayLike | None = None,
) -> float | None:
    r"""Mean structural similarity [1]_, in 2-D and 3-D.

    .. math:: \frac{(2 \mu_x \mu_y + C_1)(2 \sigma_{xy} + C_2)}
              {(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2 + C_2)}

    in a Gaussian window cut at 3.5 sigma (11 pixels wide at 1.5), :math:`C_1 = (0.01 R)^2`,
    :math:`C_2 = (0.03 R)^2`, averaged where the whole window lies inside the image: scikit-image's
    ``gaussian_weights=True, use_sample_covariance=False``. Score the channels of a colour image
    one by one.

    Args:
        truth: ``(H, W)`` or ``(D, H, W)``.
        image: the same shape.
        value_range: as for `psnr`.
        sigma: of the window, pixels.
        within: the pixels whose windows count; None for all.

    Returns:
        -1 to 1, or None where no window lies inside the image, or none counts.

    Raises:
        InputError: shapes differ or do not fit, a value is not finite, or ``value_range`` or
            ``sigma`` is not above 0.

    References:
        .. [1] Wang et al., "Image quality assessment: from error visibility to structural
           similarity", IEEE TIP 13:600-612, 2004.
    """
    from scipy.ndimage import gaussian_filter

    one, other = _pair(truth, image, value_range)
    if one.ndim not in (2, 3) or not sigma > 0:
        raise InputError(f"shape is {one.shape} and 'sigma' {sigma}; expected 2-D or 3-D, above 0")
    reach = int(3.5 * sigma + 0.5)
    if min(one.shape) <= 2 * reach:
        return None

    def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(values, sigma, truncate=3.5), dtype=np.float64)

    mean, other_mean = smooth(one), smooth(other)
    spread = smooth(one * one) - mean * mean
    other_spread = smooth(other * other) - other_mean * other_mean
    shared = smooth(one * other) - mean * other_mean
    small, large = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    likeness = ((2 * mean * other_mean + small) * (2 * shared + large)) / (
        (mean**2 + other_mean**2 + small) * (spread + other_spread + large)
    )
    inside = (slice(reach, -reach),) * one.ndim
    values = likeness[inside]
    if within is not None:
        kept = binary(within, name="within")
        same_shape(truth=one, within=kept)
        values = values[kept[inside]]
    return float(values.mean()) if values.size else None


def _pair(
    truth: ArrayLike, image: ArrayLike, value_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = finite(truth, name="truth"), finite(image, name="image")
    same_shape(truth=one, image=other)
    if not 0 < value_range < math.inf:
        raise InputError(f"'value_range' is {value_range}; expected above 0, such as 255")
    # unsigned differences would wrap
    return one.astype(np.float64), other.astype(np.float64)
