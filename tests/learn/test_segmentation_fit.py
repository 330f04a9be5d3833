"""A planned, prompted segmentation with a measure, from a recipe to a bundle that answers."""

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from osler import bundles, io
from osler.bundles.answering import answer
from osler.errors import InputError
from osler.learn.fitting import fit
from osler.record import Box, Mask, Measurement, Source

RECIPE = {
    "name": "two-squares",
    "task": "segmentation",
    "cohort": "cohort.csv",
    "settings": {
        "labels": ["square"], "plan": "auto", "memory": 0.3, "width": 8, "prompt": "box",
        "image": {"intensity": {"method": "range", "range": [0, 255]}},
        "measure": [{"name": "area", "kind": "size", "of": ["square"]}],
    },
    "learner": {"steps": 40, "rate": 0.01, "warmup": 2, "ema": 0.8, "validate_every": 40,
                "precision": "float32"},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures with two bright squares each."""
    folder = tmp_path_factory.mktemp("squares")
    lines = ["case_id,patient_id,fold,image,label:square"]
    for n in range(9):
        rng = np.random.default_rng(n)
        mask = np.zeros((40, 48), bool)
        for left in (2, 26):
            h, w = rng.integers(2, 22), left + rng.integers(0, 6)
            mask[h : h + 14, w : w + 14] = True
        picture = np.clip(60 + 120 * mask + rng.normal(0, 8, mask.shape), 0, 255)
        Pillow.fromarray(picture.astype(np.uint8)).save(folder / f"{n}.png")
        Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{n}.mask.png")
        lines.append(f"c{n},p{n},{n % 3},{n}.png,{n}.mask.png")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_box_says_which_square_is_marked(place, tmp_path):
    path = place / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    run = fit(path, out=tmp_path / "run")
    figures = {one["name"]: one["value"] for one in run.metrics}
    assert figures["Dice, square"] > 0.8
    assert "error, area (mm², pixels without a scale)" in figures
    bundle = bundles.load(run.bundle)
    planned = bundle.card.settings["planned"]
    assert planned["network"] == "dynunet-2d"
    assert planned["batch"] >= 2
    assert planned["reasons"]
    truth = np.asarray(Pillow.open(place / "0.mask.png")) > 0
    with pytest.raises(InputError, match="has no box that says what to mark"):
        answer(bundle, io.load_file(place / "0.png"))
    for side in (slice(0, 24), slice(24, 48)):
        wanted = np.zeros_like(truth)
        wanted[:, side] = truth[:, side]
        rows, columns = np.nonzero(wanted)
        case = io.load_file(place / "0.png")
        start, stop = (rows.min(), columns.min()), (rows.max() + 1, columns.max() + 1)
        case.add(
            Box(
                id="here", name="here", source=Source("person", "reader"),
                start=tuple(map(int, start)), stop=tuple(map(int, stop)),
            )
        )  # fmt: skip
        found = answer(bundle, case)
        (mask,) = [one for one in found if isinstance(one, Mask)]
        assert 2 * (mask.mask & wanted).sum() / (mask.mask.sum() + wanted.sum()) > 0.8
        (area,) = [one for one in found if isinstance(one, Measurement)]
        assert area.value == pytest.approx(mask.mask.sum())
        assert area.evidence == ("square",)
