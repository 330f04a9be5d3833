"""A bundle whose weights are drawn anew, for the randomisation test, without torch or onnx.

Every tensor of two axes or more gets numbers from a Gaussian round 0 of its own spread; biases and
norms stay. So the graph computes on about the same scale, and knows nothing any more.

Source: Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 3.2.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.bundles import Bundle, threads
from osler.bundles.card import MODEL_FILE
from osler.bundles.graph import weights
from osler.bundles.integrity import read_file


class Redrawn:
    """The graph of a bundle with random weights.

    Attributes:
        tensors: how many tensors were drawn anew; 0 where the weights are no floats.
    """

    def __init__(self, bundle: Bundle, *, seed: int = 0) -> None:
        content = bytearray(read_file(bundle.folder, bundle.card, MODEL_FILE))
        random = np.random.default_rng(seed)
        self.tensors = 0
        for one in weights(bytes(content)):
            if len(one.shape) < 2 or one.stop == one.start:
                continue
            held = np.frombuffer(bytes(content[one.start : one.stop]), one.dtype)
            spread = float(held.std(dtype=np.float64))
            drawn = random.normal(0.0, spread, held.size).astype(one.dtype)
            content[one.start : one.stop] = drawn.tobytes()
            self.tensors += 1
        self._names = [output.name for output in bundle.card.outputs]
        self._session = _session(bytes(content), threads(bundle.card.runtime.threads))

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """As `osler.bundles.Bundle.run`."""
        said = self._session.run(self._names, dict(inputs))
        return dict(zip(self._names, said, strict=True))


def _session(content: bytes, count: int) -> Any:
    import onnxruntime as ort  # type: ignore[import-untyped]

    options = ort.SessionOptions()
    options.intra_op_num_threads = count
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
