"""Do maps from inside a 3-D network point at what it was taught to see?

    python benchmarks/inside_maps.py FOLDER [--volumes 300] [--steps 400] [--methods grad-cam ...]

Volumes of the phantom of lung nodules (``recipes/cohorts/make_nodule_phantom.py``, numbers from
1000 on) are cut to 40 x 38 x 38 mm: of each volume one cut that holds one nodule whole, and one
that holds none; vessels run through both. ``osler fit`` teaches a 3-D network to say which is
which, and never where. Then the maps that ``osler explain`` makes of its "yes" are held against the
nodule, on volumes of the fold that neither taught nor tuned:

- *share*: of the heat above 0, what lies in the nodule. Chance is the nodule's share of the volume;
- *hit*: the hottest voxel lies at most `NEAR` mm from the nodule (the pointing game of Zhang et
  al., IJCV 2018). Chance is the share of voxels that do;
- *AUROC*: a voxel of the nodule is hotter than one beside it. Chance is 0.5.

The same of the same networks with all weights drawn anew, and of the picture's own brightness,
which vessels share. Intervals are 95 %, percentile bootstraps over volumes. What was measured is
kept in FOLDER/inside-maps.json.
"""

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

import osler
from osler import bundles, metrics
from osler.explain.explaining import positive
from osler.explain.inside.drawn_anew import cascade
from osler.explain.inside.network import map_of
from osler.explain.inside.trained import on_trained
from osler.explain.occlusion import occlusion
from osler.io.nifti_out import write_nifti
from osler.learn.opening import network_of
from osler.record import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes" / "cohorts"))
from make_nodule_phantom import SPACING, volume

FIRST = 1000  # numbers below are those of the recipe's volumes
CUT = np.array([32, 48, 48])
FOLDS = 5
NEAR = 5.0  # mm: the longest side of a cell of the network's last map
METHODS = (
    "grad-cam", "grad-cam++", "layer-cam", "score-cam",
    "integrated-gradients", "gradient-times-input", "smooth-grad", "occlusion",
)  # fmt: skip
FIGURES = ("share", "hit", "AUROC")


def cuts(number: int) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Values and the box of the nodule, with (``yes``) and without (``no``) one."""
    values, cells = volume(number)
    rng = np.random.default_rng((FIRST, number))
    boxes = np.array([[int(n) for n in one.split(";")] for one in cells]).reshape(-1, 6)
    found: dict[str, tuple[np.ndarray, list[int]]] = {}
    for _ in range(400):
        start = rng.integers(0, np.array(values.shape) - CUT + 1)
        stop = start + CUT
        met = np.all((boxes[:, :3] < stop) & (boxes[:, 3:] > start), axis=1)
        whole = np.all((boxes[:, :3] >= start) & (boxes[:, 3:] <= stop), axis=1)
        kind = {0: "no", 1: "yes" if whole.any() else ""}.get(int(met.sum()), "")
        if kind and kind not in found:
            part = values[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
            box = boxes[met][0] - np.tile(start, 2) if kind == "yes" else np.array([], int)
            found[kind] = part, box.tolist()
    return found


def make(folder: Path, volumes: int) -> None:
    """Write cuts and their cohort, unless they are there."""
    if (folder / "cohort.csv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = SPACING
    affine[3, 3] = 1
    rows = []
    for number in range(FIRST, FIRST + volumes):
        for kind, (values, _) in cuts(number).items():
            name = f"{number}-{kind}"
            array = values.astype(np.int16)[None]
            image = Image("ct", array, "CT", spacing=tuple(SPACING.tolist()), affine=affine)
            write_nifti(image, folder / f"{name}.nii.gz")
            rows.append([name, str(number), number % FOLDS, f"{name}.nii.gz", kind])
    with (folder / "cohort.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["case_id", "patient_id", "fold", "ct", "label:nodule"])
        writer.writerows(rows)


def recipe(folder: Path, steps: int) -> dict[str, object]:
    return {
        "name": "nodule-or-none",
        "task": "classification",
        "cohort": str(folder / "cohort.csv"),
        "settings": {
            "image": {
                "items": ["ct"], "size": CUT.tolist(),
                "intensity": {
                    "method": "clip", "range": [-1000, 200], "mean": -800, "deviation": 200
                },
            },
            "target": "nodule",
            "labels": ["no", "yes"],
        },
        "network": {
            "name": "densenet-121",
            "options": {"start": 16, "growth": 12, "blocks": [6], "bottleneck": 2},
        },
        "learner": {
            "steps": steps, "batch": 12, "rate": 0.004, "warmup": 30, "ema": 0.98,
            "validate_every": max(1, steps // 4), "precision": "float32", "seed": 1,
        },
        "augment": {"flip": {}, "noise": {}, "brightness": {}},
    }  # fmt: skip


def nodule(box: list[int]) -> np.ndarray:
    """The voxels of the ball that fills a box."""
    start, stop = np.array(box[:3]), np.array(box[3:])
    index = np.stack(np.meshgrid(*map(np.arange, CUT), indexing="ij"), axis=-1) + 0.5
    away = (index - (start + stop) / 2) / ((stop - start) / 2)
    return np.asarray((away**2).sum(axis=-1) <= 1)


def measured(heat: np.ndarray, inside: np.ndarray, near: np.ndarray) -> list[float]:
    """Share, hit and AUROC of one map; a map without heat points nowhere."""
    total = float(heat.sum())
    if total <= 0:
        return [0.0, 0.0, 0.5]
    top = np.flatnonzero(heat == heat.max())
    auroc = metrics.auroc(inside.ravel(), heat.ravel())
    return [
        float(heat[inside].sum()) / total,
        float(near.ravel()[top].mean()),  # of several hottest voxels, the share
        float(auroc if auroc is not None else np.nan),
    ]


def one_map(subject, method: str, net=None, seed: int = 0) -> np.ndarray:
    """A map in the grid of the file, what speaks for the answer alone."""
    if method == "occlusion":
        from osler.explain.inside.network import score_of

        score = subject.score if net is None else score_of(net, subject.target)
        values = occlusion(
            score, subject.image, absent=subject.absent,
            window=subject.window, stride=subject.stride,
        )  # fmt: skip
    else:
        values = map_of(subject, method, None, net=net)[0]
    return np.asarray(positive(np.asarray(subject.home(values), np.float32)), np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--volumes", type=int, default=300)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    begun = time.process_time()
    make(folder / "cuts", asked.volumes)
    run = osler.fit(recipe(folder / "cuts", asked.steps), out=folder / "run", resume=True)
    taught = time.process_time() - begun
    bundle = bundles.load(run.bundle)
    net = network_of(bundle)
    rows: dict[str, list[list[float]]] = {}
    missed, names = 0, []
    for number in range(FIRST, FIRST + asked.volumes, FOLDS):  # the fold that tests
        _, box = cuts(number).get("yes", (None, []))
        if not box:
            continue
        name = f"{number}-yes"
        case = osler.load(folder / "cuts" / f"{name}.nii.gz")
        subject = on_trained(bundle, net, case)
        if not subject.label.endswith("=yes"):
            missed += 1
            continue
        names.append(name)
        inside = nodule(box)
        near = ndimage.distance_transform_edt(~inside, sampling=SPACING) <= NEAR
        rows.setdefault("chance", []).append([float(inside.mean()), float(near.mean()), 0.5])
        bright = np.clip(subject.home(subject.image[0]) - subject.image.min(), 0, None)
        rows.setdefault("brightness", []).append(measured(bright, inside, near))
        (_, random), *_ = cascade(subject.net, stages=1, seed=len(names))
        for method in asked.methods:
            for kind, other in (("", None), (", random weights", random)):
                try:
                    found = measured(one_map(subject, method, other), inside, near)
                except osler.errors.RecipeError:  # no layer that the answer depends on
                    found = [0.0, 0.0, 0.5]
                rows.setdefault(method + kind, []).append(found)
    groups = [name.split("-")[0] for name in names]
    kept: dict[str, object] = {
        "nodules": len(names), "missed": missed, "figures of the network": run.metrics,
        "processor_minutes_teaching": round(taught / 60, 1), "rows": rows, "cases": names,
    }  # fmt: skip
    print(f"{len(names)} nodules called such, {missed} missed; {taught / 60:.1f} minutes to teach")
    for figure in run.metrics:
        print(f"  {figure['name']}: {figure['value']:.3f} ({figure['low']}, {figure['high']})")
    for key, found in rows.items():
        said = []
        for figure, column in zip(FIGURES, np.array(found).T, strict=True):
            spread = metrics.bootstrap_mean(column, seed=1, groups=groups)
            said.append(f"{figure} {column.mean():.3f} ({spread.low:.3f} to {spread.high:.3f})")
        print(f"{key:40} " + "  ".join(said))
    (folder / "inside-maps.json").write_text(json.dumps(kept, default=str, indent=1) + "\n")


if __name__ == "__main__":
    main()
