"""Tuning finds the best, ends what does not promise, and goes on where it was interrupted."""

import json
import math
from pathlib import Path

import pytest
import yaml
from torch import nn

from osler.errors import RecipeError
from osler.learn import tune
from osler.learn.learner import Learner
from osler.learn.loop import train
from osler.learn.tuning_plan import Plan, own_values, read_plan, with_values, write_recipe

pytest.importorskip("optuna")

RECIPE = {
    "name": "toy",
    "cohort": "cohort.csv",
    "settings": {"aim": 3.0},
    "learner": {"steps": 4, "batch": 4, "rate": 0.1, "warmup": 0, "validate_every": 2, "ema": 0.0,
                "checkpoint_minutes": 0, "precision": "float32"},
}  # fmt: skip
PLAN = {
    "trials": 6,
    "seed": 3,
    "sampler": "random",
    "prune": False,
    "ranges": {"learner.rate": {"low": 0.001, "high": 0.5, "log": True}},
}


def written(folder, *, plan=None, recipe=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.csv").write_text("case_id\n")
    path = folder / "tune.yaml"
    content = {**(recipe or RECIPE), "tune": {**PLAN, **(plan or {})}}
    path.write_text(yaml.safe_dump(content))
    return path


class Fit:
    """Learns one number; the better the rate, the nearer it comes to the aim."""

    def __init__(self, *, interrupted_at=None):
        self.calls, self.interrupted_at, self.steps = [], interrupted_at, 0

    def __call__(self, recipe, *, out, resume):
        content = yaml.safe_load(Path(recipe).read_text())
        assert (Path(recipe).parent / content["cohort"]).exists()
        self.calls.append(content["learner"])
        learner = Learner.model_validate(content["learner"])
        net = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(net.weight)

        def loss(net, number, device):
            self.steps += 1
            if self.steps == self.interrupted_at:
                raise KeyboardInterrupt
            return (net.weight - content["settings"]["aim"]).square().mean()

        def validate(net):
            return {"score": -abs(float(net.weight) - content["settings"]["aim"])}

        train(net, loss=loss, validate=validate, learner=learner, folder=out, resume=resume)


def table(found):
    return [(one.values, one.score, one.state) for one in found.trials]


def test_it_finds_the_best_and_writes_its_recipe(tmp_path):
    fit = Fit()
    found = tune(written(tmp_path), out=tmp_path / "out", fit=fit)
    assert len(found.trials) == len(fit.calls) == 6
    assert fit.calls[0]["rate"] == 0.1  # the recipe as it is comes first
    assert found.best.score == max(one.score for one in found.trials)
    assert all(0.001 <= one.values["learner.rate"] <= 0.5 for one in found.trials)
    best = yaml.safe_load(found.recipe.read_text())
    assert best == {
        **RECIPE, "cohort": "../cohort.csv",
        "learner": {**RECIPE["learner"], "rate": found.best.values["learner.rate"]},
    }  # fmt: skip
    record = json.loads((tmp_path / "out" / "trials.json").read_text())
    assert [one["score"] for one in record] == [one.score for one in found.trials]
    again = Fit()  # the same by hand: the best score of the run's own log
    again(found.recipe, out=tmp_path / "again", resume=False)
    lines = (tmp_path / "again" / "log.jsonl").read_text().splitlines()
    scores = [json.loads(line).get("score", -math.inf) for line in lines]
    assert max(scores) == pytest.approx(found.best.score, abs=1e-5)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_interrupted_it_tries_what_it_would_have_tried(tmp_path, sampler):
    trials = 12 if sampler == "tpe" else 4  # the estimators learn from ten on
    path = written(tmp_path, plan={"sampler": sampler, "trials": trials})
    straight = tune(path, out=tmp_path / "straight", fit=Fit())
    for number in (2 * 4 + 3, 4):
        with pytest.raises(KeyboardInterrupt):
            tune(path, out=tmp_path / "cut", fit=Fit(interrupted_at=number), resume=True)
    last = Fit()
    cut = tune(path, out=tmp_path / "cut", fit=last, resume=True)
    assert table(cut) == table(straight)
    assert last.steps < 4 * trials - 12  # the trial under way went on from its checkpoint


def test_what_does_not_promise_is_ended(tmp_path):
    path = written(tmp_path, plan={"prune": True, "spare": [0, 2], "trials": 10})
    fit = Fit()
    found = tune(path, out=tmp_path / "out", fit=fit)
    pruned = [one for one in found.trials if one.state == "pruned"]
    assert pruned
    assert fit.steps < 40
    assert found.best.state == "finished"
    assert all(one.score <= found.best.score for one in pruned)


def test_it_goes_on_for_more_trials(tmp_path):
    tune(written(tmp_path, plan={"trials": 2}), out=tmp_path / "out", fit=Fit())
    fit = Fit()
    found = tune(written(tmp_path, plan={"trials": 3}), out=tmp_path / "out", fit=fit, resume=True)
    assert len(found.trials) == 3
    assert len(fit.calls) == 1


def test_a_trial_that_cannot_be_run_is_noted(tmp_path):
    class Large(Fit):
        def __call__(self, recipe, *, out, resume):
            if len(self.calls) == 1:
                self.calls.append(None)
                raise RecipeError("the memory of the machine is full")
            super().__call__(recipe, out=out, resume=resume)

    found = tune(written(tmp_path, plan={"trials": 3}), out=tmp_path / "out", fit=Large())
    assert [one.state for one in found.trials] == ["finished", "refused", "finished"]
    assert found.trials[1].why == "the memory of the machine is full"
    assert found.trials[1].score is None


def test_a_recipe_that_does_not_run_ends_it(tmp_path):
    def wrong(recipe, *, out, resume):
        raise RecipeError("no such cohort")

    with pytest.raises(RecipeError, match="no such cohort"):
        tune(written(tmp_path), out=tmp_path / "out", fit=wrong)


def test_without_validation_there_is_nothing_to_choose_by(tmp_path):
    with pytest.raises(RecipeError, match="validates nothing"):
        tune(written(tmp_path), out=tmp_path / "out", fit=lambda *_, **__: None)


def test_a_fit_may_give_the_score_itself(tmp_path):
    def fit(recipe, *, out, resume):
        rate = yaml.safe_load(Path(recipe).read_text())["learner"]["rate"]
        return -abs(math.log(rate / 0.02))

    found = tune(
        written(tmp_path, plan={"sampler": "tpe", "trials": 20}), out=tmp_path / "out", fit=fit
    )
    assert 0.007 < found.best.values["learner.rate"] < 0.06


def test_other_trials_in_the_same_folder_is_refused(tmp_path):
    tune(written(tmp_path, plan={"trials": 1}), out=tmp_path / "out", fit=Fit())
    other = written(tmp_path, plan={"trials": 1, "seed": 4})
    with pytest.raises(RecipeError, match="another recipe or other ranges"):
        tune(other, out=tmp_path / "out", fit=Fit(), resume=True)
    tune(other, out=tmp_path / "out", fit=Fit())  # anew
    assert (tmp_path / "out" / "trials.before.db").exists()


def test_a_plan_beside_its_recipe(tmp_path):
    (tmp_path / "recipes").mkdir()
    written(tmp_path / "recipes")
    (tmp_path / "recipes" / "toy.yaml").write_text(yaml.safe_dump(RECIPE))
    path = tmp_path / "tune.yaml"
    path.write_text(yaml.safe_dump({"recipe": "recipes/toy.yaml", "tune": PLAN}))
    plan, base, beside = read_plan(path)
    assert base == RECIPE
    assert beside == tmp_path / "recipes" / "toy.yaml"
    assert plan.trials == 6


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"trails": 3}, r"tune\.trails: no such key; the nearest is 'trials'"),
        ({"ranges": {}}, r"tune\.ranges"),
        ({"ranges": {"learner.rte": {"choices": [1, 2]}}}, r"the nearest is 'learner\.rate'"),
        ({"ranges": {"setings.x": {"choices": [1, 2]}}}, "the nearest is 'settings'"),
        ({"ranges": {"learner.rate": {"low": 0, "high": 1.0}}}, r"lets 'learner\.rate' be 0"),
        ({"ranges": {"learner.patch": {"choices": [64, 65]}}}, r"lets 'learner\.patch' be 65"),
        ({"ranges": {"learner.rate": {"low": 1, "high": 1}}}, "is not below high"),
        ({"ranges": {"learner.rate": {"low": 1}}}, r"write choices: \[\.\.\.\], or low"),
        ({"ranges": {"learner.rate": {"low": 1, "high": 2, "logg": True}}}, "nearest is 'log'"),
        ({"ranges": {"learner.rate": {"low": 1, "high": 9, "step": 1, "log": True}}}, "no step"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_refused_before_anything_runs(tmp_path, section, message):
    with pytest.raises(RecipeError, match=message):
        tune(written(tmp_path, plan=section), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_without_a_plan_is_refused(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    with pytest.raises(RecipeError, match="no section 'tune:'"):
        tune(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        tune(tmp_path / "absent.yaml")


def test_the_recipes_own_values_come_first_where_they_lie_in_the_ranges():
    def plan(ranges):
        return Plan.model_validate({"ranges": ranges})

    one = plan({"learner.batch": {"choices": [4, 8]}, "settings.aim": {"low": 1.0, "high": 5.0}})
    assert own_values(one, RECIPE) == {"learner.batch": 4, "settings.aim": 3.0}
    assert own_values(plan({"learner.batch": {"low": 5, "high": 8}}), RECIPE) is None
    assert own_values(plan({"settings.new": {"low": 5, "high": 8}}), RECIPE) is None
    default = plan({"learner.clip": {"choices": [1.0, None]}})
    assert own_values(default, RECIPE) == {"learner.clip": 1.0}


def test_values_are_put_in_their_places():
    before = json.dumps(RECIPE)
    changed = with_values(RECIPE, {"learner.rate": 0.5, "network.options.width": 8, "name": "b"})
    assert changed["learner"]["rate"] == 0.5
    assert changed["network"] == {"options": {"width": 8}}
    assert changed["name"] == "b"
    assert json.dumps(RECIPE) == before


def test_without_optuna_it_says_what_to_install(tmp_path, monkeypatch):
    import sys

    from osler.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"osler\[tune\]"):
        tune(written(tmp_path), out=tmp_path / "out", fit=Fit())


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="without torchrun"):
        tune(written(tmp_path), out=tmp_path / "out", fit=Fit())


def test_the_command_says_what_is_wrong(tmp_path):
    from typer.testing import CliRunner

    from osler.cli import app

    path = written(tmp_path, plan={"trails": 1})
    result = CliRunner().invoke(app, ["tune", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "the nearest is 'trials'" in result.output


def test_a_recipe_written_elsewhere_still_names_its_files(tmp_path):
    home = tmp_path / "recipes"
    home.mkdir()
    for name in ("teach.csv", "more.csv", "start.safetensors"):
        (home / name).touch()
    content = {
        "cohort": "teach.csv", "unlabelled": {"cohort": "more.csv"},
        "network": {"checkpoint": "start.safetensors"},
    }  # fmt: skip
    there = tmp_path / "runs" / "one" / "recipe.yaml"
    write_recipe(content, there, beside=home / "recipe.yaml")
    said = yaml.safe_load(there.read_text())
    named = [said["cohort"], said["unlabelled"]["cohort"], said["network"]["checkpoint"]]
    assert [(there.parent / one).resolve().name for one in named] == [
        "teach.csv", "more.csv", "start.safetensors",
    ]  # fmt: skip
    assert all((there.parent / one).exists() for one in named)
