"""What a bundle saw before it scored: the input of the last layer of its graph, as one more output.

Only a copy in memory is changed; the files of the bundle and their digests stay as they are.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.bundles import Bundle
from osler.bundles.card import MODEL_FILE
from osler.bundles.integrity import read_file
from osler.bundles.session import threads
from osler.errors import MissingExtraError, RecipeError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

_LAST: Final = ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "Conv")
_MOST_STEPS: Final = 200


class FeatureBundle(Bundle):
    """A bundle that also says what came before its first scores.

    Args:
        bundle: one that classifies.

    Attributes:
        seen: what came before the scores in the last run, ``(N, F)``; None before the first.

    Raises:
        RecipeError: its graph has no such layer.
    """

    def __init__(self, bundle: Bundle) -> None:
        if bundle.card.task == "segmentation":
            raise RecipeError(
                f"the bundle '{bundle.card.name}' outlines; it has no features of a whole picture"
            )
        super().__init__(bundle.card, bundle.folder)
        self.seen: NDArray[np.float32] | None = None
        self._before = ""

    def features(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """``(F,)`` of one case's inputs."""
        self.run(inputs)
        assert self.seen is not None
        first: NDArray[np.float32] = self.seen[0]
        return first

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """As a bundle's, and keeps what came before the scores."""
        session = self._session or self._open()
        feed = self._checked(inputs, session)
        names = [output.name for output in self.card.outputs]
        *values, seen = session.run([*names, self._before], feed)
        # cells or pixels that are left are one picture's
        flat = seen.reshape(*seen.shape[:2], -1).mean(axis=2) if seen.ndim > 2 else seen
        self.seen = np.asarray(flat, np.float32)
        return dict(zip(names, values, strict=True))

    def _created(self, name: str = MODEL_FILE) -> "InferenceSession":
        import onnxruntime as ort

        try:
            import onnx
        except ImportError as error:
            raise MissingExtraError(
                "onnx", extra="retrieval", purpose=f"see the features of '{self.card.name}'"
            ) from error
        model = onnx.load_model_from_string(read_file(self.folder, self.card, name))
        self._before = _before(model, self.card.outputs[0].name, self.card.name)
        if self._before not in {one.name for one in model.graph.output}:
            model.graph.output.append(onnx.ValueInfoProto(name=self._before))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads(self.card.runtime.threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        content = model.SerializeToString()
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _before(model: Any, output: str, name: str) -> str:
    """The tensor that the last layer with weights takes, going back from an output."""
    made = {said: node for node in model.graph.node for said in node.output}
    fixed = {one.name for one in model.graph.initializer}
    fixed |= {
        said for node in model.graph.node if node.op_type == "Constant" for said in node.output
    }
    at = output
    for _ in range(_MOST_STEPS):
        node = made.get(at)
        if node is None:
            break
        varying = [one for one in node.input if one and not _is_fixed(one, made, fixed)]
        if not varying:
            break
        if node.op_type in _LAST and len(varying) == 1:
            return str(varying[0])
        at = varying[0]
    raise RecipeError(f"the graph of '{name}' has no layer with weights before its scores")


def _is_fixed(name: str, made: Mapping[str, Any], fixed: set[str]) -> bool:
    """Whether a tensor hangs on weights alone, such as one that is brought out of 8 bits."""
    for _ in range(8):
        if name in fixed:
            return True
        node = made.get(name)
        if node is None or node.op_type not in (
            "DequantizeLinear", "QuantizeLinear", "Cast", "Transpose", "Identity", "Reshape",
        ):  # fmt: skip
            return False
        name = node.input[0]
    return False
