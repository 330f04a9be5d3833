"""Classification: probabilities become a label and the set of labels that cannot be excluded."""

from collections.abc import Mapping

import numpy as np

from osler.metrics import conformal_set


def prediction_set(probabilities: Mapping[str, float], quantile: float | None) -> tuple[str, ...]:
    """The labels that cannot be excluded at the level that the quantile was fitted for.

    Args:
        probabilities: label to calibrated probability, summing to 1.
        quantile: the conformal quantile (``osler.metrics.conformal_quantile``); None gives no set.

    Returns:
        The labels in the order given; the likeliest is always among them.
    """
    if quantile is None:
        return ()
    row = np.array([list(probabilities.values())], dtype=np.float64)
    inside = conformal_set(row / row.sum(), quantile=quantile)[0]
    return tuple(label for label, kept in zip(probabilities, inside, strict=True) if kept)
