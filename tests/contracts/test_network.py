"""What every network of the list promises, tested on a small one of the same layout.

A network takes part by standing in ``SYSTEMS`` with a card; nothing is added here.
"""

from importlib import import_module

import numpy as np
import pytest
import torch

from osler import models
from osler.models.measuring import measured
from osler.models.trying import example, first_tensor, tiny

pytestmark = pytest.mark.long

NAMES = [system.name for system in models.SYSTEMS]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_names_are_unique_and_every_card_can_be_read(name):
    assert NAMES.count(name) == 1
    card = models.find(name).card
    assert card.title
    assert card.name == name
    if card.weights_licence is not None:
        assert card.weights, "say how a person gets the weights"


def test_forward_gives_numbers_and_is_the_same_twice(name):
    net = tiny(name)
    inputs = example(name)
    with torch.inference_mode():
        once, again = first_tensor(net(**inputs)), first_tensor(net(**inputs))
    assert torch.isfinite(once).all()
    assert torch.equal(once, again)


def test_a_step_of_training_reaches_the_weights(name):
    torch.manual_seed(0)
    net = tiny(name).train()
    loss = first_tensor(net(**example(name))).float().square().mean()
    loss.backward()
    trained = [p for p in net.parameters() if p.requires_grad]
    reached = [p for p in trained if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(reached) >= 0.5 * len(trained)
    assert all(torch.isfinite(p.grad).all() for p in trained if p.grad is not None)
    before = [p.detach().clone() for p in reached]
    torch.optim.SGD(reached, lr=1e-2).step()
    assert any(not torch.equal(a, b) for a, b in zip(before, reached, strict=True))


def test_samples_of_a_batch_do_not_see_each_other(name):
    net = tiny(name)
    inputs = example(name, batch=2)
    with torch.inference_mode():
        both = first_tensor(net(**inputs))
        one = first_tensor(net(**{k: _first(v) for k, v in inputs.items()}))
    assert torch.allclose(both[:1], one, rtol=1e-3, atol=1e-5)


def _first(value):
    if isinstance(value, torch.Tensor):
        return value[: len(value) // 2]  # a picture may be many rows of patches
    if isinstance(value, dict):
        return {k: _first(v) for k, v in value.items()}
    return value


def test_weights_travel(name, tmp_path):
    from safetensors.torch import load_file, save_file

    torch.manual_seed(1)
    first, second = tiny(name), tiny(name)
    stored = {k: v.clone().contiguous() for k, v in first.state_dict().items()}
    save_file(stored, tmp_path / "weights.safetensors")
    second.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    inputs = example(name)
    with torch.inference_mode():
        assert torch.equal(first_tensor(first(**inputs)), first_tensor(second(**inputs)))


def test_pictures_of_other_sizes_are_taken(name):
    card = models.find(name).card
    sizes = getattr(import_module(models.find(name).module), "SIZES", {}).get(name)
    if sizes is None:
        image = next((one for one in card.inputs if one.kind == "image"), None)
        if image is None or "multiple of" not in image.sizes:
            pytest.skip(f"{name} takes {image.sizes if image else 'no picture'}")
        step = int(image.sizes.split("multiple of")[1].split()[0].rstrip(",;"))
        sizes = [(2 * step, 3 * step), (3 * step, 2 * step)]
    net = tiny(name)
    for size in sizes:
        with torch.inference_mode():
            out = first_tensor(net(**example(name, batch=1, size=size)))
        assert torch.isfinite(out).all()


def test_the_pyramid_has_several_maps(name):
    if not models.find(name).card.pyramid:
        pytest.skip(f"{name} promises none")
    net = tiny(name)
    inputs = example(name)
    with torch.inference_mode():
        levels = net.pyramid(next(iter(inputs.values())))
    assert len(levels) >= 2
    sides = [level.shape[-1] for level in levels]
    assert sides == sorted(sides, reverse=True)
    assert all(level.ndim in (4, 5) for level in levels)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_says_the_same(name):
    if not models.find(name).card.exportable:
        pytest.skip(f"the card of {name} promises no ONNX")
    import onnxruntime

    from osler.models.trying import export

    net, inputs = tiny(name), example(name)
    graph = export(net, inputs)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    fed = {one.name: inputs[one.name].numpy() for one in session.get_inputs()}
    said = session.run(None, fed)[0]
    with torch.inference_mode():
        true = first_tensor(net(**inputs)).numpy()
    assert np.allclose(said, true, rtol=1e-3, atol=1e-4)


def test_the_card_counts_parameters_and_work(name):
    card = models.find(name).card
    if card.parameters is None:
        pytest.fail(
            f"write parameters and gflops of {name}: python -m osler.models.measuring {name}"
        )
    counted = measured(name)
    assert counted.parameters == card.parameters
    if card.gflops is None or counted.gflops is None:
        assert card.gflops is None
        assert counted.gflops is None
    else:
        assert counted.gflops == pytest.approx(card.gflops, rel=0.02)
