"""One bundle on one photograph: its grid, its depth, its labels, and the bundles it asks first."""

import numpy as np
import pytest
from stand_ins import (
    ANATOMY,
    ARTERY_VEIN,
    EXUDATES,
    VESSEL,
    case_of,
    grader,
    judge,
    painted,
    segmenter,
)

from osler.errors import BundleError, InputError
from osler.record import Case, Image
from osler.retina.predict import predict
from osler.tasks.canvas import rgb
from osler.tasks.field import find_field


def image(array):
    return Image("photo", array, "OP")


@pytest.mark.parametrize("shape", [(300, 400), (401, 333), (64, 64), (97, 640), (1100, 1301)])
def test_masks_have_the_size_of_the_photograph(tmp_path, shape):
    array = painted(shape)
    said = predict(segmenter(tmp_path, "tiny", ANATOMY), case_of(array, field=False))
    assert said.labels == tuple(said.masks) == ("optic disc", "optic cup", "fovea")
    assert said.probability.shape == (3, *shape)
    assert said.probability.dtype == np.float32
    assert all(mask.shape == shape and mask.dtype == bool for mask in said.masks.values())
    truth = array[2] > 115
    found = said.masks["optic disc"]
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 200), (8, 8)])
def test_the_smallest_photographs_give_masks_too(tmp_path, shape):
    said = predict(segmenter(tmp_path, "tiny", VESSEL), case_of(np.full((3, *shape), 90, np.uint8)))
    assert said.masks["vessel"].shape == shape


def test_nothing_is_found_outside_the_field(tmp_path):
    array = painted()
    everywhere = {"all": ((0, 0, 0, 0), 9.0)}
    said = predict(segmenter(tmp_path, "tiny", everywhere), case_of(array))
    inside = find_field(array).mask()
    assert not said.masks["all"][~inside].any()
    assert not said.probability[:, ~inside].any()
    assert said.masks["all"][inside].all()


def test_labels_that_exclude_each_other_lose_the_background(tmp_path):
    bundle = segmenter(tmp_path, "tiny", ARTERY_VEIN, activation="softmax")
    array = painted()
    said = predict(bundle, case_of(array))
    assert said.labels == ("artery", "vein")
    assert said.probability.shape == (2, *array.shape[1:])
    assert said.scores["scores"].shape[1] == 3
    artery, vein = said.masks["artery"], said.masks["vein"]
    assert not (artery & vein).any()
    assert artery[(array[0] == 210) & (array[1] == 20)].mean() > 0.9
    assert vein[array[0] == 140].mean() > 0.85
    assert not (artery | vein)[array[1] > 200].any()


def test_a_field_that_is_known_is_not_sought_again(tmp_path):
    field = find_field(np.full((3, 300, 400), 90, np.uint8))
    said = predict(segmenter(tmp_path, "tiny", VESSEL), case_of(painted()), field=field)
    assert said.canvas.field is field


def test_a_classification(tmp_path):
    bundle = judge(tmp_path, worth="usable", defects={"blur": 1.0})
    said = predict(bundle, case_of(painted()))
    assert set(said.probabilities) == {"photograph", "quality", "defects"}
    assert said.labels == ("fundus photograph",)
    assert said.label == "fundus photograph"
    assert sum(said.probabilities["quality"].values()) == pytest.approx(1)
    assert max(said.probabilities["quality"], key=said.probabilities["quality"].get) == "usable"
    assert said.probabilities["defects"]["blur"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert said.probability is None
    assert not said.masks


def test_the_case_is_left_as_it_was(tmp_path):
    array = painted()
    before, case = array.copy(), case_of(array)
    predict(segmenter(tmp_path, "tiny", VESSEL), case)
    assert list(case.findings) == ["field"]
    assert case.history == []
    assert (array == before).all()


def test_a_bundle_asks_the_ones_it_needs(tmp_path, monkeypatch):
    # a name that does not ship is a folder under the working folder
    monkeypatch.chdir(tmp_path)
    lesions = segmenter(tmp_path, "own-lesions", EXUDATES, cells=True)
    grades = grader(tmp_path, "own-dr", lesions="own-lesions")
    case = case_of(painted())
    alone = predict(grades, case)
    assert alone.label == "2"
    assert alone.scores["attention"].shape[2:] == tuple(n // 32 for n in alone.canvas.size)
    assert alone.scores["attention"].sum() == pytest.approx(1, abs=1e-5)
    first = predict(lesions, case)
    given = predict(grades, case, given={"own-lesions": first})
    assert (given.scores["attention"] == alone.scores["attention"]).all()
    # what was given is what is used
    first.scores["cells"][...] = 0
    other = predict(grades, case, given={"own-lesions": first})
    assert other.scores["attention"].std() == pytest.approx(0, abs=1e-6)


def test_a_bundle_that_is_needed_and_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="own-lesions"):
        predict(grader(tmp_path, "own-dr", lesions="own-lesions"), case_of(painted()))


def test_an_output_that_is_needed_and_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    segmenter(tmp_path, "own-lesions", EXUDATES, cells=False)
    with pytest.raises(BundleError, match=r"'cells'.*'own-lesions'.*'scores'"):
        predict(grader(tmp_path, "own-dr", lesions="own-lesions"), case_of(painted()))


def test_bundles_that_need_each_other_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    segmenter(tmp_path, "own-lesions", EXUDATES, cells=True, requires=["own-dr"])
    with pytest.raises(BundleError, match="own-dr -> own-lesions -> own-dr"):
        predict(grader(tmp_path, "own-dr", lesions="own-lesions"), case_of(painted()))


def test_a_case_without_the_photograph(tmp_path):
    with pytest.raises(InputError, match="photo"):
        predict(segmenter(tmp_path, "tiny", VESSEL), Case("empty"))


@pytest.mark.parametrize("shape", [(1, 5, 40, 40), (3, 2, 40, 40), (2, 40, 40), (4, 40, 40)])
def test_volumes_and_odd_channels_are_refused(tmp_path, shape):
    array = np.zeros(shape, np.uint8)
    case = Case("one", items={"photo": image(array)})
    with pytest.raises(InputError, match="'photo' has shape"):
        predict(segmenter(tmp_path, "tiny", VESSEL), case)


def test_colour_of_8_bits_is_taken_as_it_is():
    array = painted()
    assert rgb(image(array)) is array


def test_grey_of_8_bits_is_repeated_and_not_scaled():
    grey = painted()[1:2] // 2
    out = rgb(image(grey))
    assert out.shape == (3, *grey.shape[1:])
    assert (out == grey).all()


@pytest.mark.parametrize(("bits", "channels"), [(10, 1), (12, 1), (16, 1), (12, 3), (16, 3)])
def test_deeper_photographs_fill_8_bits_whatever_their_depth(bits, channels):
    shallow = painted()[3 - channels :].astype(np.float64)
    low, high = np.percentile(shallow, [0.1, 99.9])
    expected = np.clip((shallow - low) / (high - low) * 255, 0, 255)
    stored = np.rint(shallow * ((2**bits - 1) / 255)).astype(np.uint16)
    out = rgb(image(stored))
    assert out.dtype == np.uint8
    assert out.shape == (3, *stored.shape[1:])
    assert abs(out.astype(np.float64) - expected).max() <= 1.5


def test_few_bright_pixels_do_not_darken_a_deep_photograph():
    stored = painted()[1:2].astype(np.uint16) * 16
    stored[0, 10:14, 10:14] = 65535  # a burnt-in mark
    assert rgb(image(stored)).max() == 255
    assert np.median(rgb(image(stored))[0][stored[0] == 90 * 16]) > 80


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.uint32])
@pytest.mark.parametrize("value", [0, 1, 4095])
def test_an_even_frame_of_any_depth_is_black(dtype, value):
    out = rgb(image(np.full((1, 20, 30), value, dtype)))
    assert out.dtype == np.uint8
    assert not out.any()


def test_a_single_deep_pixel():
    assert rgb(image(np.full((1, 1, 1), 900, np.uint16))).shape == (3, 1, 1)


def test_the_order_of_a_deep_photograph_is_kept():
    ramp = np.linspace(0, 4095, 5000).astype(np.uint16).reshape(1, 50, 100)
    out = rgb(image(ramp))[0].ravel().astype(int)
    assert (np.diff(out) >= 0).all()
    assert (out[0], out[-1]) == (0, 255)
