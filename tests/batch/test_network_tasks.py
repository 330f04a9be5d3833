"""Networks of volumes, pairs, signals and tables, asked from the command line as a task asks."""

import csv
import json

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from osler import io, models
from osler.cli import app
from osler.models.trying import tiny
from osler.models.voxelmorph import warp

LIKE = ["--task", "image.spacing=[1,1,1]", "--task", "image.intensity.method=z-score"]


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def kept(name, folder, **options):
    torch.manual_seed(3)
    net = models.create(name, weights="random", **{**models.find(name).card.tiny, **options})
    if name == "voxelmorph":  # which starts with next to no displacement
        for value in net.parameters():
            torch.nn.init.normal_(value, std=0.1)
    models.keep(net.eval(), folder)
    return models.create(name, checkpoint=folder)


def row_of(folder):
    with (folder / "predictions.csv").open() as stream:
        return next(csv.DictReader(stream))


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A CT of unlike axes, voxels of 1 mm: x 40, y 24, z 16 as nibabel has them."""
    noise = np.random.default_rng(0).normal(size=(40, 24, 16))
    smooth = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) * 100
    path = tmp_path_factory.mktemp("volume") / "ct.nii.gz"
    nib.save(nib.Nifti1Image(smooth.astype(np.int16), np.eye(4)), path)
    return path


def planned(folder, forward, patch):
    """What nnU-Net 2 leaves: weights in fold_0, and its plans above."""
    net = kept("dynunet", folder / "net")
    run = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (run / "fold_0").mkdir(parents=True)
    values = {"mean": 5.0, "std": 40.0, "percentile_00_5": -150.0, "percentile_99_5": 160.0}
    base = {
        "spacing": [1.0, 1.0, 1.0], "patch_size": [8, 8, 8],
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
    }  # fmt: skip
    plans = {
        "configurations": {
            "base": base,
            "3d_fullres": {"inherits_from": "base", "patch_size": patch},
        },
        "foreground_intensity_properties_per_channel": {"0": values},
        "transpose_forward": forward,
    }
    labels = {"background": 0, "tumour": 2, "liver": 1}
    (run / "plans.json").write_text(json.dumps(plans))
    (run / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels}))
    (folder / "net" / "model.safetensors").rename(run / "fold_0" / "checkpoint_final.safetensors")
    return net, run / "fold_0" / "checkpoint_final.safetensors"


@pytest.mark.parametrize("forward", [[0, 1, 2], [2, 0, 1]])
def test_plans_of_nnunet_say_how_a_volume_is_seen(volume, tmp_path, forward):
    from monai.inferers import sliding_window_inference

    net, weights = planned(tmp_path, forward, [16, 16, 16])
    options = [f"--set={k}={json.dumps(v)}" for k, v in models.find("dynunet").card.tiny.items()]
    said = predict("dynunet", "--checkpoint", weights, volume, "-o", tmp_path / "out", *options)
    assert said.exit_code == 0, said.stderr
    seen = np.asarray(nib.load(volume).dataobj, np.float32).transpose(2, 1, 0)  # z, y, x
    x = torch.from_numpy((np.clip(seen, -150, 160) - 5) / 40).permute(forward)[None, None]
    with torch.inference_mode():
        scores = sliding_window_inference(
            x, (16, 16, 16), 1, net, overlap=0.5, mode="gaussian", padding_mode="replicate"
        )
    back = np.argsort(forward)
    true = scores.argmax(1)[0].permute(*back.tolist()).numpy()
    for number, label in ((1, "liver"), (2, "tumour")):
        drawn = nib.load(tmp_path / "out/ct/masks" / f"{label}.nii.gz")
        assert drawn.shape == (40, 24, 16)
        assert np.allclose(drawn.affine, np.eye(4))
        mask = np.asarray(drawn.dataobj).transpose(2, 1, 0) > 0
        assert 0 < mask.mean() < 1
        assert (mask == (true == number)).mean() > 0.999
        assert float(row_of(tmp_path / "out")[f"{label}_ml"]) == pytest.approx(mask.sum() / 1000)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patch_size": [8, 8]}, "for slices"),
        ({"normalization_schemes": ["RescaleTo01Normalization"]}, "RescaleTo01Normalization"),
        ({"normalization_schemes": ["ZScoreNormalization", "CTNormalization"]}, "several ways"),
        ({"spacing": "wide"}, "is not as nnU-Net 2 writes plans"),
    ],
)
def test_plans_that_ask_for_more_are_refused(volume, tmp_path, change, says):
    _, weights = planned(tmp_path, [0, 1, 2], [16, 16, 16])
    path = weights.parents[1] / "plans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["3d_fullres"] |= change
    path.write_text(json.dumps(plans))
    options = [f"--set={k}={json.dumps(v)}" for k, v in models.find("dynunet").card.tiny.items()]
    said = predict("dynunet", "--checkpoint", weights, volume, "-o", tmp_path / "out", *options)
    assert said.exit_code == 2
    assert says in said.stderr
    assert not (tmp_path / "out").exists()


def test_parts_of_one_case_are_named_and_may_be_missing(volume, tmp_path):
    small = {"dims": 3, "modalities": ["flair", "t1"], "image_size": 32}
    net = kept("mmformer", tmp_path / "net", **small)
    asked = [*LIKE, "--task", "patch=[32,32,48]", "--set", "class_names=none,core,edema"]
    said = predict(tmp_path / "net", f"t1={volume}", "-o", tmp_path / "out", *asked)
    assert said.exit_code == 0, said.stderr
    folder = next(one for one in (tmp_path / "out").iterdir() if one.is_dir())
    seen = np.asarray(nib.load(volume).dataobj, np.float32).transpose(2, 1, 0)
    x = (seen - seen.mean()) / seen.std()
    x = np.pad(x, [(8, 8), (4, 4), (4, 4)], mode="edge")[None, None]
    with torch.inference_mode():
        scores = net(t1=torch.from_numpy(x))[0, :, 8:-8, 4:-4, 4:-4]
    mask = np.asarray(nib.load(folder / "masks/core.nii.gz").dataobj).transpose(2, 1, 0) > 0
    assert (mask == (scores.argmax(0).numpy() == 1)).mean() > 0.999
    assert sorted(one.name for one in (folder / "masks").iterdir()) == [
        "core.nii.gz", "edema.nii.gz",
    ]  # fmt: skip


def test_two_images_are_registered(volume, tmp_path):
    net = kept("voxelmorph", tmp_path / "net")
    array = np.asarray(nib.load(volume).dataobj)[8:24, 4:20]
    paths = [tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"]
    for path, shift in zip(paths, (0, 1), strict=True):
        nib.save(nib.Nifti1Image(np.roll(array, shift, 0).astype(np.float32), np.eye(4)), path)
    asked = ["--task", "size=[16,16,16]", "-o", tmp_path / "out"]
    said = predict(tmp_path / "net", *paths, *asked)
    assert said.exit_code == 0, said.stderr
    folder = tmp_path / "out" / "fixed-moving"
    two = [np.asarray(nib.load(p).dataobj).transpose(2, 1, 0)[None, None] for p in paths]
    fixed, moving = [torch.from_numpy((one - one.mean()) / one.std()) for one in two]
    with torch.inference_mode():
        field = net(moving, fixed).displacement
        true = warp(torch.from_numpy(np.ascontiguousarray(two[1])), field)[0, 0].numpy()
    assert np.allclose(np.load(folder / "displacement.npy"), field[0].numpy(), atol=1e-4)
    moved = np.asarray(nib.load(folder / "moved.nii.gz").dataobj).transpose(2, 1, 0)
    inner = (slice(3, -3),) * 3
    assert np.abs(moved - true)[inner].max() < 1e-2 * np.abs(true).max()
    assert not (folder / "displacement.nii.gz").exists()  # of pixels: no spacing was asked for
    said = predict(
        tmp_path / "net", *paths, *asked[:-1], tmp_path / "mm", "--task", "spacing=[1,1,1]"
    )
    assert said.exit_code == 0, said.stderr
    assert nib.load(tmp_path / "mm/fixed-moving/displacement.nii.gz").shape[:3] == (16, 16, 16)


def test_a_signal_gets_chances_and_features(data_dir, tmp_path):
    net = kept("signal-resnet", tmp_path / "net", leads=2)
    record = data_dir / "ecg/310derive.hea"
    asked = ["--task", "signal={channels: [col 1, col 0], rate: 250, seconds: 5}"]
    named = ["--set", "class_names=sinus,flutter,other"]
    said = predict(tmp_path / "net", record, "-o", tmp_path / "a", *asked, *named)
    assert said.exit_code == 0, said.stderr

    read = io.load(record)["signal"].array[::-1]
    x = (read - read.mean(1, keepdims=True)) / read.std(1, keepdims=True)
    x = torch.from_numpy(np.ascontiguousarray(x[None], np.float32))
    with torch.inference_mode():
        true, seen = net(x).softmax(1)[0], net.features(x)[0]
    row = row_of(tmp_path / "a")
    said = [float(row[f"p_class_{name}"]) for name in ("sinus", "flutter", "other")]
    assert said == pytest.approx(true.tolist(), abs=1e-4)
    assert (
        predict(tmp_path / "net", record, "-o", tmp_path / "b", *asked, "--features").exit_code == 0
    )
    table = pq.read_table(tmp_path / "b/features.parquet")
    assert table["case"].to_pylist() == ["310derive"]
    numbers = [table[f"f_{k}"][0].as_py() for k in range(len(seen))]
    assert numbers == pytest.approx(seen.tolist(), abs=1e-4)
    assert sorted(one.name for one in (tmp_path / "b").iterdir()) == ["features.parquet"]


def test_a_table_gets_chances_with_a_value_missing(tmp_path):
    net = kept("tabular-perceptron", tmp_path / "net")
    (tmp_path / "t.csv").write_text("case_id,patient_id,split,a,b,c\nx,x,test,3,,6\n")
    scale = "{columns: [a, b, c], numbers: {a: {mean: 1, deviation: 2}, b: {}, c: {mean: 5}}}"
    said = predict(
        tmp_path / "net", tmp_path / "t.csv", "-o", tmp_path / "o", "--task", f"table={scale}"
    )
    assert said.exit_code == 0, said.stderr
    with torch.inference_mode():
        known = torch.tensor([[True, False, True]])
        true = net(numbers=torch.tensor([[1.0, 0.0, 1.0]]), present=known).softmax(1)[0]
    row = row_of(tmp_path / "o")
    said = [float(row[f"p_class_class-{k}"]) for k in range(len(true))]
    assert said == pytest.approx(true.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "asked", "says"),
    [
        ("dynunet", [], "not guessed: say --task image.spacing="),
        ("dynunet", ["--task", "patch"], "is not KEY=VALUE"),
        ("dynunet", [*LIKE, "--task", "pach=[16,16,16]"], "patch"),
        ("dynunet", [*LIKE, "--probabilities"], "whose card prepares"),
        ("voxelmorph", [], "size=[160,192,224]"),
        ("signal-resnet", [], "signal.channels="),
        ("spade", [], "osler.models.create('spade', checkpoint='FILE')"),
        ("gene-set-encoder", [], "net(expression=…)"),
        ("unet", [], "image.intensity.method="),
    ],
)
def test_what_is_not_said_is_asked_for(volume, tmp_path, name, asked, says):
    models.keep(tiny(name), tmp_path / "net")
    said = predict(tmp_path / "net", volume, volume, "-o", tmp_path / "out", *asked)
    assert said.exit_code == 2, said.output
    assert says in " ".join(said.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_shape_that_does_not_fit_is_said(volume, tmp_path):
    models.keep(tiny("dynunet", channels=2), tmp_path / "net")
    said = predict(
        tmp_path / "net", volume, "-o", tmp_path / "o", *LIKE, "--task", "patch=[16,16,16]"
    )
    assert said.exit_code == 3
    assert "does not take 'image' (1, 1, 16, 16, 16)" in " ".join(said.stderr.split())
