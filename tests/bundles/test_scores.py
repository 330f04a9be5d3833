import math

import numpy as np
import pytest

from osler.bundles import probability
from osler.bundles.card import Calibration, Label, Output

LABELS = [Label(name="a"), Label(name="b")]
SCORES = np.array([[[2.0, -1.0]], [[0.5, 90.0]]], np.float32).reshape(2, 2, 1)


def test_sigmoid_with_platt_is_the_formula() -> None:
    fitted = Calibration(method="platt", temperature=2.0, bias=-0.5)
    out = probability(
        Output(name="o", activation="sigmoid", labels=LABELS, calibration=fitted), SCORES
    )
    for index in np.ndindex(*SCORES.shape):
        expected = 1 / (1 + math.exp(-(SCORES[index] / 2 - 0.5)))
        assert out[index] == pytest.approx(expected, rel=1e-6)
    assert out.dtype == np.float32


def test_softmax_with_temperature_is_the_formula() -> None:
    fitted = Calibration(method="temperature", temperature=4.0)
    out = probability(
        Output(name="o", activation="softmax", labels=LABELS, calibration=fitted), SCORES
    )
    for n in range(2):
        raised = [math.exp(SCORES[n, k, 0] / 4) for k in range(2)]
        np.testing.assert_allclose(out[n, :, 0], np.array(raised) / sum(raised), rtol=1e-5)


def test_features_are_left_alone() -> None:
    np.testing.assert_array_equal(probability(Output(name="o", activation="none"), SCORES), SCORES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_great_scores_do_not_overflow(activation: str) -> None:
    output = Output(name="o", activation=activation, labels=LABELS)  # type: ignore[arg-type]
    out = probability(output, np.array([[1e4, -1e4]], np.float32))
    np.testing.assert_allclose(out, [[1, 0]])
