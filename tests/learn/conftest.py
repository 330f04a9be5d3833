"""What the tests of learning share."""

import pytest


@pytest.fixture
def graphless(monkeypatch):
    """Runs end with all but their graph, whose export takes most of the time of one so small."""
    helper = pytest.importorskip("onnx.helper")
    nothing = helper.make_model(helper.make_graph([], "nothing", [], [])).SerializeToString()
    monkeypatch.setattr("osler.learn.training.exported", lambda *_: (nothing, 0.0))
