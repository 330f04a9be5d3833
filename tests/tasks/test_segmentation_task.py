"""The task of segmentation by itself: plan, measures, prompts and figures, on drawn cases."""

import numpy as np
import pytest

from osler.errors import InputError, RecipeError
from osler.metrics import cl_dice
from osler.record import Box, Case, Image, Mask, Measurement, Point, Source
from osler.tasks import segmentation_prompt
from osler.tasks.catalogue import create
from osler.tasks.segmentation import Segmentation
from osler.tasks.segmentation_settings import SegmentationSettings

PERSON = Source("person", "cohort")
SAYS = Source("bundle", "test", "1.0.0")


def volume_case(name, shape, spacing, *, masks, modality="OT", item="ct", affine=True, seed=0):
    values = np.random.default_rng(seed).normal(0, 5, (1, *shape)).astype(np.float32)
    for k, mask in enumerate(masks.values()):
        values[0][mask] += 100 * (k + 1)
    frame = np.diag([*spacing, 1.0]) if affine and spacing else None
    case = Case(name, name)
    case.items[item] = Image(item, values, modality, spacing=spacing, affine=frame)
    for label, mask in masks.items():
        case.add(Mask(id=label, name=label, source=PERSON, item=item, mask=mask))
    return case


def block(shape, start, stop):
    out = np.zeros(shape, bool)
    out[tuple(map(slice, start, stop))] = True
    return out


def task_of(**settings):
    return Segmentation(SegmentationSettings.model_validate(settings))


def scores_of(masks, *, overlapping):
    """Scores by which a network would say just these masks."""
    planes = np.where(np.stack(masks), 8.0, -8.0).astype(np.float32)
    if overlapping:
        return {"scores": planes}
    return {"scores": np.concatenate([np.zeros_like(planes[:1]), planes])}


# The plan ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scans():
    sizes = [(36, 48, 40), (40, 52, 44), (38, 50, 42)]
    return [
        volume_case(
            f"c{n}", size, (1.0, 0.8 + 0.1 * n, 0.9),
            masks={"organ": block(size, (8, 8, 8), (20, 24, 22))}, seed=n,
        )
        for n, size in enumerate(sizes)
    ]  # fmt: skip


def test_a_plan_fills_in_what_is_left_open(scans):
    task = task_of(image={"items": ["ct"]}, labels=["organ"], plan="auto", memory=2.0, width=8)
    task = task.planned(lambda: iter(scans))
    said = task.settings
    assert said.image.spacing == pytest.approx((1.0, 0.9, 0.9))
    values = np.concatenate([one.items["ct"].array[0][one.findings["organ"].mask] for one in scans])
    assert said.image.intensity.method == "clip"
    # a sample of the labelled voxels stands for all of them
    assert said.image.intensity.mean == pytest.approx(values.mean(), abs=0.5)
    assert said.image.intensity.range == pytest.approx(np.percentile(values, (0.5, 99.5)), abs=1)
    assert len(said.patch) == 3
    assert task.inputs()[0].size == said.patch
    name, options = task.network()
    assert name == "dynunet"
    assert len(options["widths"]) == len(options["kernels"]) == len(options["strides"]) + 1
    assert task.batch() == said.planned.batch >= 2
    assert said.planned.memory <= 2.0
    assert any("spacing" in reason for reason in said.planned.reasons)


def test_a_planned_card_gives_the_same_task_again(scans):
    import json

    task = task_of(image={"items": ["ct"]}, labels=["organ"], plan="auto", width=8)
    task = task.planned(lambda: iter(scans))
    kept = json.loads(json.dumps(task.settings.model_dump(mode="json")))
    again = task_of(**kept)
    assert again.inputs() == task.inputs()
    assert again.settings.image == task.settings.image


def test_the_network_of_a_plan_takes_its_patch(scans):
    from osler.models import create

    task = task_of(image={"items": ["ct"]}, labels=["organ"], plan="auto", width=4)
    task = task.planned(lambda: iter(scans))
    name, options = task.network()
    net = create(name, weights="random", channels=1, labels=2, **options).eval()
    import torch

    with torch.no_grad():
        said = net(torch.zeros(1, 1, *task.settings.patch))
    assert said.shape == (1, 2, *task.settings.patch)


def test_explicit_keys_win_over_the_plan(scans):
    task = task_of(
        image={"items": ["ct"], "spacing": [2, 2, 2], "intensity": {"method": "z-score"}},
        labels=["organ"], plan="auto", patch=[16, 16, 16], width=8,
    ).planned(lambda: iter(scans))  # fmt: skip
    assert task.settings.image.spacing == (2, 2, 2)
    assert task.settings.image.intensity.method == "z-score"
    assert task.settings.patch == (16, 16, 16)
    assert task.settings.planned.network == "dynunet"


def test_too_little_memory_is_said(scans):
    task = task_of(image={"items": ["ct"]}, labels=["organ"], plan="auto", memory=0.01)
    with pytest.raises(RecipeError, match=r"settings\.plan: 0\.01 GB is too little"):
        task.planned(lambda: iter(scans))


def test_a_planned_batch_gives_way_to_the_recipes_own():
    from osler.learn.recipe import Recipe

    said = {"name": "a", "task": "segmentation", "cohort": "c.csv", "learner": {"steps": 1}}
    assert Recipe.model_validate(said).with_batch(5).learner.batch == 5
    said["learner"]["batch"] = 3
    assert Recipe.model_validate(said).with_batch(5).learner.batch == 3


# Figures and measures ---------------------------------------------------------------------------

SHAPE = (12, 20, 16)
LUNG = block(SHAPE, (2, 2, 2), (10, 18, 14))
LESION = block(SHAPE, (3, 3, 3), (7, 8, 9))


@pytest.mark.parametrize("affine", [True, False])
def test_volumes_are_told_in_millilitres_with_or_without_a_place(affine):
    spacing = (2.0, 1.0, 1.5) if affine else None
    case = volume_case("a", SHAPE, spacing, masks={"lung": LUNG}, affine=affine)
    task = task_of(labels=["lung"], patch=[12, 20, 16])
    sample = task.encode(case, truth=True)
    smaller = LUNG.copy()
    smaller[2] = False
    row = task.judge(scores_of([smaller], overlapping=False), sample)
    voxel = (3.0 if affine else 1.0) / 1000
    assert row["truth_volume/lung"] == pytest.approx(LUNG.sum() * voxel)
    assert row["volume/lung"] == pytest.approx(smaller.sum() * voxel)
    assert row["volume_error/lung"] == pytest.approx((LUNG.sum() - smaller.sum()) * voxel)
    names = {one.name: one for one in task.figures([row], ["a"], seed=1, replicates=20)}
    assert names["volume error (ml), lung"].interval.value == row["volume_error/lung"]


def test_thin_labels_are_judged_by_their_centre_lines():
    truth, found = np.zeros((2, 32, 32), bool)
    truth[14:17, 2:30] = True
    found[14:17, 2:20] = True
    case = Case("a", "a")
    case.items["photo"] = Image("photo", np.zeros((1, 32, 32), np.float32), "OP")
    for label in ("vessel", "disc"):
        case.add(Mask(id=label, name=label, source=PERSON, item="photo", mask=truth))
    task = task_of(labels=["vessel", "disc"], overlapping=True, thin=["vessel"])
    row = task.judge(scores_of([found, found], overlapping=True), task.encode(case, truth=True))
    assert row["cldice/vessel"] == cl_dice(truth, found)
    assert 0.5 < row["cldice/vessel"] < 1
    assert row["cldice/disc"] is None
    names = [one.name for one in task.figures([row], ["a"], seed=1, replicates=20)]
    assert "clDice, vessel" in names
    assert "clDice, disc" not in names


def test_shares_and_falls_are_measured_and_judged():
    case = volume_case("a", SHAPE, (1.0, 1.0, 1.0), masks={"lung": LUNG, "lesion": LESION})
    task = task_of(
        labels=["lung", "lesion"], overlapping=True, patch=[12, 20, 16],
        measure=[
            {"name": "affected", "of": ["lesion"], "to": ["lung"]},
            {"name": "fall", "kind": "fall", "of": ["lung"], "to": ["lesion"]},
        ],
    )  # fmt: skip
    sample = task.encode(case, truth=True)
    half = LESION.copy()
    half[:, 3:5] = False
    outputs = scores_of([LUNG, half], overlapping=True)
    found = [
        one for one in task.decode(outputs, sample, source=SAYS) if isinstance(one, Measurement)
    ]
    assert [one.value for one in found] == pytest.approx(
        [half.sum() / LUNG.sum(), 1 - half.sum() / LUNG.sum()]
    )
    assert found[0].evidence == ("lesion", "lung")
    row = task.judge(outputs, sample)
    (figure,) = [
        one for one in task.figures([row], ["a"], seed=1, replicates=20)
        if one.name == "error, affected"
    ]  # fmt: skip
    assert figure.interval.value == pytest.approx((LESION.sum() - half.sum()) / LUNG.sum())


def test_a_share_of_nothing_is_not_computed():
    case = volume_case("a", SHAPE, (1.0, 1.0, 1.0), masks={"lung": LUNG, "lesion": LESION})
    task = task_of(
        labels=["lung", "lesion"], overlapping=True, patch=[12, 20, 16],
        measure=[{"name": "affected", "of": ["lesion"], "to": ["lung"]}],
    )  # fmt: skip
    sample = task.encode(case, truth=True)
    none = np.zeros(SHAPE, bool)
    outputs = scores_of([none, none], overlapping=True)
    (found,) = [
        one for one in task.decode(outputs, sample, source=SAYS) if isinstance(one, Measurement)
    ]
    assert found.value is None
    assert found.reason == "lung was not found"
    assert task.judge(outputs, sample)["measure/affected"] is None


def test_the_height_of_a_cup_in_a_disc():
    hh, ww = np.mgrid[:40, :40]
    disc = np.hypot(hh - 20, ww - 20) <= 15
    cup = np.hypot((hh - 20) / 9, (ww - 20) / 5) <= 1
    case = Case("a", "a")
    case.items["photo"] = Image("photo", np.zeros((1, 40, 40), np.float32), "OP")
    case.add(Mask(id="disc", name="disc", source=PERSON, item="photo", mask=disc))
    rule = {"name": "vertical cup/disc ratio", "kind": "height", "of": ["cup"], "to": ["disc"]}
    task = task_of(labels=["disc", "cup"], overlapping=True, measure=[rule])
    sample = task.encode(case)
    found = task.decode(scores_of([disc, cup], overlapping=True), sample, source=SAYS)
    assert found[-1].value == pytest.approx(19 / 31)


@pytest.mark.parametrize(
    "keys",
    [
        {"thin": ["x"]},
        {"largest_part": ["x"]},
        {"measure": [{"name": "m", "of": ["x"], "to": ["a"]}]},
        {"labels": ["a", "b"], "prompt": "box"},
    ],
)
def test_labels_that_do_not_exist_are_refused(keys):
    with pytest.raises(ValueError, match=r"x|one label"):
        SegmentationSettings.model_validate({"labels": ["a"], **keys})


# Prompts ----------------------------------------------------------------------------------------

TWO = block((32, 40), (4, 5), (12, 17)) | block((32, 40), (20, 24), (27, 36))


def picture_case(*prompts, truth=True):
    case = Case("a", "a")
    values = np.where(TWO, 200.0, 50.0).astype(np.float32)[None]
    case.items["photo"] = Image("photo", values, "OP")
    if truth:
        case.add(Mask(id="lesion", name="lesion", source=PERSON, item="photo", mask=TWO))
    for prompt in prompts:
        case.add(prompt)
    return case


def test_a_box_becomes_two_channels():
    box = Box(id="b", name="here", source=PERSON, item="photo", start=(4, 5), stop=(12, 17))
    task = task_of(labels=["lesion"], prompt="box", multiple=8)
    array = task.encode(picture_case(box, truth=False)).inputs["image"]
    assert array.shape == (3, 32, 40)
    assert np.array_equal(array[1], block((32, 40), (4, 5), (12, 17)))
    assert np.array_equal(array[2], 1 - array[1])
    assert task.inputs()[0].channels == ("image", "wanted", "unwanted")


def test_prompts_move_to_the_networks_grid():
    box = Box(id="b", name="here", source=PERSON, item="photo", start=(4, 6), stop=(12, 18))
    task = task_of(labels=["lesion"], prompt="box", image={"size": [64, 20]})
    array = task.encode(picture_case(box, truth=False)).inputs["image"]
    assert np.array_equal(array[1], block((64, 20), (8, 3), (24, 9)))


def test_points_are_on_the_structure_or_off_it():
    on = Point(id="p", name="lesion", source=PERSON, item="photo", position=(8.0, 10.0))
    off = Point(id="q", name="background", source=PERSON, item="photo", position=(2.0, 30.0))
    task = task_of(labels=["lesion"], prompt="point", multiple=8)
    array = task.encode(picture_case(on, off, truth=False)).inputs["image"]
    hh, ww = np.mgrid[:32, :40]
    assert np.array_equal(array[1], np.hypot(hh - 8, ww - 10) <= 2.5)
    assert np.array_equal(array[2], np.hypot(hh - 2, ww - 30) <= 2.5)


@pytest.mark.parametrize("kind", ["box", "point"])
def test_a_case_without_prompt_is_refused_unless_its_truth_is_known(kind):
    task = task_of(labels=["lesion"], prompt=kind, multiple=8)
    with pytest.raises(InputError, match=f"has no {kind} that says what to mark"):
        task.encode(picture_case(truth=False))
    array = task.encode(picture_case(), truth=True).inputs["image"]
    assert (array[1] * ~TWO).sum() < array[1].sum() / 2
    if kind == "box":
        assert np.array_equal(array[1] > 0, TWO)


@pytest.mark.parametrize("kind", ["box", "point"])
def test_training_draws_prompts_and_teaches_what_they_mean(kind):
    task = task_of(labels=["lesion"], prompt=kind, multiple=8)
    sample = task.encode(picture_case(), truth=True)
    first, second = block((32, 40), (4, 5), (12, 17)), block((32, 40), (20, 24), (27, 36))
    met = set()
    for seed in range(40):
        inputs, targets = task.example(sample, np.random.default_rng(seed))
        marked = targets["labels"][0] == 1
        which = bool((marked & first).any()), bool((marked & second).any())
        met.add(which)
        assert np.array_equal(marked, first * which[0] | second * which[1])
        wanted = inputs["image"][1] > 0
        for part, meant in zip((first, second), which, strict=True):
            assert (wanted & part).any() == meant
        if kind == "box":  # off by no more than a tenth of a side, and what whole voxels add
            assert abs(int(wanted.sum()) - int(marked.sum())) < 0.5 * marked.sum()
        else:
            assert not (inputs["image"][2] > 0)[marked].all()
        assert np.array_equal(inputs["image"][0], sample.inputs["image"][0])
    assert met == {(True, False), (False, True), (True, True)}


def test_the_innermost_voxel_is_the_point_of_a_part():
    parts = segmentation_prompt.parts_of(block((20, 20), (3, 4), (12, 15)))
    (place,) = segmentation_prompt.exact(parts, "point").on
    assert place[0] == 7
    assert 8 <= place[1] <= 10


def test_the_planned_recipe_leaves_everything_to_the_plan():
    from pathlib import Path

    from osler.learn.recipe import check_recipe, read_yaml

    path = Path(__file__).resolve().parents[2] / "recipes" / "hippocampus-auto.yaml"
    recipe, task = check_recipe(read_yaml(path), path)
    assert task.settings.plan == "auto"
    assert task.settings.patch is None
    assert recipe.network.name is None
    cases = [
        volume_case(
            f"h{n}", (34, 50, 35), (1.0, 1.0, 1.0), item="mr", modality="MR", seed=n,
            masks={
                "anterior": block((34, 50, 35), (8, 28, 8), (20, 40, 22)),
                "posterior": block((34, 50, 35), (8, 8, 8), (20, 28, 22)),
            },
        )
        for n in range(2)
    ]  # fmt: skip
    task = task.planned(lambda: iter(cases))
    assert task.settings.patch == (40, 56, 40)  # as recipes/hippocampus.yaml has it
    assert task.settings.image.intensity.method == "z-score"
    assert task.settings.planned.memory < task.settings.memory
    assert list(task.settings.planned.options["widths"]) == [16, 32, 64, 128]


def test_frames_of_a_cine_become_channels():
    case = Case("a", "a")
    values = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((5, 4, 8, 8), np.float32)
    times = (0.0, 0.1, 0.2, 0.3, 0.4)
    case.items["cine"] = Image("cine", values, "MR", spacing=(8.0, 1.0, 1.0), times=times)
    settings = {"labels": ["cavity"], "patch": [4, 8, 8]}
    image = {"items": ["cine"], "intensity": {"method": "range", "range": [0, 4]}}
    task = task_of(**settings, image={**image, "frames": [0, 3]})
    assert task.inputs()[0].channels == ("cine, frame 0", "cine, frame 3")
    array = task.encode(case).inputs["image"]
    assert array.shape == (2, 4, 8, 8)
    assert [float(one.mean()) for one in array] == pytest.approx([0, 0.75])
    with pytest.raises(InputError, match="has 5 time frames; frame 7 was asked for"):
        task_of(**settings, image={**image, "frames": [7]}).encode(case)
    with pytest.raises(InputError, match=r"say which: settings\.image\.frames"):
        task_of(**settings, image=image).encode(case)


def test_sizes_are_measured_in_millilitres_where_a_scale_is_known():
    rule = {"name": "lung volume", "kind": "size", "of": ["lung"]}
    task = task_of(labels=["lung"], patch=[12, 20, 16], measure=[rule])
    for spacing, value in (((2.0, 1.0, 1.5), LUNG.sum() * 0.003), (None, None)):
        case = volume_case("a", SHAPE, spacing, masks={"lung": LUNG})
        sample = task.encode(case, truth=True)
        found = task.decode(scores_of([LUNG], overlapping=False), sample, source=SAYS)[-1]
        assert found.unit == "mL"
        assert found.value == (value if value is None else pytest.approx(value))
        assert bool(found.reason) == (value is None)


def test_a_real_ct_with_many_organs_is_read_planned_for_and_judged(data_dir, tmp_path):
    from osler.data.cohort import read_cohort
    from osler.data.opening import open_row

    organs = {"spleen": 1, "kidney-right": 2, "kidney-left": 3, "liver": 5}
    folder = data_dir / "ct-example"
    names = ",".join(f"label:{name}" for name in organs)
    cells = ",".join(f"{folder / 'example_seg.nii.gz'}#{n}" for n in organs.values())
    table = tmp_path / "cohort.csv"
    table.write_text(
        f"case_id,patient_id,ct,{names}\none,one,{folder / 'example_ct_sm.nii.gz'},{cells}\n"
    )
    cohort = read_cohort(table)
    case = open_row(cohort.rows[0], cohort)
    image = case.items["ct"]
    masks = {one.name: one.mask for one in case.of(Mask)}
    assert 0 < np.median(image.array[0][masks["liver"]]) < 200  # Hounsfield units
    x = {
        side: (image.affine @ [*np.argwhere(masks[f"kidney-{side}"]).mean(0), 1])[0]
        for side in ("left", "right")
    }
    assert x["left"] > x["right"]  # LPS: to the patient's left
    task = task_of(labels=list(organs), plan="auto", memory=4.0, image={"items": ["ct"]})
    task = task.planned(lambda: iter([case]))
    said = task.settings
    assert said.image.spacing == pytest.approx((3.0, 3.0, 3.0))
    assert said.image.intensity.method == "clip"
    low, high = said.image.intensity.range
    assert -200 < low < 50 < high < 500
    assert said.planned.memory <= 4.0
    sample = task.encode(case, truth=True)
    planes = [sample.targets["labels"][0] == k + 1 for k in range(len(organs))]
    row = task.judge(scores_of(planes, overlapping=False), sample)
    for name, mask in masks.items():
        assert row[f"dice/{name}"] == 1
        assert row[f"volume/{name}"] == pytest.approx(mask.sum() * 0.027)


@pytest.mark.parametrize("overlapping", [False, True])
def test_only_the_largest_part_of_a_picture_stays(overlapping):
    task = create(
        "segmentation",
        {"labels": ["disc"], "largest_part": ["disc"], "overlapping": overlapping,
         "image": {"items": ["photo"]}},
    )  # fmt: skip
    shown = np.zeros((12, 16), np.float32)
    shown[2:8, 2:8] = 1
    shown[9:11, 12:15] = 1
    one = Case("a", "a", items={"photo": Image("photo", np.zeros((1, 12, 16), np.uint8))})
    scores = (shown[None] if overlapping else np.stack([1 - shown, shown])) * 8 - 4
    (found,) = task.native({"scores": scores}, task.encode(one))
    assert found[2:8, 2:8].all()
    assert found.sum() == 36
