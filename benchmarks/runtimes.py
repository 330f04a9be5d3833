"""Which runtime and precision suits each bundle: seconds, and what the answer loses.

    python benchmarks/runtimes.py [BUNDLE ...]

Each bundle reads the photographs of ``examples/`` on their canvases: ONNX Runtime in single
precision and with static int8 (calibrated on the same photographs), and OpenVINO where it is
installed (``pip install openvino``). The loss is the mean absolute difference of probabilities
inside the field. Needs the extra ``dev``.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from osler import bundles, io
from osler.bundles import probability
from osler.retina.predict import predict, rgb
from osler.tasks.canvas_masks import encode
from osler.tasks.field import find_field

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.jpg"))
RUNS = 3
Feed = dict[str, np.ndarray]
Runner = Callable[[Feed], list[np.ndarray]]


def feeds(bundle: bundles.Bundle) -> list[Feed]:
    """What the bundle takes of each example."""
    out = []
    for path in EXAMPLES:
        case = io.load(path)
        pixels = rgb(case.image("photo"))
        image, _ = encode(pixels, find_field(pixels), diameter=bundle.card.preprocessing.diameter)
        feed: Feed = {}
        for one in bundle.card.inputs:
            if one.source == "photograph":
                feed[one.name] = image
            else:
                said = predict(bundles.load(str(one.bundle)), case)
                feed[one.name] = said.scores[str(one.output)].astype(np.float32)
        out.append(feed)
    return out


def onnx_runtime(model: bytes) -> Runner:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def int8(bundle: bundles.Bundle, inputs: list[Feed]) -> bytes:
    """The graph with 8-bit weights and activations, scales fitted on the examples."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = list(inputs)

        def get_next(self) -> Feed | None:
            return self.left.pop() if self.left else None

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, small = (Path(folder) / f"{n}.onnx" for n in ("a", "b", "c"))
        plain.write_bytes((bundle.folder / "model.onnx").read_bytes())
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared, small, Reader(), op_types_to_quantize=["Conv"], per_channel=True
        )
        return small.read_bytes()


def openvino(bundle: bundles.Bundle) -> Runner | None:
    try:
        import openvino as ov
    except ImportError:
        return None
    compiled = ov.Core().compile_model(str(bundle.folder / "model.onnx"), "CPU")
    return lambda feed: [np.array(value) for value in compiled(feed).values()]


def seconds(run: Runner, inputs: list[Feed]) -> float:
    run(inputs[0])
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        for feed in inputs:
            run(feed)
        times.append((time.perf_counter() - begun) / len(inputs))
    return float(np.median(times))


def loss(bundle: bundles.Bundle, run: Runner, plain: Runner, inputs: list[Feed]) -> float:
    output = bundle.card.outputs[0]
    differences = []
    for feed in inputs:
        ours, theirs = (probability(output, r(feed)[0]) for r in (run, plain))
        differences.append(float(np.abs(ours - theirs).mean()))
    return float(np.mean(differences))


def main(names: list[str]) -> None:
    print("| bundle | runtime | s a photograph | against ORT | mean difference |")
    print("|---|---|---|---|---|")
    for name in names:
        bundle = bundles.load(name)
        inputs = feeds(bundle)
        plain = onnx_runtime((bundle.folder / "model.onnx").read_bytes())
        ways: dict[str, Runner | None] = {
            "ONNX Runtime float32": plain,
            "ONNX Runtime int8": onnx_runtime(int8(bundle, inputs)),
            "OpenVINO float32": openvino(bundle),
        }
        base = seconds(plain, inputs)
        for way, run in ways.items():
            if run is None:
                print(f"| {name} | {way} | not installed | | |")
                continue
            spent = base if run is plain else seconds(run, inputs)
            lost = loss(bundle, run, plain, inputs)
            print(
                f"| {name} | {way} | {spent:.3f} | {base / spent:.2f}× | {lost:.4f} |", flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1:] or list(bundles.names()))
