"""MedMNIST archives: ``{train,val,test}_{images,labels}`` in one ``.npz``.

Pictures are written as PNG beside the table, volumes as NIfTI, value for value. An archive is not
believed: no pickle is opened, and what a header states is held against the bytes before memory is
taken.

Source: Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.data.cohort import Row
from osler.data.importing import UNKNOWN_PATIENTS, Imported, Options
from osler.errors import TooLargeError, UnreadableError, UnsupportedError

LIMIT: Final = 8 << 30
"""Bytes of one array beyond which an archive is refused."""

_SPLITS = ("train", "val", "test")


def accepts(source: Path) -> bool:
    """Whether it is an archive with the arrays of MedMNIST."""
    if not source.is_file() or not zipfile.is_zipfile(source):
        return False
    try:
        with zipfile.ZipFile(source) as archive:
            return any(f"{split}_images.npy" in archive.namelist() for split in _SPLITS)
    except (zipfile.BadZipFile, OSError):
        return False


def read(source: Path, options: Options) -> Imported:
    """A case for each picture.

    Raises:
        UnreadableError: the archive is damaged, or pictures and labels do not fit together.
        UnsupportedError: its values are no 8-bit pictures or volumes.
        TooLargeError: an array is larger than 8 GiB.
    """
    rows: list[Row] = []
    try:
        with zipfile.ZipFile(source) as archive:
            for split in _SPLITS:
                if f"{split}_images.npy" in archive.namelist():
                    rows += _split(archive, split, source, options)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise UnreadableError(
            f"'{source}' is a damaged archive ({type(error).__name__}); copy it again"
        ) from None
    return Imported(options.files, rows, [UNKNOWN_PATIENTS])


def _split(archive: zipfile.ZipFile, split: str, source: Path, options: Options) -> Iterator[Row]:
    images = read_member(archive, f"{split}_images.npy", source)
    labels = read_member(archive, f"{split}_labels.npy", source)
    if images.ndim not in (3, 4) or images.dtype != np.uint8:
        raise UnsupportedError(
            f"'{source}': {split}_images is {images.dtype} of shape {images.shape}; expected 8-bit "
            "pictures (N, H, W), (N, H, W, 3) or volumes (N, D, H, W)"
        )
    volumes = images.ndim == 4 and images.shape[-1] != 3
    labels = labels.reshape(len(labels), -1) if labels.ndim else labels
    if len(labels) != len(images) or labels.dtype.kind not in "iu":
        raise UnreadableError(
            f"'{source}': {len(images)} pictures but labels of shape {labels.shape} "
            f"({labels.dtype}) in {split}"
        )
    folder = options.files / split
    folder.mkdir(parents=True, exist_ok=True)
    names = ["class"] if labels.shape[1] == 1 else [f"class-{k}" for k in range(labels.shape[1])]
    for k, (image, values) in enumerate(zip(images, labels, strict=True)):
        file = _volume(image, folder / f"{k:06d}.nii.gz") if volumes else _picture(image, folder, k)
        case = f"{split}-{k:06d}"
        found = {name: str(value) for name, value in zip(names, values, strict=True)}
        yield Row(case, case, None, {"volume" if volumes else "photo": file}, found, split)


def _picture(image: NDArray[np.uint8], folder: Path, number: int) -> Path:
    from PIL import Image

    file = folder / f"{number:06d}.png"
    Image.fromarray(image).save(file)
    return file


def _volume(array: NDArray[np.uint8], file: Path) -> Path:
    from osler.io.nifti_out import write_nifti
    from osler.record import Image

    # the archive says neither spacing nor orientation, so the file says neither
    return write_nifti(Image("volume", np.ascontiguousarray(array)[None]), file)


def read_member(archive: zipfile.ZipFile, name: str, source: Path) -> NDArray[Any]:
    """One array of an archive, after its header was held against the bytes that are there.

    Raises:
        UnreadableError: it is missing, damaged, or holds Python objects.
        TooLargeError: it is larger than ``LIMIT``.
    """
    try:
        info = archive.getinfo(name)
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = header(stream)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size > LIMIT:
            raise TooLargeError(f"'{source}': {name} states {size:,} bytes; the limit is {LIMIT:,}")
        if dtype.hasobject or size > info.file_size:
            raise UnreadableError(
                f"'{source}': {name} holds objects or fewer bytes than it states; export it again"
            )
        with archive.open(info) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    except (KeyError, ValueError, EOFError):
        raise UnreadableError(f"'{source}': {name} is missing or damaged") from None
    return array
