"""Opens DICOM photographs that a test made."""

from pathlib import Path
from typing import Any

import numpy as np
from image_files import (
    put,
)
from numpy.typing import NDArray
from pydicom.pixels.processing import convert_color_space

from osler.io import load
from osler.record import Case, Image


def case_of(folder: Path, data: bytes) -> Case:
    return load(put(folder, "image.dcm", data))


def read(folder: Path, data: bytes) -> Image:
    image = case_of(folder, data).image("photo")
    assert image.array.flags.c_contiguous
    assert image.array.flags.writeable
    return image


def rows_first(image: Image) -> NDArray[Any]:
    return image.array[0] if image.array.shape[0] == 1 else image.array.transpose(1, 2, 0)


def ybr(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return convert_color_space(rgb, "RGB", "YBR_FULL")
