"""The frames of a DICOM image: its stored values, and back into the syntax they came in."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.tag import Tag
from pydicom.uid import RLELossless

from osler.errors import UnsupportedError

Frame = NDArray[Any]

JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
_JPEG_LOSSLESS: Final = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_JPEG_LS: Final = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_J2K: Final = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_HTJ2K: Final = tuple(f"1.2.840.10008.1.2.4.20{n}" for n in (1, 2, 3))
RLE: Final = "1.2.840.10008.1.2.5"
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
NATIVE: Final = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    _BIG_ENDIAN,
)
SYNTAXES: Final = frozenset(
    (*NATIVE, JPEG_BASELINE, JPEG_EXTENDED, *_JPEG_LOSSLESS, *_JPEG_LS, *_J2K, *_HTJ2K, RLE)
)
"""Transfer syntaxes whose frames can be decoded and coded again."""
_FLOATS: Final = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}
_QUALITY: Final = 95  # of 100, for the lossy JPEG syntaxes


class Frames:
    """The frames of a data set, decoded one at a time.

    Args:
        dataset: with its pixels.
        syntax: the transfer syntax they are in.

    Raises:
        UnsupportedError: frames of this syntax or layout cannot be decoded.
    """

    def __init__(self, dataset: Dataset, syntax: str) -> None:
        self.dataset, self.syntax = dataset, syntax
        self.rows, self.columns = int(dataset.Rows), int(dataset.Columns)
        self.samples = int(dataset.get("SamplesPerPixel") or 1)
        self.count = max(int(dataset.get("NumberOfFrames") or 1), 1)
        self.keyword = next((k for k in ("PixelData", *_FLOATS) if k in dataset), "")
        self.bits = int(dataset.get("BitsAllocated") or 0)
        self.stored = int(dataset.get("BitsStored") or self.bits)
        self.signed = int(dataset.get("PixelRepresentation") or 0) == 1
        self.photometric = str(dataset.get("PhotometricInterpretation") or "")
        self.planar = self.samples > 1 and int(dataset.get("PlanarConfiguration") or 0) == 1
        self._check()
        self._data: bytes = dataset[self.keyword].value
        self._pieces: list[bytes] | None = None

    def _check(self) -> None:
        if self.syntax not in SYNTAXES:
            raise UnsupportedError(
                f"its pixels are in transfer syntax {self.syntax} (a film, perhaps), in which text "
                "cannot be searched; convert it first"
            )
        if self.bits not in (8, 16, 32, 64):
            raise UnsupportedError(f"its pixels have {self.bits} bits (0028,0100)")

    @property
    def native(self) -> bool:
        """Whether the pixels are not compressed."""
        return self.syntax in NATIVE

    @property
    def syntax_keeps_ybr(self) -> bool:
        """Whether a frame comes out in YBR where that is what was stored."""
        return self.native or self.syntax in (RLE, *_JPEG_LS)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame:
        """Frame ``index`` as ``(H, W)`` or ``(H, W, samples)``; JPEG's colour as RGB."""
        return self._native(index) if self.native else self._decoded(index)

    def _dtype(self) -> np.dtype[Any]:
        kind = _FLOATS.get(self.keyword) or f"{'i' if self.signed else 'u'}{self.bits // 8}"
        return np.dtype(kind).newbyteorder(">" if self.syntax == _BIG_ENDIAN else "<")

    def _native(self, index: int) -> Frame:
        dtype = self._dtype()
        count = self.rows * self.columns * self.samples
        if len(self._data) < self.count * count * dtype.itemsize:
            raise UnsupportedError("its pixels are fewer than it states, or subsampled")
        flat = np.frombuffer(self._data, dtype, count, index * count * dtype.itemsize)
        return self._shaped(flat)

    def _shaped(self, flat: Frame) -> Frame:
        if self.samples == 1:
            return flat.reshape(self.rows, self.columns)
        if self.planar:
            return flat.reshape(self.samples, self.rows, self.columns).transpose(1, 2, 0)
        return flat.reshape(self.rows, self.columns, self.samples)

    def _decoded(self, index: int) -> Frame:
        import imagecodecs

        if self.syntax == RLE:
            # pydicom's frames come planar or not as it likes; its own reshaping is asked for
            array, _ = get_decoder(RLELossless).as_array(self.dataset, index=index, raw=True)
            return np.asarray(array)
        if self._pieces is None:
            self._pieces = list(generate_frames(self._data, number_of_frames=self.count))
        data = self._pieces[index]
        if self.syntax in (JPEG_BASELINE, JPEG_EXTENDED, *_JPEG_LOSSLESS):
            colour = self._jpeg_colour()
            frame = imagecodecs.jpeg8_decode(data, **colour)
        elif self.syntax in _JPEG_LS:
            frame = imagecodecs.jpegls_decode(data)
        elif self.syntax in _HTJ2K:
            frame = imagecodecs.htj2k_decode(data)
        else:
            frame = imagecodecs.jpeg2k_decode(data)
        if self.signed and frame.dtype.kind == "u":
            frame = frame.view(frame.dtype.str.replace("u", "i"))
        return np.asarray(frame)

    def _jpeg_colour(self) -> dict[str, Any]:
        if self.samples == 1:
            return {}
        if self.photometric == "RGB":
            return {"colorspace": "RGB", "outcolorspace": "RGB"}
        return {"colorspace": "YCBCR", "outcolorspace": "RGB"}

    def write(self, frames: Iterable[Frame]) -> list[str]:
        """Put frames in the place of those that are there, in the same syntax.

        Returns:
            What a person should know of it.
        """
        element = self.dataset[self.keyword]
        if self.native:
            element.value = b"".join(self._flat(f) for f in frames)
            element.value += b"\0" * (len(element.value) % 2)
            return []
        coded = [self._encoded(frame) for frame in frames]
        if "ExtendedOffsetTable" in self.dataset:
            table = encapsulate_extended(coded)
            element.value = table[0]
            self.dataset.ExtendedOffsetTable, self.dataset.ExtendedOffsetTableLengths = table[1:]
        else:
            element.value = encapsulate(coded)
        self.dataset[Tag(0x7FE00010)].is_undefined_length = True
        return self._lossy()

    def _flat(self, frame: Frame) -> bytes:
        if self.planar:
            frame = frame.transpose(2, 0, 1)
        return np.ascontiguousarray(frame, self._dtype()).tobytes()

    def _encoded(self, frame: Frame) -> bytes:
        import imagecodecs

        frame = np.ascontiguousarray(frame)
        if self.syntax == RLE:
            return bytes(get_encoder(RLELossless).encode(frame, **self._described()))
        if self.syntax in (JPEG_BASELINE, JPEG_EXTENDED):
            return bytes(imagecodecs.jpeg8_encode(frame, _QUALITY, **self._jpeg_options()))
        unsigned = frame.view(frame.dtype.str.replace("i", "u")) if self.signed else frame
        if self.syntax in _JPEG_LOSSLESS:
            colours = {"colorspace": "RGB", "outcolorspace": "RGB"} if self.samples == 3 else {}
            more: dict[str, Any] = dict(colours)
            return bytes(
                imagecodecs.jpeg8_encode(
                    unsigned & ((1 << self.stored) - 1),
                    lossless=True,
                    predictor=1,
                    bitspersample=self.stored,
                    **more,
                )
            )
        if self.syntax in _JPEG_LS:
            return bytes(imagecodecs.jpegls_encode(unsigned))
        if self.syntax in _HTJ2K:
            return bytes(imagecodecs.htj2k_encode(frame, reversible=True))
        return bytes(
            imagecodecs.jpeg2k_encode(
                frame,
                0,
                codecformat="j2k",
                reversible=True,
                bitspersample=self.stored,
                mct=self.photometric.startswith("YBR"),
            )
        )

    def _jpeg_options(self) -> dict[str, Any]:
        more: dict[str, Any] = {"bitspersample": 12} if self.stored > 8 else {}
        if self.samples == 1:
            return more
        if self.photometric == "RGB":
            return more | {"colorspace": "RGB", "outcolorspace": "RGB", "subsampling": "444"}
        subsampling = "422" if self.photometric == "YBR_FULL_422" else "444"
        return more | {"colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": subsampling}

    def _described(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "columns": self.columns,
            "samples_per_pixel": self.samples,
            "bits_allocated": self.bits,
            "bits_stored": self.stored,
            "pixel_representation": int(self.signed),
            "photometric_interpretation": self.photometric,
            "number_of_frames": 1,
            "planar_configuration": 0,
        }

    def _lossy(self) -> list[str]:
        """What was lost by coding frames again."""
        if self.syntax in (JPEG_BASELINE, JPEG_EXTENDED):
            return [
                f"its frames were decoded, blacked out and compressed again with losses (JPEG, "
                f"quality {_QUALITY})"
            ]
        if self.photometric == "YBR_ICT":
            self.dataset.PhotometricInterpretation = "YBR_RCT"
        return ["its frames were decoded, blacked out and compressed again without loss"]
