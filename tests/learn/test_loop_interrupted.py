"""A run that is killed, interrupted or told to end goes on to the same weights, bit by bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import test_loop
import torch

from osler.errors import RecipeError
from osler.learn import checkpoint
from osler.learn.checkpoint import Training
from osler.learn.interruption import Interruption
from osler.learn.optimisers import make_optimiser
from osler.learn.precision import Precision

HERE = Path(__file__).parent
CHANGES = {"steps": 40, "accumulate": 2, "validate_every": 5, "optimiser": "adamw"}

# one process of a few seconds to import; each run is born of it, alone, and ends as it ends
SCRIPT = """
import ast, os, sys, time
from pathlib import Path
import torch._dynamo, torch.utils.tensorboard
sys.path.insert(0, sys.argv[1])
import test_loop, test_loop_interrupted
def slow(net, number, device):
    print(number, flush=True)
    time.sleep(0.005)
    return test_loop_interrupted.drawing(net, number, device)
while line := sys.stdin.readline():
    folder, changes = ast.literal_eval(line)
    if not (run := os.fork()):
        print("run", os.getpid(), flush=True)
        test_loop.run(Path(folder), loss=slow, **test_loop_interrupted.CHANGES, **changes)
        break
    print("ended", os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]), flush=True)
"""


@pytest.fixture(autouse=True)
def _hears_signals():
    """A shell that starts the tests in the background has them ignore Ctrl-C."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def drawing(net, number, device):
    """A loss that draws from every generator, and a network with dropout and normalisation."""
    import numpy as np

    x = torch.rand(4, 2, 8, 8) * random.uniform(0.5, 2) + np.random.rand() - 0.5  # noqa: NPY002
    return (net(x) - x.mean(dim=1, keepdim=True)).square().mean()


class Runs:
    """Runs in a process of their own, one after the other."""

    def __init__(self):
        self.parent = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(HERE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def said(self, word):
        """Wait for a line that begins with this word; gives the number that it ends with."""
        for line in self.parent.stdout:
            said = line.split()
            if said[0] == word:
                return int(said[-1])
            if said[0] == "ended":
                pytest.fail(f"it ended before: {line}")
        return pytest.fail(f"it ended before: {self.parent.stderr.read()}")

    def killed(self, folder, number, how, *, delay=0.0, **changes):
        """Start a run, and send it a signal where the loss of a number is asked for.

        Gives its exit status.
        """
        self.parent.stdin.write(repr((str(folder), changes)) + "\n")
        self.parent.stdin.flush()
        run = self.said("run")
        self.said(str(number))
        time.sleep(delay)
        os.kill(run, how)
        return self.said("ended")


@pytest.fixture(scope="module")
def runs():
    runs = Runs()
    yield runs
    runs.parent.communicate(timeout=60)  # it reads no more, so it ends


def stored(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_equal(one, other, where=""):
    """Two checkpoints, or parts of them, to the bit; how long they took may differ."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            if (where, i) != ("/state", 3):
                assert_equal(a, b, f"{where}/{i}")
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    net, state = test_loop.run(folder, loss=drawing, **CHANGES)
    return net, state, folder


def test_killed_twice_at_random_it_ends_in_the_same_bits(tmp_path, straight, runs):
    steps = sorted(random.SystemRandom().sample(range(2, 66), 2))
    delay = random.SystemRandom().uniform(0, 0.02)  # in a step, in validation or while it saves
    print("killed at", steps, "and", delay, "s later")
    assert runs.killed(tmp_path, steps[0], signal.SIGKILL, delay=delay) == -signal.SIGKILL
    begun = stored(tmp_path)["state"][0]
    with pytest.raises(KeyboardInterrupt):
        test_loop.run(
            tmp_path, net=test_loop.net_of(9), loss=dying(steps[1]), resume=True, **CHANGES
        )
    net, state = test_loop.run(
        tmp_path, net=test_loop.net_of(5), loss=drawing, resume=True, **CHANGES
    )
    assert 1 <= begun <= 39
    test_loop.assert_same(net, straight[0])
    assert (state.best, state.stale) == (straight[1].best, straight[1].stale)
    # the moments, the average, the best weights, the generators and the log's mean too
    assert_equal(stored(tmp_path), stored(straight[2]))


def dying(last):
    def loss(net, number, device):
        if number >= last:
            raise KeyboardInterrupt
        return drawing(net, number, device)

    return loss


def lines(folder):
    every = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in every]


def test_the_log_of_a_resumed_run_is_that_of_a_straight_one(tmp_path):
    changes = {**CHANGES, "steps": 110, "validate_every": 10, "accumulate": 1}
    test_loop.run(tmp_path / "straight", loss=drawing, **changes)
    with pytest.raises(KeyboardInterrupt):  # the checkpoint is older than the log's last lines
        test_loop.run(tmp_path / "killed", loss=dying(75), checkpoint_minutes=60, **changes)
    with pytest.raises(KeyboardInterrupt):
        test_loop.run(tmp_path / "killed", loss=dying(75), **changes)
    with (tmp_path / "killed" / "log.jsonl").open("a") as file:
        file.write('{"step": 77, "loss": 9.9}\n{"step": 7')  # of steps that are taken again
    test_loop.run(tmp_path / "killed", loss=drawing, resume=True, **changes)
    assert lines(tmp_path / "killed") == lines(tmp_path / "straight")
    assert [line["step"] for line in lines(tmp_path / "killed") if "loss" in line] == [50, 100]
    assert (tmp_path / "killed" / "log.before.jsonl").exists()


def test_told_to_end_it_saves_first(tmp_path, straight, runs):
    status = runs.killed(tmp_path, 33, signal.SIGTERM, checkpoint_minutes=60)
    assert status == 128 + signal.SIGTERM
    assert stored(tmp_path)["state"][0] >= 17
    net, _ = test_loop.run(tmp_path, net=test_loop.net_of(5), loss=drawing, resume=True, **CHANGES)
    test_loop.assert_same(net, straight[0])


def test_ctrl_c_in_a_step_finishes_the_step(tmp_path, straight):
    def pressed(net, number, device):
        if number == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return drawing(net, number, device)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        test_loop.run(tmp_path, loss=pressed, checkpoint_minutes=60, **CHANGES)
    assert signal.getsignal(signal.SIGINT) is before
    assert stored(tmp_path)["state"][0] == 11
    net, _ = test_loop.run(tmp_path, net=test_loop.net_of(5), loss=drawing, resume=True, **CHANGES)
    test_loop.assert_same(net, straight[0])


@pytest.mark.parametrize("how", ["ctrl-c", "an error"])
def test_a_validation_that_did_not_finish_is_done_again(tmp_path, how):
    def validate(net):  # with randomness of its own
        return {"score": test_loop.validate(net)["score"] + 1e-3 * random.random()}

    def broken(net):
        random.random()
        if how == "ctrl-c":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        raise ValueError("the disk is gone")

    straight, whole = test_loop.run(
        tmp_path / "straight", loss=drawing, validate=validate, **CHANGES
    )
    with pytest.raises(KeyboardInterrupt if how == "ctrl-c" else ValueError):
        test_loop.run(
            tmp_path / "broken", loss=drawing, validate=broken, checkpoint_minutes=60, **CHANGES
        )
    assert stored(tmp_path / "broken")["pending"]
    assert stored(tmp_path / "broken")["state"][0] == 5
    net, state = test_loop.run(
        tmp_path / "broken", net=test_loop.net_of(5), loss=drawing, validate=validate, resume=True,
        **CHANGES,
    )  # fmt: skip
    test_loop.assert_same(net, straight)
    assert state.best == whole.best
    assert lines(tmp_path / "broken") == lines(tmp_path / "straight")


def test_pressed_twice_it_does_not_wait():
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.heard == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
            assert interruption.heard is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    test_loop.run(tmp_path)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"x" * 500):
        path.write_bytes(content)
        with pytest.raises(RecipeError, match=r"checkpoint\.pt' is damaged; start anew"):
            test_loop.run(tmp_path, resume=True)


def test_a_checkpoint_of_another_optimiser_is_refused(tmp_path):
    test_loop.run(tmp_path, layer_decay=0.5, net=blocks())
    with pytest.raises(RecipeError, match=r"another learner\.optimiser or learner\.layer_decay"):
        test_loop.run(tmp_path, net=blocks(), resume=True)


def blocks():
    conv = torch.nn.Conv2d
    return torch.nn.Sequential(
        *[torch.nn.Sequential(conv(2, 2, 3, padding=1), conv(2, 2, 1)) for _ in range(3)]
    )


def test_a_new_run_keeps_the_old_ones_checkpoint_aside(tmp_path):
    test_loop.run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        test_loop.run(tmp_path, loss=test_loop.killed_at(0))
    assert not (tmp_path / "checkpoint.pt").exists()  # or resuming would bring the old run back
    assert (tmp_path / "checkpoint.before.pt").exists()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    net = test_loop.net_of()
    optimiser, _ = make_optimiser(net, test_loop.LEARNER)
    training = Training(net, net, optimiser, Precision(torch.float32, torch.device("cpu")))
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, training)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, training)
    assert path.read_bytes() == before


def test_in_a_thread_it_trains_without_signals(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    straight, _ = test_loop.run(tmp_path / "1")
    with ThreadPoolExecutor(1) as pool:
        net, _ = pool.submit(test_loop.run, tmp_path / "2").result()
    test_loop.assert_same(net, straight)
