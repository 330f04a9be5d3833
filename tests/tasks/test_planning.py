"""Plans against nnU-Net's published ones, rules worked by hand, and networks as they are built."""

import json

import numpy as np
import pytest

from osler.errors import InputError
from osler.tasks import planning
from osler.tasks.planning import (
    Normalisation,
    make_plan,
    parameters,
    planned_widths,
    target_spacing,
    topology,
    training_memory,
)

CUBE = (1.0, 1.0, 1.0)


def plan(shapes, spacings=None, modalities=("MR",), **options):
    return make_plan(shapes, spacings, modalities, **{"labels": 3, **options})


def test_hippocampus_is_planned_as_nnunet_documents(data_dir):
    nibabel = pytest.importorskip("nibabel")
    files = sorted((data_dir / "hippocampus" / "imagesTr").glob("*.nii.gz"))
    headers = [nibabel.load(file).header for file in files]
    shapes = [tuple(int(n) for n in h.get_data_shape()[::-1]) for h in headers]
    spacings = [tuple(float(s) for s in h.get_zooms()[::-1]) for h in headers]
    # nnU-Net's Task04, of 260 cases: patch 40 x 56 x 40, spacing 1 mm, batch 9
    found = plan(shapes, spacings, cases=260)
    assert found.patch == (40, 56, 40)
    assert found.spacing == CUBE
    assert found.batch == 9
    assert found.options["strides"] == ((2, 2, 2),) * 3
    assert found.options["kernels"] == ((3, 3, 3),) * 4
    assert found.options["widths"] == (32, 64, 128, 256)
    assert found.normalisation == (Normalisation("z-score"),)
    # a batch is one in twenty of all pixels, and here are fewer cases
    assert plan(shapes, spacings).batch == round(9 * len(files) / 260)


def test_thick_slices_are_halved_later():
    # by hand: 3.6 mm slices of 0.62 mm pixels: two halvings in the plane make 2.48 mm
    shape = topology((20, 320, 256), (3.6, 0.62, 0.62))
    plane, all_ = (1, 2, 2), (2, 2, 2)
    assert shape.strides == (plane, plane, all_, all_, plane, plane)
    assert shape.kernels == ((1, 3, 3), (1, 3, 3), *[(3, 3, 3)] * 5)
    assert shape.divisor == (4, 64, 64)
    assert shape.patch == (20, 320, 256)


@pytest.mark.parametrize(
    ("patch", "strides", "enlarged"),
    [
        ((28, 28), [(2, 2), (2, 2)], (28, 28)),
        ((7, 30), [(1, 2), (1, 2)], (7, 32)),  # 7 pixels stay; 30, 15; 8 alone are too few
        ((8, 30), [(2, 2), (1, 2)], (8, 32)),
        ((7, 7), [], (7, 7)),
    ],
)
def test_halving_stops_at_four_pixels(patch, strides, enlarged):
    shape = topology(patch, [1.0] * len(patch))
    assert shape.strides == tuple(strides)
    assert shape.patch == enlarged


def test_the_spacing_is_the_median_or_for_thick_slices_finer():
    spacings = np.array([[5, 0.5, 0.6], [6, 0.7, 0.6], [8, 0.9, 0.6], [10, 0.7, 0.6]])
    shapes = np.tile([20, 300, 300], (4, 1))
    np.testing.assert_allclose(
        target_spacing(shapes, spacings), [np.percentile([5, 6, 8, 10], 10), 0.7, 0.6]
    )
    many = np.tile([200, 300, 300], (4, 1))  # as many slices as pixels: the median
    np.testing.assert_allclose(target_spacing(many, spacings), [7, 0.7, 0.6])
    cubes = np.array([[2.0, 1, 1], [2, 1, 1], [2.5, 1, 1]])  # not three times as thick
    np.testing.assert_allclose(target_spacing(shapes[:3], cubes), [2, 1, 1])
    thin = np.array([[0.2, 1, 1], [9, 1, 1], [9, 1, 1]])  # no finer than the other axes
    np.testing.assert_allclose(target_spacing(shapes[:3], thin), [1.96, 1, 1])
    thinner = np.array([[0.2, 1, 1], [0.2, 1, 1], [9, 1, 1], [9, 1, 1], [9, 1, 1]])
    np.testing.assert_allclose(target_spacing(np.tile([20, 300, 300], (5, 1)), thinner), CUBE)


def test_shapes_are_those_after_resampling():
    found = plan([(40, 100, 100), (80, 50, 50)], [(2.0, 1.0, 1.0), (1.0, 2.0, 2.0)])
    assert found.spacing == (1.5, 1.5, 1.5)
    assert found.shape == (53, 67, 67)


def test_values_are_scaled_as_their_kind_asks():
    rng = np.random.default_rng(0)
    inside = rng.normal(60, 30, 5000)
    ct, mr, photo = plan(
        [(64, 64)] * 3, modalities=("CT", "MR", "op"), foreground=[inside, None, None]
    ).normalisation
    low, high = np.percentile(inside, (0.5, 99.5))
    raw = rng.normal(0, 500, (64, 64))
    np.testing.assert_allclose(
        ct.of(raw), (np.clip(raw, low, high) - inside.mean()) / inside.std(), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(mr.of(raw), (raw - raw.mean()) / raw.std(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(photo.of(np.arange(256)), np.arange(256) / 255, rtol=1e-6)
    assert not mr.of(np.full((3, 3), 7.0)).any()


@pytest.mark.parametrize("memory", [0.3, 1, 4, 16])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((512, 512, 512), CUBE), ((60, 400, 400), (4, 0.7, 0.7)), ((3000, 2000), None)],
)
def test_a_plan_fits_its_memory(shape, spacing, memory):
    found = plan([shape] * 50, None if spacing is None else [spacing] * 50, memory=memory)
    assert found.memory <= memory
    assert found.batch >= 2
    made = topology(found.patch, found.spacing or (1, 1))
    assert made.strides == found.options["strides"]
    needed = training_memory(
        found.patch, found.batch + 1, made, found.options["widths"], channels=1, labels=3
    )
    pixels = 0.05 * 50 * np.prod(shape) / np.prod(found.patch)
    assert needed > memory * 1e9 or found.batch == round(pixels)
    assert all(n % d == 0 for n, d in zip(found.patch, made.divisor, strict=True))


def test_more_memory_is_never_less_patch():
    patches = [
        np.prod(plan([(300, 300, 300)] * 9, [CUBE] * 9, memory=m).patch) for m in (0.5, 1, 2, 4, 8)
    ]
    assert patches == sorted(patches)
    assert patches[0] < patches[-1]
    half = plan([(300, 300, 300)] * 9, [CUBE] * 9, memory=4, value_bytes=2)
    assert np.prod(half.patch) > patches[3]


def test_a_patch_has_the_shape_of_a_cube_in_millimetres():
    found = plan([(400, 800, 800)] * 9, [(2.0, 1.0, 1.0)] * 9, memory=8)
    depth, height, width = found.patch
    assert abs(height - width) <= 32  # one step of what the network halves
    assert 0.35 < depth / height < 0.7


def test_the_same_cohort_gives_the_same_plan_in_any_order():
    rng = np.random.default_rng(0)
    shapes = [tuple(map(int, s)) for s in rng.integers(30, 90, (11, 3))]
    spacings = [tuple(map(float, s)) for s in rng.uniform(0.5, 2, (11, 3))]
    first = plan(shapes, spacings)
    assert first == plan(shapes[::-1], spacings[::-1])
    assert json.loads(json.dumps(first.as_json()))["patch"] == list(first.patch)
    assert len(first.reasons) == 3


def test_the_memory_that_is_expected_is_near_what_was_measured():
    """Of ``benchmarks/planning.py``, in GB."""
    for patch, measured in MEASURED.items():
        shape = topology(patch, [1.0] * len(patch))
        expected = training_memory(patch, 2, shape, planned_widths(shape, 32), channels=1, labels=3)
        assert 0.84 < expected / 1e9 / measured < 1.2, patch


MEASURED = {
    (32, 32, 32): 0.31,
    (40, 56, 40): 0.66,
    (64, 64, 64): 1.55,
    (16, 80, 80): 0.87,
    (128, 128): 0.62,
    (256, 256): 1.16,
    (384, 384): 1.69,
}


@pytest.mark.parametrize("patch", [(16, 16, 16), (16, 24, 32), (32, 32)])
def test_networks_are_built_and_keep_what_is_counted(patch, monkeypatch):
    torch = pytest.importorskip("torch")
    from osler.models import create

    found = plan([patch] * 40, [(1.0,) * len(patch)] * 40, width=8)
    net = create(found.network, weights="random", **found.options).train()
    shape = topology(found.patch, (1.0,) * len(patch))
    widths = found.options["widths"]
    count = parameters(shape, widths, channels=1, labels=3)
    assert count == sum(p.numel() for p in net.parameters())

    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = net(torch.randn(2, 1, *found.patch))
        loss = sum(one.log_softmax(1)[:, 0].mean() for one in scores)
    assert torch.isfinite(loss)
    assert scores[0].shape == (2, 3, *found.patch)
    monkeypatch.setattr(planning, "TRANSIENT", 0)  # what comes and goes is not kept
    expected = training_memory(found.patch, 2, shape, widths, channels=1, labels=3)
    expected -= 4 * 5 * count
    assert expected == pytest.approx(sum(s.nbytes() for s in kept.values()), rel=0.1)


@pytest.mark.parametrize(
    ("shapes", "spacings", "options", "words"),
    [
        ([(9, 9), (9, 9, 9)], None, {}, "all pictures or all volumes"),
        ([(64, 64)], [(1.0, 0.0)], {}, "above zero"),
        ([(64, 64)], [(1.0, 1.0, 1.0)], {}, "spacing"),
        ([(6, 6)], None, {}, "too few"),
        ([(64, 64)], None, {"modalities": ("CT",)}, "labelled voxels"),
        ([(512, 512, 512)], None, {"memory": 0.02}, "too little"),
    ],
)
def test_what_cannot_be_planned_is_refused(shapes, spacings, options, words):
    with pytest.raises(InputError, match=words):
        plan(shapes, spacings, **options)
