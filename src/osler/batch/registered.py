"""What registration leaves beside the findings of a case: the moved image and the displacement."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from osler.batch.predictions import whole
from osler.record import Image, Transform

if TYPE_CHECKING:
    from osler.record import Case, Finding

_DEEP = 3  # axes of a volume


def write_registered(case: "Case", found: "Iterable[Finding]", folder: Path) -> None:
    """Write the files of every transform that bends.

    ``moved`` is the moving image in the grid of the fixed one (NIfTI of volumes, else PNG or TIFF);
    ``displacement.npy`` is what is added to the matrix in ``findings.json``, and of volumes with a
    scale ``displacement.nii.gz`` is the whole way of each voxel in mm along L, P and S, as ITK
    takes it.

    Args:
        case: with both images.
        found: its findings; of several transforms all but the first have their id in their names.
        folder: of the case.

    Raises:
        OutputError: a file cannot be written.
    """
    from osler.io.converting import save
    from osler.io.nifti_field_out import write_field
    from osler.tasks.registration_warp import field_of, warped

    bends = [f for f in found if isinstance(f, Transform) and f.displacement is not None]
    for number, one in enumerate(bends):
        fixed, moving = case[one.item or ""], case[one.target]
        assert isinstance(fixed, Image)
        assert isinstance(moving, Image)
        mark = f"-{one.id}" if number else ""
        flat = "png" if moving.dtype == np.uint8 else "tiff"
        end = "nii.gz" if len(fixed.shape) == _DEEP else flat
        save(warped(moving, one, onto=fixed), folder / f"moved{mark}.{end}")
        with whole(folder / f"displacement{mark}.npy") as file:
            assert one.displacement is not None
            np.save(file, one.displacement, allow_pickle=False)
        if end == "nii.gz" and one.unit == "mm":
            field = field_of(one, fixed=fixed, moving=moving)
            write_field(field, fixed, folder / f"displacement{mark}.nii.gz")
