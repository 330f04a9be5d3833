"""A step of the loop: accumulation, clipping, precision, recomputation, and advice at a wall."""

import math
from pathlib import Path

import numpy as np
import pytest
import test_loop
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.advice import advising
from osler.learn.blocks import blocks_of
from osler.learn.learner import Learner
from osler.learn.loop import train
from osler.learn.precision import Precision, uses_bfloat16
from osler.learn.recomputation import recomputed

CPU = torch.device("cpu")


def samples(number, count):
    """``count`` samples of a batch, and what should come of them."""
    rng = torch.Generator().manual_seed(number)
    x = torch.rand(count, 2, 8, 8, generator=rng)
    return x, x.mean(dim=1, keepdim=True)


def plain(seed=0):
    """A network in which samples of a batch do not know each other."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 1))


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path):
    def small(net, number, device):
        x, y = samples(number, 4)
        return (net(x) - y).square().mean()

    def large(net, number, device):
        pairs = [samples(number * 3 + i, 4) for i in range(3)]
        x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return (net(x) - y).square().mean()

    changes = {"validate": None, "ema": 0.0, "optimiser": "sgd", "momentum": 0.9}
    one, _ = test_loop.run(tmp_path / "1", net=plain(), loss=small, accumulate=3, **changes)
    other, _ = test_loop.run(tmp_path / "2", net=plain(), loss=large, **changes)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert not torch.equal(one[0].weight, plain()[0].weight)


def test_the_loss_is_asked_for_each_batch_by_its_number(tmp_path):
    numbers, draws = [], []

    def watched(net, number, device):
        numbers.append(number)
        draws.append((torch.rand(()).item(), np.random.rand(), math.floor(number)))  # noqa: NPY002
        return test_loop.loss(net, number, device)

    test_loop.run(tmp_path, loss=watched, accumulate=3, steps=4)
    assert numbers == list(range(12))
    assert len({draw[:2] for draw in draws}) == 12  # the generators are seeded for each
    torch.manual_seed(3 * 1_000_003 + 7)
    np.random.seed((3 * 1_000_003 + 7) % 2**32)  # noqa: NPY002
    assert draws[7][:2] == (torch.rand(()).item(), np.random.rand())  # noqa: NPY002


@pytest.mark.parametrize("clip", [0.01, None])
def test_the_gradient_is_clipped_to_a_norm(tmp_path, clip):
    net = plain()
    before = [p.detach().clone() for p in net.parameters()]

    def steep(net, number, device):
        x, y = samples(number, 4)
        return 100 * (net(x) - y).square().mean()

    test_loop.run(
        tmp_path, net=net, loss=steep, clip=clip, steps=1, warmup=0, optimiser="sgd", momentum=0.0,
        weight_decay=0.0, validate=None, ema=0.0, rate=0.001, schedule="constant",
    )  # fmt: skip
    moved = math.sqrt(
        sum(
            float((p.detach() - b).square().sum())
            for p, b in zip(net.parameters(), before, strict=True)
        )
    )
    if clip is None:
        assert moved > 0.01
    else:
        assert moved == pytest.approx(clip * 0.001, rel=1e-3)


# --- precision


def test_float16_without_cuda_is_refused_with_advice(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is CUDA")
    with pytest.raises(RecipeError, match=r"learner\.precision is float16, which takes a CUDA"):
        test_loop.run(tmp_path, precision="float16")


def test_bfloat16_computes_layers_in_bfloat16_and_keeps_weights_in_float32(tmp_path):
    kinds = []

    def watched(net, number, device):
        kinds.append(net(torch.rand(1, 2, 8, 8)).dtype)
        return test_loop.loss(net, number, device)

    net, _ = test_loop.run(tmp_path, loss=watched, precision="bfloat16", steps=2)
    assert set(kinds) == {torch.bfloat16}
    assert net[0].weight.dtype == torch.float32
    learner = Learner(steps=1)
    assert uses_bfloat16(learner, CPU) == torch.cpu._is_avx512_bf16_supported()
    assert uses_bfloat16(learner, torch.device("cuda"))


def scaled_step(factor):
    """One float16 step whose loss is multiplied; the scaler works on a processor as on CUDA."""
    precision = Precision(torch.float16, CPU)
    net = plain()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = samples(0, 4)
    with precision.forward():
        said = net(x)
        assert said.dtype == torch.float16
        loss = (said.float() - y).square().mean() * factor
    precision.backward(loss)
    precision.unscale(optimiser)
    grads = [p.grad.clone() for p in net.parameters()]
    norm = nn.utils.clip_grad_norm_(net.parameters(), math.inf)
    sound = precision.sound(norm)
    precision.step(optimiser)
    return net, grads, sound, precision


def test_float16_gradients_come_back_to_their_true_size():
    net, grads, sound, _ = scaled_step(1.0)
    oracle = plain()
    x, y = samples(0, 4)
    (oracle(x) - y).square().mean().backward()
    for grad, parameter in zip(grads, oracle.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad, rtol=0.02, atol=1e-3)
    assert sound
    assert not torch.equal(net[0].weight, oracle[0].weight)


def test_float16_gradients_that_overflow_are_left_out_and_the_scale_is_halved():
    net, _, sound, precision = scaled_step(1e6)
    assert torch.equal(net[0].weight, plain()[0].weight)
    assert sound  # it passes
    assert precision.state()["scale"] == 2**15
    again = Precision(torch.float16, CPU)
    again.restore(precision.state())
    assert again.state() == precision.state()
    again.restore({**precision.state(), "scale": 2.0**-15})
    again.scaler.scale(torch.ones(()))
    assert not again.sound(torch.tensor(math.inf))  # it does not


# --- recomputation


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x, *, gain=1.0):
        return x + gain * self.two(self.drop(self.norm(self.one(x)).relu()))


class Deep(nn.Module):
    def __init__(self, depth=4, width=4):
        super().__init__()
        self.stem = nn.Conv2d(2, width, 1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, gain=0.5)
        return self.head(x)


def deep(seed=0):
    torch.manual_seed(seed)
    return Deep()


def kept_bytes(net, x):
    """Bytes that the backward pass finds waiting, weights aside."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = net(x).square().mean()
    held = sum(seen.values())
    value.backward()
    return held


def test_recomputing_gives_the_same_gradients_for_less_memory():
    one, other = deep(), deep()
    x = torch.rand(2, 2, 16, 16)
    torch.manual_seed(1)
    plainly = kept_bytes(one, x)
    torch.manual_seed(1)
    with recomputed(other):
        thriftily = kept_bytes(other, x)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name
    test_loop.assert_same(one, other)  # running statistics moved once, and counted once
    assert thriftily < 0.4 * plainly


def test_a_run_with_recomputation_is_the_same_to_the_bit(tmp_path):
    one, _ = test_loop.run(tmp_path / "1", net=deep())
    other, _ = test_loop.run(tmp_path / "2", net=deep(), checkpointing=True)
    test_loop.assert_same(one, other)
    assert "forward" not in other.blocks[0].__dict__  # nothing is left behind


def test_a_network_without_blocks_cannot_be_recomputed(tmp_path):
    with pytest.raises(RecipeError, match=r"learner\.checkpointing is true .* has no blocks"):
        test_loop.run(tmp_path, net=plain(), checkpointing=True)


def test_blocks_are_found_by_structure():
    assert list(blocks_of(deep())) == [*(f"blocks.{i}" for i in range(4)), "head"]
    conv = nn.Conv2d
    unit = lambda: nn.Sequential(conv(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU())  # noqa: E731
    assert list(blocks_of(nn.Sequential(unit(), unit()))) == ["0", "1"]
    pair = lambda: nn.Sequential(unit(), unit())  # noqa: E731
    nested = nn.ModuleDict({"down": nn.Sequential(pair(), pair()), "up": pair()})
    names = ["down.0", "down.1", "up"]
    assert list(blocks_of(nested)) == names
    named = nn.Module()
    named.first, named.rest, named.out = pair(), nested, conv(2, 1, 1)
    assert list(blocks_of(named)) == ["first", *(f"rest.{n}" for n in names)]
    assert blocks_of(plain()) == {}


# --- advice


def loss_that(act):
    def loss(net, number, device):
        if number == 2:
            act()
        return test_loop.loss(net, number, device)

    return loss


def exhausted():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize(
    "act", [lambda: torch.empty(2**46), lambda: np.zeros(2**46), exhausted],
    ids=["torch on a processor", "numpy", "a GPU"],
)  # fmt: skip
def test_a_full_memory_ends_in_advice(tmp_path, act):
    with pytest.raises(RecipeError) as caught:
        test_loop.run(tmp_path, loss=loss_that(act))
    text = str(caught.value)
    for words in (
        "memory of the machine is full", "learner.batch (now 4)", "learner.accumulate (now 1)",
        "settings.patch or settings.image.size", "learner.checkpointing to true",
        "precision to bfloat16", "--resume",
    ):  # fmt: skip
        assert words in text
    test_loop.run(tmp_path, resume=True)


def test_a_full_memory_in_validation_ends_in_advice(tmp_path):
    def validate(net):
        torch.empty(2**46)

    with pytest.raises(RecipeError, match="the memory of the machine is full"):
        test_loop.run(tmp_path, validate=validate)


def test_advice_names_only_what_can_be_changed():
    learner = Learner(steps=1, batch=1, patch=32, checkpointing=True, precision="bfloat16")
    with pytest.raises(RecipeError) as caught, advising(learner, torch.device("cuda")):
        raise MemoryError
    assert str(caught.value) == (
        "the memory of the GPU is full; choose a smaller network; then go on with --resume"
    )


def test_other_errors_keep_their_trace():
    with pytest.raises(RuntimeError, match="shapes"), advising(Learner(steps=1), CPU):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


class Root(torch.autograd.Function):
    """A finite value whose gradient is none."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * math.nan


def test_gradients_that_are_no_numbers_stop_before_they_spoil_the_weights(tmp_path):
    def broken(net, number, device):
        value = test_loop.loss(net, number, device)
        return Root.apply(value) if number == 4 else value

    with pytest.raises(RecipeError) as caught:
        test_loop.run(tmp_path, loss=broken, clip=None, precision="bfloat16")
    text = str(caught.value)
    for words in (
        "gradients are not finite at step 4", "learner.rate (now 0.05)", "learner.clip to 1",
        "learner.precision to float32 (now bfloat16)",
    ):  # fmt: skip
        assert words in text
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["state"][0] == 4
    assert all(torch.isfinite(value).all() for value in kept["net"].values())


def test_the_old_call_still_does(tmp_path):
    """The six arguments that tasks give."""
    state = train(
        test_loop.net_of(), loss=test_loop.loss, validate=None, learner=Learner(steps=1, warmup=0),
        folder=Path(tmp_path), resume=False,
    )  # fmt: skip
    assert state.step == 1


def test_networks_of_volumes_learn(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.Conv3d(2, 1, 1))
    before = net[0].weight.detach().clone()
    test_loop.run(
        tmp_path, net=net, loss=lambda net, *_: net(torch.rand(2, 1, 4, 4, 4)).square().mean(),
        validate=None,
    )  # fmt: skip
    assert not torch.equal(net[0].weight, before)
