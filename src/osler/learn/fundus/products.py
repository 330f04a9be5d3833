"""From training to what a bundle is made of, a function a task."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from osler import metrics
from osler.data.cohort import read_cohort
from osler.learn.export import export_onnx, largest_difference
from osler.learn.fundus import grading as learn_grades
from osler.learn.fundus import quality as learn_quality
from osler.learn.fundus.canvases import read_rgb
from osler.learn.fundus.evaluate import REPLICATES, calibrate_pixels, evaluate, platt, rules
from osler.learn.fundus.fitting import Product
from osler.learn.fundus.recipe import Recipe
from osler.learn.fundus.segment import figures, learn_segmentation, split
from osler.models.grader import LesionFeatures
from osler.record import vocab
from osler.tasks.canvas_masks import encode
from osler.tasks.field import find_field

_CHANNELS = ["red", "green", "blue", "field"]
_CODES = {
    "vessel": vocab.BLOOD_VESSEL,
    "artery": vocab.ARTERY,
    "vein": vocab.VEIN,
    "optic disc": vocab.OPTIC_DISC,
    "optic cup": vocab.OPTIC_CUP,
    "fovea": vocab.FOVEA,
    "microaneurysm": vocab.MICROANEURYSM,
    "haemorrhage": vocab.HAEMORRHAGE,
    "hard exudate": vocab.HARD_EXUDATE,
    "soft exudate": vocab.SOFT_EXUDATE,
}


def segmentation(recipe: Recipe, path: Path, folder: Path, resume: bool) -> Product:
    """Train a segmentation network; export it with its thresholds and its figures."""
    trained = learn_segmentation(recipe, path, folder=folder, resume=resume)
    net = trained.net
    _, held = split(trained.drawn, recipe.learner.hold)
    cut = rules(recipe, figures(net, held, recipe) if held else {})
    calibration = calibrate_pixels(net, held, recipe)
    measured = evaluate(net, held, recipe, cut, calibration) if held else []
    net = trained.final
    names = ["scores"]
    if recipe.options.get("features"):
        net = LesionFeatures(net).eval()  # type: ignore[arg-type]
        names.append("cells")
    graph = export_onnx(net, {"image": torch.rand(1, 4, 256, 320)}, outputs=names, step=32)
    real = [
        {"image": case.image[None].astype(np.float32) / 255} for case in (held or trained.drawn)
    ]
    labels = [
        {
            "name": target.name,
            "code": _code(target.name),
            "threshold": None if rule.threshold is None else round(rule.threshold, 3),
            "min_area": target.min_area or None,
            "single": target.single,
            "thin": target.thin,
        }
        for target, rule in zip(recipe.targets, cut, strict=True)
    ]
    if recipe.exclusive:
        labels.insert(0, {"name": "background"})
    outputs: list[dict[str, Any]] = [
        {
            "name": "scores",
            "activation": "softmax" if recipe.exclusive else "sigmoid",
            "labels": labels,
            "calibration": calibration,
            "vote": "segment" if recipe.exclusive else "pixel",
            "divides": recipe.options.get("divides"),
            "description": "a score for each pixel of the canvas",
        }
    ]
    if len(names) > 1:
        outputs.append({
            "name": "cells", "activation": "none",
            "description": "features of each 32 x 32 pixels, for a grader",
        })  # fmt: skip
    return Product(
        graph=graph,
        card={
            "inputs": [{"name": "image", "channels": _CHANNELS, "multiple": 32}],
            "outputs": outputs,
            "metrics": measured,
            "requires": [divided] if (divided := recipe.options.get("divides")) else [],
        },
        parameters=sum(p.numel() for p in net.parameters()),
        minutes=trained.seconds / 60,
        difference=largest_difference(net, graph, real[:3]),
    )


def _code(name: str) -> dict[str, str] | None:
    code = _CODES.get(name)
    if code is None:
        return None
    return {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def grading(recipe: Recipe, path: Path, folder: Path, resume: bool) -> Product:
    """Train the graders; calibrate them on the folds that each had not seen."""
    begun = time.monotonic()
    learnt = learn_grades.learn_grading(recipe, path)
    np.savez(folder / "left-out-scores.npz", **learnt.scores)
    seen = _lesion_patients(recipe, path)
    fresh = np.array([case.row.patient_id not in seen for case in learnt.cases])
    truth = {
        "grade": np.array([case.grade for case in learnt.cases]),
        "oedema": np.array([case.oedema for case in learnt.cases]),
    }
    truth["referable"] = (truth["grade"] >= learn_grades.REFERABLE).astype(int)
    calibrated = {
        head: _calibrate(truth[head][fresh], learnt.scores[head][fresh], recipe)
        for head in learn_grades.HEADS
    }
    groups = np.array([case.row.patient_id for case in learnt.cases])[fresh]
    measured = _grading_metrics(
        {k: v[fresh] for k, v in truth.items()},
        {k: learnt.scores[k][fresh] for k in learn_grades.HEADS},
        calibrated, groups, recipe,
    )  # fmt: skip
    example = learn_grades.stack([learnt.cases[0].views[0]])
    names = [*learn_grades.HEADS, "attention"]
    graph = export_onnx(learnt.net, {"cells": example}, outputs=names, step=1)
    real = [{"cells": learn_grades.stack([c.views[0]]).numpy()} for c in learnt.cases[:20]]
    labels = {"grade": list("01234"), "referable": ["yes"], "oedema": list("012")}
    outputs: list[dict[str, Any]] = [
        {
            "name": head,
            "activation": "sigmoid" if head == "referable" else "softmax",
            "labels": [
                {"name": name, "threshold": 0.5 if head == "referable" else None}
                for name in labels[head]
            ],
            "calibration": calibrated[head],
        }
        for head in learn_grades.HEADS
    ]
    outputs.append({"name": "attention", "activation": "none",
                    "description": "share of each cell in the grade, sums to 1"})  # fmt: skip
    return Product(
        graph=graph,
        card={
            "inputs": [{
                "name": "cells", "channels": [f"feature {i}" for i in range(example.shape[1])],
                "source": "output", "bundle": "retina-lesions", "output": "cells",
            }],
            "outputs": outputs,
            "requires": ["retina-lesions"],
            "metrics": measured,
        },
        parameters=sum(p.numel() for p in learnt.net.parameters()),
        minutes=(time.monotonic() - begun) / 60,
        difference=largest_difference(learnt.net, graph, real),
    )  # fmt: skip


def _lesion_patients(recipe: Recipe, path: Path) -> set[str]:
    """Patients that taught the lesion network: what it says of them is too good."""
    cohort = read_cohort(path.parent / str(recipe.options.get("lesions", "cohorts/lesions.csv")))
    return {row.patient_id for row in cohort.rows}


def _calibrate(
    truth: NDArray[np.int64], scores: NDArray[np.float64], recipe: Recipe
) -> dict[str, Any]:
    on = (
        f"out-of-fold scores of {len(truth)} photographs of {recipe.cohort} whose patients did "
        "not teach the lesion network"
    )
    if scores.shape[1] == 1:
        return {**platt(truth, scores[:, 0], recipe), "fitted_on": on}
    temperature = metrics.fit_temperature(truth, scores)
    quantile = metrics.conformal_quantile(
        truth, probabilities_of(scores, temperature), coverage=0.9
    )
    return {
        "method": "temperature", "temperature": temperature, "conformal_quantile": quantile,
        "coverage": 0.9, "fitted_on": on,
    }  # fmt: skip


def probabilities_of(scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Softmax of scores ``(N, K)`` divided by a temperature."""
    raised = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _grading_metrics(
    truth: dict[str, NDArray[np.int64]],
    scores: dict[str, NDArray[np.float64]],
    calibrated: dict[str, Any],
    groups: NDArray[Any],
    recipe: Recipe,
) -> list[dict[str, Any]]:
    grade = probabilities_of(scores["grade"], calibrated["grade"]["temperature"])
    oedema = probabilities_of(scores["oedema"], calibrated["oedema"]["temperature"])
    platt = calibrated["referable"]
    logit = scores["referable"][:, 0] / platt["temperature"] + platt["bias"]
    referable = 1 / (1 + np.exp(-logit))
    sets = metrics.conformal_set(grade, quantile=calibrated["grade"]["conformal_quantile"])
    asked: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("macro AUROC, grade", metrics.macro_auroc, (truth["grade"], grade)),
        ("quadratic kappa, grade", _kappa, (truth["grade"], grade)),
        ("AUROC, referable", metrics.auroc, (truth["referable"], referable)),
        ("expected calibration error, referable", metrics.expected_calibration_error,
         (truth["referable"], referable)),
        ("coverage of the 90 % set, grade", metrics.set_coverage, (truth["grade"], sets)),
        ("mean size of the 90 % set, grade", _size, (sets,)),
        ("macro AUROC, macular oedema", metrics.macro_auroc, (truth["oedema"], oedema)),
    ]  # fmt: skip
    out = []
    for name, statistic, arrays in asked:
        interval = metrics.bootstrap_interval(
            statistic, *arrays, seed=1, groups=groups, replicates=REPLICATES
        )
        out.append({
            "name": name, "value": round(float(interval.value or 0), 4),
            "low": round(float(interval.low or 0), 4), "high": round(float(interval.high or 0), 4),
            "level": 0.95, "images": len(groups),
            "data": f"{recipe.cohort}, each photograph by graders that never saw its patient; "
            "without the photographs that taught the lesion network",
            "how": "calibration and conformal quantile fitted on the same out-of-fold scores; "
            f"percentile bootstrap over patients, {REPLICATES} resamples",
        })  # fmt: skip
    return out


def _kappa(truth: Any, probability: Any) -> float | None:
    return metrics.quadratic_kappa(truth, np.argmax(probability, axis=1), count=5)


def _size(sets: Any) -> float | None:
    return metrics.mean_set_size(sets)


def quality(recipe: Recipe, path: Path, folder: Path, resume: bool) -> Product:
    """Train the quality network on photographs that are spoilt on purpose."""
    net, state, figures_ = learn_quality.learn_quality(recipe, path, folder=folder, resume=resume)
    net = learn_quality.Heads(net).eval()
    side = recipe.diameter
    graph = export_onnx(
        net, {"image": torch.rand(1, 4, side, side + 32)},
        outputs=["photograph", "quality", "defects"], step=32,
    )  # fmt: skip
    rows = read_cohort(path.parent / recipe.cohort).rows[:3]
    photos = [read_rgb(row.items[recipe.item]) for row in rows]
    real = [{"image": encode(p, find_field(p), diameter=side)[0]} for p in photos]
    names = {
        "photograph": ["fundus photograph"],
        "quality": list(learn_quality.GRADES),
        "defects": list(learn_quality.DEFECTS),
    }
    return Product(
        graph=graph,
        card={
            "inputs": [{"name": "image", "channels": _CHANNELS, "multiple": 32}],
            "outputs": [
                {
                    "name": name,
                    "activation": "softmax" if name == "quality" else "sigmoid",
                    "labels": [{"name": label, "threshold": None if name == "quality" else 0.5}
                               for label in labels],
                }
                for name, labels in names.items()
            ],
            "metrics": figures_,
        },
        parameters=sum(p.numel() for p in net.parameters()),
        minutes=state.seconds / 60,
        difference=largest_difference(net, graph, real),
    )  # fmt: skip
