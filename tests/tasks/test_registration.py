"""Known warps of small images: what comes back is compared with what was put in."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from osler.errors import GeometryError, InputError
from osler.metrics.registration import target_registration_error
from osler.record import Image, Source, Transform
from osler.tasks.registration import register
from osler.tasks.registration_warp import (
    displacement_of,
    folded_share,
    frame_of,
    growth,
    inverted,
    moved_points,
    overlap_of,
    warped,
    warped_labels,
)

pytest.importorskip("SimpleITK")

SOURCE = Source("algorithm", "test")


def blobs(shape: tuple[int, ...], *, seed: int = 0) -> NDArray[np.float32]:
    """Smooth structure without a symmetry, darker towards the border."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 3.0)
    away = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    body = (away**2).sum(axis=0) < 0.7
    return np.asarray(np.where(body, 100 + 400 * smooth / smooth.std() / 4, 0.0), np.float32)


def flat(shape: tuple[int, int] = (72, 60)) -> Image:
    return Image("fixed", blobs(shape)[None], modality="MR", spacing=(1.5, 1.0))


def volume(shape: tuple[int, int, int] = (20, 36, 32)) -> Image:
    """Slices 2 mm apart, oblique in the patient, far from its origin."""
    turn, _ = np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.3, 1.0, 0.2], [0.1, -0.1, 1.0]]))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 1.0, 1.25])
    affine[:3, 3] = (-40.0, 60.0, 200.0)
    return Image(
        "fixed", blobs(shape)[None], modality="MR", spacing=(2.0, 1.0, 1.25), affine=affine
    )


def known(image: Image, *, angle: float, shift: float, bend: float = 0.0) -> Transform:
    """From ``image`` to a moved copy: a turn in the last two axes, a shift and a smooth wave."""
    n = len(image.shape)
    affine = frame_of(image).affine
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    motion = np.eye(n + 1)
    motion[:2, :2] = [[cos, -sin], [sin, cos]]
    middle = affine @ np.array([*((np.array(image.shape) - 1) / 2), 1.0])
    motion[:n, n] = middle[:n] - motion[:n, :n] @ middle[:n] + shift
    field = None
    if bend:
        axes = [np.linspace(0, np.pi, side) for side in image.shape]
        wave = np.prod([np.sin(axis) for axis in np.meshgrid(*axes, indexing="ij")], axis=0)
        field = np.stack([bend * wave * (-1) ** axis for axis in range(n)]).astype(np.float32)
    matrix = np.linalg.solve(affine, motion @ affine)
    return Transform(
        id="known", name="Known", source=SOURCE, item="fixed", target="moving", matrix=matrix,
        displacement=field,
    )  # fmt: skip


def moved_copy(image: Image, truth: Transform) -> Image:
    """What a scanner would see after the motion: the image looked up through the way back."""
    back = inverted(truth, fixed=image, moving=image)
    return warped(image, back, onto=image, name="moving")


def inner_points(shape: tuple[int, ...], count: int = 60) -> NDArray[np.float64]:
    sides = np.array(shape)
    return np.random.default_rng(1).uniform(0.3 * sides, 0.7 * sides, (count, len(shape)))


def errors(truth: Transform, found: Transform | None, image: Image) -> NDArray[np.float64]:
    """TRE in mm at points inside."""
    assert found is not None
    points = inner_points(image.shape)
    one = moved_points(points, truth, fixed=image, moving=image)
    other = moved_points(points, found, fixed=image, moving=image)
    spacing = np.array(image.spacing)
    return target_registration_error(one * spacing, other * spacing)


def test_a_turned_plane_comes_back() -> None:
    fixed = flat()
    truth = known(fixed, angle=8, shift=3.0)
    result = register(fixed, moved_copy(fixed, truth), similarity="correlation")
    assert errors(truth, result.transform, fixed).mean() < 0.15
    assert result.transform is not None
    assert result.transform.flags == ()
    assert result.figures["similarity-after"] > 0.9 > result.figures["similarity-before"]


def test_an_oblique_volume_of_another_contrast_comes_back() -> None:
    fixed = volume()
    truth = known(fixed, angle=6, shift=2.0)
    # dark becomes bright, as between two sequences of MR
    inside = fixed.array > 0
    contrast = np.where(inside, 400 - fixed.array, 0).astype(np.float32)
    other = moved_copy(replace(fixed, array=contrast), truth)
    result = register(fixed, other, method="rigid")
    assert errors(truth, result.transform, fixed).mean() < 0.5
    again = register(fixed, other, method="rigid")
    assert result.transform is not None
    assert again.transform is not None
    assert np.array_equal(result.transform.matrix, again.transform.matrix)


def test_an_affine_map_comes_back() -> None:
    fixed = flat()
    truth = known(fixed, angle=5, shift=2.0)
    truth.matrix = truth.matrix @ np.diag([1.08, 0.95, 1.0])
    result = register(fixed, moved_copy(fixed, truth), method="affine", similarity="correlation")
    assert errors(truth, result.transform, fixed).mean() < 0.3


@pytest.mark.parametrize("method", ["deformable", "demons"])
def test_a_smooth_bend_comes_back(method: str) -> None:
    fixed = flat((80, 80))
    truth = known(fixed, angle=2, shift=0.5, bend=4.0)
    moving = moved_copy(fixed, truth)
    linear = register(fixed, moving, method="affine", similarity="squared-difference")
    result = register(
        fixed, moving, method=method, similarity="squared-difference",  # type: ignore[arg-type]
        control_spacing=15.0,
    )  # fmt: skip
    before, after = (errors(truth, r.transform, fixed).mean() for r in (linear, result))
    assert after < 0.6
    assert after < 0.6 * before
    assert result.transform is not None
    assert result.transform.displacement is not None
    assert result.figures["folding"] == 0.0


def test_a_bent_volume_comes_back() -> None:
    fixed = volume()
    truth = known(fixed, angle=0, shift=0.0, bend=3.0)
    moving = moved_copy(fixed, truth)
    result = register(
        fixed, moving, method="demons", similarity="squared-difference", levels=2, smooth=2.0
    )
    still = known(fixed, angle=0, shift=0.0)
    before, after = (errors(truth, t, fixed).mean() for t in (still, result.transform))
    assert after < 0.3 * before
    assert result.figures["folding"] == 0.0


def test_what_a_mask_hides_does_not_count() -> None:
    fixed = flat()
    truth = known(fixed, angle=4, shift=2.0)
    moving = moved_copy(fixed, truth)
    stamped = moving.array.copy()
    stamped[:, 48:70, 5:50] = 900.0  # something that only this image shows
    keep = np.ones(moving.shape, bool)
    keep[46:72, 3:52] = False
    result = register(
        fixed, replace(moving, array=stamped), moving_mask=keep, similarity="correlation"
    )
    assert errors(truth, result.transform, fixed).mean() < 0.3


def test_the_whole_way_is_checked_by_itk() -> None:
    """Our warping of a deformable result equals ITK's of the same places."""
    import SimpleITK as sitk

    fixed = volume()
    truth = known(fixed, angle=5, shift=1.0, bend=2.0)
    ours = warped(fixed, truth, onto=fixed)
    way = displacement_of(truth, fixed=fixed, moving=fixed)
    frame = frame_of(fixed)
    lps = np.tensordot(frame.directions, way, axes=1)

    def as_itk(array: NDArray[np.float64], *, vector: bool = False) -> sitk.Image:
        image = sitk.GetImageFromArray(array, isVector=vector)
        image.SetSpacing(frame.spacing[::-1].tolist())
        image.SetOrigin(frame.affine[:3, 3].tolist())
        image.SetDirection(frame.directions[:, ::-1].ravel().tolist())
        return image

    field = sitk.DisplacementFieldTransform(as_itk(np.moveaxis(lps, 0, -1).copy(), vector=True))
    theirs = sitk.Resample(as_itk(fixed.array[0].astype(float)), field, sitk.sitkLinear, 0.0)
    inner = (slice(3, -3),) * 3
    difference = np.abs(ours.array[0][inner] - sitk.GetArrayFromImage(theirs)[inner])
    assert difference.max() < 0.05


def test_there_and_back_is_the_place_itself() -> None:
    fixed = volume()
    truth = known(fixed, angle=5, shift=1.0, bend=3.0)
    back = inverted(truth, fixed=fixed, moving=fixed)
    points = inner_points(fixed.shape)
    there = moved_points(points, truth, fixed=fixed, moving=fixed)
    again = moved_points(there, back, fixed=fixed, moving=fixed)
    assert np.abs(again - points).max() < 0.03
    assert "not-invertible" not in back.flags


def test_labels_take_the_nearest_voxel_and_no_value_between() -> None:
    fixed = flat()
    labels = np.zeros(fixed.shape, np.uint8)
    labels[20:40, 20:40] = 7
    labels[24:30, 24:30] = 3
    truth = known(fixed, angle=10, shift=2.3)
    out = warped_labels(labels, truth, onto=fixed, moving=fixed)
    assert set(np.unique(out)) == {0, 3, 7}
    slow = np.zeros_like(labels)
    for h, w in np.ndindex(*fixed.shape):
        place = np.rint((truth.matrix @ (h, w, 1.0))[:2]).astype(int)
        if (place >= 0).all() and (place < fixed.shape).all():
            slow[h, w] = labels[tuple(place)]
    assert np.array_equal(out, slow)


def test_growth_and_folding() -> None:
    fixed = flat()
    double = known(fixed, angle=0, shift=0.0)
    double.matrix = np.diag([2.0, 0.5, 1.0]) @ double.matrix
    assert growth(double, fixed=fixed, moving=fixed) == pytest.approx(1.0)
    assert folded_share(double, fixed=fixed, moving=fixed) == 0.0
    mirror = known(fixed, angle=0, shift=0.0)
    mirror.matrix = np.diag([-1.0, 1.0, 1.0]) @ mirror.matrix
    assert folded_share(mirror, fixed=fixed, moving=fixed) == 1.0
    fold = known(fixed, angle=0, shift=0.0, bend=40.0)
    assert 0.05 < (folded_share(fold, fixed=fixed, moving=fixed) or 0) < 0.6
    assert "not-invertible" in inverted(fold, fixed=fixed, moving=fixed).flags


def test_images_of_other_grids_overlap_where_they_do() -> None:
    fixed = flat((40, 40))
    moving = Image("moving", blobs((20, 40))[None], spacing=(1.5, 1.0))
    same = Transform(id="t", name="T", source=SOURCE, target="moving", matrix=np.eye(3))
    assert overlap_of(same, fixed=fixed, moving=moving) == pytest.approx(0.5)
    onto = warped(moving, same, onto=fixed, outside=-5.0)
    assert (onto.array[0, 20:] == -5.0).all()
    assert np.allclose(onto.array[0, :20], moving.array[0])
    assert onto.spacing == fixed.spacing


def test_an_unknown_scale_is_refused_and_pixels_are_said() -> None:
    fixed = replace(flat(), spacing=None)
    moving = replace(moved_copy(flat(), known(flat(), angle=0, shift=3.0)), spacing=None)
    with pytest.raises(GeometryError, match="scale='pixels'"):
        register(fixed, moving)
    result = register(fixed, moving, scale="pixels", similarity="correlation")
    assert result.transform is not None
    assert "pixel-units" in result.transform.flags
    assert result.transform.unit == "[pix_i]"


def test_volumes_that_lie_apart_are_refused() -> None:
    fixed = volume()
    affine = np.array(fixed.affine)
    affine[:3, 3] += 500.0
    apart = replace(fixed, name="moving", affine=affine)
    with pytest.raises(GeometryError, match="start='centre'"):
        register(fixed, apart)
    result = register(fixed, apart, start="centre", levels=1)
    assert result.transform is not None
    assert np.abs(result.transform.matrix - np.eye(4)).max() < 0.05


def test_a_tilted_volume_is_refused() -> None:
    fixed = volume()
    affine = np.array(fixed.affine)
    affine[:3, 1] += 0.2 * affine[:3, 0]
    with pytest.raises(GeometryError, match="right angles"):
        register(fixed, replace(fixed, affine=affine))


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, {"method": "elastic"}, "rigid, affine, deformable, demons"),
        ({"array": np.zeros((1, 72, 60), np.float32)}, {}, "same everywhere"),
        ({"array": np.full((1, 72, 60), np.nan, np.float32)}, {}, "no numbers"),
        ({"array": np.zeros((2, 72, 60), np.float32)}, {}, "2 channels"),
        ({"array": np.zeros((1, 4, 60), np.float32)}, {}, "at least 8"),
        ({}, {"fixed_mask": np.zeros((72, 60), bool)}, "at least one"),
        ({}, {"fixed_mask": np.ones((7, 6), bool)}, "expected \\(72, 60\\)"),
        ({}, {"start": "position"}, "start='centre'"),
        ({}, {"levels": 0}, "levels is 0"),
        ({}, {"control_spacing": -1.0}, "control_spacing is -1"),
    ],
)
def test_what_does_not_fit_is_said(change: dict, options: dict, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=words):
        register(flat(), replace(flat(), name="moving", **change), **options)


def test_a_transform_between_other_images_is_refused() -> None:
    truth = known(flat(), angle=0, shift=0.0, bend=1.0)
    with pytest.raises(InputError, match="does not lead"):
        moved_points(np.zeros((1, 2)), truth, fixed=flat((40, 40)), moving=flat())
    with pytest.raises(InputError, match="expected \\(N, 2\\)"):
        moved_points(np.zeros((1, 3)), truth, fixed=flat(), moving=flat())
