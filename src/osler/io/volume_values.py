"""What the writers of volumes ask of an image's values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import OutputError
from osler.record import Image


def plain_values(image: Image) -> NDArray[Any]:
    """The array in a type of 8 to 64 bits that every volume format has.

    Raises:
        OutputError: the values are complex, of 128 bits, or no numbers.
    """
    array = image.array
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise OutputError(
            f"image '{image.name}' has values of type {array.dtype}, which volume formats do not "
            "hold; convert it to an integer of up to 64 bits or to float32"
        )
    return array


def is_colour(image: Image) -> bool:
    """Whether the channels are sRGB, with or without alpha."""
    if image.dtype != np.uint8 or image.times:
        return False
    plain = image.channel_count == 3 and not image.channels
    return plain or image.channels == ("red", "green", "blue", "alpha")


def even_step(image: Image, format: str) -> float:
    """Seconds from one point in time to the next.

    Raises:
        OutputError: the steps differ, which the format cannot say.
    """
    steps = np.diff(image.times)
    if not len(steps) or steps[0] <= 0 or not np.allclose(steps, steps[0], rtol=1e-4, atol=1e-6):
        raise OutputError(
            f"image '{image.name}' has times at unequal steps, which {format} cannot say; write "
            "one file for each time"
        )
    return float(steps[0])
