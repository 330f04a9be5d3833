"""One answer from whatever is there: what is absent changes nothing, and never all is dropped."""

import numpy as np
import onnxruntime
import pytest
import torch

from osler import models
from osler.errors import RecipeError
from osler.learn.export import export_onnx
from osler.models.fusion import PRESENT, Fusion, drop_inputs
from osler.models.fusion_ways import share_of_present
from osler.models.trying import example

WAYS = ["late", "early", "gated", "cross-attention", "shared-encoder"]
INPUTS = models.find("fusion").card.tiny["inputs"]
NAMES = [one["name"] for one in INPUTS]
EYES = [
    {"name": "left", "kind": "image", "channels": 3, "size": [32, 32]},
    {"name": "right", "kind": "image", "channels": 3, "size": [32, 32]},
    {"name": "age", "kind": "number", "channels": 2, "size": []},
]


def network(strategy, inputs=INPUTS, **options):
    torch.manual_seed(0)
    net = Fusion(inputs=inputs, labels=3, strategy=strategy, width=16, **options)
    for parameter in net.parameters():  # weights as training leaves them, not as they are made
        parameter.data += 0.05 * torch.randn_like(parameter)
    return net.eval()


def arrays(batch=3, inputs=INPUTS):
    return example("fusion", batch=batch, options={"inputs": inputs})


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("strategy", WAYS)
def test_what_stands_in_the_place_of_an_absent_input_changes_nothing(strategy, training):
    net = network(strategy, input_dropout=0.0).train(training)
    given = arrays()
    generator = torch.Generator().manual_seed(5)
    for name in NAMES:
        present = torch.ones(3, len(NAMES))
        present[1, NAMES.index(name)] = 0
        noise = {**given, name: given[name].clone(), PRESENT: present}
        noise[name][1] = 50 * torch.randn(given[name].shape[1:], generator=generator)
        missing = {**noise, name: noise[name].clone()}
        missing[name][1] = torch.nan
        with torch.no_grad():
            said = []
            for one in ({**given, PRESENT: present}, noise, missing):
                torch.manual_seed(1)  # dropout within the blocks
                said.append(net(**one))
            torch.manual_seed(1)
            whole = net(**{**given, PRESENT: torch.ones(3, len(NAMES))})
        assert torch.equal(said[0], said[1])
        assert torch.equal(said[0], said[2])
        assert not torch.allclose(said[0][1], whole[1], atol=1e-5), f"{name} says nothing"
        if not training:
            assert torch.allclose(said[0][[0, 2]], whole[[0, 2]], atol=1e-5)


@pytest.mark.parametrize("strategy", WAYS)
def test_without_any_input_the_prior_is_said(strategy):
    net = network(strategy)
    given = {name: torch.nan * array for name, array in arrays().items() if name != PRESENT}
    with torch.no_grad():
        assert torch.equal(net(**given, present=torch.zeros(3, len(NAMES))), net.prior.expand(3, 3))


@pytest.mark.parametrize("strategy", WAYS)
def test_values_that_are_not_known_are_not_looked_at(strategy):
    net = network(strategy)
    given = arrays()
    given["blood"][:, 4] = 0  # the second of three
    given["beat"][:, 3, 40:] = 0  # the second of two leads, its end
    other = {name: array.clone() for name, array in given.items()}
    other["blood"][:, 1] = 1e6
    other["beat"][:, 1, 40:] = torch.nan
    with torch.no_grad():
        assert torch.equal(net(**given), net(**other))


@pytest.mark.parametrize("strategy", ["late", "gated", "shared-encoder"])
def test_a_graph_takes_any_batch_and_says_the_same(strategy):
    inputs = EYES[1:]
    net, given = network(strategy, inputs, depth=1), arrays(batch=2, inputs=inputs)
    graph = export_onnx(net, given, outputs=["scores"], step=None, batch=True, half=False)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        more = arrays(batch=count, inputs=inputs)
        more[PRESENT] = (torch.rand(count, len(inputs)) > 0.5).float()
        said = session.run(None, {name: array.numpy() for name, array in more.items()})[0]
        with torch.no_grad():
            assert np.allclose(said, net(**more).numpy(), atol=1e-4)


def test_dropped_inputs_are_a_share_and_never_all():
    torch.manual_seed(0)
    present = torch.rand(4000, 5) > 0.5
    present[:200] = False
    kept = drop_inputs(present, 0.6)
    assert not (kept & ~present).any()
    assert (kept.any(dim=1) == present.any(dim=1)).all()
    many = present.sum(dim=1) == 5
    assert float(kept[many].float().mean()) == pytest.approx(0.4 + 0.6**5 / 5, abs=0.05)
    alone = present.sum(dim=1) == 1
    assert torch.equal(kept[alone], present[alone])


def test_weights_of_the_present_sum_to_one():
    scores = torch.tensor([[1.0, 2.0, 3.0]]).expand(3, -1)
    present = torch.tensor([[True, True, True], [True, False, True], [False] * 3])
    said = share_of_present(scores, present)
    e = np.exp([1.0, 2.0, 3.0])
    assert said[0].tolist() == pytest.approx((e / e.sum()).tolist())
    assert said[1].tolist() == pytest.approx([e[0] / (e[0] + e[2]), 0, e[2] / (e[0] + e[2])])
    assert said[2].tolist() == [0, 0, 0]


def test_late_fusion_is_the_calibrated_mean_of_what_each_says_alone():
    net = network("late", EYES)
    given = arrays(inputs=EYES)
    del given[PRESENT]
    alone = []
    with torch.no_grad():
        for number in range(3):
            only = torch.zeros(3, 3)
            only[:, number] = 1
            alone.append(net(*given.values(), only) - net.prior)
        weight = net.way.weight.softmax(0)
        wanted = net.prior + sum(w * one for w, one in zip(weight, alone, strict=True))
        assert torch.allclose(net(*given.values()), wanted, atol=1e-5)


def test_inputs_alike_share_an_encoder_and_tables_do_not():
    sugar = {"name": "sugar", "kind": "number", "channels": 2, "size": []}
    net = network("late", [*EYES, sugar], share=True)
    assert net.groups == (0, 0, 2, 3)
    given = arrays(inputs=[*EYES, sugar])
    one, other = torch.zeros(3, 4), torch.zeros(3, 4)
    one[:, 0], other[:, 1] = 1, 1
    swapped = {**given, "left": given["right"], PRESENT: one}
    with torch.no_grad():
        left = (net(**swapped) - net.prior) * net.way.log_temperature[0].exp()
        right = (net(**{**given, PRESENT: other}) - net.prior) * net.way.log_temperature[1].exp()
    assert torch.allclose(left, right, atol=1e-5)
    apart = network("late", EYES)
    assert apart.groups == (0, 1, 2)


@pytest.mark.parametrize("name", ["resnet-18", "vit-base"])
def test_another_network_of_the_list_reads_the_images(name):
    options = {**models.find(name).card.tiny}
    side = options.pop("image_size", 32)
    options.pop("num_classes", None)
    eyes = [{**one, "size": [side, side]} if one["kind"] == "image" else one for one in EYES]
    net = network("early", eyes, encoder={"name": name, **options}, share=True)
    given = arrays(inputs=eyes)
    with torch.no_grad():
        said = net(**given)
        noise = {**given, "left": given["left"].clone(), PRESENT: given[PRESENT].clone()}
        noise[PRESENT][:, 0] = 0
        first = net(**noise)
        noise["left"] = torch.randn_like(noise["left"])
        assert torch.equal(first, net(**noise))
    assert not torch.allclose(said, first)


def test_absent_images_do_not_move_the_statistics_of_a_norm():
    options = {**models.find("resnet-18").card.tiny}
    options.pop("num_classes", None)
    means = []
    for value in (0.0, 100.0):
        net = network("late", EYES, encoder={"name": "resnet-18", **options}, input_dropout=0.0)
        given = arrays(batch=6, inputs=EYES)
        given[PRESENT] = torch.ones(6, 3)
        given[PRESENT][3:, 0] = 0
        given["left"][3:] = value
        net.train()(**given)
        means.append(net.encoders["0"].net.bn1.running_mean.clone())
        alone = net.encoders["0"].net
        first = torch.nn.functional.conv2d(
            given["left"][:3], alone.conv1.weight, stride=2, padding=3
        )
        assert torch.allclose(means[-1], 0.1 * first.mean((0, 2, 3)), atol=0.02)
    assert torch.equal(means[0], means[1])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strategy": "middle"}, "strategy is one of late, early"),
        ({"input_dropout": 1.0}, "a share from 0 to below 1"),
        ({"inputs": []}, "needs inputs"),
        ({"inputs": [EYES[0], EYES[0]]}, "names that differ"),
        ({"inputs": [{**EYES[0], "kind": "picture"}]}, "not 'picture'"),
        ({"inputs": [{**EYES[0], "size": [32]}]}, "has 2 axes"),
        ({"inputs": [{**EYES[2], "channels": 3}]}, "even, not 3"),
        ({"inputs": [{**EYES[2], "sizes": []}]}, "unknown key 'sizes'"),
        ({"encoder": "unet"}, "'unet' gives neither maps nor features"),
        ({"encoder": "resnet-18", "strategy": "shared-encoder"}, "leave out encoder"),
    ],
)
def test_what_means_nothing_is_refused(changes, says):
    with pytest.raises(RecipeError, match=says):
        Fusion(**{"inputs": EYES, "width": 16, **changes})


def test_inputs_that_are_not_known_or_not_given_are_refused():
    net = network("late", EYES)
    given = arrays(inputs=EYES)
    with pytest.raises(RecipeError, match="'age' is not given"):
        net(left=given["left"], right=given["right"])
    with pytest.raises(RecipeError, match="in this order"):
        net(**given, oct=given["left"])
