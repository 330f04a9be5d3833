"""A recipe fitted without each fold in turn, on drawn pictures."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from osler.errors import RecipeError
from osler.learn import cross_fit
from osler.learn.fitting import fit

RECIPE = {
    "name": "shades",
    "task": "segmentation",
    "cohort": "cohort.csv",
    "settings": {"labels": ["shape"], "multiple": 8, "tolerance": 1.0},
    "network": {"name": "dynunet-2d", "options": {"widths": [4, 6, 8]}},
    "learner": {"steps": 4, "batch": 2, "warmup": 0, "validate_every": 2, "precision": "float32"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shades")
    lines = ["case_id,patient_id,fold,image,label:shape"]
    rng = np.random.default_rng(0)
    for n in range(6):
        mask = np.zeros((32, 32), bool)
        mask[8 + n : 20, 10:24] = True
        picture = np.clip(60 + 120 * mask + rng.normal(0, 8, mask.shape), 0, 255)
        Pillow.fromarray(picture.astype(np.uint8)).save(folder / f"{n}.png")
        Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{n}.mask.png")
        lines.append(f"c{n},p{n},{n % 3},{n}.png,{n}.mask.png")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    (folder / "shades.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


@pytest.mark.usefixtures("graphless")
def test_every_case_is_judged_by_a_run_that_neither_taught_nor_tuned_with_it(place, tmp_path):
    seen = []

    def noted(recipe, *, out, resume):
        content = yaml.safe_load(recipe.read_text())
        seen.append((out.name, content["hold"]["test"], content["hold"]["tune"]))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return fit(recipe, out=out, resume=resume)

    with pytest.raises(KeyboardInterrupt):
        cross_fit(place / "shades.yaml", out=tmp_path, fit=noted)
    done = cross_fit(place / "shades.yaml", out=tmp_path, resume=True, fit=noted)
    assert seen == [
        ("fold-0", 0, 1), ("fold-1", 1, 2), ("fold-2", 2, 0), ("fold-2", 2, 0),
    ]  # fmt: skip
    assert done.fold_of == {"c0": 0, "c3": 0, "c1": 1, "c4": 1, "c2": 2, "c5": 2}
    for fold in range(3):
        cases = json.loads((tmp_path / f"fold-{fold}" / "cases.json").read_text())
        assert {name: done.left_out[name] for name in cases} == cases
    record = json.loads((tmp_path / "cross-validation.json").read_text())
    figures = {one["name"]: one for one in record["intervals"]}
    dice = [row["dice/shape"] for row in done.left_out.values()]
    assert figures["Dice, shape"]["value"] == pytest.approx(np.mean(dice))
    assert figures["Dice, shape"]["cases"] == figures["Dice, shape"]["patients"] == 6
    assert figures["Dice, shape"]["low"] <= np.mean(dice) <= figures["Dice, shape"]["high"]
    assert record["figures"]["Dice, shape"] == pytest.approx(np.mean(dice))
    assert set(record["folds"]) == {"0", "1", "2"}


def test_two_folds_are_too_few(place, tmp_path):
    lines = (place / "cohort.csv").read_text().splitlines()
    (place / "two.csv").write_text("\n".join(line for line in lines if ",2," not in line) + "\n")
    path = place / "two.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "cohort": "two.csv"}))
    with pytest.raises(RecipeError, match="has 2 folds, and three are the least"):
        cross_fit(path, out=tmp_path)
