"""Bundles of a few numbers, whose answers can be computed by hand, and cohorts for them."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Pillow

from osler import bundles

CARD = {
    "schema_version": 1, "version": "1.0.0", "licence": "CC0-1.0", "intended_use": "Tests.",
}  # fmt: skip


def _graph(nodes, constants, inputs, outputs):
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs],
        [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


def segmenter(folder, *, name="bright", threshold=0.5, axes=2, taught=None, labels=("shape",)):
    """Marks what is brighter than a threshold (of 0 to 1)."""
    shape = ["N", 1, *"DHW"[-axes:]]
    nodes = [
        helper.make_node("Sub", ["image", "t"], ["above"]),
        helper.make_node("Mul", ["above", "k"], ["scores"]),
    ]
    graph = _graph(nodes, {"t": [threshold], "k": [50.0]}, [("image", shape)], [("scores", shape)])
    image = {"spacing": [1.0, 1.0, 1.0]} if axes == 3 else {}
    image |= {"intensity": {"method": "range", "range": [0.0, 255.0]}}
    card = {
        **CARD, "name": name, "title": "What is bright", "task": "segmentation",
        "settings": {"image": image, "labels": list(labels), "overlapping": True, "multiple": 1},
        "inputs": [{"name": "image", "channels": ["image"], "source": "case"}],
        "outputs": [{
            "name": "scores", "activation": "sigmoid",
            "labels": [{"name": label, "threshold": 0.5} for label in labels],
        }],
    }  # fmt: skip
    files = {"model.onnx": graph}
    if taught is not None:
        files["taught.json"] = json.dumps(taught).encode()
    return bundles.save(card, files, folder, overwrite=True)


def prompted(folder, *, kind="box", axes=2):
    """Marks what is brighter than half of the range, where it is told to by a box or a point."""
    shape = ["N", 3, *"DHW"[-axes:]]
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["scores"])]
    weights = np.array([50.0, 100.0, 0.0]).reshape(1, 3, *(1,) * axes)
    graph = _graph(
        nodes,
        {"w": weights, "b": [-125.0]},
        [("image", shape)],
        [("scores", ["N", 1, *"DHW"[-axes:]])],
    )
    image = {"spacing": [1.0, 1.0, 1.0]} if axes == 3 else {}
    image |= {"intensity": {"method": "range", "range": [0.0, 255.0]}}
    card = {
        **CARD, "name": f"told-by-{kind}", "title": "What is meant", "task": "segmentation",
        "settings": {"image": image, "labels": ["shape"], "overlapping": True, "multiple": 1,
                     "prompt": kind},
        "inputs": [{"name": "image", "channels": ["image", "wanted", "unwanted"],
                    "source": "case"}],
        "outputs": [{
            "name": "scores", "activation": "sigmoid",
            "labels": [{"name": "shape", "threshold": 0.5}],
        }],
    }  # fmt: skip
    return bundles.save(card, {"model.onnx": graph}, folder, overwrite=True)


def classifier(folder, *, name="light", threshold=0.5, slope=10.0, training=None):
    """Says how likely a picture of 8 by 8 is light, from its mean or from its first pixel row."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "t"], ["above"]),
        helper.make_node("Mul", ["above", "k"], ["z"]),
        helper.make_node("Unsqueeze", ["z", "axis"], ["one"]),
        helper.make_node("Mul", ["one", "zero"], ["none"]),
        helper.make_node("Concat", ["none", "one"], ["scores"], axis=1),
    ]
    constants = {"t": threshold, "k": slope, "zero": 0.0}
    graph = onnx.load_from_string(
        _graph(nodes[:3], constants, [("image", ["N", 1, 8, 8])], [("z", ["N"])])
    )
    graph.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    graph.graph.node.extend(nodes[3:])
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2]))
    onnx.checker.check_model(graph)
    image = {"size": [8, 8], "intensity": {"method": "range", "range": [0.0, 255.0]}}
    card = {
        **CARD, "name": name, "title": "Light or dark", "task": "classification",
        "settings": {"image": image, "target": "class", "labels": ["dark", "light"],
                     "counts": [5, 5]},
        "inputs": [{"name": "image", "channels": ["image"], "source": "case", "size": [8, 8]}],
        "outputs": [{
            "name": "scores", "activation": "softmax",
            "labels": [{"name": "dark"}, {"name": "light"}],
        }],
        "training": training,
    }  # fmt: skip
    return bundles.save(card, {"model.onnx": graph.SerializeToString()}, folder, overwrite=True)


def squares(folder, count=12):
    """Pictures with a bright square whose mask is one pixel wider at one side, two a patient."""
    lines = ["case_id,patient_id,split,image,label:shape,sex,age"]
    for n in range(count):
        rng = np.random.default_rng(n)
        h, w = rng.integers(6, 14, 2)
        side = int(rng.integers(4, 9))
        mask = np.zeros((24, 28), bool)
        mask[h : h + side, w : w + side] = True
        picture = np.where(mask, 200, 40) + rng.integers(-20, 20, mask.shape)
        Pillow.fromarray(picture.astype(np.uint8)).save(folder / f"{n}.png")
        wider = mask | np.roll(mask, 1 + n % 3, axis=1)
        Pillow.fromarray(wider.astype(np.uint8) * 255).save(folder / f"{n}.mask.png")
        split = "test" if n % 2 else "train"
        sex, age = "FM"[n // 4 % 2], 20 + 5 * n
        lines.append(f"c{n},p{n // 2 if n > 3 else n},{split},{n}.png,{n}.mask.png,{sex},{age}")
    (folder / "squares.csv").write_text("\n".join(lines).replace("test", "a").replace("train", "a"))
    return folder / "squares.csv"


def lights(folder, count=60, patients=60):
    """Pictures whose mean is higher, on average, where the label says light."""
    lines = ["case_id,patient_id,fold,image,label:class,sex,age"]
    rng = np.random.default_rng(3)
    for n in range(count):
        light = int(rng.random() < 0.45)
        level = np.clip(rng.normal(115 + 30 * light, 30), 1, 254)
        picture = np.clip(rng.normal(level, 4, (8, 8)), 0, 255).astype(np.uint8)
        Pillow.fromarray(picture).save(folder / f"l{n}.png")
        word = "light" if light else "dark"
        lines.append(
            f"l{n},q{n % patients},{n % patients % 3},l{n}.png,{word},{'FM'[n % 2]},{20 + n}"
        )
    (folder / "lights.csv").write_text("\n".join(lines) + "\n")
    return folder / "lights.csv"
