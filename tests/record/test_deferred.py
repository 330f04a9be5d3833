import numpy as np
import pytest

from osler.errors import InputError
from osler.record import Deferred, Image


def deferred(array, *, announced=None, region=False):
    asked = []

    def load():
        asked.append("all")
        return array

    def part(slices):
        asked.append(slices)
        return array[(slice(None), *slices)]

    held = Deferred(announced or array.shape, array.dtype, load, part if region else None)
    return held, asked


def test_pixels_stay_in_their_file_until_they_are_asked_for():
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(1, 2, 3, 4)
    held, asked = deferred(array)
    image = Image("ct", held, "CT")
    assert image.shape == (2, 3, 4)
    assert image.dtype == np.int16
    assert image.channel_count == 1
    assert "not loaded" in repr(image)
    assert asked == []
    assert image.array is array
    assert image.array is array
    assert image.loaded
    assert asked == ["all"]


def test_a_region_is_read_alone_where_the_file_allows_it():
    array = np.arange(12).reshape(1, 3, 4)
    held, asked = deferred(array, region=True)
    image = Image("slide", held, "SM")
    np.testing.assert_array_equal(image.region(slice(1, None), slice(-2, None)), array[:, 1:, 2:])
    assert asked == [(slice(1, 3), slice(2, 4))]
    assert not image.loaded


def test_a_region_of_any_other_image_is_cut_out_of_it():
    array = np.arange(12).reshape(1, 3, 4)
    held, asked = deferred(array)
    np.testing.assert_array_equal(
        Image("photo", held).region(slice(0, 2), slice(1, 3)), array[:, :2, 1:3]
    )
    assert asked == ["all"]


@pytest.mark.parametrize("slices", [(slice(0, 1),), (slice(0, 2, 2), slice(0, 1))])
def test_a_region_takes_one_slice_an_axis(slices):
    with pytest.raises(InputError, match="2 slices of step 1"):
        Image("photo", np.zeros((1, 3, 4))).region(*slices)


def test_a_file_that_gives_other_pixels_than_its_header_announced_is_refused():
    held, _ = deferred(np.zeros((1, 3, 4)), announced=(1, 4, 3))
    with pytest.raises(InputError, match="announced as"):
        _ = Image("photo", held).array
