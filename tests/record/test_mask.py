import pickle
from dataclasses import replace

import numpy as np
import pytest

from osler.errors import InputError
from osler.record import Code, Deferred, Mask, Source

SOURCE = Source("person", "reader")
VOXELS = np.array([[True, False], [False, True]])


def deferred(shape: tuple[int, ...] = (2, 2)) -> tuple[Mask, list[int]]:
    asked: list[int] = []

    def load() -> np.ndarray:
        asked.append(1)
        return VOXELS.copy()

    held = Deferred(shape, np.dtype(bool), load)
    return Mask(id="m", name="M", source=SOURCE, mask=held), asked


def test_a_mask_stays_where_it_is_until_it_is_asked_for() -> None:
    mask, asked = deferred()
    assert mask.shape == (2, 2)
    assert not mask.fractional
    assert mask.probabilities is None
    assert repr(mask) == "Mask('m', 2 x 2)"
    assert not asked
    assert np.array_equal(mask.mask, VOXELS)
    assert np.array_equal(mask.mask, VOXELS)
    assert len(asked) == 2  # nothing is kept


def test_what_comes_from_a_file_cannot_be_changed_by_accident() -> None:
    mask, _ = deferred()
    with pytest.raises(ValueError, match="read-only"):
        mask.mask[0, 0] = False
    mask.mask = ~VOXELS
    mask.mask[0, 0] = True
    assert mask.mask.tolist() == [[True, True], [True, False]]


def test_a_file_that_gives_another_shape_is_refused() -> None:
    mask, _ = deferred((3, 3))
    with pytest.raises(InputError, match="'m' was announced as"):
        _ = mask.mask


def test_an_array_is_kept_copied_and_sent() -> None:
    anatomy = Code("123037004", "SCT", "Anatomical Structure")
    mask = Mask(
        id="m", name="M", source=SOURCE, mask=VOXELS, category=anatomy,
        probabilities=VOXELS.astype(np.float16),
    )  # fmt: skip
    assert mask.fractional
    for other in (replace(mask, id="n"), pickle.loads(pickle.dumps(mask))):  # noqa: S301
        assert np.array_equal(other.mask, VOXELS)
        assert np.array_equal(other.probabilities, VOXELS)
        assert other.category == anatomy
    with pytest.raises(TypeError, match="mask"):
        Mask(id="m", name="M", source=SOURCE)
