"""Which runtime and precision suits each bundle: seconds, and what the answer loses.

    python benchmarks/runtimes.py [BUNDLE ...]
    python benchmarks/runtimes.py --dice        what int8 costs retina-vessels on DRIVE

Each bundle reads the photographs of ``examples/`` on their canvases: ONNX Runtime in single
precision and with static int8 (calibrated on the same photographs), and OpenVINO where it is
installed (``pip install openvino``). The ways take turns, and processor time stands beside the
clock, which other work disturbs. The loss is the mean absolute difference of probabilities over the
canvas. Needs the extra ``dev``, and ``--dice`` the data folder (``$OSLER_DATA``).
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image as Pillow

from osler import bundles, io, metrics
from osler.bundles import Bundle, probability
from osler.data.cohort import data_folder
from osler.learn.eight_bit import eight_bits
from osler.retina.predict import predict
from osler.tasks.canvas import rgb
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
    return eight_bits((bundle.folder / "model.onnx").read_bytes(), inputs)


def openvino(bundle: bundles.Bundle) -> Runner | None:
    try:
        import openvino as ov
    except ImportError:
        return None
    compiled = ov.Core().compile_model(str(bundle.folder / "model.onnx"), "CPU")
    return lambda feed: [np.array(value) for value in compiled(feed).values()]


def seconds(ways: dict[str, Runner], inputs: list[Feed]) -> dict[str, tuple[float, float]]:
    """Clock and processor of a photograph, by turns; the median of the rounds."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(RUNS + 1):
        for way, run in ways.items():
            begun, worked = time.perf_counter(), time.process_time()
            for feed in inputs if number else inputs[:1]:
                run(feed)
            spent = time.perf_counter() - begun, time.process_time() - worked
            if number:  # the first is not counted
                times[way].append((spent[0] / len(inputs), spent[1] / len(inputs)))
    return {
        way: (float(np.median([a for a, _ in said])), float(np.median([b for _, b in said])))
        for way, said in times.items()
    }


def loss(bundle: bundles.Bundle, run: Runner, plain: Runner, inputs: list[Feed]) -> float:
    output = bundle.card.outputs[0]
    differences = []
    for feed in inputs:
        ours, theirs = (probability(output, r(feed)[0]) for r in (run, plain))
        differences.append(float(np.abs(ours - theirs).mean()))
    return float(np.mean(differences))


def drive() -> None:
    """Dice of the vessels in DRIVE's photographs, in single precision and in int8."""
    plain = bundles.load("retina-vessels")
    model = int8(plain, feeds(plain))
    small = Bundle(plain.card, plain.folder)
    small._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    root = data_folder() / "drive"
    said: dict[str, list[float]] = {"float32": [], "int8": []}
    for photo in sorted((root / "images").iterdir()):
        case = io.load(photo)
        truth = np.asarray(Pillow.open(root / f"vessels/{photo.stem}.png").convert("L")) > 127
        field = np.asarray(Pillow.open(root / f"fov/{photo.stem}.png").convert("L")) > 127
        for way, bundle in zip(said, (plain, small), strict=True):
            mask = predict(bundle, case).masks["vessel"]
            said[way].append(metrics.dice(truth, mask, within=field) or 0.0)
    lost = [a - b for a, b in zip(said["int8"], said["float32"], strict=True)]
    for name, values in {**said, "int8 less float32": lost}.items():
        done = metrics.bootstrap_mean(values, seed=1)
        print(f"{name}: {np.mean(values):.4f} ({done.low:.4f} to {done.high:.4f})")


def main(names: list[str]) -> None:
    if names == ["--dice"]:
        drive()
        return
    print("| bundle | runtime | s, clock | s, processor | faster by: clock | processor | loss |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        bundle = bundles.load(name)
        inputs = feeds(bundle)
        plain = onnx_runtime((bundle.folder / "model.onnx").read_bytes())
        ways: dict[str, Runner] = {
            "ONNX Runtime, float32": plain,
            "ONNX Runtime, int8": onnx_runtime(int8(bundle, inputs)),
        }
        if (other := openvino(bundle)) is not None:
            ways["OpenVINO, float32"] = other
        spent = seconds(ways, inputs)
        base = spent["ONNX Runtime, float32"]
        for way, (clock, worked) in spent.items():
            lost = loss(bundle, ways[way], plain, inputs)
            print(
                f"| {name} | {way} | {clock:.3f} | {worked:.3f} | {base[0] / clock:.2f} | "
                f"{base[1] / worked:.2f} | {lost:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:] or list(bundles.names()))
