"""Active learning: the criteria against loops, the choice of a run, and rounds of them."""

import json
import math
from functools import partial
from itertools import combinations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from osler.cli import app
from osler.errors import RecipeError
from osler.learn.choosing import bald, entropy, k_centre, labels_needed
from osler.learn.fitting import fit
from osler.learn.labelling import keep_labels
from osler.learn.recipe import Labels, check_recipe, read_yaml
from osler.learn.rounds import RECORD, learn_in_rounds
from osler.learn.strategies.active import Active, Dropping, asked, dropouts, dropped_layers
from osler.learn.strategies.mean_teacher import MeanTeacher
from osler.tasks.classification import Classification, ClassificationSettings
from osler.tasks.task import Sample

CHANGES = {"strategies": {"active": {"take": 3}}, "labels": {"share": 0.5}}


class EnoughError(Exception):
    """Ends a run once what is looked at is there."""


def plain_entropy(p, activation):
    total, count = 0.0, 0
    for place in np.ndindex(*p.shape[1:]):
        values = [p[(k, *place)] for k in range(len(p))]
        if activation == "softmax":
            total -= sum(v * math.log(v) for v in values if v > 0)
            count += 1
            continue
        for v in values:
            total -= sum(q * math.log(q) for q in (v, 1 - v) if q > 0)
            count += 1
    return total / count


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("grid", [(), (3, 4), (2, 3, 2)])
def test_entropy_and_bald_are_their_definitions(activation, grid):
    rng = np.random.default_rng(0)
    p = rng.random((5, 3, *grid))
    p[0, 0] = 0
    if activation == "softmax":
        p /= p.sum(axis=1, keepdims=True)
    assert entropy(p[0], activation) == pytest.approx(plain_entropy(p[0], activation))
    own = sum(plain_entropy(one, activation) for one in p) / len(p)
    mean = plain_entropy(sum(p) / len(p), activation)
    assert bald(p, activation) == pytest.approx(mean - own)
    assert bald(p, activation) > 0
    assert bald(np.stack([p[1]] * 4), activation) == pytest.approx(0, abs=1e-12)  # all agree
    if activation == "softmax":
        assert entropy(np.full((4, *grid), 0.25), activation) == pytest.approx(math.log(4))


def test_the_centres_are_chosen_one_by_one_and_cover():
    rng = np.random.default_rng(1)
    points, known = rng.normal(size=(9, 2)), rng.normal(size=(2, 2))
    chosen: list[int] = []
    for _ in range(3):
        reach = {
            place: min(math.dist(points[place], one) for one in [*known, *points[chosen]])
            for place in range(9) if place not in chosen
        }  # fmt: skip
        chosen.append(max(reach, key=reach.get))
    assert k_centre(points, known, 3) == chosen

    def radius(places):
        centres = [*known, *points[list(places)]]
        return max(min(math.dist(one, centre) for centre in centres) for one in points)

    best = min(radius(places) for places in combinations(range(9), 3))
    assert radius(chosen) <= 2 * best + 1e-12  # the bound of the greedy choice
    assert sorted(k_centre(points, known, 99)) == list(range(9))


def test_labels_that_a_curve_needs():
    curve = [(10, 0.6), (20, 0.8), (30, 0.7), (40, 0.9)]
    assert labels_needed(curve, 0.6) == 10
    assert labels_needed(curve, 0.7) == pytest.approx(15)
    assert labels_needed(curve, 0.85) == pytest.approx(37.5)
    assert labels_needed(curve, 0.95) is None


def test_dropout_is_drawn_when_it_is_asked_for():
    torch.manual_seed(0)
    task = Classification(ClassificationSettings(labels=["a", "b"]))
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    sample = Sample("c", "p", {"image": np.random.default_rng(0).random((3, 2, 2), np.float32)})
    net[3].register_forward_pre_hook(Dropping(0.5))
    assert dropped_layers(net) == [net[3]]
    several = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.0), nn.Dropout2d(0.2))
    assert dropouts(several) == [several[0], several[2]]
    still = asked(net, task, sample, draws=3)["scores"]
    assert (still == still[0]).all()
    torch.manual_seed(5)
    drawn = asked(net, task, sample, draws=3, dropping=dropped_layers(net))["scores"]
    assert not np.allclose(drawn[0], drawn[1])
    assert not any(module.training for module in net.modules())
    torch.manual_seed(5)  # the same by hand
    hidden = net[:3](torch.from_numpy(sample.inputs["image"])[None]).detach()
    by_hand = net[3].weight @ nn.functional.dropout(hidden, 0.5)[0] + net[3].bias
    np.testing.assert_allclose(drawn[0], by_hand.softmax(0).detach().numpy(), rtol=1e-5)


def test_the_unsure_are_chosen(recipe, classify, tmp_path):
    seen = {}

    class Looks(Active):
        def finished(self, net, context):
            out = super().finished(net, context)
            for sample in context.unlabelled:
                p = asked(net, context.task, sample)["scores"][0]
                seen[sample.id] = plain_entropy(p, "softmax")
            return out

    path = recipe(classify, **CHANGES)
    run = partial(fit, strategies=[Looks])
    (only,) = learn_in_rounds(path, rounds=1, out=tmp_path, fit=run)
    assert only.chosen == sorted(seen, key=lambda one: -seen[one])[:3]
    assert len(seen) == len(only.labelled) == 4
    assert not set(only.labelled) & set(seen)
    graph = onnxruntime.InferenceSession(only.folder / "bundle" / "model.onnx")
    assert [one.name for one in graph.get_outputs()] == ["scores"]


@pytest.mark.parametrize("criterion", ["bald", "core-set"])
def test_each_criterion_chooses_in_segmentations_too(criterion, recipe, segment, tmp_path):
    left = []

    class Looks(Active):
        def finished(self, net, context):
            super().finished(net, context)
            left.append((dropped_layers(net), dict(context.record)))
            raise EnoughError

    segment["settings"]["patch"] = [32, 32]
    ways = {"active": {"take": 2, "criterion": criterion, "draws": 3}}
    path = recipe(segment, strategies=ways, labels={"share": 0.5}, learner={"steps": 2})
    with pytest.raises(EnoughError):
        fit(path, out=tmp_path, strategies=[Looks])
    ((hooked, kept),) = left
    assert hooked == []  # the graph has no dropout
    assert len(set(kept["next"])) == 2
    assert not set(kept["next"]) & set(kept["labelled"])


def test_bald_is_resumed_to_the_bit_beside_another(recipe, classify, tmp_path):
    ways = {"active": {"criterion": "bald", "take": 2}, "mean-teacher": {}}
    path = recipe(classify, strategies=ways, labels={"share": 0.5},
                  learner={"checkpoint_minutes": 0})  # fmt: skip
    kept = []

    class Taught(Active):
        def finished(self, net, context):
            super().finished(net, context)
            kept.append(dict(context.record))
            raise EnoughError

    class Tired(MeanTeacher):
        def stepped(self, net, step):
            if step == 3:
                raise KeyboardInterrupt
            super().stepped(net, step)

    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "whole", strategies=[Taught, MeanTeacher])
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Taught, Tired])
    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "parts", resume=True, strategies=[Taught, MeanTeacher])
    assert kept[0] == kept[1]
    first, second = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_rounds_reveal_what_was_chosen_and_go_on(recipe, classify, tmp_path):
    ways = {"active": {"take": 3, "criterion": "random"}}
    path = recipe(classify, strategies=ways, labels={"share": 0.3, "seed": 2}, learner={"steps": 1})
    asked_for = []

    def light(where, *, out, resume):
        """Stands in for a training: keeps what the recipe teaches with."""
        read, _ = check_recipe(read_yaml(where), where)
        asked_for.append(read.labels)
        if len(asked_for) == 2:
            raise KeyboardInterrupt
        labelled = read.labels.cases or ["c4", "c5"]
        left = [f"c{n}" for n in range(4, 14) if f"c{n}" not in labelled]
        record = {"metrics": [{"name": "macro AUROC", "value": 0.5 + 0.01 * len(labelled)}],
                  "strategies": {"active": {"labelled": labelled, "next": left[:3]}}}  # fmt: skip
        (out / "run.json").write_text(json.dumps(record))
        (out / "cases.json").write_text("{}")

    with pytest.raises(KeyboardInterrupt):
        learn_in_rounds(path, rounds=4, out=tmp_path, fit=light)
    done = learn_in_rounds(path, rounds=9, out=tmp_path, resume=True, fit=light)
    assert [one.share for one in asked_for] == [0.3, *[1.0] * (len(asked_for) - 1)]
    assert [len(one.labelled) for one in done] == [2, 5, 8, 10]  # and then there are no more
    assert asked_for[1] == asked_for[2]  # the round that was interrupted
    assert done[1].labelled == [*done[0].labelled, *done[0].chosen]
    assert asked_for[1].seed == 2
    assert done[-1].value("macro AUROC") == pytest.approx(0.6)
    with pytest.raises(RecipeError, match="there are: macro AUROC"):
        done[0].value("Dice")
    record = json.loads((tmp_path / RECORD).read_text())
    assert [one["labels"] for one in record] == [2, 5, 8, 10]


def test_labels_of_named_cases_are_kept():
    samples = [Sample(f"c{n}", f"p{n}", {}, {"class": n}) for n in range(5)]
    kept, rest = keep_labels(samples, Labels(cases=["c3", "c1"]))
    assert [one.id for one in kept] == ["c1", "c3"]
    assert all(one.targets == {} for one in rest)
    with pytest.raises(RecipeError, match="do not teach: c9"):
        keep_labels(samples, Labels(cases=["c1", "c9"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {"share": 1.0}}, "learns from cases without a label too"),
        ({"labels": {"count": 2, "cases": ["c4"]}}, "says both count and cases"),
        ({"strategies": {"active": {"criterion": "doubt"}}}, "criterion"),
        ({"strategies": {"active": {"draws": 1}}}, "greater than 1"),
    ],
)
def test_what_does_not_go_is_refused(recipe, classify, change, said):
    classify = {**classify, **CHANGES, **change}
    path = recipe(classify)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=[Active])


def test_the_command_tells_the_rounds_and_the_choice(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"active": {"take": 3}}, labels={"share": 0.5})
    there = tmp_path / "round-0"
    there.mkdir(parents=True)
    (there / "cases.json").write_text("{}")  # a round that is done
    figure = {"name": "macro AUROC", "value": 0.75}
    record = {"metrics": [figure], "strategies": {"active": {"labelled": ["c4"], "next": ["c6"]}}}
    (there / "run.json").write_text(json.dumps(record))
    words = ["fit", str(path), "--rounds", "1", "--resume", "-o", str(tmp_path)]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "1 labels" in said.output
    assert "0.75" in said.output
    assert "to be labelled next: c6" in said.output
    refused = CliRunner().invoke(app, [*words, "--folds"])
    assert refused.exit_code == 2
    assert "leave out --folds" in refused.output


def test_rounds_need_a_way_to_choose(recipe, classify, tmp_path):
    with pytest.raises(RecipeError, match=r"strategies\.active"):
        learn_in_rounds(recipe(classify), rounds=2, out=tmp_path)
