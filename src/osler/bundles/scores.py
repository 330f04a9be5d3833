"""From the scores of a graph to calibrated probabilities, as the card says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.bundles.card import Output


def probability(output: Output, scores: NDArray[Any]) -> NDArray[np.float32]:
    r"""Calibrate the scores of one output and apply its activation.

    With temperature :math:`T` and bias :math:`b` of the card (1 and 0 without calibration),
    :math:`z = s / T + b` and then, over the labels,

    - ``"sigmoid"``: :math:`p_l = 1 / (1 + e^{-z_l})`, each label by itself;
    - ``"softmax"``: :math:`p_l = e^{z_l} / \sum_k e^{z_k}`, which sum to 1 (a bias cancels);
    - ``"none"``: :math:`z` itself.

    Args:
        output: the card's description of the output.
        scores: ``(N, L, ...)``, labels on axis 1.

    Returns:
        The same shape, ``float32``, 0 to 1 except for ``"none"``.

    References:
        .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2.
    """
    z = np.asarray(scores, dtype=np.float32)
    fitted = output.calibration
    if fitted is not None and fitted.method != "none":
        z = z / np.float32(fitted.temperature) + np.float32(fitted.bias)
    if output.activation == "sigmoid":
        return _sigmoid(z)
    if output.activation == "softmax":
        raised = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)
    return z


def _sigmoid(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without overflow: exp only ever sees what is not positive."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, small) / (1.0 + small), dtype=np.float32)
