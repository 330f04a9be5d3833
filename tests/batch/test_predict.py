"""``osler predict``: exactly the files that it promises."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import osler as package

LABELS = {
    "retina-vessels": ["vessel"],
    "retina-artery-vein": ["artery", "vein"],
    "retina-anatomy": ["optic disc", "optic cup"],
    "retina-lesions": ["microaneurysm", "haemorrhage", "hard exudate", "soft exudate"],
}


@pytest.mark.parametrize("bundle", LABELS)
def test_masks_and_probabilities_in_native_size(osler, photos, tmp_path, bundle):
    folder, out = photos("my eye.jpg"), tmp_path / "out"
    result = osler("predict", bundle, folder, "--out", out, "--probabilities")
    assert result.returncode == 0, result.stderr
    expected = {f"my eye.{label}.png" for label in LABELS[bundle]} | {"my eye.npz"}
    assert {p.name for p in out.iterdir()} == expected
    with Image.open(folder / "my eye.jpg") as photo:
        shape = photo.size[::-1]
    with np.load(out / "my eye.npz") as archive:
        assert list(archive["labels"]) == LABELS[bundle]
        assert archive["probability"].dtype == np.float16
        assert archive["probability"].shape == (len(LABELS[bundle]), *shape)
        assert 0 <= archive["probability"].min() <= archive["probability"].max() <= 1
    for label in LABELS[bundle]:
        with Image.open(out / f"my eye.{label}.png") as mask:
            assert mask.size[::-1] == shape
            assert set(np.unique(np.asarray(mask))) <= {0, 255}


def test_grades_are_one_table(osler, photos, tmp_path):
    folder, out = photos("a.jpg", "b.jpg"), tmp_path / "out"
    (folder / "c.jpg").write_text("not a photograph")
    result = osler("predict", "retina-dr", folder, "--out", out)
    assert result.returncode == 3
    assert "c.jpg" in result.stderr
    assert [p.name for p in out.iterdir()] == ["predictions.csv"]
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["input"]).name for row in rows] == ["a.jpg", "b.jpg"]
    assert list(rows[0])[:8] == ["input", "label", *(f"p_{i}" for i in range(5)), "p_referable"]
    for row in rows:
        chances = [float(row[f"p_{i}"]) for i in range(5)]
        assert sum(chances) == pytest.approx(1, abs=1e-4)
        assert row["label"] == str(int(np.argmax(chances)))
        assert 0 <= float(row["p_referable"]) <= 1


def test_inputs_of_one_name_are_kept_apart(osler, photos, tmp_path):
    folder, out = photos("left/eye.jpg", "right/eye.jpg"), tmp_path / "out"
    assert osler("predict", "retina-vessels", folder, "--out", out).returncode == 0
    assert {p.name for p in out.iterdir()} == {"eye.vessel.png", "eye-2.vessel.png"}


def test_an_unknown_bundle_is_named_with_the_nearest(osler, photos, tmp_path):
    result = osler("predict", "retina-vessel", photos("a.jpg"), "--out", tmp_path / "out")
    assert result.returncode == 2
    assert "'retina-vessels'" in result.stderr


def test_in_python_the_same(photos):
    prediction = package.predict("retina-vessels", photos("a.jpg") / "a.jpg")
    assert prediction.labels == ("vessel",)
    assert prediction.masks["vessel"].dtype == bool
