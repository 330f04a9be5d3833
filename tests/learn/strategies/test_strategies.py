"""The seam: what a strategy may do to a run, and how recipes are refused."""

import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import nn

from osler.data.cohort import read_cohort
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.labelling import keep_labels, unlabelled_rows
from osler.learn.recipe import Labels, Unlabelled, check_recipe, read_yaml
from osler.learn.strategies.features import features_of, output_layer
from osler.learn.strategies.strategy import Settings, Strategy, Wrapped
from osler.learn.teaching import cohort_of, divide
from osler.tasks.task import Sample

pytestmark = pytest.mark.usefixtures("graphless")


class Steady(Strategy):
    """Adds the distance to a teacher that follows the network, and counts what it is shown."""

    class Settings(Settings):
        """One key."""

        weight: float = 0.1

    name = "steady"
    title = "Steady"
    role = "objective"
    source = "a test"
    needs_unlabelled = True
    calls: ClassVar[list[str]] = []

    def before(self, net, context):
        self.calls.append("before")
        context.record["unlabelled"] = len(context.unlabelled)
        context.record["teach"] = len(context.teach)
        context.record["sites"] = sorted({one["site"] for one in context.variables.values()})

    def prepared(self, net, context):
        self.calls.append("prepared")
        teacher = context.build(7).requires_grad_(False)
        return Wrapped(net, {"teacher": teacher}, still=[teacher])

    def loss(self, loss, context):
        batches = context.batches(context.unlabelled, batch=4)

        def both(net, number, device):
            images = torch.from_numpy(batches(number)[0]["image"]).to(device)
            said, held = (context.task.named(one(images)) for one in (net, net.beside["teacher"]))
            gap = sum((said[name] - held[name]).square().mean() for name in said)
            return loss(net, number, device) + self.settings.weight * gap

        return both

    def stepped(self, net, step):
        with torch.no_grad():
            pairs = zip(net.beside["teacher"].parameters(), net.net.parameters(), strict=True)
            for kept, new in pairs:
                kept.lerp_(new, 0.1)

    def finished(self, net, context):
        self.calls.append("finished")
        return net.net

    def adapted(self, net, samples, context):
        assert all(not sample.targets for sample in samples)
        self.calls.append("adapted")
        return net


class Other(Strategy):
    """Goes with nothing."""

    name = "other"
    title = "Other"
    role = "tuning"
    source = "a test"
    Settings = Settings
    refuses: ClassVar = {"steady": "it is too lively.", "accumulate": "it counts batches."}
    tasks = ("segmentation",)


class Goes(Other):
    """The same with any task."""

    name = "goes"
    tasks = ()


def test_every_hook_is_called_in_its_place(recipe, classify, tmp_path):
    Steady.calls.clear()
    path = recipe(classify, strategies={"steady": {}}, labels={"share": 0.5})
    run = fit(path, out=tmp_path, strategies=[Steady])
    assert Steady.calls == ["before", "prepared", "finished", "adapted"]
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]
    assert kept == {"steady": {"unlabelled": 4, "teach": 4, "sites": ["bright", "dark"]}}
    assert {one["images"] for one in run.metrics} == {8}


def test_a_run_with_a_strategy_goes_on_to_the_bit(recipe, classify, tmp_path):
    changes = {"strategies": {"steady": {}}, "labels": {"share": 0.5}}
    whole = recipe(classify, **changes, learner={"steps": 4, "checkpoint_minutes": 0})
    fit(whole, out=tmp_path / "whole", strategies=[Steady])

    class Tired(Steady):
        def stepped(self, net, step):
            if step == 3:
                raise KeyboardInterrupt
            super().stepped(net, step)

    with pytest.raises(KeyboardInterrupt):
        fit(whole, out=tmp_path / "parts", strategies=[Tired])
    fit(whole, out=tmp_path / "parts", resume=True, strategies=[Steady])
    first, second = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)
        for one in ("whole", "parts")
    )
    for name, value in first["net"].items():
        assert torch.equal(value, second["net"][name]), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"stady": {}}}, "nearest is 'steady'"),
        ({"strategies": {"steady": {"wieght": 1}}}, "strategies.steady.wieght: no such key"),
        ({"strategies": {"steady": {}}}, "set labels.blank, or take labels away"),
        (
            {"strategies": {"other": {}}},
            "goes with the tasks segmentation, not with classification",
        ),
        ({"strategies": {"goes": {}, "steady": {}}}, "it is too lively"),
        ({"strategies": {"goes": {}}, "learner": {"steps": 4, "accumulate": 2}}, "counts batches"),
        ({"labels": {"share": 0.5, "count": 3}}, "says both share and count"),
        ({"labels": {"shares": 0.5}}, "labels.shares: no such key; the nearest is 'share'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_data(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=[Steady, Other, Goes])


def test_a_smaller_share_of_labels_lies_in_a_greater_one():
    samples = [
        Sample(f"c{n}", f"p{n // 2}", {}, {"class": n}, group="ab"[n // 2 % 2]) for n in range(80)
    ]
    small, rest = keep_labels(samples, Labels(share=0.1))
    large, _ = keep_labels(samples, Labels(share=0.5))
    assert {one.id for one in small} < {one.id for one in large}
    assert sorted(one.group for one in small) == ["a"] * 4 + ["b"] * 4  # 2 of 20 patients each
    assert not {one.patient for one in small} & {one.patient for one in rest}
    assert all(one.targets == {} for one in rest)
    few, _ = keep_labels(samples, Labels(count=3, seed=2))
    assert sorted(one.group for one in few) == ["a"] * 3 + ["b"] * 3
    least, _ = keep_labels(samples, Labels(share=0.001))
    assert {one.group for one in least} == {"a", "b"}


def test_cases_of_another_cohort_teach_without_labels(shapes, recipe, classify, tmp_path):
    lines = (shapes / "cohort.csv").read_text().splitlines()
    head = lines[0].replace("label:class", "label:kind")
    (shapes / "more.csv").write_text("\n".join([head, *lines[1:9]]) + "\n")
    path = recipe(classify, strategies={"steady": {}}, unlabelled={"cohort": "more.csv"})
    with pytest.raises(RecipeError, match=r"pictures of unlabelled\.cohort also tune or test"):
        fit(path, out=tmp_path / "leaks", strategies=[Steady])
    held = {row.case_id for row in read_cohort(shapes / "more.csv").rows if row.fold in (0, 1)}
    said = {"cohort": "more.csv", "leave_out": sorted(held)}
    fit(recipe(classify, strategies={"steady": {}}, unlabelled=said), out=tmp_path / "run",
        strategies=[Steady])  # fmt: skip
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["strategies"]["steady"]
    assert kept["teach"] == 8
    assert kept["unlabelled"] == 8 - len(held)


def test_cases_of_two_data_sets_may_have_one_name(shapes, recipe, classify, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    rows = ["case_id,patient_id,image,site"]
    for n in range(4):  # c2 and c3 of the other cohort test
        Pillow.fromarray(np.full((40, 40), 40 * n, np.uint8)).save(site / f"{n}.png")
        rows.append(f"c{n},p{n},{n}.png,elsewhere")
    (site / "cohort.csv").write_text("\n".join(rows) + "\n")
    path = recipe(
        classify, strategies={"steady": {}}, unlabelled={"cohort": str(site / "cohort.csv")}
    )
    fit(path, out=tmp_path / "run", strategies=[Steady])
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["strategies"]["steady"]
    assert kept["unlabelled"] == 4
    assert kept["sites"] == ["bright", "dark", "elsewhere"]


def test_the_same_data_set_gives_what_neither_teaches_nor_is_judged(shapes, recipe, classify):
    def rows(**said):
        path = recipe(classify, **said)
        read, _ = check_recipe(read_yaml(path), path)
        cohort = cohort_of(read, path, folder=shapes)
        teach, tune, test = divide(cohort, read)
        spelt = {"cohort": f"../{shapes.name}/cohort.csv"}
        with_more = read.model_copy(update={"unlabelled": Unlabelled.model_validate(spelt)})
        return unlabelled_rows(with_more, teach, [*tune, *test], path=path, folder=shapes)[0], teach

    more, teach = rows(where={"site": ["dark"]})
    assert not {row.case_id for row in more} & {row.case_id for row in teach}
    assert {row.variables["site"] for row in more} >= {"bright"}
    with pytest.raises(RecipeError, match="is left to teach"):
        rows()


def test_blank_labels_teach_without_them_where_the_recipe_says_so(
    shapes, recipe, classify, tmp_path
):
    lines = (shapes / "cohort.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    table = [",".join([*row[:4], *row[5:]]) for row in rows]  # without the mask
    table[5] = table[5].replace(",square,", ",,")
    assert ",," in table[5]
    (shapes / "blank.csv").write_text("\n".join(table) + "\n")
    changes = {"cohort": "blank.csv", "strategies": {"steady": {}}}
    with pytest.raises(RecipeError, match=r"set labels\.blank"):
        fit(recipe(classify, **changes), out=tmp_path / "no", strategies=[Steady])
    with pytest.raises(RecipeError, match="cases cannot be used"):
        fit(recipe(classify, cohort="blank.csv"), out=tmp_path / "refused")
    fit(recipe(classify, **changes, labels={"blank": True}), out=tmp_path, strategies=[Steady])
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]["steady"]
    assert kept["unlabelled"] == 1
    assert kept["teach"] == 7


def test_an_unlabelled_picture_is_cut_like_any_other(recipe, segment, tmp_path):
    path = recipe(
        {**segment, "settings": {**segment["settings"], "patch": [32, 32]}},
        strategies={"steady": {}}, labels={"share": 0.5},
    )  # fmt: skip
    run = fit(path, out=tmp_path, strategies=[Steady])
    assert {one["images"] for one in run.metrics} == {8}


def test_features_are_what_the_head_reads():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    images = torch.rand(4, 1, 8, 8)
    assert output_layer(net, [images]) == "3"
    features, said = features_of(net, [images], "3")
    assert torch.equal(net[3](features), said)
    maps = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 1))
    features, _ = features_of(maps, [images], "1")
    assert torch.allclose(features, maps[0](images).mean(dim=(2, 3)))
    assert net.training


def test_a_criterion_compares_while_the_network_learns_and_no_longer(recipe, classify, tmp_path):
    class Counted(Strategy):
        name, title, role, source = "counted", "Counted", "objective", "a test"
        Settings = Settings
        seen: ClassVar[list[float]] = []

        def criterion(self, criterion, context):
            assert [way.name for way, _ in context.everyone] == ["counted"]
            self.task = context.task
            return lambda outputs, targets: criterion(outputs, targets) * 0 + 3

        def loss(self, loss, context):
            def seen(net, number, device):
                value = loss(net, number, device)
                self.seen.append(float(value.detach()))
                return value

            return seen

        def finished(self, net, context):
            assert "criterion" not in vars(self.task)
            return net

    fit(recipe(classify, strategies={"counted": {}}), out=tmp_path, strategies=[Counted])
    assert Counted.seen == [3.0] * 4


def test_a_plan_does_not_know_of_labels_that_were_taken_away(recipe, classify, tmp_path):
    """Class weights come of the labels that are left; which classes there are is still known."""

    class Seen(Strategy):
        name, title, role, source = "seen", "Seen", "objective", "a test"
        Settings = Settings

        def before(self, net, context):
            said = context.task.settings
            counts = dict(zip(said.labels, said.counts, strict=True))
            context.record.update(counts=counts, table=dict(said.table.numbers["age"]))
            raise KeyboardInterrupt(context)

    ages = "".join(f"c{n},p{n},{(n // 2) % 3},{n}.png,{'square' if n % 2 else 'disc'},{n}\n"
                   for n in range(24))  # fmt: skip
    table = recipe(classify).parent / "aged.csv"
    table.write_text("case_id,patient_id,fold,image,label:class,age\n" + ages)
    base = {**classify, "cohort": "aged.csv", "strategies": {"seen": {}}}
    base["settings"] = {**classify["settings"], "table": {"columns": ["age"]}}
    del base["network"]
    found = {}
    for name, labels in (
        ("all", {}),
        ("few", {"cases": ["c4", "c5", "c10"]}),
        ("one", {"cases": ["c4"]}),
    ):
        path = recipe(base, labels=labels)
        with pytest.raises(KeyboardInterrupt) as stopped:
            fit(path, out=tmp_path / name, strategies=[Seen])
        found[name] = stopped.value.args[0].record
    assert found["all"]["counts"] == {"disc": 4, "square": 4}
    assert found["few"]["counts"] == {"disc": 2, "square": 1}
    assert found["one"]["counts"] == {"disc": 1, "square": 0}
    assert found["few"]["table"] == found["all"]["table"]  # an age is no label
