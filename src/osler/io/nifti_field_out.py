"""Displacement fields as NIfTI, as ITK and ANTs keep them.

Five axes ``(x, y, z, 1, 3)`` with the intent code 1007 (vector). Each vector says in millimetres
how far the place of its voxel's centre lies from where it leads, along **L, P and S**: a program
of the ITK family takes it for a transform as it stands. NIfTI's own axes are R, A and S; a program
that reads vectors along those turns the signs of the first two.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import OutputError
from osler.io.atomic_file import replacing
from osler.io.nifti_out import placed_fields, written
from osler.record import Image

_VECTOR: Final = 1007  # NIFTI_INTENT_VECTOR
_FLOAT32: Final = 16
WORDS: Final = b"displacement, mm, LPS"


def write_field(field: NDArray[Any], image: Image, path: str | Path) -> Path:
    """Write a field of vectors on the grid of a volume.

    Args:
        field: ``(3, D, H, W)``, mm along L, P and S.
        image: the volume whose grid it is on.
        path: the file, which appears whole or not at all; ``.nii`` or ``.nii.gz``.

    Returns:
        The path.

    Raises:
        OutputError: the image is no volume, states no place, or the field is of another shape.
    """
    path = Path(path)
    if len(image.shape) != 3 or image.affine is None:
        raise OutputError(f"image '{image.name}' states no place in space for '{path.name}'")
    if field.shape != (3, *image.shape):
        raise OutputError(f"a field of {field.shape} is not on the grid {image.shape} of the image")
    fields = placed_fields(image)
    fields["dim"] = [5, *reversed(image.shape), 1, 3, 1, 1]
    fields["intent_code"], fields["datatype"], fields["bitpix"] = _VECTOR, _FLOAT32, 32
    fields["descrip"] = WORDS
    # of the five axes the first runs fastest
    with replacing(path) as part:
        written(fields, np.ascontiguousarray(field, "<f4"), part, packed=path.suffix == ".gz")
    return path
