"""Damaged nuclear medicine, ultrasound and overlays in pixels end in one of our errors."""

from pathlib import Path

import numpy as np
import pytest
from dicom_stack import as_bytes, image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless
from test_dicom_nm_us import US, nm, region, ultrasound
from test_dicom_overlays_embedded import file_of

from osler.errors import InputError
from osler.io import load
from osler.record import Image, Mask

KINDS = ("nm", "gated", "volume", "regions", "overlay", "overlay-rle")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    picture = image(np.zeros((6, 8), np.uint8), CTImageStorage)  # type: ignore[arg-type]
    picture.SOPClassUID, picture.Modality = US, "US"
    picture.SequenceOfUltrasoundRegions = [region(), region()]
    return {
        "nm": nm(folder)[0].read_bytes(),
        "gated": nm(folder, slots=2)[0].read_bytes(),
        "volume": ultrasound(folder)[0].read_bytes(),
        "regions": as_bytes(picture),
        "overlay": file_of(folder, ExplicitVRLittleEndian)[0].read_bytes(),
        "overlay-rle": file_of(folder, RLELossless)[0].read_bytes(),
    }


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_only_our_errors(
    tmp_path: Path, sound: dict[str, bytes], kind: str, data: st.DataObject
) -> None:
    content = bytearray(sound[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(340, len(content) - 1))
        content[at : at + 1] = data.draw(st.sampled_from([b"\0", b"\xff", b"-", b"9", b"\\", b""]))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(132, len(content))))
    path = tmp_path / "damaged.dcm"
    path.write_bytes(bytes(content[:end]))
    try:
        case = load(path, max_pixels=1_000_000)
        for item in case.items.values():
            if isinstance(item, Image):
                assert item.array.shape[1:] == item.shape
                assert item.spacing is None or all(np.isfinite(item.spacing))
                assert item.affine is None or np.isfinite(item.affine).all()
        for mask in case.of(Mask):
            assert mask.mask.shape == mask.shape
    except InputError:
        pass
