"""Bundles of one convolution whose reasons are known: they look for one colour, or for light."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from osler.bundles import Bundle, load, save
from osler.record import Case, Image

CHANNELS = ["red", "green", "blue", "field"]


def _model(
    nodes: Sequence[onnx.NodeProto], axes: int, channels: int, out: Sequence[Any], **held: Any
) -> bytes:
    sides = ["d", "h", "w"][-axes:]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, *sides])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", *out])],
        [numpy_helper.from_array(np.array(value), name) for name, value in held.items()],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _written(folder: Path, name: str, model: bytes, **fields: Any) -> Bundle:
    card = {
        "name": name, "version": "0.1.0", "title": "A stand-in", "licence": "Apache-2.0",
        "intended_use": "tests", **fields,
    }  # fmt: skip
    return load(save(card, {"model.onnx": model}, folder / name, overwrite=True))


def yellow_spots(folder: Path, *, half: bool = False) -> Bundle:
    """Classifies a photograph of the fundus by how much yellow (green without blue) it holds."""
    kernel = np.array([[[[0.0]], [[300.0]], [[-300.0]], [[0.0]]], np.zeros((4, 1, 1))], np.float32)
    bias = np.array([-90.0, 0.0], np.float32)
    kind = np.float16 if half else np.float32
    nodes = [
        helper.make_node("Cast", ["kernel"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["image", "whole", "bias"], ["found"]),
        helper.make_node("Relu", ["found"], ["kept"]),
        helper.make_node("GlobalAveragePool", ["kept"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["scores"]),
    ]
    model = _model(nodes, 2, 4, [2], kernel=kernel.astype(kind), bias=bias)
    labels = [{"name": "yellow"}, {"name": "plain"}]
    return _written(
        folder, "yellow-spots", model, task="classification",
        inputs=[{"name": "image", "channels": CHANNELS, "multiple": 32}],
        outputs=[{"name": "scores", "activation": "softmax", "labels": labels}],
        preprocessing={"diameter": 128},
    )  # fmt: skip


def spotted(shape: tuple[int, int] = (200, 240), spot: tuple[int, int] = (70, 150)) -> Case:
    """A painted photograph with one yellow spot."""
    hh, ww = np.indices(shape)
    out = np.zeros((3, *shape), np.uint8)
    inside = np.hypot(hh - shape[0] / 2, ww - shape[1] / 2) < 0.47 * shape[0]
    for channel, value in enumerate((150, 90, 40)):
        out[channel][inside] = value
    there = np.hypot(hh - spot[0], ww - spot[1]) < 9
    for channel, value in enumerate((220, 220, 10)):
        out[channel][there] = value
    return Case("spotted", items={"photo": Image("photo", out, "OP")})


def bright_corner(folder: Path, size: tuple[int, int] = (24, 24), *, field: bool = False) -> Bundle:
    """A general classifier of grey pictures by their light."""
    kernel = np.array([[[[0.0]]], [[[20.0]]]], np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["found"]),
        helper.make_node("GlobalAveragePool", ["found"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["scores"]),
    ]
    model = _model(nodes, 2, 1, [2], kernel=kernel)
    return _written(
        folder, "bright-corner", model, task="classification",
        inputs=[{"name": "image", "channels": ["image"], "size": list(size), "source": "case"}],
        outputs=[{"name": "scores", "activation": "softmax",
                  "labels": [{"name": "dark"}, {"name": "light"}]}],
        settings={"image": {"items": ["image"], "size": list(size), "field": field},
                  "target": "light",
                  "labels": ["dark", "light"]},
    )  # fmt: skip


def bright_voxels(folder: Path) -> Bundle:
    """A general segmentation of volumes: whatever is bright."""
    kernel = np.array([[[[[0.0]]]], [[[[40.0]]]]], np.float32)
    nodes = [helper.make_node("Conv", ["image", "kernel", "bias"], ["scores"])]
    bias = np.array([20.0, 0.0], np.float32)
    model = _model(nodes, 3, 1, [2, "d", "h", "w"], kernel=kernel, bias=bias)
    return _written(
        folder, "bright-voxels", model, task="segmentation",
        inputs=[{"name": "image", "channels": ["image"], "source": "case"}],
        outputs=[{"name": "scores", "activation": "softmax",
                  "labels": [{"name": "background"}, {"name": "bright"}]}],
        settings={"image": {"items": ["image"], "intensity": {"range": [0.0, 100.0]}},
                  "labels": ["bright"], "multiple": 1},
    )  # fmt: skip
