"""Tiny real bundles that read painted photographs: each structure has a colour of its own.

Graphs of one 1 x 1 convolution tell the colours apart, so that a step's answer is known exactly
and does not change when a network is trained anew.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from osler.bundles import Bundle, Card, load, save
from osler.record import Case, Image, Mask, Source
from osler.retina.predict import Prediction
from osler.tasks import canvas
from osler.tasks.field import find_field

CHANNELS = ["red", "green", "blue", "field"]
LESIONS = ("microaneurysm", "haemorrhage", "hard exudate", "soft exudate")
DEFECTS = ("blur", "underexposed", "overexposed", "field")
PHOTO = {"name": "image", "channels": CHANNELS, "multiple": 32}
NEVER = (0.0, 0.0, 0.0, 0.0), -20.0

# Weights of red, green, blue and field (0 to 1), and the bias. Nothing outside the field.
ANATOMY = {
    "optic disc": ((0, 0, 40, 0), -18.0),
    "optic cup": ((0, 0, 40, 0), -30.0),
    "fovea": ((-40, 0, 0, 40), -28.0),
}
VESSEL = {"vessel": ((0, -40, 0, 80), -74.0)}
ARTERY_VEIN = {
    "background": ((0, 0, 0, 0), 0.0),
    "artery": ((100, -400, 0, 200), -237.0),
    "vein": ((-100, -400, 0, 200), -100.0),
}
EXUDATES = {
    "microaneurysm": NEVER,
    "haemorrhage": NEVER,
    "hard exudate": ((0, 40, -40, 0), -18.0),
    "soft exudate": NEVER,
}
COLOURS = {
    "retina": (150, 90, 40),
    "disc": (240, 230, 150),
    "cup": (250, 245, 240),
    "fovea": (40, 110, 30),
    "artery": (210, 20, 30),
    "vein": (140, 20, 30),
    "exudate": (220, 220, 40),
}


def painted(
    shape: tuple[int, int] = (300, 400), *, left: bool = False, exudate: bool = True
) -> NDArray[np.uint8]:
    """A photograph of a right eye ``(3, H, W)``, or its mirror image, from flat colours."""
    height, width = shape
    hh, ww = np.mgrid[:height, :width].astype(np.float32)
    centre, radius = (height / 2, width / 2), 0.47 * height
    out = np.zeros((3, *shape), np.uint8)

    def paint(name: str, where: NDArray[np.bool_]) -> None:
        out[:, where] = np.array(COLOURS[name], np.uint8)[:, None]

    def circle(dh: float, dw: float, size: float) -> NDArray[np.bool_]:
        away = np.hypot(hh - centre[0] - dh * radius, ww - centre[1] - dw * radius)
        return np.asarray(away <= size * radius)

    paint("retina", circle(0, 0, 1))
    inside = circle(0, 0, 0.93)
    slope = (hh - centre[0]) + 0.8 * (ww - centre[1] - 0.5 * radius)
    paint("artery", inside & (abs(slope) < 0.025 * height))
    slope = (hh - centre[0]) - 0.8 * (ww - centre[1] - 0.5 * radius)
    paint("vein", inside & (abs(slope) < 0.025 * height))
    paint("disc", circle(0, 0.5, 0.2))
    paint("cup", circle(0, 0.5, 0.08))
    paint("fovea", circle(0.05, -0.4, 0.08))
    if exudate:
        paint("exudate", circle(0.45, -0.6, 0.07))
    return np.ascontiguousarray(out[:, :, ::-1]) if left else out


def case_of(array: NDArray[Any], *, laterality: Any = None, field: bool = True) -> Case:
    """A case with the photograph, and with its whole frame as ``field`` where asked."""
    case = Case("one", items={"photo": Image("photo", array, "OP", laterality=laterality)})
    if field:
        shape = array.shape[-2:]
        case.add(Mask(id="field", name="Field of view", source=Source("person", "grader"),
                      item="photo", mask=np.ones(shape, bool)))  # fmt: skip
    return case


def card(name: str, outputs: Sequence[Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
    """The fields of a card, without its files."""
    return {
        "name": name, "version": "0.0.1", "title": "A stand-in", "licence": "Apache-2.0",
        "intended_use": "tests", "task": "classification", "inputs": [PHOTO],
        "outputs": list(outputs), "preprocessing": {"diameter": 256},
    } | changes  # fmt: skip


def output(name: str, activation: str, labels: Sequence[str], **more: Any) -> dict[str, Any]:
    """One output of a card; ``thresholds`` are label to threshold."""
    limits = more.pop("thresholds", {})
    listed = [{"name": label, "threshold": limits.get(label)} for label in labels]
    return {"name": name, "activation": activation, "labels": listed, **more}


def unrun(name: str, outputs: Sequence[Mapping[str, Any]], **changes: Any) -> Bundle:
    """A bundle for steps that read its card and never its graph."""
    files = {"model.onnx": {"sha256": "0" * 64, "bytes": 0}}
    return Bundle(Card.model_validate(card(name, outputs, **changes) | {"files": files}), Path())


def quality_outputs(**thresholds: float) -> list[dict[str, Any]]:
    return [
        output("photograph", "sigmoid", ["fundus photograph"], thresholds=thresholds),
        output("quality", "softmax", ["good", "usable", "reject"]),
        output("defects", "sigmoid", DEFECTS, thresholds=thresholds),
    ]


def grade_outputs(
    *, quantile: float | None = None, threshold: float | None = 0.5
) -> list[dict[str, Any]]:
    fitted = {} if quantile is None else {"conformal_quantile": quantile, "coverage": 0.9}
    return [
        output("grade", "softmax", list("01234"), calibration=fitted or None),
        output("referable", "sigmoid", ["yes"], thresholds={"yes": threshold}),
        output("oedema", "softmax", list("012"), calibration=fitted or None),
        output("attention", "none", []),
    ]


def written(folder: Path, fields: Mapping[str, Any], model: onnx.ModelProto) -> Bundle:
    """Save a bundle under its name in a folder, and load it."""
    onnx.checker.check_model(model)
    files = {"model.onnx": model.SerializeToString()}
    return load(save(fields, files, folder / str(fields["name"]), overwrite=True))


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, int],
    outputs: Mapping[str, Sequence[Any]],
    constants: Mapping[str, NDArray[Any]],
) -> onnx.ModelProto:
    real = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "stand-in",
        [helper.make_tensor_value_info(k, real, ["n", c, "h", "w"]) for k, c in inputs.items()],
        [helper.make_tensor_value_info(k, real, list(s)) for k, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])


def segmenter(
    folder: Path,
    name: str,
    colours: Mapping[str, tuple[Sequence[float], float]],
    *,
    activation: str = "sigmoid",
    cells: bool = False,
    threshold: float = 0.5,
    **changes: Any,
) -> Bundle:
    """A bundle that knows a structure by its colour, and gives the canvas in cells if asked."""
    kernel = np.array([w for w, _ in colours.values()], np.float32)[:, :, None, None]
    bias = np.array([b for _, b in colours.values()], np.float32)
    limits = dict.fromkeys(colours, threshold)
    outputs = [output("scores", activation, list(colours), thresholds=limits)]
    shapes: dict[str, Sequence[Any]] = {"scores": ["n", len(bias), "h", "w"]}
    nodes = [helper.make_node("Conv", ["image", "kernel", "bias"], ["scores"])]
    if cells:
        nodes.append(helper.make_node(
            "AveragePool", ["image"], ["cells"], kernel_shape=[32, 32], strides=[32, 32]
        ))  # fmt: skip
        outputs.append(output("cells", "none", []))
        shapes["cells"] = ["n", 4, "i", "j"]
    model = _model(nodes, {"image": 4}, shapes, {"kernel": kernel, "bias": bias})
    return written(folder, card(name, outputs, task="segmentation", **changes), model)


def judge(
    folder: Path, name: str = "retina-quality", *, fundus: float = 9.0, worth: str = "good",
    defects: Mapping[str, float] | None = None,
) -> Bundle:  # fmt: skip
    """A quality bundle that always says the same; ``defects`` are label to score."""
    grades = [9.0 if label == worth else 0.0 for label in ("good", "usable", "reject")]
    said = [(defects or {}).get(label, -9.0) for label in DEFECTS]
    scores = {"photograph": [fundus], "quality": grades, "defects": said}
    nodes = [helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
             helper.make_node("Flatten", ["mean"], ["flat"])]  # fmt: skip
    model = _constant(nodes, {"image": 4}, "flat", scores)
    return written(folder, card(name, quality_outputs()), model)


def _constant(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, int],
    flat: str,
    scores: Mapping[str, Sequence[float]],
    shapes: Mapping[str, Sequence[Any]] | None = None,
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    (channels,) = inputs.values()
    held: dict[str, NDArray[Any]] = dict(constants or {})
    every = [*nodes]
    for name, values in scores.items():
        held[f"{name}.w"] = np.zeros((channels, len(values)), np.float32)
        held[f"{name}.b"] = np.array(values, np.float32)
        every.append(helper.make_node("Gemm", [flat, f"{name}.w", f"{name}.b"], [name]))
    made = {name: ["n", len(values)] for name, values in scores.items()}
    return _model(every, inputs, {**made, **(shapes or {})}, held)


def grader(
    folder: Path, name: str = "retina-dr", *, grade: int = 2, lesions: str = "retina-lesions"
) -> Bundle:
    """A grading bundle that always says the same and looks at the greenest cells."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["cells"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Slice", ["cells", "from", "to", "axis"], ["green"]),
        helper.make_node("Mul", ["green", "sharp"], ["raised"]),
        helper.make_node("Flatten", ["raised"], ["row"]),
        helper.make_node("Softmax", ["row"], ["share"], axis=1),
        helper.make_node("Shape", ["green"], ["shape"]),
        helper.make_node("Reshape", ["share", "shape"], ["attention"]),
    ]
    constants = {
        "from": np.array([1]), "to": np.array([2]), "axis": np.array([1]),
        "sharp": np.array(40, np.float32),
    }  # fmt: skip
    scores = {
        "grade": [4.0 if value == grade else 0.0 for value in range(5)],
        "referable": [2.0 if grade >= 2 else -2.0], "oedema": [0.0, 0.0, 3.0],
    }  # fmt: skip
    model = _constant(
        nodes, {"cells": 4}, "flat", scores, {"attention": ["n", 1, "i", "j"]}, constants
    )
    takes = {"name": "cells", "channels": list("rgbf"), "source": "output",
             "bundle": lesions, "output": "cells"}  # fmt: skip
    fields = card(name, grade_outputs(quantile=0.8), inputs=[takes], requires=[lesions])
    return written(folder, fields, model)


def all_six(folder: Path, **said: Any) -> None:
    """Every bundle that the reading of a photograph asks; ``said`` is for the judge."""
    judge(folder, **said)
    segmenter(folder, "retina-anatomy", ANATOMY)
    segmenter(folder, "retina-vessels", VESSEL)
    segmenter(folder, "retina-artery-vein", ARTERY_VEIN, activation="softmax")
    segmenter(folder, "retina-lesions", EXUDATES, cells=True)
    grader(folder)


def said_of(
    array: NDArray[np.uint8], maps: Mapping[str, NDArray[np.float32]], *, threshold: float = 0.5
) -> Prediction:
    """A segmentation of a photograph from maps that were drawn by hand."""
    where = canvas.plan(find_field(array), diameter=256)
    masks = {label: values >= threshold for label, values in maps.items()}
    return Prediction(tuple(maps), where, {}, masks, np.stack(list(maps.values())))
