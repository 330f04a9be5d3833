"""A graph in single precision made one of 8 bits, without any further training."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Feed = Mapping[str, NDArray[np.float32]]


def eight_bits(
    graph: bytes, feeds: Iterable[Feed], *, operators: Iterable[str] = ("Conv",),
    reduce_range: bool = False,
) -> bytes:  # fmt: skip
    """The graph with 8-bit weights and activations, by ONNX Runtime's static quantisation.

    Args:
        graph: an ONNX graph.
        feeds: inputs from which the bounds of activations are taken; real ones, of cases that
            taught.
        operators: kinds of layers that are quantised.
        reduce_range: weights of 7 bits, which processors without VNNI need to compute what the
            graph says.
    """
    from onnxruntime import quantization  # type: ignore[import-untyped]
    from onnxruntime.quantization.shape_inference import (  # type: ignore[import-untyped]
        quant_pre_process,
    )

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> Any:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, small = (Path(folder) / f"{n}.onnx" for n in ("a", "b", "c"))
        plain.write_bytes(graph)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared, small, Reader(), op_types_to_quantize=list(operators), per_channel=True,
            reduce_range=reduce_range,
        )  # fmt: skip
        return small.read_bytes()
