"""Co-teaching and wrong labels: the choice against a slow one, end to end, resumed."""

import numpy as np
import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.labelling import keep_labels
from osler.learn.recipe import Labels, check_recipe, read_yaml
from osler.learn.strategies.co_teaching import CoTeaching, kept_share, smallest
from osler.learn.strategies.strategy import Wrapped
from osler.tasks.task import Sample


def test_how_much_of_a_batch_teaches():
    assert [kept_share(t, 0.4, 0.5) for t in (0, 0.25, 0.5, 1)] == pytest.approx([1, 0.8, 0.6, 0.6])
    losses = torch.tensor([3.0, 0.5, 2.0, 1.0, 9.0])
    assert smallest(losses, 0.6).tolist() == [1, 3, 2]
    assert smallest(losses, 0.01).tolist() == [1]


def test_each_network_learns_from_what_the_other_finds_easy():
    class OneTask:
        def named(self, said):
            return {"scores": said}

    class Told:
        task = OneTask()

        class learner:
            accumulate, steps = 1, 10

    torch.manual_seed(0)
    both = Wrapped(nn.Linear(2, 3), {"co-teaching-peer": nn.Linear(2, 3)})
    x, truth = torch.randn(8, 2), torch.randint(0, 3, (8,))
    way = CoTeaching(CoTeaching.Settings(forget=0.5, ramp=0.1))

    def cross(outputs, targets):
        return nn.functional.cross_entropy(outputs["scores"], targets["class"])

    criterion = way.criterion(cross, Told())
    loss = way.loss(lambda net, n, d: criterion({"scores": net(x)}, {"class": truth}), Told())
    said = loss(both, 5, torch.device("cpu"))
    rows = []
    for net in (both.net, both.beside["co-teaching-peer"]):
        log = net(x).detach().double().log_softmax(1).numpy()
        rows.append([-log[n, truth[n]] for n in range(8)])
    easy = [sorted(range(8), key=row.__getitem__)[:4] for row in rows]
    slow = np.mean([rows[0][n] for n in easy[1]]) + np.mean([rows[1][n] for n in easy[0]])
    assert float(said.detach()) == pytest.approx(slow, rel=1e-5)
    assert way.now is None


def test_so_many_labels_are_wrong():
    samples = [
        Sample(f"c{n}", f"p{n}", {}, {"class": n % 3}, group="abc"[n % 3]) for n in range(90)
    ]
    noisy, _ = keep_labels(samples, Labels(noise=0.4))
    wrong = [n for n, one in enumerate(noisy) if one.targets["class"] != n % 3]
    assert len(wrong) == 36
    assert all(one.group == "abc"[one.targets["class"]] for one in noisy)
    assert [one.targets["class"] for one in samples] == [n % 3 for n in range(90)]
    again, _ = keep_labels(samples, Labels(noise=0.4))
    assert [one.targets for one in again] == [one.targets for one in noisy]
    with pytest.raises(RecipeError, match="a task of classes"):
        keep_labels(samples[::3], Labels(noise=0.4))


def test_two_networks_learn_on_to_the_bit_and_answer_as_one(recipe, classify, tmp_path, request):
    learner = {"steps": 3, "validate_every": 3, "checkpoint_minutes": 0}
    keys = {"co-teaching": {"answer": "both"}, "evidential": {}}
    classify["network"]["options"] = {"layers": [1, 1], "widths": [4, 8], "stem": 4}
    path = recipe(classify, strategies=keys, labels={"noise": 0.25}, learner=learner)
    assert fit(path, out=tmp_path / "whole").bundle.exists()
    request.getfixturevalue("graphless")

    class Tired(CoTeaching):
        def stepped(self, net, step):
            if step == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Tired])
    fit(path, out=tmp_path / "parts", resume=True)
    first, second = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.usefixtures("graphless")
def test_structures_are_co_taught_too(recipe, segment, tmp_path):
    base = {**segment, "settings": {**segment["settings"], "patch": [32, 32]}}
    learner = {"steps": 1, "validate_every": 1}
    path = recipe(base, strategies={"co-teaching": {}}, learner=learner)
    fit(path, out=tmp_path)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["net"]
    own = {k.removeprefix("net."): v for k, v in kept.items() if k.startswith("net.")}
    assert own
    for name, value in own.items():  # both were taught, each its own way
        assert value.shape == kept[f"beside.co-teaching-peer.{name}"].shape


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"co-teaching": {}, "deep-ensemble": {}}}, "two networks of its own"),
        ({"strategies": {"co-teaching": {"forget": 0}}}, "forget"),
        ({"labels": {"noise": 1.0}}, "noise"),
    ],
)
def test_what_cannot_be_co_taught_is_refused(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path)
