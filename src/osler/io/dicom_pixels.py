"""The samples of a DICOM frame, as colour ``(3, H, W)`` or grey ``(1, H, W)``.

Source: DICOM PS3.3 C.7.6.3 (image pixel), PS3.5 8.1.1 and 8.2 (encodings).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError
from osler.io.colour import partial_ybr_to_rgb, to_bytes, to_srgb, ybr_to_rgb
from osler.io.dicom_codestream import Codestream
from osler.io.dicom_decoders import colour_of, decode
from osler.io.dicom_frames import Frames
from osler.io.dicom_layout import EXPLICIT_BIG, SHARED_CHROMA, Layout
from osler.io.dicom_palette import Palette
from osler.io.dicom_values import Rescale, apply
from osler.io.hushing import hushed
from osler.record import Deferred
from osler.record.item import Region

_FULL_RANGE_YBR = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT")
_OPEN_FILES = 64


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame and its place in the image.

    Attributes:
        file: number of its file.
        frame: number of the frame in that file.
        channel: ``C`` of a grey plane.
        depth: ``D``.
        rescale: how its values become physical ones.
    """

    file: int
    frame: int
    channel: int
    depth: int
    rescale: Rescale


@dataclass(frozen=True)
class Pixels:
    """Everything that is needed to decode an image later; may be sent to another process.

    Attributes:
        files: where the frames lie.
        layout: how the samples are stored, the same in all files but for their syntax.
        layouts: one a file.
        planes: what to decode to where.
        shape: of the result, ``(C, H, W)`` or ``(C, D, H, W)``.
        dtype: of the result.
        palette: for PALETTE COLOR.
        profile: the ICC profile where there is one.
        invert: whether MONOCHROME1 is turned round.
    """

    files: tuple[Frames, ...]
    layouts: tuple[Layout, ...]
    planes: tuple[Plane, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    palette: Palette | None = None
    profile: bytes = b""
    invert: bool = False

    def deferred(self) -> Deferred:
        """The image whose pixels stay in their files until they are asked for."""
        return Deferred(self.shape, self.dtype, self.load, self.region)

    def load(self) -> NDArray[Any]:
        """Decode everything, in threads.

        Raises:
            InputError: a file is gone, has changed, or is damaged.
        """
        return self.region(tuple(slice(0, size) for size in self.shape[1:]))

    def region(self, slices: Region) -> NDArray[Any]:
        """Decode the frames that a region needs, and cut it out.

        Args:
            slices: along ``([D,] H, W)``, step 1, within the shape.
        """
        depth = slices[0] if len(slices) == 3 else slice(0, 1)
        rows, columns = slices[-2:]
        wanted = [p for p in self.planes if depth.start <= p.depth < depth.stop]
        size = tuple(max(0, s.stop - s.start) for s in (depth, rows, columns))
        try:
            if len(slices) == 3 and self.shape[0] == 3:
                # a film in colour lies as its frames do: turning each round takes as long as
                # decoding it
                out = np.moveaxis(np.empty((*size, 3), self.dtype), -1, 0)
            else:
                out = np.empty((self.shape[0], *size), self.dtype)
        except MemoryError:
            raise self._too_large() from None
        if out.size and wanted:
            whole = size[1:] == self.shape[-2:]
            self._decode(wanted, out, depth.start, None if whole else (rows, columns))
        return out if len(slices) == 3 else out[:, 0]

    def _decode(
        self,
        planes: list[Plane],
        out: NDArray[Any],
        first: int,
        crop: tuple[slice, slice] | None,
    ) -> None:
        by_file: dict[int, list[Plane]] = {}
        for plane in planes:
            by_file.setdefault(plane.file, []).append(plane)

        def run(file: int, some: list[Plane], read: Callable[[int], bytes]) -> None:
            with hushed():  # in the thread that decodes
                for plane in some:
                    self._place(file, plane, read(plane.frame), out, first, crop)

        def one_file(file: int) -> None:
            with self.files[file].reading() as read:
                run(file, by_file[file], read)

        workers = min(len(planes), len(os.sched_getaffinity(0)))
        try:
            if workers == 1:
                for file in by_file:
                    one_file(file)
                return
            with ThreadPoolExecutor(workers) as pool, ExitStack() as opened:
                if len(by_file) > 1:
                    jobs = [pool.submit(one_file, file) for file in by_file]
                else:
                    ((file, some),) = by_file.items()
                    read = opened.enter_context(self.files[file].reading())
                    jobs = [pool.submit(run, file, [plane], read) for plane in some]
                try:
                    for job in jobs:
                        job.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        except OslerError:
            raise
        except MemoryError:
            raise self._too_large() from None
        except OSError as error:
            raise InputError(
                f"'{self.files[0].name}' cannot be read any more ({error.strerror}); check the disk"
            ) from None
        except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged bytes
            raise UnreadableError(
                f"'{self.files[0].name}' starts as dicom but cannot be decoded "
                f"({type(error).__name__}): it is damaged or incomplete; copy it again from its "
                "source or export it again"
            ) from None

    def _too_large(self) -> TooLargeError:
        size = " x ".join(str(n) for n in self.shape)
        return TooLargeError(
            f"'{self.files[0].name}' needs more memory than there is for {size} values; read a "
            "region of it, or read it on a larger machine"
        )

    def _place(
        self,
        file: int,
        plane: Plane,
        data: bytes,
        out: NDArray[Any],
        first: int,
        crop: tuple[slice, slice] | None,
    ) -> None:
        """Decode one frame into its place."""
        layout, name = self.layouts[file], self.files[file].name
        into = None if layout.grey or crop is not None else in_place(out[:, plane.depth - first])
        samples, found = samples_of(name, data, layout, frame=plane.frame, into=into)
        if crop is not None:
            samples = samples[crop]
        if layout.grey:
            grey = stored_values(samples[..., 0], layout, found)
            if self.invert:
                grey = np.subtract(sum(layout.limits), grey, dtype=layout.dtype)
            apply(grey, plane.rescale, out[plane.channel, plane.depth - first])
        else:
            rgb = self._colours(samples, layout, found)
            if rgb is not into:
                out[:, plane.depth - first] = np.moveaxis(rgb, -1, 0)

    def _colours(
        self, samples: NDArray[Any], layout: Layout, found: Codestream | None
    ) -> NDArray[np.uint8]:
        """RGB ``(H, W, 3)`` in sRGB."""
        colour, _ = colour_of(found, layout)
        if self.palette is not None:
            return managed(self.palette.through(stored_values(samples[..., 0], layout, found)), b"")
        if samples.dtype != np.uint8:
            samples = to_bytes(samples & samples.dtype.type(layout.limits[1]), bits=layout.stored)
        elif layout.stored < 8:
            samples = (samples & np.uint8(layout.limits[1])) << np.uint8(8 - layout.stored)
        if colour in _FULL_RANGE_YBR:
            samples = ybr_to_rgb(samples)
        elif colour == "YBR_PARTIAL_422":
            samples = partial_ybr_to_rgb(samples)
        return managed(samples, self.profile)


def in_place(colours: NDArray[Any]) -> NDArray[np.uint8] | None:
    """``(3, H, W)`` as the ``(H, W, 3)`` that a decoder writes to; None where it lies otherwise."""
    place = np.moveaxis(colours, 0, -1)
    whole = place.dtype == np.uint8 and place.shape[-1] == 3 and place.flags.c_contiguous
    return place if whole else None


def managed(samples: NDArray[np.uint8], profile: bytes) -> NDArray[np.uint8]:
    """RGB ``(H, W, 3)`` in sRGB by the object's own ICC profile, where it has another one."""
    if not profile:
        return samples
    return np.asarray(to_srgb(Pillow.fromarray(samples), profile)[0])


def samples_of(
    name: str,
    data: bytes,
    layout: Layout,
    *,
    frame: int,
    into: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[Any], Codestream | None]:
    """Samples ``(H, W, S)`` as they are coded, and the codestream's header where there is one.

    ``into`` is for ``decode``.
    """
    if layout.encapsulated:
        return decode(name, data, layout, into=into)
    return _native(data, layout, frame=frame), None


def _native(data: bytes, layout: Layout, *, frame: int) -> NDArray[Any]:
    rows, columns, samples = layout.rows, layout.columns, layout.samples
    little = layout.syntax != EXPLICIT_BIG
    if layout.allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        skip = rows * columns * frame % 8
        return bits[skip : skip + rows * columns].reshape(rows, columns, 1)
    kind = layout.dtype.newbyteorder("<" if little else ">")
    values: NDArray[Any] = np.frombuffer(data, kind)
    if layout.photometric in SHARED_CHROMA and values.size < rows * columns * samples:
        return _unsubsampled(values[: rows * columns * 2].reshape(rows, columns // 2, 4))
    values = values[: rows * columns * samples]
    if samples == 3 and layout.planar:
        return values.reshape(3, rows, columns).transpose(1, 2, 0)
    return values.reshape(rows, columns, samples)


def _unsubsampled(pairs: NDArray[Any]) -> NDArray[np.uint8]:
    """Pairs that share chroma, ``(H, W / 2, [Y1, Y2, Cb, Cr])``, as pixels ``(H, W, 3)``."""
    height, half, _ = pairs.shape
    whole = np.empty((height, half * 2, 3), np.uint8)
    whole[..., 0] = pairs[..., :2].reshape(height, half * 2)
    whole[..., 1] = pairs[..., 2].repeat(2, axis=1)
    whole[..., 2] = pairs[..., 3].repeat(2, axis=1)
    return whole


def stored_values(samples: NDArray[Any], layout: Layout, found: Codestream | None) -> NDArray[Any]:
    """Grey samples without their unused bits, in the sign that the header says."""
    if layout.real:
        return samples
    size = layout.dtype.itemsize
    unsigned, signed = np.dtype(f"u{size}"), np.dtype(f"i{size}")
    bits, high = layout.stored, layout.high
    if found is not None and not layout.shared:
        # a codestream holds values and no unused bits; its own depth and sign are the true ones
        if found.signed is not None:
            bits = found.bits if found.signed != layout.signed else 8 * size
        elif not layout.signed:
            bits = 8 * size
        high = bits - 1
        samples = samples.astype(unsigned if samples.dtype.kind == "u" else signed, copy=False)
    if bits == 8 * size:
        return samples.astype(layout.dtype, copy=False)
    if samples.dtype.byteorder == ">" or not samples.dtype.isnative:
        samples = samples.astype(samples.dtype.newbyteorder("="))
    if layout.signed:
        left, right = 8 * size - 1 - high, 8 * size - bits
        # the highest stored bit becomes the sign, and the shift back repeats it
        moved: NDArray[Any] = (samples.view(unsigned) << unsigned.type(left)).view(signed)
        moved >>= signed.type(right)
        return moved
    shifted = samples.view(unsigned) >> unsigned.type(high + 1 - bits)
    masked: NDArray[Any] = shifted & unsigned.type((1 << bits) - 1)
    return masked
