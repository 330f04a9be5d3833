"""Accuracy, size and milliseconds of some bundles of one recipe, and of each in 8 bits.

    python benchmarks/edge.py RECIPE NAME=RUN [NAME=RUN ...] [--cases 300] [--out FILE]

Each RUN is the folder of an ``osler fit``. Its graph answers the cases that test, one at a time on
one thread; ``in 8 bits`` is the same graph after ONNX Runtime's static quantisation on cases that
taught, of runs that were not trained on the 8-bit grid. Sizes are those of ``model.onnx`` and of
the same file compressed.
"""

import argparse
import json
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from osler import bundles
from osler.bundles.answering import task_of
from osler.learn.eight_bit import eight_bits
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.teaching import cohort_of, divide, encode_rows
from osler.tasks.task import Sample, Task

FIGURES = ("macro AUROC", "accuracy", "negative log-likelihood")
CALIBRATE = 64


def row(task: Task, graph: bytes, samples: list[Sample]) -> dict[str, Any]:
    """What a graph reaches, and at what price."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    spent: list[float] = []

    def predict(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        begun = time.perf_counter()
        said = session.run(names, inputs)
        spent.append(time.perf_counter() - begun)
        return dict(zip(names, said, strict=True))

    rows = [task.judge(task.calibrated(task.run(predict, one)), one) for one in samples]
    figures = task.figures(rows, [one.patient for one in samples], seed=1, replicates=500)
    return {
        **{
            one.name: [None if v is None else round(float(v), 4)
                       for v in (one.interval.value, one.interval.low, one.interval.high)]
            for one in figures if one.name in FIGURES
        },
        "bytes": len(graph),
        "bytes compressed": len(zlib.compress(graph, 9)),
        "milliseconds": round(1000 * float(np.median(spent)), 3),
    }  # fmt: skip


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    recipe, _ = check_recipe(read_yaml(asked.recipe), asked.recipe)
    table: dict[str, Any] = {}
    samples: list[Sample] = []
    taught: list[Sample] = []
    for said in asked.runs:
        name, _, place = said.partition("=")
        bundle = bundles.load(Path(place) / "bundle")
        task = task_of(bundle.card)
        if not samples:
            cohort = cohort_of(recipe, asked.recipe, folder=Path(place) / "cohort")
            teach, _, test = divide(cohort, recipe)
            order = np.random.default_rng(1)
            some = [test[n] for n in sorted(order.permutation(len(test))[: asked.cases])]
            few = [teach[n] for n in sorted(order.permutation(len(teach))[:CALIBRATE])]
            samples = encode_rows(some, cohort, task, keep_case=True)
            taught = encode_rows(few, cohort, task, keep_case=False)
        graph = (bundle.folder / "model.onnx").read_bytes()
        table[name] = row(task, graph, samples)
        print(name, table[name], flush=True)
        if b"QuantizeLinear" not in graph:
            feeds = ({k: v[None] for k, v in one.inputs.items()} for one in taught)
            small = eight_bits(
                graph, feeds, operators=("Conv", "MatMul", "Gemm"), reduce_range=True
            )
            table[f"{name}, in 8 bits"] = row(task, small, samples)
            print(f"{name}, in 8 bits", table[f"{name}, in 8 bits"], flush=True)
    if asked.out is not None:
        record = {"cases": len(samples), "bundles": table}
        asked.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
