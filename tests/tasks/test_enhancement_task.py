"""Enhancement: degradation, grids, learning end to end, and figures against slow oracles."""

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow
from pydantic import ValidationError

from osler import bundles, io
from osler.bundles.answering import answer
from osler.learn.fitting import fit
from osler.record import Case, DerivedImage, Image, Source
from osler.tasks import enhancement_arrays as arrays
from osler.tasks.catalogue import create
from osler.tasks.enhancement_settings import EnhancementSettings

SOURCE = Source("bundle", "test", "1.0.0")
GREY = {"image": {"items": ["photo"]}, "patch": [16, 16]}


def case_of(array, name="photo", **more):
    return Case("a", items={name: Image(name, array, **more)})


def nothing(inputs, channels, axes):
    """A network that says zero."""
    first = inputs["image"]
    return {"made": np.zeros((len(first), channels, *first.shape[2:]), np.float32)}


def test_degrading_is_the_mean_of_blocks_and_the_same_each_time():
    rng = np.random.default_rng(1)
    image = rng.random((2, 6, 9)).astype(np.float32)
    said = {"factors": (2, 3), "noise": 0.0, "seed": 0}
    out = arrays.degraded(image, case="a", **said)
    slow = [
        [[image[c, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3].mean() for j in range(3)]
         for i in range(3)] for c in range(2)
    ]  # fmt: skip
    assert np.allclose(out, slow, atol=1e-6)
    noisy = [arrays.degraded(image, case=one, **{**said, "noise": 0.1}) for one in ("a", "a", "b")]
    assert np.array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])


def test_channels_become_the_finer_pixels_of_a_block_as_torch_does():
    torch = pytest.importorskip("torch")
    x = np.arange(2 * 12 * 3 * 4, dtype=np.float32).reshape(2, 12, 3, 4)
    wanted = torch.nn.functional.pixel_shuffle(torch.from_numpy(x), 2)
    assert np.array_equal(arrays.unfolded(x, (2, 2)), wanted.numpy())
    assert torch.equal(arrays.unfolded(torch.from_numpy(x), (2, 2)), wanted)
    volume = np.arange(12 * 2 * 3 * 4).reshape(1, 12, 2, 3, 4)
    fine = arrays.unfolded(volume, (3, 2, 2))
    for d, h, w in np.ndindex(6, 6, 8):
        channel = ((d % 3) * 2 + h % 2) * 2 + w % 2
        assert fine[0, 0, d, h, w] == volume[0, channel, d // 3, h // 2, w // 2]


@pytest.mark.parametrize("axes", [2, 3])
def test_a_finer_grid_keeps_the_places_of_the_coarse_one(axes):
    factors = (2, 3, 4)[-axes:]
    rng = np.random.default_rng(2)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    fine = arrays.finer_affine(affine, factors)
    # the mean place of the pixels of a block is the place of the coarse pixel
    coarse = np.array([0, 2, 5]) if axes == 2 else np.array([1, 2, 5])
    three = (1, *factors)[-3:]
    block = [
        fine @ [*(coarse * three + place), 1] for place in np.ndindex(*three)
    ]  # fmt: skip
    assert np.allclose(np.mean(block, axis=0), affine @ [*coarse, 1])


def test_an_answer_without_a_network_is_the_enlarged_picture_on_its_own_grid():
    rng = np.random.default_rng(3)
    picture = (rng.random((3, 20, 30)) * 255).astype(np.uint8)
    task = create(
        "enhancement",
        {**GREY, "image": {"items": ["photo"], "colour": True}, "degradation": {"factor": 2}},
    )
    assert task.wanted()["labels"] == 12
    case = case_of(picture, spacing=(0.5, 0.25))
    sample = task.encode(case)
    outputs = task.run(lambda x: nothing(x, 12, 2), sample)
    (found,) = task.decode(outputs, sample, source=SOURCE)
    assert isinstance(found, DerivedImage)
    assert found.image.array.shape == (3, 40, 60)
    assert found.image.array.dtype == np.uint8
    assert found.image.spacing == (0.25, 0.125)
    assert "enhanced" in found.image.flags
    wanted = np.asarray(
        Pillow.fromarray(picture[1].astype(np.float32)).resize((60, 40), Pillow.Resampling.BICUBIC)
    )
    assert np.allclose(found.image.array[1], np.clip(np.rint(wanted), 0, 255), atol=1)
    # judged, the same picture is first made coarse
    judged = task.encode(case, truth=True)
    assert judged.inputs["image"].shape == (3, 10, 15)
    row = task.judge(task.run(lambda x: nothing(x, 12, 2), judged), judged)
    assert row["psnr"] == pytest.approx(row["before/psnr"])


def test_volumes_are_taken_slice_by_slice_or_whole():
    rng = np.random.default_rng(4)
    volume = rng.random((1, 4, 22, 18)).astype(np.float32) * 200
    affine = np.diag([5.0, 1.0, 1.0, 1.0])
    case = case_of(volume, "mr", spacing=(5.0, 1.0, 1.0), affine=affine)
    for patch, factor in (((16, 16), [1, 2, 2]), ((4, 16, 16), [2, 2, 2])):
        task = create(
            "enhancement",
            {"image": {"items": ["mr"]}, "patch": patch, "degradation": {"factor": factor}},
        )
        count = int(np.prod(factor))
        sample = task.encode(case)
        outputs = task.run(lambda x, n=count: nothing(x, n, 0), sample)
        (found,) = task.decode(outputs, sample, source=SOURCE)
        shape = tuple(n * f for n, f in zip((4, 22, 18), factor, strict=True))
        assert found.image.shape == shape
        taught = task.encode(case, truth=True)
        inputs, targets = task.example(taught, np.random.default_rng(0))
        assert inputs["image"].shape == (1, *patch)
        assert targets["image"].shape == targets["base"].shape
        fine = [n * f for n, f in zip(patch, factor[-len(patch) :], strict=True)]
        assert targets["image"].shape[1:] == tuple(fine)


def test_figures_are_those_of_scikit_image_where_they_count():
    structure = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(5)
    picture = (rng.random((1, 24, 24)) * 255).astype(np.uint8)
    task = create("enhancement", {**GREY, "degradation": {"noise": 0.1}, "residual": False})
    sample = task.encode(case_of(picture), truth=True)
    made = np.clip(sample.inputs["image"] * 0.5 + 0.2, 0, 1)
    row = task.judge({"made": made}, sample)
    truth = picture[0] / 255
    assert row["psnr"] == pytest.approx(
        structure.peak_signal_noise_ratio(truth, made[0], data_range=1), abs=1e-4
    )
    wanted = structure.structural_similarity(
        truth, made[0].astype(float), data_range=1, gaussian_weights=True,
        use_sample_covariance=False,
    )  # fmt: skip
    assert row["ssim"] == pytest.approx(wanted, abs=1e-5)
    rows = [row, {**row, "psnr": row["psnr"] + 2}]
    figures = {one.name: one for one in task.figures(rows, ["p", "q"], seed=1, replicates=50)}
    assert figures["PSNR (dB), enhanced"].interval.value == pytest.approx(row["psnr"] + 1)
    gain = figures["PSNR (dB), gain over input as it is"].interval.value
    assert gain == pytest.approx(row["psnr"] + 1 - row["before/psnr"])
    assert task.score(rows) == pytest.approx(gain)


def test_a_table_of_intensities_is_the_mean_target_of_each_interval():
    rng = np.random.default_rng(6)
    given = rng.random((5, 50)).astype(np.float32)
    wanted = given**2 + rng.normal(0, 0.01, given.shape)
    table = arrays.table_of([(given, wanted)], low=0, high=1, bins=8)
    for k in range(8):
        inside = (given >= k / 8) & (given < (k + 1) / 8)
        assert table[k] == pytest.approx(wanted[inside].mean())
    said = arrays.looked_up(np.array([-1.0, 0.3, 2.0]), table, low=0, high=1)
    assert said == pytest.approx([table[0], table[2], table[7]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "set one of them"),
        ({"target": "t2", "degradation": {"noise": 1}}, "set one of them"),
        ({"degradation": {"factor": 2}, "image": {"size": [8, 8]}}, "no 'image.size'"),
        ({"target": "t2", "image": {"intensity": {"method": "z-score"}}}, "set 'value_range'"),
        ({"target": "t2", "mirror": [2]}, "axes of the patch"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        EnhancementSettings.model_validate(wrong)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures of discs, and of the same discs dark on bright."""
    folder = tmp_path_factory.mktemp("discs")
    lines = ["case_id,patient_id,fold,one,two"]
    hh, ww = np.mgrid[:48, :40]
    for n in range(9):
        rng = np.random.default_rng(n)
        h, w = rng.integers(12, 30, 2)
        one = 60 + 140 * (np.hypot(hh - h, ww - w) < 8) + rng.normal(0, 2, hh.shape)
        for name, values in (("one", one), ("two", 255 - one / 2)):
            Pillow.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(
                folder / f"{n}.{name}.png"
            )
        lines.append(f"c{n},p{n},{n % 3},{n}.one.png,{n}.two.png")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


def run_of(place, folder, settings, steps):
    recipe = {
        "name": "better", "task": "enhancement", "cohort": "cohort.csv",
        "settings": {"image": {"items": ["one"]}, "patch": [16, 16], **settings},
        "network": {"options": {"widths": [8, 12, 16]}},
        "learner": {"steps": steps, "batch": 4, "rate": 0.01, "warmup": 2, "ema": 0.8,
                    "validate_every": steps, "precision": "float32"},
    }  # fmt: skip
    path = place / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return fit(path, out=folder)


def test_one_sequence_is_told_from_another(place, tmp_path):
    run = run_of(place, tmp_path / "run", {"target": "two", "residual": False}, 40)
    figures = {one["name"]: one["value"] for one in run.metrics}
    assert figures["PSNR (dB), transferred"] > figures["PSNR (dB), input as it is"] + 5
    assert figures["PSNR (dB), table of intensities"] > 30
    case = io.load_file(place / "0.one.png")
    (found,) = answer(bundles.load(run.bundle), case)
    assert found.image.shape == (48, 40)
    assert "synthetic" in found.image.flags


def test_a_finer_picture_is_learnt_and_answered_on_a_finer_grid(place, tmp_path):
    settings = {"degradation": {"factor": 2}, "structure": 0.1, "mirror": [0, 1], "above": 0.1}
    run = run_of(place, tmp_path / "run", settings, 4)
    assert "PSNR (dB), gain over enlarged by cubic interpolation" in {
        one["name"] for one in run.metrics
    }
    case = io.load_file(place / "0.one.png")
    (found,) = answer(bundles.load(run.bundle), case)
    assert found.image.shape == (96, 80)
