"""What written texts are worth: runs of the task `writing` beside others on the same cases.

    python benchmarks/writing.py runs/radiology-answers --beside runs/radiology-questions
    python benchmarks/writing.py runs/fundus-reports

Beside the run's own figures stand the text of the teaching case whose prompt is nearest (cosine of
words weighed by how rare they are), what the bundle says when it is shown the picture of another
patient, and what another run said of the same cases. Differences are
tested in pairs, by patient. The table goes to benchmarks/writing/NAME.json.
"""

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from osler import bundles, metrics
from osler.bundles.answering import task_of
from osler.data.opening import open_row
from osler.learn.recipe import check_recipe
from osler.learn.teaching import cohort_of, divide
from osler.metrics import exact_match, rouge_l, tokens
from osler.record import Source
from osler.tasks.task import Row
from osler.tasks.writing_figures import figures_of

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--recipes", type=Path, default=HERE.parent / "recipes")
    said = parser.parse_args()
    name = json.loads((said.run / "run.json").read_text())["recipe"]["name"]
    path = said.recipes / f"{name}.yaml"
    card = json.loads((said.run / "bundle/card.json").read_text())
    cases: dict[str, Row] = json.loads((said.run / "cases.json").read_text())
    recipe, task = check_recipe(json.loads((said.run / "run.json").read_text())["recipe"], path)
    task = type(task)(task.Settings.model_validate(card["settings"]))
    cohort = cohort_of(recipe, path, folder=said.run)
    teach, _, test = divide(cohort, recipe)
    patients = {row.case_id: row.patient_id for row in test}
    ids = [id for id in cases if id in patients]
    rows = [cases[id] for id in ids]
    groups = [patients[id] for id in ids]
    ways = {"written": [row["said"] for row in rows]}
    ways["nearest prompt of a teaching case"] = nearest(teach, rows, task.settings)
    if task.settings.image is not None:
        ways["the picture of another patient"] = elsewhere(said.run / "bundle", test, cohort, ids)
    if said.beside is not None:
        other = json.loads((said.beside / "cases.json").read_text())
        ways[said.beside.name] = [other[id]["said"] for id in ids]
    out: dict[str, Any] = {"cases": len(ids), "patients": len(set(groups)), "figures": {}}
    for way, texts in ways.items():
        told = [{**row, "said": text} for row, text in zip(rows, texts, strict=True)]
        for figure in figures_of(told, groups, task.settings, seed=1, replicates=2000):
            known = figure.name.startswith(("always", "commonest"))
            if known and way != "written":
                continue
            label, _, kind = figure.name.rpartition(": ") if known else (way, "", figure.name)
            one = figure.interval
            out["figures"].setdefault(label, {})[kind] = [
                None if value is None else round(float(value), 4)
                for value in (one.value, one.low, one.high)
            ]
    out["differences"] = differences(rows, ways, groups)
    place = HERE / "writing" / f"{name}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for label, figures in out["figures"].items():
        print(label)
        for kind, (value, low, high) in figures.items():
            print(f"  {kind:<32} {value}  ({low} to {high})")
    print(json.dumps(out["differences"], indent=1))


def elsewhere(folder: Path, test: Any, cohort: Any, ids: list[str]) -> list[str]:
    """What the bundle writes to each question with the picture of the next patient."""
    bundle = bundles.load(folder)
    task = task_of(bundle.card)
    samples = {row.case_id: task.encode(open_row(row, cohort, labels=False)) for row in test}
    patients = list(dict.fromkeys(row.patient_id for row in test))
    pictures = {row.patient_id: samples[row.case_id].inputs["image"] for row in test}
    next_ = dict(zip(patients, [*patients[1:], patients[0]], strict=True))
    of = {row.case_id: row.patient_id for row in test}
    out = []
    for id in ids:
        sample = samples[id]
        sample.inputs["image"] = pictures[next_[of[id]]]
        outputs = task.calibrated(task.run(bundle.run, sample))
        (passage,) = task.decode(outputs, sample, source=Source("bundle", "blind"))
        out.append(passage.text)
    return out


def nearest(teach: Any, rows: list[Row], settings: Any) -> list[str]:
    """The text of the teaching case whose prompt is nearest."""
    from osler.tasks.writing_tokens import plain

    def read(text: Any) -> str:
        return plain(str(text), lower=settings.lower)

    known = [
        (Counter(tokens(read(row.variables[settings.prompt]))), read(row.labels[settings.target]))
        for row in teach
    ]
    seen = Counter(word for words, _ in known for word in words)
    rare = {word: math.log(len(known) / count) for word, count in seen.items()}

    def weighed(words: Counter[str]) -> dict[str, float]:
        vector = {word: n * rare.get(word, 0.0) for word, n in words.items()}
        size = math.hypot(*vector.values()) or 1.0
        return {word: value / size for word, value in vector.items()}

    vectors = [(weighed(words), text) for words, text in known]
    out = []
    for row in rows:
        mine = weighed(Counter(tokens(row["prompt"])))
        like = [sum(mine.get(word, 0.0) * v for word, v in one.items()) for one, _ in vectors]
        out.append(vectors[int(np.argmax(like))][1])
    return out


def differences(
    rows: list[Row], ways: dict[str, list[str]], groups: list[str]
) -> dict[str, dict[str, list[float | None]]]:
    """What the run has over each other way, with intervals of the pairs by patient."""
    out: dict[str, dict[str, list[float | None]]] = {}
    for way, texts in ways.items():
        if way == "written":
            continue
        pairs = list(zip(rows, texts, strict=True))
        for kind, score in (("exact", exact), ("ROUGE-L", like)):
            values = [score(row, row["said"]) - score(row, text) for row, text in pairs]
            mean = metrics.summarise(values, seed=1, groups=groups).mean
            out.setdefault(way, {})[kind] = [
                None if one is None else round(float(one), 4)
                for one in (mean.value, mean.low, mean.high)
            ]
    return out


def exact(row: Row, text: str) -> float:
    return float(exact_match(row["reference"], text))


def like(row: Row, text: str) -> float:
    return rouge_l([row["reference"]], text) or 0.0


if __name__ == "__main__":
    main()
