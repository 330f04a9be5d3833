"""What several inputs of a patient add to one: single inputs, pairs, all, and every subset missing.

    python benchmarks/fusion.py odir            both eyes, age and sex to eight diseases
    python benchmarks/fusion.py intensive-care  chest X-ray, age, laboratory, note
    python benchmarks/fusion.py survival        the same
    python benchmarks/fusion.py intensive-care --notes   with the note, without it, and masked; runs
        of --note none and --note whole first
    python benchmarks/fusion.py intensive-care --encoders   the masked note counted, and by encoders
    python benchmarks/fusion.py odir --show     figures of what was kept, without training

Five folds of patients. Each network is trained on four of them for a number of steps that was set
beforehand, and asked once about the fifth. Areas under the ROC curve are of all five folds' answers
together, ranked within their fold; intervals are 95 %, of 1000 bootstrap samples of patients, the
same for all that is compared. Scores are kept in ``--work``, so a run that was stopped goes on.
"""

import argparse
import csv
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
FOLDS, REPLICATES, WIDTH, DROPOUT = 5, 1000, 32, 0.3
WAYS = ("late", "early", "gated", "cross-attention", "shared-encoder")
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Inputs:
    """One named input of all rows.

    Attributes:
        spec: as the network takes it.
        fold: arrays ``(N, ...)`` from the rows that teach, so that scales and words are theirs.
        present: ``(N,)``, where it is there.
    """

    spec: dict[str, Any]
    fold: Callable[[NDArray[np.bool_]], Array]
    present: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Study:
    """A question and its patients.

    Attributes:
        inputs: by name.
        labels: names of what is answered.
        truth: ``(N, L)``, 0 or 1.
        patient: of each row.
        asked: which rows are judged: one a patient.
        table: names of the inputs that the regression reads.
        notes: what a reader must know.
        steps, batch: of each training.
    """

    inputs: dict[str, Inputs]
    labels: list[str]
    truth: NDArray[np.float32]
    patient: NDArray[np.str_]
    asked: NDArray[np.bool_]
    table: list[str]
    notes: dict[str, Any]
    steps: int = 250
    batch: int = 16


def odir(data: Path, size: int = 64) -> Study:
    """Both eyes, age and sex. The diagnostic keywords made the labels, so they are no input."""
    rows = _rows(data / "odir/patients.csv")
    labels = [
        "normal",
        "diabetes",
        "glaucoma",
        "cataract",
        "amd",
        "hypertension",
        "myopia",
        "other",
    ]
    eyes = {
        side: _pictures([data / "odir" / row[f"{side}_image"] for row in rows], size, "RGB")
        for side in ("left", "right")
    }
    age = _number([row["age"] for row in rows])
    inputs = {
        "left": _images(eyes["left"]),
        "right": _images(eyes["right"]),
        "age": _table({"age": age}, "number"),
        "sex": _category([row["sex"] for row in rows]),
    }
    truth = np.array([[float(row[name]) for name in labels] for row in rows], np.float32)
    patient = np.array([row["patient_id"] for row in rows])
    notes = {
        "patients": len(rows),
        "positive": dict(zip(labels, truth.sum(0).tolist(), strict=True)),
    }
    asked = np.ones(len(rows), bool)
    return Study(inputs, labels, truth, patient, asked, ["age", "sex"], notes)


_OUTCOME = re.compile(
    r"\b(died|dead|deaths?|deceased|demise|fatal\w*|passed away|mortal\w*|expired|surviv\w*"
    r"|discharg\w*|recover\w*|icu|itu|intensive|critical care|intubat\w*|extubat\w*|ventilat\w*"
    r"|ecmo|niv|cpap|tube|tracheo\w*|deteriorat\w*|worsen\w*|absorbed|resol\w*|follow[- ]?up)\b",
    re.IGNORECASE,
)  # fmt: skip
_TESTS = ("temperature", "pO2_saturation", "neutrophil_count", "lymphocyte_count")


def chest(
    data: Path, target: str, *, note: str = "masked", size: int = 64, encoder: str | None = None
) -> Study:
    """A chest X-ray, age, laboratory values and a note, to what became of the patient.

    All frontal images of a patient teach; the earliest is asked about. Sentences of the note that
    tell the outcome or a treatment that follows from it are left out (``masked``).
    """
    rows = [
        row
        for row in _rows(data / "cxr-outcomes/images.csv")
        if row[target] in ("Y", "N") and row["view"] != "L"
    ]
    patient = np.array([row["patientid"] for row in rows])
    known = {}
    for row in rows:  # a patient has one answer: the worst that is written
        worst = ("N" if target == "survival" else "Y") == row[target]
        known[row["patientid"]] = known.get(row["patientid"], False) or worst
    truth = np.array([[float(known[one])] for one in patient], np.float32)
    day = np.array([float(row["offset"] or 0) for row in rows])
    asked = np.zeros(len(rows), bool)
    for one in dict.fromkeys(patient):
        own = np.flatnonzero(patient == one)
        asked[own[np.argmin(day[own])]] = True
    texts = [row["clinical_notes"] for row in rows]
    told = [bool(_OUTCOME.search(text)) for text in texts]
    if note == "masked":
        texts = [_without_outcome(text) for text in texts]
    inputs = {
        "image": _images(
            _pictures([data / "cxr-outcomes" / row["image"] for row in rows], size, "L")
        ),
        "age": _table({"age": _number([row["age"] for row in rows])}, "number"),
        "laboratory": _table(
            {name: _number([row[name] for row in rows]) for name in _TESTS}, "table"
        ),
    }
    if note != "none":
        inputs["note"] = _sentences(texts, encoder) if encoder else _text(texts, patient)
    there = {name: int(one.present[asked].sum()) for name, one in inputs.items()}
    notes = {
        "patients": int(asked.sum()),
        "images": len(rows),
        "positive": float(truth[asked].sum()),
        "patients with": there,
        "notes that tell the outcome, of patients asked": int(np.array(told)[asked].sum()),
        "note": note,
    }
    label = "death" if target == "survival" else "intensive care"
    return Study(inputs, [label], truth, patient, asked, ["age", "laboratory"], notes, steps=100)


def _without_outcome(text: str) -> str:
    kept = [one for one in re.split(r"(?<=[.;!?])\s+", text) if not _OUTCOME.search(one)]
    return " ".join(kept)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return list(csv.DictReader(file))


def _number(said: Sequence[str]) -> Array:
    return np.array([float(one) if one else np.nan for one in said], np.float32)


def _pictures(paths: Sequence[Path], size: int, mode: str) -> Array:
    """``(N, C, size, size)``, 0 to 1."""
    from PIL import Image

    out = []
    for path in paths:
        with Image.open(path) as image:
            small = image.convert(mode).resize((size, size), Image.Resampling.BILINEAR)
        out.append(np.atleast_3d(np.asarray(small, np.float32)).transpose(2, 0, 1) / 255)
    return np.stack(out)


def _images(pictures: Array) -> Inputs:
    size = list(pictures.shape[2:])
    spec = {"kind": "image", "channels": pictures.shape[1], "size": size}

    def fold(teach: NDArray[np.bool_]) -> Array:
        mean = pictures[teach].mean((0, 2, 3), keepdims=True)
        return (pictures - mean) / pictures[teach].std((0, 2, 3), keepdims=True)

    return Inputs(spec, fold, np.ones(len(pictures), bool))


def _table(columns: dict[str, Array], kind: str) -> Inputs:
    values = np.stack(list(columns.values()), axis=1)
    known = ~np.isnan(values)

    def fold(teach: NDArray[np.bool_]) -> Array:
        own = np.where(teach[:, None] & known, values, np.nan)
        some = known[teach].any(0)
        mean, spread = np.zeros(values.shape[1]), np.ones(values.shape[1])
        mean[some], spread[some] = np.nanmean(own[:, some], 0), np.nanstd(own[:, some], 0)
        scaled = (values - mean) / np.maximum(spread, 1e-3)
        return np.concatenate([np.where(known, scaled, 0), known], axis=1).astype(np.float32)

    spec = {"kind": kind, "channels": 2 * values.shape[1], "size": []}
    return Inputs(spec, fold, known.any(1))


def _category(said: Sequence[str]) -> Inputs:
    names = sorted(set(said) - {""})
    hot = np.array([[float(one == name) for name in names] for one in said], np.float32)
    known = np.repeat(hot.sum(1, keepdims=True), len(names), 1)
    both = np.concatenate([hot, known], axis=1)
    spec = {"kind": "category", "channels": both.shape[1], "size": []}
    return Inputs(spec, lambda teach: both, hot.any(1))


def _text(texts: Sequence[str], patient: NDArray[np.str_], most: int = 256) -> Inputs:
    """Which words a text has, of those that most patients who teach have: two of them at least."""
    words = [set(re.findall(r"[a-z]{3,}", text.lower())) for text in texts]

    def fold(teach: NDArray[np.bool_]) -> Array:
        having: dict[str, set[str]] = {}
        for row in np.flatnonzero(teach):
            for word in words[row]:
                having.setdefault(word, set()).add(patient[row])
        ranked = sorted(having, key=lambda word: (-len(having[word]), word))
        kept = [word for word in ranked if len(having[word]) > 1][:most]
        out = np.zeros((len(texts), most), np.float32)
        for row, own in enumerate(words):
            out[row, : len(kept)] = [word in own for word in kept]
        return out / np.sqrt(np.maximum(out.sum(1, keepdims=True), 1))

    there = np.array([bool(own) for own in words])
    return Inputs({"kind": "text", "channels": most, "size": []}, fold, there)


def _sentences(texts: Sequence[str], encoder: str) -> Inputs:
    """The vector of a text by an encoder that is not taught, as a fused input of kind text."""
    from osler.models.text_encoder import clean, open_text_encoder

    opened = open_text_encoder(encoder)
    there = np.array([bool(clean(one)) for one in texts])
    out = np.zeros((len(texts), opened.dim), np.float32)
    out[there] = opened.encode([one for one, known in zip(texts, there, strict=True) if known])
    return Inputs({"kind": "text", "channels": opened.dim, "size": []}, lambda teach: out, there)


def folds(study: Study, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each row: patients at random, the rarer answers spread evenly."""
    rng = np.random.default_rng(seed)
    patients = np.array(sorted(set(study.patient)))
    first = {one: study.truth[study.patient == one].max(0) for one in patients}
    rarity = study.truth.sum(0)
    key = [min([*rarity[first[one] > 0], np.inf]) for one in patients]
    order = np.lexsort((rng.permutation(len(patients)), key))
    number = {patients[place]: rank % FOLDS for rank, place in enumerate(order)}
    return np.array([number[one] for one in study.patient])


def trained(
    study: Study, names: Sequence[str], way: str, teach: NDArray[np.bool_], seed: int
) -> Any:
    """A network on some inputs, and its arrays."""
    import torch
    from torch.nn import functional

    from osler.models.fusion import Fusion

    torch.manual_seed(seed)
    arrays = [torch.from_numpy(study.inputs[name].fold(teach)).float() for name in names]
    present = torch.from_numpy(np.stack([study.inputs[name].present for name in names], 1)).float()
    truth = torch.from_numpy(study.truth)
    net = Fusion(
        inputs=[{"name": name, **study.inputs[name].spec} for name in names],
        labels=len(study.labels), strategy=way, width=WIDTH, share=True,
        input_dropout=DROPOUT if len(names) > 1 else 0.0,
    ).train()  # fmt: skip
    share = truth[torch.from_numpy(teach)].mean(0).clamp(0.01, 0.99)
    net.prior.data = share.logit()
    slow = [p for name, p in net.named_parameters() if p.ndim < 2]
    fast = [p for name, p in net.named_parameters() if p.ndim >= 2]
    groups = [{"params": fast, "weight_decay": 0.05}, {"params": slow, "weight_decay": 0.0}]
    steering = torch.optim.AdamW(groups, lr=2e-3)
    slope = torch.optim.lr_scheduler.OneCycleLR(steering, 2e-3, study.steps, pct_start=0.15)
    for rows in _batches(np.flatnonzero(teach), study, seed):
        place = torch.from_numpy(rows)
        given = [_changed(array[place]) if array.ndim == 4 else array[place] for array in arrays]
        scores = net(*given, present[place])
        loss = functional.binary_cross_entropy_with_logits(scores, truth[place])
        steering.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        steering.step()
        slope.step()
    return net.eval(), arrays, present


def _batches(rows: NDArray[np.int64], study: Study, seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows of each step: patients drawn once before any twice, one row of each at random."""
    rng = np.random.default_rng(seed)
    own = {one: rows[study.patient[rows] == one] for one in dict.fromkeys(study.patient[rows])}
    waiting: list[Any] = []
    for _ in range(study.steps):
        if len(waiting) < study.batch:
            waiting += list(rng.permutation(list(own)))
        now, waiting = waiting[: study.batch], waiting[study.batch :]
        yield np.array([rng.choice(own[one]) for one in now])


def _changed(pictures: Any) -> Any:
    """Mirrored by chance, a little brighter or darker, moved by up to a sixteenth."""
    import torch

    mirrored = torch.rand(len(pictures)) < 0.5
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
    gain = 1 + 0.2 * (torch.rand(len(pictures), 1, 1, 1) - 0.5)
    shift = 0.4 * (torch.rand(len(pictures), 1, 1, 1) - 0.5)
    far = pictures.shape[3] // 16
    down, right = (int(one) for one in torch.randint(-far, far + 1, (2,)))
    return pictures.mul(gain).add(shift).roll((down, right), (2, 3))


def regression(study: Study, names: Sequence[str], fold: NDArray[np.int64]) -> Array:
    """Logistic regression on values and on which are known, answers of the fold left out."""
    from sklearn.linear_model import LogisticRegression

    out = np.zeros(study.truth.shape, np.float32)
    for number in range(FOLDS):
        teach, test = fold != number, fold == number
        x = np.concatenate([study.inputs[name].fold(teach) for name in names], axis=1)
        for label in range(len(study.labels)):
            model = LogisticRegression(C=1.0, max_iter=1000)
            model.fit(x[teach], study.truth[teach, label])
            out[test, label] = model.decision_function(x[test])
    return out


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    return [one for count in range(1, len(names) + 1) for one in combinations(names, count)]


def answers(
    study: Study, fold: NDArray[np.int64], names: Sequence[str], way: str, work: Path
) -> dict[str, Array]:
    """Of each subset of the inputs, the log odds ``(N, L)`` that the network says with it alone."""
    import torch

    file = work / f"{way}-{'+'.join(names)}.npz"
    if file.is_file():
        with np.load(file) as kept:
            return dict(kept)
    wanted = subsets(names) if len(names) > 2 else [tuple(names)]
    out = {"+".join(one): np.zeros(study.truth.shape, np.float32) for one in wanted}
    begun = time.process_time()
    for number in range(FOLDS):
        net, arrays, present = trained(study, names, way, fold != number, seed=number)
        test = torch.from_numpy(np.flatnonzero((fold == number) & study.asked))
        for one in wanted:
            mask = torch.tensor([float(name in one) for name in names])
            with torch.inference_mode():
                said = net(*(array[test] for array in arrays), present[test] * mask)
            out["+".join(one)][test.numpy()] = said.numpy()
    print(f"{file.stem}: {time.process_time() - begun:.0f} s", flush=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **out)
    return out


def ranked(scores: Array, fold: NDArray[np.int64]) -> Array:
    """Scores as shares of their fold that lie below, so that folds can be judged together."""
    from scipy.stats import rankdata

    out = np.zeros(scores.shape, np.float64)
    for number in range(FOLDS):
        out[fold == number] = rankdata(scores[fold == number], axis=0) / (fold == number).sum()
    return out


def auroc(truth: NDArray[Any], scores: NDArray[Any]) -> float:
    """The mean over the labels of the area under the ROC curve; those of one class are left out."""
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    positive = truth.sum(0)
    negative = len(truth) - positive
    good = (positive > 0) & (negative > 0)
    above = (ranks * truth).sum(0) - positive * (positive + 1) / 2
    return float(np.mean(above[good] / (positive * negative)[good])) if good.any() else np.nan


def judged(
    study: Study, fold: NDArray[np.int64], said: dict[str, Array], bases: Sequence[str]
) -> dict[str, Any]:
    """Of each, its figure with an interval, and the differences to ``bases`` with theirs."""
    rows = np.flatnonzero(study.asked)
    truth = study.truth[rows]
    scores = {name: ranked(one[rows], fold[rows]) for name, one in said.items()}
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, len(rows), len(rows)) for _ in range(REPLICATES)]
    drawn = {
        name: np.array([auroc(truth[draw], one[draw]) for draw in draws])
        for name, one in scores.items()
    }
    out = {}
    for name, one in scores.items():
        figure = auroc(truth, one)
        entry: dict[str, Any] = {"auroc": _three(figure, drawn[name])}
        for base in bases:
            if name != base:
                away = figure - auroc(truth, scores[base])
                entry[f"minus {base}"] = _three(away, drawn[name] - drawn[base])
        out[name] = entry
    return out


def _three(value: float, drawn: NDArray[np.float64]) -> list[float]:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return [round(float(one), 4) for one in (value, low, high)]


def run(study: Study, work: Path, ways: Sequence[str], minutes: float) -> dict[str, Any]:
    """All comparisons of a study.

    Args:
        study: the study.
        work: where scores are kept.
        ways: the first is used throughout, the others for all inputs.
        minutes: none is begun after as many of processor time; what is left out is said.
    """
    fold = folds(study)
    names = list(study.inputs)
    table = "regression on " + "+".join(study.table)
    said = {table: regression(study, study.table, fold)}
    with_note = [name for name in names if study.inputs[name].spec["kind"] == "text"]
    if with_note:
        every = [*study.table, *with_note]
        said["regression on " + "+".join(every)] = regression(study, every, fold)
    wanted = [(names, ways[0])]
    wanted += [([name], ways[0]) for name in names]
    wanted += [(names, way) for way in ways[1:]]
    wanted += [(list(pair), ways[0]) for pair in combinations(names, 2)]
    left = []
    for some, way in wanted:
        title = f"{way}: {'+'.join(some)}"
        if (
            time.process_time() > 60 * minutes
            and not (work / f"{way}-{'+'.join(some)}.npz").is_file()
        ):
            left.append(title)
            continue
        for given, scores in answers(study, fold, some, way, work).items():
            whole = given == "+".join(some)
            said[title if whole else f"{title}, given {given}"] = scores
    if len(names) > 2 and f"{ways[0]}: {names[0]}" in said:
        single = [f"{ways[0]}: {name}" for name in names if f"{ways[0]}: {name}" in said]
        said["mean of single networks' log odds"] = np.mean([said[one] for one in single], axis=0)
    return {
        "study": study.notes, "labels": study.labels, "folds": FOLDS, "replicates": REPLICATES,
        "steps": study.steps, "batch": study.batch, "width": WIDTH, "input_dropout": DROPOUT,
        "not run": left, "figures": judged(study, fold, said, [table, f"{ways[0]}: {names[0]}"]),
    }  # fmt: skip


def notes(data: Path, target: str, work: Path, title: str) -> dict[str, Any]:
    """What the note adds: all inputs with it as it stands, masked, and without, as kept in work."""
    study = chest(data, target)
    fold = folds(study)
    said = {}
    for kind in ("none", "masked", "whole"):
        names = [name for name in study.inputs if kind != "none" or name != "note"]
        folder = work / (title if kind == "masked" else f"{title}-{kind}")
        said[f"note: {kind}"] = answers(study, fold, names, "late", folder)["+".join(names)]
        if kind != "none":
            said[f"note alone: {kind}"] = answers(study, fold, ["note"], "late", folder)["note"]
    bases = ["note: none", "note alone: masked", "note: masked"]
    return {"study": study.notes, "figures": judged(study, fold, said, bases)}


def encoders(data: Path, target: str, work: Path, title: str) -> dict[str, Any]:
    """The masked note counted and read by encoders, alone and beside all other inputs."""
    said = {}
    for kind in (None, "words", "minilm"):
        study = chest(data, target, encoder=kind)
        fold, folder = folds(study), work / (f"{title}-{kind}" if kind else title)
        name = kind or "counted"
        every = list(study.inputs)
        said[f"note alone: {name}"] = answers(study, fold, ["note"], "late", folder)["note"]
        said[f"all: {name}"] = answers(study, fold, every, "late", folder)["+".join(every)]
    bases = ["note alone: counted", "all: counted"]
    return {"study": study.notes, "figures": judged(study, fold, said, bases)}


def main() -> None:
    import os

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("study", choices=["odir", "intensive-care", "survival"])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("OSLER_DATA", ROOT.parent / "shared/data"))
    )
    parser.add_argument("--work", type=Path, default=Path("runs/fusion"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--note", choices=["masked", "whole", "none"], default="masked")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, help="of each training, instead of the study's")
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time")
    parser.add_argument("--notes", action="store_true", help="of the chest: what the note adds")
    parser.add_argument("--encoders", action="store_true", help="of the chest: who reads the note")
    parser.add_argument("--show", action="store_true", help="train nothing")
    said = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if said.study == "odir":
        study = odir(said.data)
    else:
        target = "survival" if said.study == "survival" else "went_icu"
        study = chest(said.data, target, note=said.note)
    title = said.study if said.note == "masked" else f"{said.study}-{said.note}"
    if said.steps is not None:
        study, title = replace(study, steps=said.steps), f"{title}-{said.steps}"
    if said.notes or said.encoders:
        compare = notes if said.notes else encoders
        found = compare(said.data, target, said.work, said.study)
        print(json.dumps(found, indent=1))
        if said.out:
            said.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        return
    minutes = -1.0 if said.show else said.minutes
    found = run(study, said.work / title, said.ways, minutes)
    text = json.dumps(found, indent=1)
    if said.out:
        said.out.write_text(text + "\n", "utf-8")
    for name, one in found["figures"].items():
        print(f"{name:60s} " + "  ".join(f"{key} {value}" for key, value in one.items()))


if __name__ == "__main__":
    main()
