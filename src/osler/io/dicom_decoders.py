"""One compressed frame to its samples, by transfer syntax; colours as they are in the stream.

imagecodecs decodes (libjpeg-turbo, CharLS, OpenJPEG, OpenJPH); what it may allocate is checked
against the data set before it is called.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from osler.errors import UnreadableError, UnsupportedError
from osler.io.dicom_codestream import Codestream, ends, parse
from osler.io.dicom_layout import DEFLATED_FRAMES, JPEG, RLE, Layout
from osler.io.input_file import MOST_PIXELS_A_JPEG_BYTE

Samples = NDArray[np.generic]

_MOST_RLE = 64
"""Two bytes of PackBits hold at most 128 (PS3.5 G.3.2)."""


def check_stream(name: str, stream: bytes, layout: Layout) -> Codestream | None:
    """Compare a compressed frame with its header, before it is decoded.

    Returns:
        The codestream's header; None for RLE and deflated frames, which have none.

    Raises:
        UnreadableError: the stream is damaged, of another size, or too short for its pixels.
    """
    pixels = layout.rows * layout.columns
    if layout.syntax == DEFLATED_FRAMES:
        return None
    if layout.syntax == RLE:
        if len(stream) < 64 or pixels * layout.samples * layout.dtype.itemsize > (
            len(stream) * _MOST_RLE
        ):
            raise _too_short(name, pixels, len(stream))
        return None
    found = parse(stream)
    if found is None:
        raise UnreadableError(
            f"'{name}' holds a compressed frame that cannot be decoded: it is damaged or of a kind "
            "that is not read; copy it again from its source or export it uncompressed"
        )
    stated = (layout.columns, layout.rows, layout.samples)
    if (found.columns, found.rows, found.components) != stated or found.bits > layout.allocated:
        raise UnreadableError(
            f"'{name}' holds a {found.kind} of {found.columns} x {found.rows} pixels "
            f"({found.components} samples of {found.bits} bits), but its header says "
            f"{layout.columns} x {layout.rows} ({layout.samples} samples of {layout.allocated} "
            "bits); export it again"
        )
    if found.kind == "JPEG" and pixels > len(stream) * MOST_PIXELS_A_JPEG_BYTE:
        raise _too_short(name, pixels, len(stream))
    if not ends(stream):
        # decoders make up what is missing and say nothing
        raise UnreadableError(
            f"'{name}' holds a {found.kind} without its end marker; it is incomplete: copy it "
            "again from its source"
        )
    return found


def _too_short(name: str, pixels: int, length: int) -> UnreadableError:
    return UnreadableError(
        f"'{name}' states {pixels:,} pixels but has only {length:,} bytes; it is incomplete: copy "
        "it again from its source"
    )


def decode(
    name: str, stream: bytes, layout: Layout, *, into: NDArray[np.uint8] | None = None
) -> tuple[Samples, Codestream | None]:
    """The samples of one compressed frame, ``(H, W, S)``, and what the stream said of itself.

    Colours are left as the stream has them, except in a lossy JPEG, which comes out as RGB.

    Args:
        name: of the file, for messages.
        stream: the frame.
        layout: what the header says of its samples.
        into: contiguous ``(H, W, 3)`` that a lossy colour JPEG of 8 bits is decoded into, which is
            then what is returned.

    Raises:
        UnreadableError: the stream is damaged, or not as the header says.
    """
    found = check_stream(name, stream, layout)
    if found is None:
        read = _rle if layout.syntax == RLE else _deflated
        return read(name, stream, layout), None
    try:
        samples = _by_kind(stream, found, layout, into)
    except (MemoryError, UnsupportedError):
        raise
    except Exception as error:  # noqa: BLE001 - codecs raise anything on damaged bytes
        raise UnreadableError(
            f"'{name}' holds a {found.kind} that cannot be decoded ({type(error).__name__}): it is "
            "damaged or incomplete; copy it again from its source or export it again"
        ) from None
    shape = (layout.rows, layout.columns, layout.samples)
    if samples.ndim == 3 and samples.shape != shape and samples.shape[0] == layout.samples:
        samples = np.moveaxis(samples, 0, -1)
    if samples.size != layout.rows * layout.columns * layout.samples:
        raise UnreadableError(
            f"'{name}' holds a {found.kind} whose frame is not of the size that it states; export "
            "it again"
        )
    return samples if samples is into else samples.reshape(shape), found


def _by_kind(
    stream: bytes, found: Codestream, layout: Layout, into: NDArray[np.uint8] | None
) -> Samples:
    import imagecodecs

    samples: Samples
    if found.kind == "JPEG-LS":
        samples = imagecodecs.jpegls_decode(stream)
    elif found.kind == "JPEG 2000":
        if found.high_throughput:
            samples = imagecodecs.htj2k_decode(stream)
        else:
            samples = imagecodecs.jpeg2k_decode(stream)
    elif found.components == 1:
        samples = imagecodecs.jpeg8_decode(stream)
    elif found.lossless:
        # what was coded is what the header names: no decoder's habit may turn it
        samples = imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
    else:
        samples = imagecodecs.jpeg8_decode(
            stream,
            colorspace=jpeg_colour(found, layout),
            outcolorspace="RGB",
            out=into if found.bits == 8 else None,
        )
    return samples


def jpeg_colour(found: Codestream, layout: Layout) -> str:
    """The colour model of a lossy JPEG: the stream's if it is certain, else the header's."""
    if not found.certain and layout.photometric == "RGB":
        return "RGB"
    return "RGB" if found.colour == "RGB" else "YCBCR"


def colour_of(found: Codestream | None, layout: Layout) -> tuple[str, bool]:
    """The colour model of decoded samples, and whether stream and header disagree."""
    photometric = layout.photometric
    if found is None or layout.samples == 1:
        return photometric, False
    if found.kind == "JPEG" and not found.lossless and layout.syntax in JPEG:
        stated = "RGB" if photometric == "RGB" else "YBR"
        return "RGB", found.certain and found.colour != stated
    if found.kind == "JPEG 2000" and photometric in ("YBR_RCT", "YBR_ICT"):
        # the decoder turns the transform round; without one the name must be wrong
        return "RGB", found.transformed is False
    return photometric, False


def _rle(name: str, stream: bytes, layout: Layout) -> Samples:
    import imagecodecs

    kind = np.dtype(f"<u{layout.dtype.itemsize}")
    pixels = layout.rows * layout.columns
    out = np.zeros(pixels * layout.samples * kind.itemsize, np.uint8)
    try:
        decoded = imagecodecs.dicomrle_decode(stream, kind, out=out.data)
    except Exception as error:  # noqa: BLE001 - codecs raise anything on damaged bytes
        raise UnreadableError(
            f"'{name}' holds run lengths that cannot be decoded ({type(error).__name__}): it is "
            "damaged or incomplete; copy it again from its source"
        ) from None
    if len(decoded) != out.size:
        raise _too_short(name, pixels, len(stream))
    whole: Samples = out.view(kind).reshape(layout.samples, layout.rows, layout.columns)
    return np.moveaxis(whole, 0, -1)


def _deflated(name: str, stream: bytes, layout: Layout) -> Samples:
    length = (layout.frame_bits + 7) // 8
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, length)
    if len(data) < length:
        raise _too_short(name, layout.rows * layout.columns, len(stream))
    kind = np.dtype(f"<u{layout.dtype.itemsize}")
    if layout.allocated == 1:
        values: Samples = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        values = values[: layout.rows * layout.columns]
    else:
        values = np.frombuffer(data, kind)
    if layout.samples == 3 and layout.planar:
        return np.moveaxis(values.reshape(3, layout.rows, layout.columns), 0, -1)
    return values.reshape(layout.rows, layout.columns, layout.samples)
