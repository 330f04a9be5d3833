"""All measurements of a case: on a drawn retina, on real vessels, and where things are missing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from phantoms import ARTERIES, FOVEA, PERSON, SHAPE, VEINS, disc_mask, retina, spokes
from PIL import Image as Picture

from osler.errors import InputError
from osler.record import Case, Image, Mask, Point
from osler.retina.biomarkers import measure
from osler.retina.calibre import hubbard, knudtson
from osler.retina.definitions import MEASURES, SOURCES

DOCS = Path(__file__).resolve().parents[2] / "docs" / "biomarkers.md"
PHENOTYPES = (
    "tortuosity.artery",
    "tortuosity.vein",
    "tortuosity.ratio",
    "median-diameter.artery",
    "median-diameter.vein",
    "median-diameter.ratio",
    "diameter-std.artery",
    "diameter-std.vein",
    "crae.knudtson",
    "crve.knudtson",
    "avr.knudtson",
    "density.artery",
    "density.vein",
    "density.ratio",
    "temporal-angle.artery",
    "temporal-angle.vein",
    "bifurcations.all",
)


@pytest.fixture(scope="module")
def measured() -> Case:
    case = retina()
    measure(case)
    return case


def value(case: Case, id: str) -> float:
    found = case.measurements[id]
    assert found.value is not None, f"{id}: {found.reason}"
    return found.value


def test_the_seventeen_phenotypes_have_values(measured):
    assert len(PHENOTYPES) == 17
    for id in PHENOTYPES:
        value(measured, id)


def test_a_drawn_retina_is_measured_as_drawn(measured):
    size = 80.0
    assert value(measured, "disc-diameter") == pytest.approx(size, abs=0.3)
    assert value(measured, "disc-fovea-distance") == pytest.approx(200 / size, abs=0.02)
    for name in ("vertical", "horizontal"):
        assert value(measured, f"cdr.{name}") == pytest.approx(0.5, abs=0.01)
    assert value(measured, "cdr.area") == pytest.approx(0.25, abs=0.01)
    for kind, (_, widths) in {"artery": ARTERIES, "vein": VEINS}.items():
        found = value(measured, f"median-diameter.{kind}") * size
        assert found == pytest.approx(np.median(widths), abs=0.3)
        assert value(measured, f"tortuosity.{kind}") < 0.005
        assert value(measured, f"bifurcations.{kind}") == 0
    crae, crve = knudtson(ARTERIES[1], kind="artery"), knudtson(VEINS[1], kind="vein")
    assert value(measured, "crae.knudtson") * size == pytest.approx(crae, abs=0.4)
    assert value(measured, "crve.knudtson") * size == pytest.approx(crve, abs=0.4)
    assert value(measured, "avr.knudtson") == pytest.approx(crae / crve, abs=0.02)


def test_temporal_angles_are_those_between_the_arcades(measured):
    assert value(measured, "temporal-angle.artery") == pytest.approx(110, abs=1)
    assert value(measured, "temporal-angle.vein") == pytest.approx(135, abs=1)


def test_density_is_the_share_of_the_field(measured):
    field = measured["field"].mask
    share = 100 * (spokes(*ARTERIES) & field).sum() / field.sum()
    assert value(measured, "density.artery") == pytest.approx(share)
    zone = measured["zone-b"].mask
    share = 100 * (spokes(*ARTERIES) & zone).sum() / zone.sum()
    assert value(measured, "density.artery.zone-b") == pytest.approx(share)


def test_evidence_names_what_was_measured(measured):
    for finding in measured.measurements.values():
        assert set(finding.evidence) <= set(measured.findings)
    assert measured.measurements["avr.knudtson"].evidence == ("artery", "vein", "disc", "zone-b")
    assert measured["zone-b"].evidence == ("disc", "field")
    assert measured["zone-c"].mask.shape == SHAPE


def test_every_measurement_says_how(measured):
    for finding in measured.measurements.values():
        assert finding.unit
        assert finding.method
        assert finding.name
        assert finding.item == "photo"
    for said in MEASURES.values():
        assert set(said.sources) <= set(SOURCES)


def test_every_id_is_documented(measured):
    text = DOCS.read_text(encoding="utf-8")
    missing = [id for id in measured.measurements if f"`{id}`" not in text]
    assert missing == []


def test_micrometres_only_where_the_spacing_is_known(measured):
    for id in ("crae.hubbard", "crve.hubbard", "avr.hubbard", "median-diameter-um.artery"):
        found = measured.measurements[id]
        assert found.value is None
        assert "spacing" in found.reason
    case = retina()
    case.image("photo").spacing = (0.02, 0.02)
    measure(case)
    assert value(case, "median-diameter-um.artery") == pytest.approx(7.5 * 20, abs=6)
    expected = hubbard([20 * w for w in ARTERIES[1]], kind="artery")
    assert value(case, "crae.hubbard") == pytest.approx(expected, rel=0.03)
    assert 0.5 < value(case, "avr.hubbard") < 1
    ratio = value(case, "crae-um.knudtson") / value(case, "crae.knudtson")
    assert ratio == pytest.approx(20 * value(case, "disc-diameter"))


@pytest.mark.parametrize(
    ("gone", "wanting", "reason"),
    [
        ("disc", "crae.knudtson", "no optic disc"),
        ("disc", "median-diameter.artery", "no optic disc"),
        ("disc", "tortuosity.artery.zone-b", "no optic disc"),
        ("field", "density.all", "no field of view"),
        ("artery", "avr.knudtson", "no artery mask"),
        ("artery", "bifurcations.all", "no artery mask"),
        ("vein", "tortuosity.ratio", "no vein mask"),
        ("vessels", "fractal-dimension.all", "no vessel mask"),
        ("cup", "cdr.vertical", "no optic cup"),
    ],
)
def test_what_is_missing_is_said(measured, gone, wanting, reason):
    case = retina(**{gone: None})
    measure(case)
    assert set(case.measurements) == set(measured.measurements)
    found = case.measurements[wanting]
    assert found.value is None
    assert reason in found.reason


def test_without_a_disc_what_needs_no_scale_is_still_measured():
    case = retina(disc=None)
    measure(case)
    assert "zone-b" not in case
    for id in ("tortuosity.artery", "density.vein", "fractal-dimension.all", "bifurcations.all"):
        value(case, id)


def test_a_zone_beyond_the_field_is_not_measured():
    small = disc_mask(centre=(280, 320), radius=140)
    case = retina(field=small)
    measure(case)
    found = case.measurements["density.artery.zone-c"]
    assert found.value is None
    assert "cut off" in found.reason


def test_a_fovea_in_the_wrong_place_gives_no_axis():
    case = retina()
    case.findings["fovea"].position = (284.0, 230.0)
    measure(case)
    for id in ("temporal-angle.vein", "disc-fovea-distance"):
        assert "not plausible" in case.measurements[id].reason


def test_too_few_vessels_give_no_equivalent():
    case = retina(artery=spokes((60.0, -60.0, 150.0), (8.0, 9.0, 7.0)))
    measure(case)
    assert "3 on the median circle" in case.measurements["crae.knudtson"].reason
    assert case.measurements["avr.knudtson"].value is None


def test_lesions_are_counted_and_placed():
    case = retina()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[100:110, 300:310] = True
    mask[284, 480] = True
    case.add(Mask(id="hard-exudates", name="Hard exudates", source=PERSON, mask=mask))
    none = np.zeros(SHAPE, dtype=bool)
    case.add(Mask(id="haemorrhages", name="Haemorrhages", source=PERSON, mask=none))
    case.image("photo").spacing = (0.02, 0.02)
    measure(case)
    assert value(case, "lesion-count.hard-exudates") == 2
    assert value(case, "lesion-area-px.hard-exudates") == 101
    assert value(case, "lesion-area-mm2.hard-exudates") == pytest.approx(101 * 0.0004)
    size = value(case, "disc-diameter")
    assert value(case, "lesion-area.hard-exudates") == pytest.approx(101 / size**2)
    assert value(case, "lesion-fovea-distance.hard-exudates") == pytest.approx(80 / size)
    assert value(case, "lesion-count.haemorrhages") == 0
    assert value(case, "lesion-quadrants.haemorrhages") == 0
    assert case.measurements["lesion-fovea-distance.haemorrhages"].value is None
    assert case.measurements["lesion-count.microaneurysms"].value is None


def test_the_cups_doubt_travels_on():
    case = retina()
    case.findings["cup"].flags = ("pseudo-label",)
    measure(case)
    assert case.measurements["cdr.vertical"].flags == ("pseudo-label",)


def test_wrong_input_is_named():
    case = retina()
    case.findings["vessels"].mask = np.zeros((3, 3), dtype=bool)
    with pytest.raises(InputError, match=r"'vessels'.*\(3, 3\)"):
        measure(case)
    with pytest.raises(InputError, match="no image 'scan'"):
        measure(retina(), item="scan")
    twice = retina()
    measure(twice)
    with pytest.raises(InputError, match="already has"):
        measure(twice)


IDS = ("field", "disc", "cup", "vessels", "artery", "vein", "haemorrhages")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(arrays(bool, (24, 31)), min_size=len(IDS), max_size=len(IDS)),
    st.sets(st.sampled_from(IDS)),
    st.tuples(st.floats(-5, 30), st.floats(-5, 40)),
    st.sampled_from([None, (0.01, 0.01), (0.01, 0.02), (0.0, 0.0)]),
)
def test_any_masks_give_numbers_or_reasons(masks, there, fovea, spacing):
    case = Case(id="any")
    photo = np.zeros((3, 24, 31), np.uint8)
    case.items["photo"] = Image(name="photo", array=photo, modality="OP", spacing=spacing)
    for id, mask in zip(IDS, masks, strict=True):
        if id in there:
            case.add(Mask(id=id, name=id, source=PERSON, mask=mask))
    case.add(Point(id="fovea", name="Fovea", source=PERSON, position=fovea))
    measure(case)
    for finding in case.measurements.values():
        assert finding.value is None or np.isfinite(finding.value)


@pytest.mark.parametrize("density", [0.05, 0.5, 0.97])
def test_noise_for_vessels_gives_numbers_or_reasons(density):
    noise = np.random.default_rng(0).random(SHAPE) < density
    noise[:, 320:] = False
    case = retina(vessels=noise, artery=noise, vein=~noise)
    measure(case)
    for finding in case.measurements.values():
        assert finding.value is None or np.isfinite(finding.value)


def hrf_case(folder: Path, name: str) -> Case:
    """A graded HRF photograph at half of its native size; the fovea is put where eyes have it."""

    def read(path: Path) -> np.ndarray:
        with Picture.open(path) as picture:
            return np.asarray(picture.convert("RGB"))

    kinds = read(folder / "hrf" / "artery_vein" / f"{name}.png") > 127
    either = kinds[..., 1]
    disc = read(folder / "disc-cup-pseudo" / "disc" / "hrf" / f"{name}.png")[..., 0] > 0
    masks = {
        "field": read(folder / "hrf" / "fov" / f"{name}.png")[..., 0] > 0,
        "disc": disc,
        "vessels": read(folder / "hrf" / "vessels" / f"{name}.png")[..., 0] > 0,
        "artery": kinds[..., 0] | either,
        "vein": kinds[..., 2] | either,
    }
    case = Case(id=name)
    photo = np.zeros((3, *disc.shape), np.uint8)
    case.items["photo"] = Image(name="photo", array=photo, modality="OP")
    for id, mask in masks.items():
        case.add(Mask(id=id, name=id, source=PERSON, mask=mask))
    h, w = np.nonzero(disc)
    size = 2 * np.sqrt(h.size / np.pi)
    side = 1 if w.mean() < disc.shape[1] / 2 else -1
    fovea = (h.mean() + 0.3 * size, w.mean() + side * 2.5 * size)
    case.add(Point(id="fovea", name="Fovea", source=PERSON, position=fovea))
    return case


@pytest.mark.parametrize("name", ["01_h", "02_h", "05_h", "01_g"])
def test_real_vessels_have_plausible_numbers(data_dir, name):
    case = hrf_case(data_dir, name)
    measure(case)
    assert 0.5 < value(case, "avr.knudtson") < 1
    assert 0.05 < value(case, "crae.knudtson") < 0.12
    assert 0.09 < value(case, "crve.knudtson") < 0.16
    assert 1.2 < value(case, "fractal-dimension.artery") < value(case, "fractal-dimension.all")
    assert value(case, "fractal-dimension.all") < 1.7
    for kind in ("artery", "vein"):
        assert 0.002 < value(case, f"tortuosity.{kind}") < 0.05
        assert 2 < value(case, f"density.{kind}") < 10
        assert 80 < value(case, f"temporal-angle.{kind}") < 180
        assert 30 < value(case, f"bifurcations.{kind}") < 250
        assert 0.005 < value(case, f"median-diameter.{kind}") < 0.04


def test_a_turned_photograph_measures_the_same(data_dir):
    upright = hrf_case(data_dir, "05_h")
    turned = hrf_case(data_dir, "05_h")
    height, width = turned["field"].mask.shape
    for mask in turned.of(Mask):
        mask.mask = mask.mask[::-1, ::-1]
    h, w = turned["fovea"].position
    turned.findings["fovea"].position = (height - 1 - h, width - 1 - w)
    measure(upright)
    measure(turned)
    for id in ("tortuosity.vein", "median-diameter.all", "crve.knudtson", "temporal-angle.vein"):
        assert value(turned, id) == pytest.approx(value(upright, id), rel=0.1)
    bifurcations = value(turned, "bifurcations.all")
    assert bifurcations == pytest.approx(value(upright, "bifurcations.all"), rel=0.05)


def test_the_fovea_of_the_phantom_is_where_it_was_put():
    assert retina()["fovea"].position == FOVEA
