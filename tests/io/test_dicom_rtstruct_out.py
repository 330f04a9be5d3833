"""Structure sets written: by dciodvfy, by pydicom and scikit-image, and by our own reader."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_check import errors
from dicom_stack import enhanced, stack
from fake_series import FRAME, SHAPE, affine, masks, turned, write_series
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import polygon2mask
from skimage.measure import label

from osler.errors import OutputError
from osler.io import load
from osler.io.contour_fill import fill_plane
from osler.io.contour_trace import keyholed, rings_of
from osler.io.converting import save
from osler.io.dicom_findings import add
from osler.io.dicom_presentation_out import write_presentation
from osler.io.dicom_rtstruct_out import write_structures
from osler.record import Case, Code, Contour, Image, Mask, Point, Source

ME = Source("person", "author of the contours")
LEARNT = Source("bundle", "organs", "2.0.0")
SQUARE = np.array([(2, 0.5, 1.5), (2, 5.5, 1.5), (2, 5.5, 8.5), (2, 0.5, 8.5)])


@given(seed=st.integers(0, 1 << 32), density=st.floats(0, 1))
def test_outlines_fill_to_the_very_mask(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 14, 2)) < density  # islands in holes in islands
    for rings in (rings_of(mask), keyholed(rings_of(mask))):
        independent = np.zeros(mask.shape, bool)
        for ring in rings:
            assert len(ring) >= 4
            sides = ring - np.roll(ring, 1, axis=0)
            assert ((sides == 0).sum(1) == 1).all()  # along the edges of pixels
            independent ^= polygon2mask(mask.shape, ring)
        assert np.array_equal(independent, mask)
        assert np.array_equal(fill_plane(rings, mask.shape), mask)
    # a line around each area of pixels that share sides, and no other
    assert len(rings) == label(mask, connectivity=1).max()


def drawn_by_pydicom(path: Path) -> dict[str, np.ndarray]:
    """Structure to voxels, with nothing of ours: pydicom's points, scikit-image's polygons."""
    ds = pydicom.dcmread(path)
    names = {roi.ROINumber: roi.ROIName for roi in ds.StructureSetROISequence}
    to_index = np.linalg.inv(affine())
    out = {}
    for drawn in ds.ROIContourSequence:
        voxels = np.zeros(SHAPE, bool)
        for contour in drawn.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            index = (to_index @ np.c_[points, np.ones(len(points))].T).T
            plane = round(index[0, 0])
            assert np.allclose(index[:, 0], plane, atol=1e-4)
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            assert uid == instances(path)[plane]
            voxels[plane] ^= polygon2mask(SHAPE[1:], index[:, 1:3])
        out[names[drawn.ReferencedROINumber]] = voxels
    return out


def instances(path: Path) -> list[str]:
    files = sorted(path.parent.glob("0*.dcm"))
    return [pydicom.dcmread(one).SOPInstanceUID for one in files]


def test_masks_come_back_voxel_for_voxel(tmp_path: Path) -> None:
    given = masks()
    hollow = given[0].mask.copy()
    hollow[1, 1:6, 1:9], hollow[1, 3, 4:6] = True, False
    given[0].mask = hollow
    case = Case("c", items={"ct": write_series(tmp_path)})
    for mask in given:
        case.add(mask)
    path = write_structures(case, tmp_path / "rt.dcm", masks=True)
    assert not errors(path)
    independent = drawn_by_pydicom(path)
    for around in (False, True):
        image = case.image("ct")
        again = Case("d", items={"ct": turned(image) if around else image})
        assert add(again, path) == ("liver", "spleen", "kidney")
        for mask in given:
            found = again.get(mask.id, Mask)
            assert np.array_equal(found.mask[::-1] if around else found.mask, mask.mask)
            assert np.array_equal(independent[mask.name], mask.mask)
            assert (found.source, found.code, found.name) == (LEARNT, mask.code, mask.name)
    ds = pydicom.dcmread(path)
    assert (ds.PatientID, ds.Modality, ds.FrameOfReferenceUID) == ("CT-1", "RTSTRUCT", FRAME)
    kinds = {c.ContourGeometricType for r in ds.ROIContourSequence for c in r.ContourSequence}
    assert kinds == {"CLOSED_PLANAR"}
    # written again, it replaces itself
    assert pydicom.dcmread(write_structures(case, tmp_path / "2.dcm", masks=True)).SOPInstanceUID \
        == ds.SOPInstanceUID  # fmt: skip


def test_contours_and_points_come_back(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    millimetres = SQUARE @ affine()[:3, :3].T + affine()[:3, 3]
    liver = Code("10200004", "SCT", "Liver")
    case.add(Contour(id="index", name="Index", source=LEARNT, item="ct", rings=(SQUARE,)))
    case.add(Contour(id="place", name="Place", source=ME, rings=(millimetres,), frame=FRAME, code=liver))  # fmt: skip  # noqa: E501
    bent = SQUARE.copy()
    bent[0, 0] += 1
    case.add(Contour(id="line", name="Line", source=ME, item="ct", rings=(SQUARE[:3], bent), closed=False))  # fmt: skip  # noqa: E501
    case.add(Point(id="tip", name="Tip", source=ME, item="ct", position=(1.0, 2.25, 3.5)))
    case.add(Contour(id="else", name="Else", source=ME, rings=(millimetres,), frame="1.2.3"))
    path = write_structures(case, tmp_path / "rt.dcm")
    assert not errors(path)
    alone = load(path)
    assert set(alone.findings) == {"index", "place", "line", "tip"}
    for id in ("index", "place"):
        found = alone.get(id, Contour)
        assert np.allclose(found.rings[0], millimetres, rtol=0, atol=1e-6)
        assert found.closed
        assert found.frame == FRAME
    assert alone["place"].code == liver
    assert alone["index"].source == LEARNT
    line = alone.get("line", Contour)
    assert not line.closed
    assert [len(ring) for ring in line.rings] == [3, 4]
    again = Case("d", items={"ct": image})
    add(again, path)
    assert again.get("tip", Point).position == pytest.approx((1.0, 2.25, 3.5), abs=1e-6)
    expected = np.zeros(SHAPE, bool)
    expected[2, 1:6, 2:9] = True
    assert np.array_equal(again.get("index", Mask).mask, expected)


def test_without_an_image_millimetres_are_enough(tmp_path: Path) -> None:
    ring = np.array([[0.0, 0, 5], [10, 0, 5], [10, 12.125, 5]])
    case = Case("c", "P9", findings={"a": Contour(id="a", name="A", source=ME, rings=(ring,), frame="1.2.3")})  # fmt: skip  # noqa: E501
    path = write_structures(case, tmp_path / "rt.dcm")
    assert not errors(path)
    again = load(path)
    assert again.patient_id == "P9"
    assert np.array_equal(again.get("a", Contour).rings[0], ring)


def test_frames_of_one_file_are_named(tmp_path: Path) -> None:
    ds = enhanced(stack())
    ds.FrameOfReferenceUID = "1.2.3.4"
    ds.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    case = load(tmp_path / "e.dcm")
    image = next(i for i in case.items.values() if isinstance(i, Image))
    voxels = np.zeros(image.shape, bool)
    voxels[2, 1:3, 4:7] = True
    case.add(Mask(id="m", name="M", source=ME, item=image.name, mask=voxels))
    path = write_structures(case, tmp_path / "rt.dcm", masks=True)
    assert not errors(path)
    contour = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence[0]
    number = contour.ContourImageSequence[0].ReferencedFrameNumber
    frame = ds.PerFrameFunctionalGroupsSequence[number - 1]
    place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
    expected = image.affine @ [2, 0, 0, 1]
    assert np.allclose(place, expected[:3], atol=1e-4)
    add(case, path)
    assert np.array_equal(case.get("m-2", Mask).mask, voxels)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    image = write_series(tmp_path)
    case = Case("c", items={"ct": image})
    case.add(masks()[0])
    with pytest.raises(OutputError, match="masks=True"):
        write_structures(case, tmp_path / "rt.dcm")
    bent = SQUARE.copy()
    bent[0, 0] += 1
    case.add(Contour(id="bent", name="B", source=ME, item="ct", rings=(bent,)))
    with pytest.raises(OutputError, match="no one plane"):
        write_structures(case, tmp_path / "rt.dcm")
    nowhere = Case("d", items={"ct": image})
    nowhere.add(Point(id="nan", name="N", source=ME, item="ct", position=(1.0, float("nan"), 2.0)))
    for write in (write_structures, write_presentation):
        with pytest.raises(OutputError, match="lies nowhere"):
            write(nowhere, tmp_path / "rt.dcm")
    case.items["ct"].affine = None
    with pytest.raises(OutputError, match="FrameOfReferenceUID"):
        write_structures(case, tmp_path / "rt.dcm", item="ct", masks=True)
    assert not (tmp_path / "rt.dcm").exists()


def test_plastimatch_fills_the_very_mask(data_dir: Path, tmp_path: Path) -> None:
    if shutil.which("plastimatch") is None:
        pytest.skip("plastimatch is not installed: apt-get install plastimatch")
    folder = data_dir / "ct-example" / "dicom"
    case = load(folder)
    image = case.image("ct")
    d, h, w = np.ogrid[: image.shape[0], : image.shape[1], : image.shape[2]]
    shell = ((d - 10) / 9) ** 2 + ((h - 250) / 90) ** 2 + ((w - 240) / 130) ** 2 < 1
    shell &= ((d - 10) / 5) ** 2 + ((h - 250) / 30) ** 2 + ((w - 240) / 40) ** 2 >= 1
    case.add(Mask(id="shell", name="Shell", source=ME, item="ct", mask=shell))
    path = write_structures(case, tmp_path / "rt.dcm", masks=True)
    grid = save(image, tmp_path / "ct.nrrd")
    command = ["plastimatch", "convert", "--input", str(path), "--referenced-ct", str(folder)]
    command += ["--fixed", str(grid), "--prefix-format", "nrrd"]
    subprocess.run(
        [*command, "--output-prefix", str(tmp_path / "out")],
        check=True,
        capture_output=True,
        timeout=120,
    )
    seen = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "Shell.nrrd")))
    assert np.array_equal(seen > 0, shell)
