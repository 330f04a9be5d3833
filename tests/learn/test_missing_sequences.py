"""Segmentation from several images of which any may be missing: from a recipe to a bundle."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Pillow
from torch.nn import functional

from osler import bundles
from osler.bundles.answering import answer
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.errors import InputError, RecipeError
from osler.learn.fitting import fit
from osler.models.trying import tiny
from osler.record import Case, Image, Mask, Source
from osler.tasks.segmentation import Segmentation
from osler.tasks.segmentation_losses import named_loss, shares_of
from osler.tasks.segmentation_settings import SegmentationSettings

PERSON = Source("person", "cohort")
SETTINGS = {
    "image": {"items": ["t1", "t2", "flair"], "intensity": {"method": "z-score"}},
    "missing": True,
    "labels": ["tumour"],
    "overlapping": True,
    "patch": [32, 32],
}
OPTIONS = {
    "modalities": ["t1", "t2", "flair"], "channels": 1, "dims": 2, "image_size": 32, "width": 4,
    "embed_dim": 16, "num_heads": 2, "hidden": 16, "input_dropout": 0.4, "deep_supervision": True,
    "alone": True,
}  # fmt: skip


def case_of(*names, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((32, 32), bool)
    mask[8:20, 10:22] = True
    case = Case("p", "p")
    for name in names:
        array = rng.normal(0, 20, (1, 32, 32)).astype(np.float32) + 100 * mask
        case.items[name] = Image(name, array, "MR")
    if names:
        case.add(Mask(id="m", name="tumour", source=PERSON, item=names[0], mask=mask))
    return case


def task():
    return Segmentation(SegmentationSettings.model_validate(SETTINGS))


def test_what_is_missing_is_nought_and_said_to_be_absent():
    sample = task().encode(case_of("t2", "flair"), truth=True)
    assert sample.inputs["present"].tolist() == [0, 1, 1]
    assert not sample.inputs["image"][0].any()
    assert sample.inputs["image"][1].std() == pytest.approx(1, abs=1e-4)
    assert [one.name for one in task().inputs()] == ["image", "present"]
    inputs, _ = task().example(sample, np.random.default_rng(0))
    assert inputs["present"].tolist() == [0, 1, 1]


def test_one_image_never_stands_for_another():
    """Where a case has one image only its name does not matter elsewhere; here it says which."""
    assert task().encode(case_of("flair")).inputs["present"].tolist() == [0, 0, 1]
    with pytest.raises(InputError, match="has none of the images 't1', 't2', 'flair'"):
        task().encode(case_of("dwi"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": {"items": ["t1"]}}, "names several images"),
        ({"plan": "auto"}, "set plan: none"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        SegmentationSettings.model_validate({**SETTINGS, **changes})


def test_one_array_says_what_named_inputs_say():
    net = tiny("mmformer", modalities=["photo", "oct"], channels={"photo": 3, "oct": 1})
    photo, oct_ = torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48)
    present = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    noise = torch.cat([photo, oct_], 1)
    noise[1, 3] = torch.nan
    with torch.inference_mode():
        named = net(photo=photo, oct=oct_, present=present)
        assert torch.allclose(net(noise, present), named, atol=1e-5)
    net.deep_supervision, net.input_dropout = True, 0.5
    torch.manual_seed(0)
    scales = net.train()(noise.nan_to_num(), present)
    assert [one.shape[2:] for one in scales] == [(32 // 2**k, 48 // 2**k) for k in range(5)]


def test_each_input_alone_teaches_where_it_was_taken():
    """The shared decoder sees what the samples have, also what is dropped from the answer of all;
    each of its answers counts as much as the finest of all inputs, and no absent one teaches."""
    torch.manual_seed(0)
    net = tiny(
        "mmformer", modalities=["photo", "oct"], channels=1, num_classes=1, alone=True,
        deep_supervision=True, input_dropout=0.9,
    ).train()  # fmt: skip
    x, present = torch.rand(2, 2, 32, 32), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    said = net(x, present)
    assert [one.shape[2] for one in said] == [32, 16, 8, 4, 2, 32, 32]
    assert torch.equal(said[6][1], said[0][1])
    assert not torch.equal(said[6][0], said[0][0])
    said[6][1].sum().backward(retain_graph=True)
    assert all(one.grad is None or not one.grad.any() for one in net.parameters())
    assert shares_of(said) == pytest.approx([s / (1 + 0.9375 + 2) for s in (
        1, 0.5, 0.25, 0.125, 0.0625, 1, 1
    )])  # fmt: skip
    labels = torch.randint(0, 2, (2, 1, 32, 32)).float()
    one = [named_loss(part, functional.interpolate(labels, part.shape[2:], mode="nearest"),
                      overlapping=True, loss="dice", weight=1.0) for part in said]  # fmt: skip
    task = Segmentation(SegmentationSettings.model_validate(
        {**SETTINGS, "image": {"items": ["photo", "oct"]}}
    ))  # fmt: skip
    whole = task.criterion({"scores": said}, {"labels": labels})
    want = sum(share * part for share, part in zip(shares_of(said), one, strict=True))
    assert float(whole.detach()) == pytest.approx(float(want.detach()), rel=1e-6)
    whole.backward()
    assert any(one.grad.any() for one in net.decoder_sep.parameters())
    with pytest.raises(RecipeError, match="a class has no decoder"):
        tiny("mmformer", answer="classification", alone=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    items = ["t1", "t2"]
    settings = {**SETTINGS, "image": {**SETTINGS["image"], "items": items}}
    lines = ["case_id,patient_id,fold,t1,t2,label:tumour"]
    for n in range(9):
        case = case_of(*items, seed=n)
        cells = []
        for k, name in enumerate(items):
            grey = np.clip(case.items[name].array[0] + 60, 0, 255).astype(np.uint8)
            Pillow.fromarray(grey).save(folder / f"{n}-{name}.png")
            cells.append("" if n % 4 == k else f"{n}-{name}.png")
        mask = next(iter(case.of(Mask))).mask
        Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{n}-mask.png")
        lines.append(f"c{n},p{n},{n % 3},{','.join(cells)},{n}-mask.png")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    recipe = {
        "name": "several", "task": "segmentation", "cohort": "cohort.csv", "settings": settings,
        "network": {"name": "mmformer", "options": {**OPTIONS, "modalities": items}},
        "learner": {"steps": 12, "batch": 4, "rate": 0.01, "warmup": 2, "ema": 0.8,
                    "validate_every": 12, "precision": "float32"},
        "augment": {"flip": {}},
    }  # fmt: skip
    path = folder / "several.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return bundles.load(fit(path, out=folder / "run").bundle), folder / "cohort.csv"


def test_a_bundle_reads_whatever_sequences_there_are(bundle):
    loaded, table = bundle
    cohort = read_cohort(table)
    rows = {row.case_id: row for row in cohort.rows}
    whole = open_row(rows["c3"], cohort)
    masks = {}
    for names in [("t1", "t2"), ("t1",), ("t2",)]:
        case = Case("p", "p")
        case.items.update({name: whole.items[name] for name in names})
        found = answer(loaded, case)
        mask = next(one for one in found if isinstance(one, Mask))
        assert mask.item == names[0]
        assert mask.mask.shape == (32, 32)
        masks[names] = mask.mask
    assert not np.array_equal(masks["t1",], masks["t2",])
    lacking = open_row(rows["c4"], cohort)  # has no t1
    lacking.findings.clear()  # a person has said the truth of it
    assert [one.item for one in answer(loaded, lacking)] == ["t2"]
