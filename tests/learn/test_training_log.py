"""The plain log, TensorBoard's files as its own reader sees them, and those who listen."""

import json
import math

import numpy as np
import pytest
import test_loop
import torch
from torch import nn

from osler.learn.training_log import Log, listening


def lines(folder):
    """The log, read as strictly as JSON is defined."""

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    text = (folder / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    return read.Reload()


def pictures(net):
    assert not net.training
    return {"a/grey": np.full((4, 6), 0.5, np.float32), "b": np.zeros((4, 6, 3), np.uint8)}


def train(folder, **changes):
    from osler.learn.loop import train as go

    net = changes.pop("net", None) or test_loop.net_of()
    resume = changes.pop("resume", False)
    validate = changes.pop("validate", test_loop.validate)
    learner = test_loop.LEARNER.model_copy(update=changes)
    go(
        net, loss=test_loop.loss, validate=validate, learner=learner, folder=folder, resume=resume,
        pictures=pictures,
    )  # fmt: skip
    return net


def test_curves_pictures_and_the_graph_are_in_tensorboard(tmp_path):
    plain = train(tmp_path / "plain", steps=100, validate_every=25)
    net = train(tmp_path, steps=100, validate_every=25, graph=True)
    test_loop.assert_same(net, plain)  # drawing the graph changes nothing
    read = events(tmp_path)
    assert set(read.Tags()["scalars"]) == {"loss", "rate", "norm", "score"}
    assert [one.step for one in read.Scalars("loss")] == [50, 100]
    assert [one.step for one in read.Scalars("score")] == [25, 50, 75, 100]
    assert [one.step for one in read.Images("a/grey")] == [25, 50, 75, 100]
    (image,) = {(one.width, one.height) for one in read.Images("b")}
    assert image == (6, 4)
    assert b"Conv2d" in read.Graph().SerializeToString()
    written = lines(tmp_path)
    assert not any("graph" in line for line in written)
    scores = [line["score"] for line in written if "score" in line]
    assert [one.value for one in read.Scalars("score")] == pytest.approx(scores, rel=1e-6)


def test_a_line_of_the_loss_has_the_rate_and_the_norm(tmp_path):
    from osler.learn.schedules import rate_at

    train(tmp_path, steps=50)
    (line,) = [line for line in lines(tmp_path) if "loss" in line]
    learner = test_loop.LEARNER.model_copy(update={"steps": 50})
    assert line["rate"] == pytest.approx(rate_at(49, learner), rel=1e-4)
    assert line["norm"] > 0
    assert line["seconds"] >= 0


def test_a_figure_that_is_no_number_is_null(tmp_path):
    train(tmp_path, validate=lambda net: {"score": math.nan, "other": math.inf})
    assert all(line["score"] is None and line["other"] is None for line in lines(tmp_path))


class Fickle(nn.Module):
    """A network that cannot be traced."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 1)

    def forward(self, x):
        if torch.jit.is_tracing():
            raise RuntimeError("not like this")
        return self.conv(x)


def test_a_graph_that_cannot_be_drawn_is_a_line_and_no_error(tmp_path):
    train(tmp_path, net=Fickle(), graph=True)
    assert {"step": 0, "graph": "not drawn: RuntimeError"} in lines(tmp_path)


def test_tensorboard_after_a_resume_has_each_step_once(tmp_path):
    def once(folder, loss, resume):
        return test_loop.run(folder, loss=loss, resume=resume, steps=100, checkpoint_minutes=0)

    with pytest.raises(KeyboardInterrupt):
        once(tmp_path, test_loop.killed_at(60), False)
    once(tmp_path, test_loop.loss, True)
    read = events(tmp_path)
    assert [one.step for one in read.Scalars("score")] == [*range(3, 100, 3), 100]
    assert [line["step"] for line in lines(tmp_path) if "score" in line] == [*range(3, 100, 3), 100]


def test_the_silent_log_writes_nothing(tmp_path):
    log = Log(tmp_path, 10, silent=True)
    log.step(1, 2.0, seconds=0.0)
    log.figures(1, {"score": 1.0}, seconds=0.0)
    log.pictures(1, {"a": np.zeros((2, 2))})
    log.close()
    assert log.smooth == 2.0
    assert not list(tmp_path.iterdir())


def test_who_listens_hears_each_validation_and_may_end_the_run(tmp_path):
    heard = []

    class Enough(Exception):
        pass

    def listener(step, figures):
        heard.append((step, figures["score"]))
        if step == 6:
            raise Enough

    with listening(listener), pytest.raises(Enough):
        test_loop.run(tmp_path)
    assert [step for step, _ in heard] == [3, 6]
    test_loop.run(tmp_path)  # nobody listens any more
    assert len(heard) == 2
    assert [line["score"] for line in lines(tmp_path) if line["step"] <= 6] == pytest.approx(
        [score for _, score in heard], abs=1e-5
    )
