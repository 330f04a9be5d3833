"""Two processes make the steps of one: the same batches, gradients, statistics and weights."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_loop
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.distributed import Processes, Statistics, _laid
from osler.learn.learner import Learner

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
CHANGES = {"steps": 8, "validate_every": 4}

SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
import test_loop, test_loop_processes
import torch
folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
for accumulate in (4, 2):
    net, state = test_loop.run(
        folder / str(accumulate), net=test_loop_processes.net_of(rank),  # they begin differently
        loss=test_loop_processes.loss, accumulate=accumulate, **test_loop_processes.CHANGES,
    )
    torch.save([net.state_dict(), state.best], folder / str(accumulate) / f"process-{{rank}}.pt")
"""


class Net(nn.Module):
    """Normalisation that is called twice, one that averages, and a branch not always used."""

    def __init__(self) -> None:
        super().__init__()
        # a bias before normalisation has no gradient but rounding, which AdamW takes at full size
        self.first = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.mean = nn.BatchNorm2d(6, momentum=None)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Conv2d(6, 1, 3, padding=1)
        self.rare = nn.Conv2d(2, 1, 1)
        self.never = nn.Linear(2, 2)

    def forward(self, x, number=0):
        y = self.norm(self.first(x))
        y = self.mean(self.drop(self.norm(y.relu())))
        out = self.last(y)
        return out + self.rare(x) if number % 4 == 3 else out


def net_of(seed):
    torch.manual_seed(seed)
    return Net()


def loss(net, number, device):
    x = torch.rand(4, 2, 8, 8) * (1 + number % 3)
    return (net(x, number) - x.mean(dim=1, keepdim=True)).square().mean()


def launched(folder, *arguments, processes=2):
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT.format(here=str(HERE)))
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={processes}", str(script), str(folder), *arguments],
        check=False, capture_output=True, text=True, timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """By batches a step: the network of one process, its state, the folder of two and its own."""
    folder = tmp_path_factory.mktemp("two")
    done = launched(folder)
    assert done.returncode == 0, done.stderr
    out = {}
    for accumulate in (4, 2):
        alone = tmp_path_factory.mktemp("alone")
        net, state = test_loop.run(
            alone, net=net_of(0), loss=loss, accumulate=accumulate,
            **CHANGES,
        )  # fmt: skip
        out[accumulate] = net, state, folder / str(accumulate), alone
    return out


def test_two_processes_learn_what_one_learns(both):
    """Sums are taken in another order, so they differ by float32's rounding, and by no more."""
    alone, state, folder, _ = both[4]
    weights, best = torch.load(folder / "process-0.pt", weights_only=True)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(
            weights[name], value, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert best == pytest.approx(state.best, rel=1e-4)
    assert not torch.allclose(weights["first.weight"], net_of(0).first.weight, atol=1e-2)


def test_with_a_batch_each_the_weights_are_the_same_to_the_bit(both):
    """The sum of two does not depend on their order; running statistics are put together."""
    alone, _, folder, _ = both[2]
    weights, _ = torch.load(folder / "process-0.pt", weights_only=True)
    for name, value in alone.named_parameters():
        assert torch.equal(weights[name], value), name
    for name, value in alone.named_buffers():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)


def test_both_processes_end_alike_and_the_first_writes(both):
    folder = both[4][2]
    one, other = (torch.load(folder / f"process-{i}.pt", weights_only=True)[0] for i in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len((folder / "log.jsonl").read_text().splitlines()) == 2


def test_one_process_goes_on_where_two_stopped(both, tmp_path):
    kept = []
    for name, folder in (("one", both[2][3]), ("two", both[2][2])):
        (tmp_path / name).mkdir()
        shutil.copy(folder / "checkpoint.pt", tmp_path / name)
        more = {**CHANGES, "steps": 10, "accumulate": 2, "schedule": "constant"}
        _, state = test_loop.run(tmp_path / name, net=Net(), loss=loss, resume=True, **more)
        assert state.step == 10
        kept.append(torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["net"])
    assert all(torch.equal(kept[0][name], kept[1][name]) for name, _ in Net().named_parameters())


def test_batches_that_cannot_be_shared_are_refused():
    with pytest.raises(RecipeError, match=r"learner\.accumulate is 3 and 2 processes .* write 4"):
        Processes(0, 2).share(Learner(steps=1, accumulate=3))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_shares_are_all_batches(count):
    learner = Learner(steps=1, accumulate=8)
    shares = [set(Processes(rank, count).share(learner)) for rank in range(count)]
    assert sorted(number for share in shares for number in share) == list(range(8))


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("calls", [(1, 1, 1), (2, 1, 0)])
def test_statistics_are_laid_one_after_the_other(momentum, calls):
    """Against batch normalisation that sees all batches itself."""
    torch.manual_seed(3)
    layer = nn.BatchNorm1d(4, momentum=momentum).double()
    for _ in range(2):
        layer(torch.randn(8, 4).double() + 3)
    start, count = layer.running_mean.clone(), int(layer.num_batches_tracked)
    straight, parts = copy.deepcopy(layer), []
    for times in calls:
        one = copy.deepcopy(layer)
        for _ in range(times):
            x = torch.randn(8, 4).double() * 2
            straight(x)
            one(x)
        parts.append(one.running_mean)
    merged = _laid(start, parts, calls, count, momentum)
    torch.testing.assert_close(merged, straight.running_mean)


def test_alone_there_is_nothing_to_merge():
    statistics = Statistics.of(Net(), Processes())
    statistics.remember()
    statistics.merge()
    assert statistics.layers == []
