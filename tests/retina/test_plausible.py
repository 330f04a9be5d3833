import numpy as np
import pytest

from osler.retina.plausible import doubts, is_grey, needs_anatomy, saturation
from osler.retina.predict import Prediction
from osler.tasks.canvas import plan
from osler.tasks.field import Field

SIDE = 200
ROUND = Field((99.5, 99.5), 95.0, (4, 4, 196, 196), (SIDE, SIDE), circular=True)
SQUARE = Field((99.5, 99.5), 100.0, (0, 0, SIDE, SIDE), (SIDE, SIDE), circular=False)


def picture(red: int, green: int, blue: int) -> np.ndarray:
    return np.stack([np.full((SIDE, SIDE), value, np.uint8) for value in (red, green, blue)])


def anatomy(diameter: int) -> Prediction:
    hh, ww = np.ogrid[:SIDE, :SIDE]
    disc = (hh - 100) ** 2 + (ww - 60) ** 2 <= (diameter / 2) ** 2
    return Prediction(("optic disc",), plan(ROUND, diameter=64), {}, {"optic disc": disc})


RETINA, GREY, SKY = picture(190, 90, 40), picture(120, 120, 120), picture(60, 120, 220)


def test_saturation_is_that_of_the_definition() -> None:
    assert saturation(RETINA, ROUND) == pytest.approx((190 - 40) / 191, abs=1e-3)
    assert saturation(GREY, ROUND) == 0
    assert is_grey(GREY, ROUND)
    assert not is_grey(RETINA, ROUND)


def test_a_retina_in_colour_and_in_a_round_field_is_not_doubted() -> None:
    assert doubts(RETINA, ROUND, likely=0.6) == ()


@pytest.mark.parametrize("pixels", [SKY, picture(130, 116, 108)])
def test_colours_that_no_retina_has(pixels: np.ndarray) -> None:
    assert doubts(pixels, ROUND, likely=1.0) == ("colour-implausible",)


def test_without_a_round_field_it_takes_certainty_or_a_disc() -> None:
    assert needs_anatomy(RETINA, SQUARE)
    assert doubts(RETINA, SQUARE, likely=0.99) == ()
    assert doubts(RETINA, SQUARE, likely=0.8, anatomy=anatomy(30)) == ()
    assert doubts(RETINA, SQUARE, likely=0.8, anatomy=anatomy(4)) == ("no-circle", "disc-not-found")
    assert doubts(RETINA, SQUARE, likely=0.8, anatomy=anatomy(150)) != ()


def test_without_colour_it_takes_everything() -> None:
    assert needs_anatomy(GREY, ROUND)
    assert doubts(GREY, ROUND, likely=0.95, anatomy=anatomy(30)) == ()
    assert doubts(GREY, ROUND, likely=0.8, anatomy=anatomy(30)) == ("uncertain",)
    assert doubts(GREY, SQUARE, likely=0.95, anatomy=anatomy(30)) == ("no-circle",)
    assert doubts(GREY, ROUND, likely=0.95, anatomy=anatomy(4)) == ("disc-not-found",)
    assert doubts(GREY, ROUND, likely=0.95) == ("disc-not-found",)
