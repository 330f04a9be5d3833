"""Augmentation against numpy, scipy and slow loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from torch.nn import functional

from osler.learn import augmenting_resampling, augmenting_values
from osler.learn.augmenting import (
    Augmentation,
    augment,
    augment_places,
    changed_apart,
    draw_changes,
)
from osler.learn.augmenting_space import Bend, Warp

ONE = {"probability": 1}
PICTURE, VOLUME = (17, 23), (9, 14, 11)
SPACE = {
    "rotate": {**ONE, "in_plane": 40, "through_plane": 20},
    "scale": {**ONE, "factor": (0.8, 1.3), "apart": True},
    "translate": {**ONE, "share": 0.1},
}
ELASTIC = {"elastic": {**ONE, "spacing": 6, "displacement": 2.4}}


def settings(**options):
    return Augmentation.model_validate(options)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def batch(shape, *, images=2, channels=2, labels=4, seed=0):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.normal(size=(images, channels, *shape))).float()
    mask = torch.from_numpy(rng.integers(0, labels, (images, 1, *shape))).to(torch.uint8)
    return image, mask


@pytest.mark.parametrize("shape", [PICTURE, VOLUME, (1, 8, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_nothing_gives_back_the_same_bits(shape, dtype):
    images, masks = batch(shape)
    images = images.to(dtype)
    for options in (
        {},
        {"rotate": {"probability": 0}},
        {"rotate": {**ONE, "in_plane": 0, "through_plane": 0}},
    ):
        new, new_masks = augment(images, masks, settings(**options), generator())
        assert new.dtype == dtype
        assert torch.equal(new, images)
        assert torch.equal(new_masks, masks)
        assert new.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("shape", [PICTURE, VOLUME])
@pytest.mark.parametrize("axis", ["depth", "height", "width"])
def test_a_flip_is_numpys(shape, axis):
    images, masks = batch(shape)
    new, new_masks = augment(images, masks, settings(flip={**ONE, "axes": [axis]}), generator())
    number = {"depth": 2, "height": len(shape), "width": len(shape) + 1}[axis]
    flipped = not (axis == "depth" and len(shape) == 2)
    for old, result in ((images, new), (masks, new_masks)):
        assert np.array_equal(result, np.flip(old.numpy(), number) if flipped else old.numpy())


@pytest.mark.parametrize("shape", [(12, 12), (5, 12, 12)])
def test_a_quarter_turn_is_numpys(shape):
    images, masks = batch(shape, images=8)
    new, new_masks = augment(images, masks, settings(quarter=ONE), generator())
    seen = set()
    for old, result, mask, new_mask in zip(images, new, masks, new_masks, strict=True):
        turns = [np.rot90(old.numpy(), k, (-2, -1)) for k in range(4)]
        (k,) = (k for k in range(4) if np.array_equal(turns[k], result))
        assert np.array_equal(np.rot90(mask.numpy(), k, (-2, -1)), new_mask)
        seen.add(k)
    assert seen == {1, 2, 3}


def test_only_half_turns_where_sides_or_spacings_differ():
    for shape, spacing in (((12, 10), None), ((12, 12), (1.0, 0.5))):
        images, _ = batch(shape, images=6)
        new, _ = augment(images, None, settings(quarter=ONE), generator(), spacing=spacing)
        assert np.array_equal(new, np.rot90(images.numpy(), 2, (-2, -1)))


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2), (1, 2)])
def test_a_rotation_by_90_degrees_is_numpys(first, second):
    images, _ = batch((8, 8, 8), images=1)
    matrix = np.eye(3)
    cos, sin = math.cos(math.pi / 2), math.sin(math.pi / 2)
    matrix[[first, first, second, second], [first, second, first, second]] = cos, -sin, sin, cos
    new, _ = augmenting_resampling.resample(images, None, [Warp((8, 8, 8), matrix, np.zeros(3))])
    assert np.array_equal(new, np.rot90(images.numpy(), 1, (second + 2, first + 2)))


@pytest.mark.parametrize("outside", ["edge", "zero"])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [(PICTURE, None), (PICTURE, (0.5, 0.7)), (VOLUME, None), (VOLUME, (2.5, 1.0, 1.2))],
)
def test_an_affine_map_is_scipys(shape, spacing, outside):
    images, masks = batch(shape)
    changes = draw_changes(
        2, shape, settings(**SPACE, flip=ONE, outside=outside), generator(), spacing=spacing
    )
    new, new_masks = changes.apply(images, masks)
    mode = {"edge": "nearest", "zero": "constant"}[outside]
    for b, warp in enumerate(changes.warps):
        assert warp.turn() is None
        offset = warp.centre - warp.matrix @ (warp.centre + warp.shift)
        clear = is_clear(warp)
        for c in range(2):
            known = ndimage.affine_transform(
                images[b, c].numpy(), warp.matrix, offset, order=1, mode=mode
            )
            np.testing.assert_allclose(new[b, c].numpy()[clear], known[clear], atol=2e-3)
        known = ndimage.affine_transform(
            masks[b, 0].numpy(), warp.matrix, offset, order=0, mode=mode
        )
        assert np.array_equal(new_masks[b, 0].numpy()[clear], known[clear])
        assert clear.mean() > 0.9


def is_clear(warp):
    """Whether rounding decides neither the nearest voxel nor what is outside."""
    places = every_place(warp)
    near = np.abs(places - np.floor(places) - 0.5).min(axis=-1)
    end = np.abs(np.stack([places, places - np.array(warp.shape) + 1])).min(axis=(0, -1))
    return (near > 5e-3) & (end > 5e-3)


def every_place(warp):
    indices = np.moveaxis(np.indices(warp.shape), 0, -1)
    return warp.old(indices.reshape(-1, len(warp.shape))).reshape(indices.shape)


@pytest.mark.parametrize("shape", [PICTURE, VOLUME, (20, 25, 30)])
def test_a_bent_image_is_scipys_at_the_same_places(shape):
    images, masks = batch(shape)
    changes = draw_changes(2, shape, settings(**SPACE, **ELASTIC), generator())
    new, new_masks = changes.apply(images, masks)
    for b, warp in enumerate(changes.warps):
        places = np.moveaxis(every_place(warp), -1, 0)
        for c in range(2):
            known = ndimage.map_coordinates(images[b, c].numpy(), places, order=1, mode="nearest")
            np.testing.assert_allclose(new[b, c], known, atol=2e-3)
        known = ndimage.map_coordinates(masks[b, 0].numpy(), places, order=0, mode="nearest")
        clear = is_clear(warp)
        assert np.array_equal(new_masks[b, 0].numpy()[clear], known[clear])


@pytest.mark.parametrize("outside", ["edge", "zero"])
def test_the_mosaic_and_the_plain_road_agree(outside):
    shape = (13, 20, 16)
    images, masks = batch(shape, images=1, channels=3)
    (warp,) = draw_changes(1, shape, settings(**SPACE, **ELASTIC), generator()).warps
    layers, modes = [images, masks.float()], ["bilinear", "nearest"]
    plain = augmenting_resampling._at_once(layers, modes, [warp.spline()], outside)
    mosaic = augmenting_resampling._sample(layers, modes, [warp], outside)
    clear = is_clear(warp)
    for one, other in zip(plain, mosaic, strict=True):
        np.testing.assert_allclose(one.numpy()[..., clear], other.numpy()[..., clear], atol=1e-3)


def test_the_mosaic_finds_places_to_a_thousandth_of_a_voxel():
    shape = (96, 96, 96)
    lines = torch.stack(torch.meshgrid(*[torch.arange(96.0)] * 3, indexing="ij"))[None]
    (warp,) = draw_changes(1, shape, settings(**SPACE), generator()).warps
    (found,) = augmenting_resampling._sample([lines], ["bilinear"], [warp], "edge")
    # of a ramp along each axis, linear interpolation gives the place itself
    known = np.clip(every_place(warp), 0, 95)
    assert np.abs(np.moveaxis(known, -1, 0) - found[0].numpy()).max() < 1e-3


def test_threads_and_slabs_change_nothing(monkeypatch):
    images, masks = batch((13, 20, 16), images=3)
    chosen = settings(**SPACE, **ELASTIC, noise=ONE, blur=ONE, gamma=ONE)
    whole = augment(images, masks, chosen, generator())
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            parts = augment(images, masks, chosen, generator())
            assert torch.get_num_threads() == count
            assert torch.equal(parts[0], whole[0])
            assert torch.equal(parts[1], whole[1])
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(augmenting_resampling, "_SLAB", 4 * 20 * 16)
    parts = augment(images, masks, chosen, generator())
    torch.testing.assert_close(parts[0], whole[0], atol=1e-4, rtol=0)


def cubic(x):
    x = abs(x)
    if x < 1:
        return 2 / 3 - x**2 + x**3 / 2
    return (2 - x) ** 3 / 6 if x < 2 else 0.0


def test_bending_is_a_sum_of_splines():
    rng = np.random.default_rng(0)
    bend = Bend(rng.normal(size=(2, 6, 7)), (5.0, 4.0), (1.2, 1.5))
    points = rng.uniform(0, 14, (5, 2))
    moved, slopes = bend.at(points)

    def slow(point, a):
        return sum(
            bend.control[a, i, j] * cubic(point[0] / 5 + 1.2 - i) * cubic(point[1] / 4 + 1.5 - j)
            for i, j in itertools.product(range(6), range(7))
        )

    for p, point in enumerate(points):
        for a in range(2):
            assert moved[p, a] == pytest.approx(slow(point, a))
            for axis in range(2):
                step = np.eye(2)[axis] * 1e-5
                slope = (slow(point + step, a) - slow(point - step, a)) / 2e-5
                assert slopes[p, a, axis] == pytest.approx(slope, abs=1e-6)


def test_the_strongest_bending_does_not_fold():
    chosen = settings(elastic={**ONE, "spacing": 8, "displacement": 3.2})
    for seed in range(3):
        (warp,) = draw_changes(1, (16, 24, 24), chosen, generator(seed)).warps
        extreme = Bend(np.sign(warp.bend.control) * 3.2, warp.bend.steps, warp.bend.offsets)
        places = np.moveaxis(np.indices((16, 24, 24)), 0, -1).reshape(-1, 3).astype(float)
        assert np.linalg.det(np.eye(3) + extreme.at(places)[1]).min() > 0


def test_a_volume_of_thick_voxels_turns_in_millimetres():
    shape, spacing = (12, 30, 30), np.array([2.5, 1.0, 1.0])
    centre = (np.array(shape) - 1) / 2
    away = (np.moveaxis(np.indices(shape), 0, -1) - centre) * spacing
    widths = np.array([9.0, 6.0, 4.0])  # millimetres: an ellipsoid

    def blob(from_centre):
        return np.exp(-((from_centre / widths) ** 2).sum(-1) / 2)

    image = torch.from_numpy(blob(away)).float()[None, None]
    chosen = settings(rotate={**ONE, "in_plane": 30, "through_plane": 30})
    changes = draw_changes(1, shape, chosen, generator(3), spacing=spacing)
    turned = changes.warps[0].matrix * spacing[:, None] / spacing
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
    assert np.abs(turned - np.eye(3)).max() > 0.3
    new, _ = changes.apply(image)
    places = every_place(changes.warps[0])
    inside = ((places >= 0) & (places <= np.array(shape) - 1)).all(axis=-1)
    np.testing.assert_allclose(new[0, 0].numpy()[inside], blob(away @ turned.T)[inside], atol=0.04)
    assert np.abs(image[0, 0].numpy() - blob(away @ turned.T)).max() > 0.1


def test_thick_slices_move_only_within_themselves():
    shape = (6, 16, 18)
    chosen = settings(**SPACE, **ELASTIC, flip={**ONE, "axes": ["width"]})
    image = torch.arange(6.0).reshape(1, 1, 6, 1, 1).expand(1, 1, *shape)
    new, _ = augment(image, None, chosen, generator(), spacing=(4, 1, 1))
    torch.testing.assert_close(new, image.contiguous(), atol=1e-4, rtol=0)
    other, _ = augment(image, None, chosen, generator(), spacing=(2, 1, 1))
    assert (other - image).abs().max() > 0.5
    lying = image.movedim(2, 4)  # the coarse axis may be any
    new, _ = augment(
        lying, None, chosen.model_copy(update={"flip": None}), generator(), spacing=(1, 1, 4)
    )
    torch.testing.assert_close(new, lying.contiguous(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("shape", "spacing"), [(PICTURE, (1, 1)), (VOLUME, (3, 1, 1.5)), ((40, 7), (1, 2))]
)
@pytest.mark.parametrize("sigma", [0.1, 0.6, 2.3])
def test_blur_is_scipys(shape, spacing, sigma):
    images, masks = batch(shape)
    new, same = augment(
        images, masks, settings(blur={**ONE, "sigma": (sigma, sigma)}), generator(), spacing=spacing
    )
    sigmas = sigma * min(spacing) / np.array(spacing)
    for old, result in zip(images.flatten(0, 1), new.flatten(0, 1), strict=True):
        known = ndimage.gaussian_filter(old.numpy().astype(float), sigmas)
        np.testing.assert_allclose(result, known, atol=1e-5)
    assert torch.equal(same, masks)


@pytest.mark.parametrize("n", [1, 2, 33, 70])
@pytest.mark.parametrize("factor", [1.0, 1.4, 2.0, 5.0])
def test_coarse_pixels_are_those_of_interpolate(n, factor):
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, n))).float()
    coarse = functional.interpolate(image, size=max(1, round(n / factor)), mode="nearest-exact")
    known = functional.interpolate(coarse, size=n, mode="linear", align_corners=False)
    found = augmenting_values.coarser(n, factor) @ image[0, 0].double().numpy()
    np.testing.assert_allclose(found, known[0, 0], atol=2e-5)


@pytest.mark.parametrize("shape", [(3, 40, 37), (2, 35, 34, 70)])
def test_filters_in_blocks_are_whole_products(shape):
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=shape)).float()
    filters = [
        augmenting_values.coarser(n, 1.7) @ augmenting_values.gaussian(n, 1.1) for n in shape[1:]
    ]
    known = image.double().numpy()
    for axis, matrix in enumerate(filters):
        known = np.moveaxis(np.tensordot(matrix, known, axes=(1, axis + 1)), 0, axis + 1)
    augmenting_values.apply_filters(image, filters)
    np.testing.assert_allclose(image, known, atol=1e-5)


def test_low_resolution_can_be_of_one_axis():
    images, _ = batch(VOLUME)
    new, _ = augment(
        images,
        None,
        settings(low_resolution={**ONE, "factor": (3, 3), "axes": ["depth"]}),
        generator(),
    )
    known = np.einsum("ij,bcjhw->bcihw", augmenting_values.coarser(9, 3), images.numpy())
    np.testing.assert_allclose(new, known, atol=1e-5)


def test_noise_is_as_strong_as_said():
    images = torch.from_numpy(np.random.default_rng(0).normal(5, 3, (2, 2, 60, 50))).float()
    new, _ = augment(images, None, settings(noise={**ONE, "deviation": (0.2, 0.2)}), generator())
    added = ((new - images) / images.std(dim=(2, 3), keepdim=True)).numpy()
    np.testing.assert_allclose(added.std(axis=(2, 3)), 0.2, rtol=0.06)
    np.testing.assert_allclose(added.mean(axis=(2, 3)), 0, atol=0.015)
    assert abs(np.corrcoef(added.reshape(4, -1)) - np.eye(4)).max() < 0.08


def test_brightness_contrast_and_gamma_are_as_defined():
    images, _ = batch(PICTURE, images=1)
    old = images.double().numpy()
    mean, std = old.mean((2, 3), keepdims=True), old.std((2, 3), keepdims=True)
    low, high = old.min((2, 3), keepdims=True), old.max((2, 3), keepdims=True)

    def power(x):
        return ((x - x.min((2, 3), keepdims=True)) / (high - low)) ** 1.3

    def kept(x):
        return (x - x.mean((2, 3), keepdims=True)) / x.std((2, 3), keepdims=True) * std + mean

    known = {
        "brightness": ({"factor": (1.2, 1.2), "shift": (0.5, 0.5)}, old * 1.2 + 0.5 * std),
        "contrast": ({"factor": (1.5, 1.5)}, np.clip((old - mean) * 1.5 + mean, low, high)),
        "gamma": ({"gamma": (1.3, 1.3), "inverted": 0}, kept(power(old))),
    }
    for name, (options, wanted) in known.items():
        new, _ = augment(images, None, settings(**{name: {**ONE, **options}}), generator())
        np.testing.assert_allclose(new, wanted, atol=2e-5, err_msg=name)
    negative = settings(gamma={**ONE, "gamma": (1.3, 1.3), "inverted": 1})
    new, _ = augment(images, None, negative, generator())
    np.testing.assert_allclose(new, kept(-power(-old)), atol=2e-5)


def test_an_image_of_one_value_keeps_it():
    image = torch.full((1, 1, 8, 9), 0.3)
    for name in ("contrast", "gamma", "noise", "blur", "low_resolution"):
        new, _ = augment(image, None, settings(**{name: ONE}), generator())
        torch.testing.assert_close(new, image, atol=1e-6, rtol=0)


def test_a_bias_field_is_smooth_and_no_stronger_than_said():
    image = torch.ones(1, 1, 30, 40, 20)
    new, _ = augment(image, None, settings(bias_field={**ONE, "strength": 0.4}), generator())
    field = new[0, 0].log().numpy()
    assert 0.05 < np.abs(field).max() <= 0.4
    for axis, n in enumerate(field.shape):
        assert np.abs(np.diff(field, axis=axis)).max() < 2 * 0.4 * 3 / (n - 1)


def test_channels_change_together_or_apart():
    images, _ = batch((16, 16), images=1)
    images[0, 1] = images[0, 0]
    bright = {"brightness": {**ONE, "factor": (0.5, 2)}}
    together, _ = augment(images, None, settings(**bright), generator())
    apart, _ = augment(images, None, settings(**bright, channels="apart"), generator())
    assert torch.equal(together[0, 0], together[0, 1])
    assert (apart[0, 0] - apart[0, 1]).abs().max() > 0.05


@pytest.mark.parametrize("shape", [(40, 36), (20, 28, 24)])
def test_points_go_where_the_tissue_goes(shape):
    rng = np.random.default_rng(0)
    chosen = settings(**SPACE, **ELASTIC, flip=ONE)
    points = rng.uniform(0.35, 0.65, (2, 1, len(shape))) * np.array(shape)
    index = np.moveaxis(np.indices(shape), 0, -1)
    blobs = np.exp(-((index - points.reshape(2, *[1] * len(shape), -1)) ** 2).sum(-1) / 2 / 2**2)
    new, _, moved, _ = augment_places(
        torch.from_numpy(blobs)[:, None].float(), None, chosen, generator(),
        points=[torch.from_numpy(p) for p in points],
    )  # fmt: skip
    for b in range(2):
        weight = new[b, 0].double().numpy() ** 2
        centroid = (index * weight[..., None]).reshape(-1, len(shape)).sum(0) / weight.sum()
        np.testing.assert_allclose(moved[b][0], centroid, atol=0.35)
        assert np.abs(moved[b][0].numpy() - points[b, 0]).max() > 1


def test_there_and_back_is_the_same_place():
    for seed in range(3):
        (warp,) = draw_changes(1, VOLUME, settings(**SPACE, **ELASTIC), generator(seed)).warps
        points = np.random.default_rng(seed).uniform(-2, 15, (50, 3))
        points[7] = np.nan
        np.testing.assert_allclose(warp.old(warp.new(points)), points, atol=1e-5)


def test_boxes_of_flips_and_quarter_turns_are_exact():
    shape = (12, 12)
    mask = torch.zeros(4, 1, *shape)
    mask[:, :, 2:5, 3:9] = 1
    box = torch.tensor([[2.0, 3.0, 5.0, 9.0]])
    chosen = settings(flip={"probability": 0.5}, quarter=ONE)
    _, moved, _, boxes = augment_places(mask, mask, chosen, generator(), boxes=[box] * 4)
    for new, (one,) in zip(moved, boxes, strict=True):
        places = np.argwhere(new[0].numpy())
        np.testing.assert_allclose(one, [*places.min(0), *(places.max(0) + 1)], atol=1e-6)


@pytest.mark.parametrize("elastic", [{}, {"elastic": {**ONE, "spacing": 30, "displacement": 6}}])
def test_boxes_enclose_turned_ellipses(elastic):
    shape = (80, 90)
    index = np.moveaxis(np.indices(shape), 0, -1)
    inside = (((index - [38, 46]) / [9, 18]) ** 2).sum(-1) <= 1
    mask = torch.from_numpy(inside)[None, None].repeat(6, 1, 1, 1)
    rows = np.argwhere(inside)
    box = torch.tensor([[*rows.min(0), *(rows.max(0) + 1)]], dtype=torch.float64)
    _, moved, _, boxes = augment_places(
        mask.float(), mask, settings(rotate={**ONE, "in_plane": 90}, **elastic), generator(),
        boxes=[box] * 6,
    )  # fmt: skip
    for new, (one,) in zip(moved, boxes, strict=True):
        rows = np.argwhere(new[0].numpy())
        known = [*rows.min(0), *(rows.max(0) + 1)]
        np.testing.assert_allclose(one, known, atol=3 if elastic else 1)


def test_the_seed_decides_and_leaving_one_change_out_leaves_the_others():
    images, masks = batch(VOLUME, images=3)
    chosen = settings(preset="standard", elastic=ONE, bias_field=ONE, noise=ONE)
    first, second = (augment(images, masks, chosen, generator(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    other, _ = augment(images, masks, chosen, generator(6))
    assert not torch.equal(first[0], other)
    plain = chosen.model_copy(update={"elastic": None, "bias_field": None, "noise": None})
    with_all, without = (draw_changes(3, VOLUME, s, generator(5)) for s in (chosen, plain))
    for one, two in zip(with_all.warps, without.warps, strict=True):
        assert np.array_equal(one.matrix, two.matrix)
        assert one.bend is not None
        assert two.bend is None


def test_the_input_stays_as_it_is():
    images, masks = batch(VOLUME)
    before = images.clone(), masks.clone()
    chosen = settings(preset="standard", **SPACE, gamma=ONE, contrast=ONE, noise=ONE, blur=ONE)
    augment(images, masks, chosen, generator())
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int64])
def test_labels_stay_labels(dtype):
    images, masks = batch(VOLUME, labels=2)
    masks = masks.to(dtype) if dtype == torch.bool else masks.to(dtype) * 91
    for labels in ("nearest", "linear"):
        _, new = augment(images, masks, settings(**SPACE, labels=labels), generator())
        assert new.dtype == dtype
        assert set(new.unique().tolist()) == set(masks.unique().tolist())


def test_linear_labels_are_the_largest_interpolated_indicator():
    images, masks = batch(VOLUME, images=1)
    changes = draw_changes(1, VOLUME, settings(**SPACE, labels="linear"), generator())
    _, new = changes.apply(images, masks)
    places = np.moveaxis(every_place(changes.warps[0]), -1, 0)
    shares = np.stack([
        ndimage.map_coordinates((masks[0, 0].numpy() == v) * 1.0, places, order=1, mode="nearest")
        for v in range(4)
    ])  # fmt: skip
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 5e-3
    assert clear.mean() > 0.9
    assert np.array_equal(new[0, 0].numpy()[clear], shares.argmax(0)[clear])


def test_soft_masks_are_interpolated_as_images_are():
    images, _ = batch(VOLUME)
    new, same = augment(images, images.clone(), settings(**SPACE), generator())
    torch.testing.assert_close(new, same)


def test_autocast_around_it_changes_nothing():
    images, masks = batch(VOLUME)
    chosen = settings(**SPACE, blur=ONE, gamma=ONE)
    plain, _ = augment(images, masks, chosen, generator())
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = augment(images, masks, chosen, generator())
    assert torch.equal(plain, mixed)


@pytest.mark.parametrize("shape", [PICTURE, (40, 44, 48)])
def test_coarse_products_do_not_move_places(shape):
    images, masks = batch(shape)
    chosen = settings(**SPACE, **ELASTIC)
    exact = augment(images, masks, chosen, generator())
    torch.set_float32_matmul_precision("medium")
    try:
        coarse = augment(images, masks, chosen, generator())
    finally:
        torch.set_float32_matmul_precision("highest")
    torch.testing.assert_close(coarse[0], exact[0], atol=2e-3, rtol=0)
    assert (coarse[1] != exact[1]).float().mean() < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
def test_a_graphics_card_gives_the_same():
    images, masks = batch(VOLUME)
    chosen = settings(**SPACE, **ELASTIC, bias_field=ONE, blur=ONE, contrast=ONE, gamma=ONE)
    here = augment(images, masks, chosen, generator())
    there = augment(images.cuda(), masks.cuda(), chosen, generator())
    torch.testing.assert_close(here[0], there[0].cpu(), atol=5e-3, rtol=0)
    assert (here[1] == there[1].cpu()).float().mean() > 0.99


def test_presets_fill_in_what_is_not_given():
    assert settings() == Augmentation.model_validate("none")
    standard = Augmentation.model_validate("standard")
    assert standard.gamma.gamma == (0.7, 1.5)
    changed = settings(preset="standard", gamma=None, noise={"probability": 0.7}, elastic={})
    assert changed.gamma is None
    assert changed.noise.probability == 0.7
    assert changed.rotate == standard.rotate
    light = settings(preset="light", rotate={"probability": 0.3})
    assert (light.rotate.probability, light.rotate.in_plane) == (0.3, 10)
    for one in (standard, changed, light):
        assert Augmentation.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "heavy"}, "'none', 'light' or 'standard'"),
        ("heavy", "'none', 'light' or 'standard'"),
        ({"rotat": {}}, "rotat"),
        ({"noise": {"probability": 2}}, "noise.probability"),
        ({"scale": {"factor": (1.3, 0.8)}}, "swap"),
        ({"gamma": {"gamma": (0, 1)}}, "above 0"),
        ({"elastic": {"spacing": 10, "displacement": 5}}, "at most 4"),
        ({"flip": {"axes": ["left"]}}, "'depth', 'height' or 'width'"),
    ],
)
def test_wrong_settings_are_refused(options, words):
    with pytest.raises(ValidationError, match=words.replace(".", r"\.")):
        Augmentation.model_validate(options)


def test_what_does_not_fit_is_refused():
    images, masks = batch(PICTURE)
    chosen = settings(**SPACE)
    for wrong, words in (
        ((images.to(torch.uint8), None), "floating point"),
        ((images, masks[..., 1:]), "do not lie"),
        ((images[0], None), "must be"),
    ):
        with pytest.raises(ValueError, match=words):
            draw_changes(2, PICTURE, chosen, generator()).apply(*wrong)
    with pytest.raises(ValueError, match="spacing"):
        augment(images, masks, chosen, generator(), spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="renumber"):
        augment(images, masks.long() + 2**24, chosen, generator())


def test_images_of_several_things_are_changed_by_themselves_whatever_their_size():
    images = {"a": torch.rand(2, 3, 8, 8), "b": torch.rand(2, 1, 6, 10), "c": torch.rand(2, 4)}
    settings = Augmentation.model_validate("standard")
    made = [
        changed_apart(images, ["a", "b"], settings, torch.Generator().manual_seed(1))
        for _ in range(2)
    ]
    assert set(made[0]) == {"a", "b"}
    for name in ("a", "b"):
        assert made[0][name].shape == images[name].shape
        assert torch.equal(made[0][name], made[1][name])
        assert not torch.equal(made[0][name], images[name])
