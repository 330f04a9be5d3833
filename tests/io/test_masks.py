import json
from pathlib import Path

import jsonschema
import numpy as np
import PIL.Image
import pytest
from fake_case import fake_case
from numpy.testing import assert_array_equal

from osler.errors import OutputError, UnreadableError
from osler.io.findings_json import SCHEMA, read_findings
from osler.io.layers import LAYERS, layers_of, rgb
from osler.io.masks import as_rgb, draw_overlay, file_names, photo_of, write_masks, write_overlay
from osler.io.writing import write
from osler.record import Case, Heatmap, Image, Mask, Point, Source
from photo_case import photo_case

ME = Source("person", "grader")


def on_black(*findings: Mask | Point, shape: tuple[int, int] = (60, 80)) -> Case:
    case = Case(id="x", items={"photo": Image("photo", np.zeros((3, *shape), np.uint8), "OP")})
    for finding in findings:
        case.add(finding)
    return case


def square(id: str, *, name: str = "") -> Mask:
    mask = np.zeros((60, 80), bool)
    mask[20:30, 40:50] = True
    return Mask(id=id, name=name or id, source=ME, item="photo", mask=mask)


def test_masks_are_files_of_one_bit_in_native_size(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    write_masks(case, tmp_path)
    for mask in case.of(Mask):
        with PIL.Image.open(tmp_path / "masks" / f"{mask.id}.png") as picture:
            assert picture.mode == "1"
            assert_array_equal(np.asarray(picture), mask.mask)
    with PIL.Image.open(tmp_path / "masks" / "dr-heatmap.png") as picture:
        assert (picture.mode, picture.size) == ("L", (128, 96))


def test_hostile_ids_name_plain_and_different_files(tmp_path: Path) -> None:
    ids = ["../../up", "a/b", "a_b", "A_B", "眼", "", "...", "<script>"]
    case = on_black(*(square(id, name="m") for id in ids))
    write_masks(case, tmp_path)
    files = file_names(case)
    assert len({f.lower() for f in files.values()}) == len(ids)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")} == {
        *files.values()
    }


def in_volume(tmp_path: Path) -> Case:
    affine = np.array([[0, 0, 2.0, -9], [0, 1.5, 0, 4], [3.0, 0, 0, 7], [0, 0, 0, 1]])
    voxels = np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5)
    case = Case("v", items={"ct": Image("ct", voxels, "CT", affine=affine)})
    case.add(Mask(id="high", name="high", source=ME, item="ct", mask=voxels[0] > 40))
    values = (voxels[0] / 60).astype(np.float16)
    case.add(Heatmap(id="heat", name="heat", source=ME, item="ct", values=values))
    return case


def test_masks_of_a_volume_are_nifti_in_its_place(tmp_path: Path) -> None:
    import nibabel

    case = in_volume(tmp_path)
    folder = write(case, tmp_path, html=False)
    written = nibabel.load(folder / "masks" / "high.nii.gz")
    # nibabel's index is (w, h, d) and its space RAS
    assert_array_equal(np.asarray(written.dataobj).T > 0, case.findings["high"].mask)
    centre = written.affine @ [4, 3, 2, 1]
    expected = np.diag([-1, -1, 1, 1]) @ case.image("ct").affine @ [2, 3, 4, 1]
    np.testing.assert_allclose(centre, expected)
    again = read_findings(folder)
    assert_array_equal(again["high"].mask, case.findings["high"].mask)
    np.testing.assert_allclose(again["heat"].values, case.findings["heat"].values, atol=0.005)
    assert not (folder / "overlay.png").exists()
    document = json.loads((folder / "findings.json").read_text())
    assert document["schema_version"] == 3
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))


def test_a_damaged_mask_of_a_volume_is_told(tmp_path: Path) -> None:
    folder = write(in_volume(tmp_path), tmp_path, html=False)
    (folder / "masks" / "high.nii.gz").write_bytes(b"no volume")
    with pytest.raises(UnreadableError, match=r"high\.nii\.gz"):
        read_findings(folder)


def test_a_mask_that_lies_in_no_image_is_refused(tmp_path: Path) -> None:
    case = on_black(Mask(id="v", name="v", source=ME, mask=np.zeros((2, 3, 4), bool)))
    with pytest.raises(OutputError, match=r"\(2, 3, 4\)"):
        write_masks(case, tmp_path)


def test_filled_pixels_take_the_layers_colour() -> None:
    case = on_black(square("artery"))
    drawn = draw_overlay(case, case.image("photo"))
    colour = np.array(rgb("#ff3347"))
    assert_array_equal(drawn[25, 45], (colour * 0.75).astype(np.uint8))
    assert not drawn[:20].any()
    assert not drawn[25, :40].any()


def test_vessels_are_drawn_where_no_artery_or_vein_is_known() -> None:
    vessels, artery = square("vessels"), square("artery")
    artery.mask = artery.mask.copy()
    artery.mask[:, 45:] = False
    case = on_black(vessels, artery)
    drawn = draw_overlay(case, case.image("photo"))
    assert_array_equal(drawn[25, 42], (np.array(rgb("#ff3347")) * 0.75).astype(np.uint8))
    assert_array_equal(drawn[25, 47], (np.array(rgb("#8af0a0")) * 0.75).astype(np.uint8))


def test_an_outline_lies_round_the_pixels_and_leaves_them() -> None:
    case = on_black(square("disc"))
    drawn = draw_overlay(case, case.image("photo"))
    assert not drawn[20:30, 40:50].any()
    assert drawn[19, 45].all()
    assert drawn[25, 50].all()


@pytest.mark.parametrize("position", [(30.0, 40.0), (0.0, 0.0), (59.0, 79.0), (-5.0, 200.0)])
def test_a_cross_is_drawn_as_far_as_it_lies_inside(position: tuple[float, float]) -> None:
    case = on_black(Point(id="fovea", name="Fovea", source=ME, item="photo", position=position))
    drawn = draw_overlay(case, case.image("photo"))
    inside = 0 <= position[0] < 60 and 0 <= position[1] < 80
    assert bool(drawn.any()) == inside


def test_masks_of_another_shape_or_item_are_left_out() -> None:
    small = Mask(id="vein", name="v", source=ME, item="photo", mask=np.ones((5, 5), bool))
    other = square("artery")
    other.item = "another"
    case = on_black(small, other)
    assert not draw_overlay(case, case.image("photo")).any()


def test_grey_of_16_bits_is_stretched() -> None:
    image = Image("photo", np.array([[[100, 300], [201, 300]]], np.uint16), "OP")
    assert as_rgb(image)[..., 0].tolist() == [[0, 255], [129, 255]]
    flat = Image("photo", np.full((1, 2, 2), 7, np.uint16), "OP")
    assert not as_rgb(flat).any()


def test_the_photograph_is_not_drawn_on(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    before = case.image("photo").array.copy()
    write_overlay(case, tmp_path)
    assert_array_equal(case.image("photo").array, before)
    assert photo_of(Case(id="none")) is None


def test_a_real_overlay_has_every_colour_and_a_legend(data_dir: Path) -> None:
    case = photo_case(data_dir)
    photo = case.image("photo")
    drawn = draw_overlay(case, photo)
    assert drawn.shape == (*photo.shape, 3)
    corner = {tuple(c) for c in drawn[-400:, :60].reshape(-1, 3).tolist()}
    in_legend = [
        layer
        for layer, _ in layers_of(case, item="photo")
        # every vessel of this case is known as artery or vein
        if layer.style not in ("heat", "dashed") and layer.id != "vessels"
    ]
    assert {rgb(layer.colour) for layer in in_legend} <= corner
    assert len(in_legend) == len(LAYERS) - 5
