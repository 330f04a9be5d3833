"""An image to one file: the ordered list of writers of single images, and ``save``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np

from osler.errors import InputError, OutputError
from osler.record import Image, Mask

Write = Callable[[Image, Path], Path]


@dataclass(frozen=True, slots=True)
class Writer:
    """One kind of file that an image is written to.

    Attributes:
        format: its name.
        extensions: what a name must end in, in lower case.
        write: writes it.
        keeps: what comes back from it besides the values: ``"place"`` in the patient,
            ``"spacing"``, ``"times"``, ``"units"``, ``"laterality"``, ``"acquired"``,
            ``"window"``, ``"modality"``, and ``"header"`` for the fields of its own format.
    """

    format: str
    extensions: tuple[str, ...]
    write: Write
    keeps: tuple[str, ...] = ()


def _by(module: str, function: str) -> Write:
    """A writer that is imported when it is first needed."""

    def write(image: Image, path: Path) -> Path:
        writer: Write = getattr(import_module(f"osler.io.{module}"), function)
        return writer(image, path)

    return write


WRITERS: Final[tuple[Writer, ...]] = (
    Writer(
        "nifti",
        (".nii.gz", ".nii"),
        _by("nifti_out", "write_nifti"),
        ("place", "spacing", "times", "header"),
    ),
    Writer(
        "nrrd",
        (".nrrd", ".nhdr"),
        _by("nrrd_out", "write_nrrd"),
        ("place", "spacing", "times", "units", "header"),
    ),
    Writer(
        "metaimage",
        (".mha", ".mhd"),
        _by("metaimage_out", "write_metaimage"),
        ("place", "spacing", "header"),
    ),
    Writer(
        "dicom",
        (".dcm",),
        _by("dicom_secondary", "write_secondary"),
        ("place", "spacing", "units", "laterality", "acquired", "window", "modality"),
    ),
    Writer("png", (".png",), _by("raster_out", "write_png")),
    Writer("tiff", (".tif", ".tiff"), _by("raster_out", "write_tiff"), ("spacing", "times")),
)
"""What an image is written to; the name of the file decides."""


def writer_for(path: str | Path) -> Writer:
    """The writer for a name.

    Raises:
        OutputError: no writer has its extension.
    """
    name = Path(path).name.lower()
    for writer in WRITERS:
        if name.endswith(writer.extensions):
            return writer
    known = ", ".join(extension for writer in WRITERS for extension in writer.extensions)
    raise OutputError(f"'{path}' has no extension that an image is written to; use one of {known}")


def save(image: Image, path: str | Path) -> Path:
    """Write one image to one file, which appears whole or not at all.

    Args:
        image: the image; one that is not loaded is.
        path: its extension decides the format.

    Returns:
        The path.

    Raises:
        OutputError: no such format, or the image does not fit it.
        InputError: the pixels cannot be read from the file that they come from.
    """
    return writer_for(path).write(image, Path(path))


def label_image(masks: Sequence[Mask], image: Image) -> Image:
    """Masks of an image as one label volume in its grid: 0 outside, then 1, 2, ... in order.

    Args:
        masks: at least one, each of the image's shape.
        image: gives place, spacing and laterality.

    Returns:
        ``(1, [D,] H, W)`` in ``uint8`` or ``uint16``; ``header["labels"]`` names the values.

    Raises:
        InputError: there are no masks, or one has another shape.
        OutputError: two masks overlap, which one label volume cannot hold.
    """
    if not masks:
        raise InputError(f"no masks of image '{image.name}' were given to make labels of")
    labels = np.zeros(image.shape, np.uint8 if len(masks) < 256 else np.uint16)
    for value, mask in enumerate(masks, start=1):
        if mask.mask.shape != image.shape:
            raise InputError(
                f"mask '{mask.id}' has shape {mask.mask.shape} and image '{image.name}' "
                f"{image.shape}; give masks of that image"
            )
        taken = labels[mask.mask]
        if taken.any():
            other = masks[int(taken[taken > 0][0]) - 1]
            raise OutputError(
                f"masks '{mask.id}' and '{other.id}' overlap, and a voxel of a label volume has "
                "one value; save them one by one, or as DICOM SEG"
            )
        labels[mask.mask] = value
    names = {value: mask.id for value, mask in enumerate(masks, start=1)}
    return replace(
        image, name="labels", array=labels[None], modality="SEG", units="", channels=(), times=(),
        window=None, origin=None, flags=(), header={"labels": names},
    )  # fmt: skip
