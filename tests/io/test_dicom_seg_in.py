import warnings
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from fake_case import fake_case
from fake_series import SHAPE, affine, masks, series, turned, write_series
from pydicom.data import get_testdata_file
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from osler.errors import GeometryError, InputError, TooLargeError, UnreadableError
from osler.io import load
from osler.io.dicom_findings import add
from osler.io.dicom_seg import write_seg
from osler.record import Case, Mask


def by_highdicom(path: Path, kind: str, pixels: np.ndarray, **options: object) -> Path:
    """Segments written by highdicom: ``(D, H, W, segments)``, or segment numbers ``(D, H, W)``."""
    count = pixels.shape[-1] if pixels.ndim == 4 else int(pixels.max())
    described = [
        hd.seg.SegmentDescription(
            n,
            f"Segment {n}",
            codes.SCT.Tissue,
            codes.SCT.Liver,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n in range(1, count + 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = hd.seg.Segmentation(
            series(),
            pixels,
            kind,
            described,
            hd.UID(),
            1,
            hd.UID(),
            1,
            "M",
            "M",
            "1",
            "1",
            **options,
        )
    seg.save_as(path)
    return path


def organs() -> np.ndarray:
    return np.stack([m.mask for m in masks()], axis=-1)


@pytest.mark.parametrize("omit", [True, False])
def test_a_binary_segmentation_of_another_program(tmp_path: Path, omit: bool) -> None:
    path = by_highdicom(
        tmp_path / "seg.dcm", "BINARY", organs().astype(np.uint8), omit_empty_frames=omit
    )
    case = load(path)
    image = case.image("segmentation")
    assert not image.loaded
    first = 1 if omit else 0  # the first plane is empty
    assert image.shape == (SHAPE[0] - first, *SHAPE[1:])
    expected = affine()
    expected[:3, 3] = (affine() @ [first, 0, 0, 1])[:3]
    assert np.allclose(image.affine, expected, atol=1e-4)
    assert image.spacing == pytest.approx((2.5, 0.8, 0.7))
    for n, original in enumerate(masks(), 1):
        found = case.get(f"segment-{n}", Mask)
        assert np.array_equal(found.mask, original.mask[first:])
        assert found.item == "segmentation"
        assert found.code.value == "10200004"
        assert found.source.kind == "person"
    assert case.patient_id == "CT-1"


@pytest.mark.parametrize("around", [False, True])
def test_masks_come_in_the_grid_of_the_image(tmp_path: Path, around: bool) -> None:
    image = write_series(tmp_path)
    path = by_highdicom(tmp_path / "seg.dcm", "BINARY", organs().astype(np.uint8))
    case = Case("c", items={"ct": turned(image) if around else image})
    ids = add(case, path)
    assert len(ids) == 3
    assert list(case.items) == ["ct"]
    for id, original in zip(ids, masks(), strict=True):
        expected = original.mask[::-1] if around else original.mask
        assert np.array_equal(case.get(id, Mask).mask, expected)
        assert case.get(id, Mask).item == "ct"


def test_fractions(tmp_path: Path) -> None:
    fractions = np.random.default_rng(0).random((*SHAPE, 2))
    path = by_highdicom(
        tmp_path / "seg.dcm",
        "FRACTIONAL",
        fractions,
        max_fractional_value=200,
        omit_empty_frames=False,
    )
    case = load(path)
    for n in (0, 1):
        mask = case.get(f"segment-{n + 1}", Mask)
        assert np.allclose(mask.probabilities, fractions[..., n], atol=0.5 / 200 + 1e-3)
        stored = np.rint(fractions[..., n] * 200)
        clear = np.abs(stored - 100) > 1
        assert np.array_equal(mask.mask[clear], (stored >= 100)[clear])


@pytest.mark.parametrize("packed", [False, True])
def test_a_label_map(tmp_path: Path, packed: bool) -> None:
    numbers = np.zeros(SHAPE, np.uint8)
    for n, mask in enumerate(masks(), 1):
        numbers[mask.mask] = n
    path = by_highdicom(tmp_path / "seg.dcm", "LABELMAP", numbers, omit_empty_frames=False)
    if packed:
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless, encoding_plugin="pydicom")
        ds.save_as(path)
    case = load(path)
    assert np.array_equal(case.image("segmentation").array[0], numbers)
    for n in (1, 2, 3):
        found = [m for m in case.of(Mask) if m.name == f"Segment {n}"]
        assert np.array_equal(found[0].mask, numbers == n)


def test_what_we_wrote_of_a_photograph_comes_back(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op", shape=(101, 133))
    path = write_seg(case, tmp_path)
    new = Case("c", items={"photo": case.image("photo")})
    assert add(new, path) == tuple(m.id for m in case.of(Mask) if m.mask.any())
    for mask in new.of(Mask):
        written = case.get(mask.id, Mask)
        assert np.array_equal(mask.mask, written.mask)
        assert mask.source == written.source
        assert mask.flags == written.flags
        assert mask.item == "photo"
    alone = load(path)
    assert np.array_equal(alone.get("artery", Mask).mask, case.get("artery", Mask).mask)
    assert alone.image("segmentation").affine is None


def test_a_second_segmentation_gets_names_of_its_own(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="jpeg", grading="not-fundus")
    path = write_seg(case, tmp_path)
    other = Case("c")
    assert add(other, path) == ("field",)
    assert add(other, path) == ("field-2",)
    assert other["field-2"].item == "segmentation-2"


def test_masks_are_read_only_and_belong_to_the_file(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "seg.dcm", "BINARY", organs().astype(np.uint8))
    mask = load(path).get("segment-1", Mask)
    with pytest.raises(ValueError, match="read-only"):
        mask.mask[0, 0, 0] = True
    path.write_bytes(path.read_bytes() + b"\0\0")
    with pytest.raises(UnreadableError, match="changed"):
        _ = mask.mask


def test_frames_that_contradict_the_header_are_refused() -> None:
    # a file of pydicom's own tests that was cut to one frame and still describes three
    with pytest.raises(UnreadableError, match=r"1 frames.*describes 3"):
        load(get_testdata_file("liver_1frame.dcm"))


def test_frames_at_irregular_distances_are_refused(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "seg.dcm", "BINARY", organs().astype(np.uint8))
    ds = pydicom.dcmread(path)
    for frame in ds.PerFrameFunctionalGroupsSequence[-1:]:
        position = frame.PlanePositionSequence[0]
        normal = affine()[:3, 0] / 2.5
        position.ImagePositionPatient = [
            round(float(p + n), 6)
            for p, n in zip(position.ImagePositionPatient, normal, strict=True)
        ]
    ds.save_as(path)
    with pytest.raises(GeometryError, match="irregular"):
        load(path)


def test_a_large_grid_is_refused_and_a_cut_file_too(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "seg.dcm", "BINARY", organs().astype(np.uint8))
    with pytest.raises(TooLargeError):
        load(path, max_pixels=100)
    content = path.read_bytes()
    for length in range(132, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            load(path)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("undefined", [True, False])
def test_however_its_elements_are_encoded(tmp_path: Path, implicit: bool, undefined: bool) -> None:
    path = by_highdicom(tmp_path / "seg.dcm", "BINARY", organs().astype(np.uint8))
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian

    def loosen(ds: pydicom.Dataset, element: pydicom.DataElement) -> None:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined

    ds.walk(loosen)
    pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=True)
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"  # an item of undefined length
    assert (item in path.read_bytes()) == undefined
    case = load(path)
    for n, original in enumerate(masks(), 1):
        assert np.array_equal(case.get(f"segment-{n}", Mask).mask, original.mask[1:])
