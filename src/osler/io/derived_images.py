"""Derived images as NRRD files, which keep values, place, spacing, channels and times."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from osler.io.input_file import MAX_PIXELS, opened
from osler.io.masks import names_in
from osler.record import Case, DerivedImage, Image

FOLDER: Final = "images"


def file_names(case: Case) -> dict[str, str]:
    """Id of each derived image to the name of its file in the case's folder."""
    return names_in(FOLDER, (finding.id for finding in case.of(DerivedImage)), ".nrrd")


def write_images(case: Case, folder: Path) -> None:
    """Write each derived image of a case.

    Raises:
        OutputError: its values or times do not fit the format.
    """
    from osler.io.nrrd_out import write_nrrd

    names = file_names(case)
    if names:
        (folder / FOLDER).mkdir(exist_ok=True)
    for finding in case.of(DerivedImage):
        # the header of a file that it was made from may hold anything of anybody
        write_nrrd(replace(finding.image, header={}), folder / names[finding.id])


def described(image: Image) -> dict[str, Any]:
    """What ``findings.json`` says of an image besides its file."""
    return {
        "name": image.name,
        "modality": image.modality,
        "shape": [image.channel_count, *image.shape],
        "spacing": None if image.spacing is None else list(image.spacing),
        "laterality": image.laterality,
        "acquired": image.acquired.isoformat() if image.acquired else None,
        "flags": list(image.flags),
        "units": image.units,
        "window": None if image.window is None else list(image.window),
    }


def rebuilt(said: Mapping[str, Any], path: Path | None) -> Image:
    """The image again, from what ``described`` gave and its file; blank without one.

    Raises:
        UnreadableError: the file is missing, damaged, or of another shape.
    """
    from osler.errors import UnreadableError
    from osler.io.nrrd import read_nrrd

    shape, spacing, window = tuple(said["shape"]), said["spacing"], said["window"]
    if path is None:
        image = Image(said["name"], np.broadcast_to(np.uint8(0), shape))
    else:
        with opened(path) as file:
            image = read_nrrd(file, "nrrd", max_pixels=MAX_PIXELS)
        if (image.channel_count, *image.shape) != shape:
            raise UnreadableError(f"{path}: not of the shape that was written; write it again")
    return replace(
        image,
        array=image.array,  # at once: the folder may be written anew
        name=said["name"],
        modality=said["modality"],
        spacing=None if spacing is None else tuple(spacing),
        laterality=said["laterality"],
        acquired=None if said["acquired"] is None else datetime.fromisoformat(said["acquired"]),
        flags=tuple(said["flags"]),
        units=said["units"],
        window=None if window is None else (window[0], window[1]),
        header={},
        origin=None,
    )
