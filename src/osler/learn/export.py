"""From a trained network to an ONNX graph that says the same."""

import inspect
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from osler.bundles.session import LABELS
from osler.errors import BundleError, MissingExtraError
from osler.models.onnx_exporter import undisturbed

OPSET = 18
_HALF_FROM = 512  # tensors of at least this many values are stored in half precision


def export_onnx(
    net: nn.Module,
    example: Mapping[str, torch.Tensor],
    *,
    outputs: Sequence[str],
    step: int | None,
    half: bool = True,
    batch: bool = False,
    labels: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> bytes:
    """Write a network as an ONNX graph.

    Args:
        net: takes the example's tensors in order, gives a tensor or a tuple of them.
        example: input name to a tensor ``(1, C, H, W)``, or ``(B, C, ...)`` with ``batch``.
        outputs: names of the outputs.
        step: height and width may be any multiples of it; None keeps the example's size.
        half: store large weights in half precision (they are used in single precision).
        batch: any number of cases at a time; the example holds several, and ``step`` is
            None.
        labels: what the channels of an output stand for, kept in the graph, so that a card whose
            names were exchanged since is known.

    Raises:
        MissingExtraError: ``onnx`` or ``onnxscript`` is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            error.name or "onnx", extra="train", purpose="export a network"
        ) from error
    shapes: Any = None
    if step is not None:
        height = torch.export.Dim("height", min=2, max=256)
        width = torch.export.Dim("width", min=2, max=256)
        shapes = tuple({2: step * height, 3: step * width} for _ in example)
    elif batch:
        cases = torch.export.Dim("cases", min=1, max=4096)
        shapes = tuple({0: cases} for _ in example)
    if shapes is not None:
        kinds = {one.kind for one in inspect.signature(net.forward).parameters.values()}
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            shapes = (shapes,)  # the exporter sees all of them as one argument
    with undisturbed():
        program = torch.onnx.export(
            net.eval(), tuple(example.values()), dynamo=True, input_names=list(example),
            output_names=list(outputs), dynamic_shapes=shapes, opset_version=OPSET,
            external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _forget_names(model)
    onnx.helper.set_model_props(model, labels_kept(labels))
    if half:
        _store_half(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def labels_kept(labels: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The properties of a graph that say what its outputs' channels stand for."""
    said = {name: list(names) for name, names in labels.items() if names}
    return {LABELS: json.dumps(said, ensure_ascii=False)} if said else {}


def _forget_names(model: Any) -> None:
    """Leave out the exporter's notes: stack traces with paths of the machine it ran on."""
    del model.metadata_props[:]
    for part in [model.graph, *model.graph.node, *model.graph.input, *model.graph.output,
                 *model.graph.initializer, *model.graph.value_info]:  # fmt: skip
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.value_info[:]


def _store_half(model: Any) -> None:
    """Keep large weights as float16 with a cast behind each, which the runtime folds at loading."""
    import onnx

    casts = []
    scales = {
        node.input[1]
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _HALF_FROM:
            continue
        if tensor.name in scales:  # small numbers, which half precision would lose
            continue
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, name + ".half"))
        casts.append(
            onnx.helper.make_node("Cast", [name + ".half"], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def largest_difference(
    net: nn.Module,
    graph: bytes,
    inputs: Sequence[Mapping[str, NDArray[np.float32]]],
) -> float:
    """The largest difference of probability-like outputs between a network and its graph.

    Args:
        net: the network.
        graph: its ONNX graph.
        inputs: real inputs, name to array.

    Returns:
        The largest absolute difference of the sigmoid of all outputs.

    Raises:
        BundleError: the graph gives other shapes than the network.
    """
    import onnxruntime as ort

    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    worst = 0.0
    for feed in inputs:
        with torch.inference_mode():
            said = net(*(torch.from_numpy(value) for value in feed.values()))
        said = said if isinstance(said, tuple) else (said,)
        for ours, theirs in zip(said, session.run(None, dict(feed)), strict=True):
            if tuple(ours.shape) != theirs.shape:
                raise BundleError(
                    f"the graph gives the shape {theirs.shape}, the network {tuple(ours.shape)}"
                )
            mine = ours.float().sigmoid().numpy()
            other = 1 / (1 + np.exp(-np.clip(theirs.astype(np.float64), -60, 60)))
            worst = max(worst, float(np.abs(mine - other).max()))
    return worst
