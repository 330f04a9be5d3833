"""Whole DICOM objects that are words, drawings or signals; deflated ones inflated within bounds.

1. DICOM PS3.5, A.5: of a deflated object all but the file meta information is one raw deflate
   stream (RFC 1951).
"""

from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from osler.errors import TooLargeError
from osler.io.dicom_frames import inflate
from osler.io.dicom_layout import DEFLATED
from osler.io.input_file import InputFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import Dataset, FileDataset

MOST_BYTES = 512 << 20
"""No object is inflated to more bytes than this."""

_ALWAYS = 16 << 20
_RATIO = 200
"""Words and coordinates deflate to a tenth: up to 16 MiB any ratio passes, beyond only this."""

_HEADER = 1 << 16


def meta_of(file: InputFile) -> tuple["Dataset", int]:
    """The file meta information, and where the data set begins."""
    from pydicom.filereader import read_dataset, read_preamble

    stream = cast(BinaryIO, file.stream)
    stream.seek(0)
    read_preamble(stream, force=True)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    return meta, stream.tell()


def inflated(file: InputFile, start: int, *, limit: int) -> bytes:
    """Up to ``limit`` bytes of the stream that is deflated from ``start`` on."""
    file.stream.seek(start)
    return inflate(iter(lambda: file.stream.read(1 << 16), b""), limit=limit)


def bomb(file: InputFile, limit: int) -> TooLargeError:
    """What to say about a file that inflates beyond all use."""
    return TooLargeError(
        f"'{file.name}' ({file.size:,} bytes) inflates to more than {limit:,} bytes; if you trust "
        "it, convert it with 'dcmconv +te IN OUT'"
    )


def read_whole(file: InputFile) -> "FileDataset":
    """All elements of an object, however it is encoded.

    Raises:
        TooLargeError: it is deflated, and inflates to far more than such objects do.
    """
    import pydicom

    meta, start = meta_of(file)
    if meta.get("TransferSyntaxUID") != DEFLATED:
        file.stream.seek(0)
        return pydicom.dcmread(cast(BinaryIO, file.stream), force=True)
    limit = min(MOST_BYTES, max(_ALWAYS, _RATIO * file.size))
    data = inflated(file, start, limit=limit + 1)
    if len(data) > limit:
        raise bomb(file, limit)
    return _dataset(file, meta, BytesIO(data), None)


def read_start(file: InputFile, last: int) -> "FileDataset":
    """The elements up to the tag ``last``, which must be among the first of the object."""
    from pydicom.filereader import read_partial

    def beyond(tag: Any, _vr: str | None, _length: int) -> bool:
        return bool(tag > last)

    meta, start = meta_of(file)
    if meta.get("TransferSyntaxUID") != DEFLATED:
        file.stream.seek(0)
        return read_partial(cast(BinaryIO, file.stream), stop_when=beyond, force=True)
    return _dataset(file, meta, BytesIO(inflated(file, start, limit=_HEADER)), beyond)


def _dataset(
    file: InputFile,
    meta: "Dataset",
    stream: BytesIO,
    stop_when: "Callable[[Any, str | None, int], bool] | None",
) -> "FileDataset":
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.filereader import read_dataset

    dataset = read_dataset(stream, False, True, stop_when=stop_when)
    return FileDataset(file.name, dataset, b"", FileMetaDataset(meta), False, True)


def read_until(file: InputFile, tag: int, *, most: int) -> tuple["FileDataset", bytes, int, int]:
    """The elements of a deflated object before a tag.

    Returns:
        The elements; as many inflated bytes as they took; where in these the tag begins; and
        where in the file the deflated stream begins.

    Raises:
        TooLargeError: the tag comes after more than ``most`` bytes.
    """
    meta, start = meta_of(file)
    limit = 1 << 20
    while True:
        data = inflated(file, start, limit=limit)
        stream = BytesIO(data)
        dataset = _dataset(file, meta, stream, lambda found, _vr, _length: bool(found >= tag))
        if stream.tell() < len(data) or len(data) < limit:
            return dataset, data, stream.tell(), start
        if limit >= most:
            raise bomb(file, most)
        limit *= 4
