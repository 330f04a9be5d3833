"""What is refused before training because figures would lie, and how cases are drawn."""

import shutil

import numpy as np
import pytest
from PIL import Image as Pillow

from osler.data.cohort import read_cohort
from osler.data.leaks import file_digests, near_duplicates, same_files
from osler.errors import RecipeError
from osler.learn.recipe import Recipe
from osler.learn.teaching import divide
from osler.learn.training import chooser
from osler.tasks.task import Sample

RECIPE = {"name": "x", "task": "classification", "cohort": "cohort.csv", "learner": {"steps": 1}}


def drawing(seed, side=96):
    rng = np.random.default_rng(seed)
    out = np.zeros((side, side))
    for scale in (4, 8, 16, 32, 64):
        layer = Pillow.fromarray(rng.random((scale, scale)).astype(np.float32))
        out += np.asarray(layer.resize((side, side), Pillow.Resampling.BICUBIC)) / scale**0.3
    return Pillow.fromarray(((out - out.min()) / np.ptp(out) * 255).astype(np.uint8))


@pytest.fixture
def place(tmp_path):
    for n in range(9):
        drawing(n).save(tmp_path / f"{n}.png")
    shutil.copy(tmp_path / "0.png", tmp_path / "atlas.png")
    (tmp_path / "report.txt").write_text("nothing found\n")
    return tmp_path


def cohort(place, *, pictures, extra=()):
    columns = ["case_id", "patient_id", "fold", "image", *(name for name, _ in extra)]
    lines = [",".join(columns)]
    for n, picture in enumerate(pictures):
        more = [file for _, file in extra]
        lines.append(",".join([f"c{n}", f"p{n}", str(n % 3), picture, *more]))
    (place / "cohort.csv").write_text("\n".join(lines) + "\n")
    return read_cohort(place / "cohort.csv")


def recipe(**changes):
    return Recipe.model_validate({**RECIPE, **changes})


def test_parts_without_a_picture_twice_pass(place):
    table = cohort(place, pictures=[f"{n}.png" for n in range(9)])
    teach, tune, test = divide(table, recipe())
    assert [row.case_id for row in test] == ["c0", "c3", "c6"]
    assert len(teach) == len(tune) == 3


def test_the_same_bytes_in_two_parts_are_refused_with_a_list(place):
    shutil.copy(place / "0.png", place / "again.png")
    names = [f"{n}.png" for n in range(9)]
    names[5] = "again.png"  # fold 2, which teaches; 0.png is in fold 0, which tests
    with pytest.raises(RecipeError) as caught:
        divide(cohort(place, pictures=names), recipe())
    message = str(caught.value)
    assert message.startswith("1 pictures are in more than one of the parts")
    assert "case 'c5' (teach) is the same file as that of case 'c0' (test)" in message


def test_the_same_bytes_within_one_part_are_no_leak(place):
    shutil.copy(place / "0.png", place / "again.png")
    names = [f"{n}.png" for n in range(9)]
    names[3] = "again.png"  # fold 0, as 0.png
    divide(cohort(place, pictures=names), recipe())


def test_an_atlas_and_a_report_of_all_cases_are_no_leak(place):
    names = [f"{n}.png" for n in range(1, 9)]
    table = cohort(place, pictures=names, extra=[("atlas", "atlas.png"), ("report", "report.txt")])
    divide(table, recipe())
    assert set(file_digests(table.rows[0])) == {"image", "atlas"}


def test_a_picture_saved_anew_is_refused_where_the_recipe_asks(place):
    drawing(0).convert("RGB").resize((80, 80)).save(place / "again.jpg", quality=85)
    names = [f"{n}.png" for n in range(9)]
    names[5] = "again.jpg"
    table = cohort(place, pictures=names)
    divide(table, recipe())
    with pytest.raises(RecipeError) as caught:
        divide(table, recipe(near_duplicates=True))
    assert "'c5'" in str(caught.value)
    assert "'c0'" in str(caught.value)


def test_pairs_are_told_with_their_parts(place):
    shutil.copy(place / "1.png", place / "again.png")
    table = cohort(place, pictures=["1.png", "2.png", "again.png"])
    parts = {"teach": table.rows[:2], "test": table.rows[2:]}
    (found,) = same_files(parts)
    assert (found.first.case_id, found.second.case_id) == ("c0", "c2")
    assert found.parts == ("teach", "test")
    (near,) = near_duplicates(table, parts)
    assert near.kind == "exact"


def samples(groups):
    return [Sample(f"s{n}", f"p{n // 2}", {}, group=group) for n, group in enumerate(groups)]


def test_even_draws_each_case_once_before_any_twice():
    draw = chooser(samples([None] * 7), recipe(learner={"steps": 1, "batch": 3, "seed": 4}))
    drawn = [n for step in range(7) for n in draw(step)]
    for start in range(0, 21, 7):
        assert sorted(drawn[start : start + 7]) == list(range(7))


def test_a_balanced_recipe_draws_classes_alike():
    learner = {"steps": 1, "batch": 10, "sampler": "balanced"}
    draw = chooser(samples(["a"] * 18 + ["b"] * 2), recipe(learner=learner))
    drawn = [n for step in range(60) for n in draw(step)]
    assert 0.4 < np.mean([n >= 18 for n in drawn]) < 0.6


def test_a_grouped_recipe_puts_one_case_of_a_patient_in_a_batch():
    learner = {"steps": 1, "batch": 5, "sampler": "grouped"}
    draw = chooser(samples(["a"] * 12), recipe(learner=learner))
    for step in range(20):
        assert len({n // 2 for n in draw(step)}) == 5


def test_balance_without_classes_says_which_key():
    learner = {"steps": 1, "batch": 2, "sampler": "balanced"}
    with pytest.raises(RecipeError, match=r"learner\.sampler is balanced"):
        chooser(samples([None] * 4), recipe(learner=learner))
