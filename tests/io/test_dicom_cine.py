"""Films in DICOM: their frames, their times, and where their colours are decoded to."""

from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_stack import (
    as_bytes,
    cine,
    film,
    read,
)
from image_files import swapped_profile
from PIL import Image as Pillow
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import JPEGBaseline8Bit

from osler.errors import UnreadableError
from osler.io import load
from osler.io.colour import to_srgb
from osler.io.dicom_decoders import decode
from osler.io.dicom_layout import Layout
from osler.io.dicom_pixels import in_place
from osler.record import Image


def test_a_cine(tmp_path: Path) -> None:
    ds = cine(film())
    found = read(tmp_path, ds)
    assert (found.name, found.shape, found.loaded) == ("us", (5, 24, 32), False)
    np.testing.assert_allclose(found.times, [0, 0.04, 0.08, 0.12, 0.16])
    independent = pydicom.pixels.pixel_array(BytesIO(as_bytes(ds))).astype(int)
    assert np.abs(np.moveaxis(found.array, 0, -1) - independent).max() <= 2
    alone = read(tmp_path, ds).region(slice(3, 4), slice(0, 24), slice(0, 32))
    np.testing.assert_array_equal(alone, found.array[:, 3:4])


def test_frames_are_decoded_where_they_stay(tmp_path: Path) -> None:
    ds = cine(film(3))
    streams = list(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=3))
    found = read(tmp_path, ds)
    alone = [imagecodecs.jpeg8_decode(stream) for stream in streams]
    np.testing.assert_array_equal(np.moveaxis(found.array, 0, -1), alone)
    # a part is cut from frames that are decoded apart
    part = found.region(slice(1, 3), slice(4, 9), slice(0, 32))
    np.testing.assert_array_equal(part, found.array[:, 1:3, 4:9])
    whole = np.zeros((2, *alone[0].shape), np.uint8)
    place = in_place(np.moveaxis(whole, -1, 0)[:, 1])
    assert place is not None
    layout = Layout(24, 32, 3, 8, 8, 7, False, "YBR_FULL_422", False, JPEGBaseline8Bit, 3)
    samples, _ = decode("file", streams[2], layout, into=place)
    assert samples is place
    np.testing.assert_array_equal(whole[1], alone[2])
    assert not whole[0].any()


@pytest.mark.parametrize("kind", ["of one colour after the other", "grey", "deep"])
def test_what_no_decoder_can_write_to(kind: str) -> None:
    shape = {"grey": (1, 24, 32)}.get(kind, (3, 24, 32))
    assert in_place(np.zeros(shape, np.uint16 if kind == "deep" else np.uint8)) is None


def test_a_film_with_a_profile_of_its_own(tmp_path: Path) -> None:
    plain, profiled = (
        read(tmp_path, cine(film(2), **elements)).array
        for elements in ({}, {"ICCProfile": swapped_profile()})
    )
    for frame, expected in zip(plain.swapaxes(0, 1), profiled.swapaxes(0, 1), strict=True):
        converted, _ = to_srgb(Pillow.fromarray(np.moveaxis(frame, 0, -1)), swapped_profile())
        np.testing.assert_array_equal(np.moveaxis(expected, 0, -1), converted)
    assert (plain != profiled).any()


def test_times_by_a_vector_or_a_rate(tmp_path: Path) -> None:
    ds = cine(film(3), FrameTime=None, FrameTimeVector=["0", "30", "50"])
    np.testing.assert_allclose(read(tmp_path, ds).times, [0, 0.03, 0.08])
    ds = cine(film(3), FrameTime=None, CineRate="20")
    np.testing.assert_allclose(read(tmp_path, ds).times, [0, 0.05, 0.1])
    assert read(tmp_path, cine(film(3), FrameTime=None)).times == ()


@pytest.mark.parametrize("kind", ["no table", "table", "extended table", "no delimiter"])
def test_frames_of_several_fragments(tmp_path: Path, kind: str) -> None:
    ds = cine(film(4))
    frames = list(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=4))
    if kind == "extended table":
        value, offsets, lengths = encapsulate_extended(frames)
        ds.PixelData, ds.ExtendedOffsetTable = value, offsets
        ds.ExtendedOffsetTableLengths = lengths
    elif kind == "no delimiter":
        ds.PixelData = encapsulate(frames)
        data = as_bytes(ds)[:-8]
        (tmp_path / "cut.dcm").write_bytes(data)
        (found,) = load(tmp_path / "cut.dcm").items.values()
        assert isinstance(found, Image)
        assert found.array.shape == (3, 4, 24, 32)
        return
    else:
        ds.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=kind == "table")
    expected = read(tmp_path, cine(film(4))).array
    np.testing.assert_array_equal(read(tmp_path, ds).array, expected)


def test_missing_frames(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"states 9 frames .* 5 fragments"):
        read(tmp_path, cine(film(5), NumberOfFrames=9))
