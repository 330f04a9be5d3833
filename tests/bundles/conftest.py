"""Tiny real bundles: graphs made with ``onnx.helper``, cards as plain dictionaries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from osler.bundles import save


def _model_bytes(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _tiny_model(weight: float = 2.0, **changes: Any) -> onnx.ModelProto:
    """scores = weight · mean over channels of the image, as one channel."""
    kernel = numpy_helper.from_array(np.full((1, 3, 1, 1), weight / 3, np.float32), "kernel")
    node = helper.make_node("Conv", ["image", "kernel"], ["scores"])
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [kernel],
    )
    changes.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    return helper.make_model(graph, ir_version=9, **changes)


def _tiny_card(**changes: Any) -> dict[str, Any]:
    card: dict[str, Any] = {
        "name": "tiny-vessels",
        "version": "1.0.0",
        "task": "segmentation",
        "title": "Tiny vessels",
        "inputs": [{"name": "image", "channels": ["red", "green", "blue"], "multiple": 4}],
        "outputs": [{"name": "scores", "activation": "sigmoid", "labels": [{"name": "vessel"}]}],
        "preprocessing": {"diameter": 512},
        "licence": "Apache-2.0",
        "intended_use": "tests",
    }
    return card | changes


@pytest.fixture(scope="session")
def model_bytes() -> Callable[[onnx.ModelProto], bytes]:
    return _model_bytes


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., onnx.ModelProto]:
    return _tiny_model


@pytest.fixture(scope="session")
def tiny_card() -> Callable[..., dict[str, Any]]:
    return _tiny_card


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Writes a good tiny bundle; keywords change its card."""

    def make(folder: str = "tiny-vessels", **changes: Any) -> Path:
        files = {"model.onnx": _model_bytes(_tiny_model())}
        return save(_tiny_card(**changes), files, tmp_path / folder)

    return make
