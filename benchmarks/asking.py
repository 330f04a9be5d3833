"""Questions about the example photographs, answered by rule: how many rightly, how many refused.

    python benchmarks/asking.py [--folder READ] [--out benchmarks/asking.json]

``benchmarks/asking/*.csv`` hold the questions with the finding that each is about. The right answer
to a question about a finding that a photograph has names that finding, and its value where it has
one; about one that it lacks, or that was not computed, and about what no finding tells, it is "I
cannot see that". Values are taken from ``findings.json``, not through the tools.
"""

import argparse
import csv
import hashlib
import json
import random
import re
import tempfile
import time
from pathlib import Path

from osler import batch
from osler.batch.case_opening import open_case
from osler.io.wording import number
from osler.language.asking import ask
from osler.language.tools import Toolbox

HERE = Path(__file__).resolve().parent
OPEN = ("summary", "abilities")


def questions(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def half(question: str) -> str:
    """Which half a question is in: one on which the rules were built, and one that was kept."""
    return "kept" if int(hashlib.sha256(question.encode()).hexdigest(), 16) % 2 else "built"


def values(row: dict) -> list[str]:
    """What an answer about a finding must hold, each in the ways in which it may be said."""
    if row["kind"] == "measurement":
        return [number(row["value"], unit=row["unit"])]
    if row["id"] == "laterality":
        return [{"R": "right|右", "L": "left|左"}[row["value"]]]
    if row["id"] in ("dr-grade", "dme-risk"):
        return [rf"(?<![\d.]){row['value']}(?!\d|\.\d)"]
    return []


def judged(expects: str, answer, findings: dict) -> str:
    """Right, wrong, refused though there is an answer, or answered though there is none."""
    if expects in OPEN:
        return "right" if answer.seen else "refused"
    wanted = [findings[i] for i in expects.split("|") if i in findings]
    wanted = [f for f in wanted if f["kind"] != "measurement" or f["value"] is not None]
    # where there are no lesions, "none were found" answers how many, how large and where
    base = expects.partition("|")[0].partition(".")[2]
    empty = base in findings and not findings[base].get("pixels", 1)
    if expects == "cannot" or not (wanted or empty):
        return "right" if not answer.seen else "answered"
    if not answer.seen:
        return "refused"
    ids = {f["id"] for f in wanted} | ({base} if empty else set())
    cited = any(i in answer.evidence for i in ids)
    text = answer.text
    held = not wanted or all(
        any(re.search(v, text) for f in wanted if f["id"] in answer.evidence for v in values(f))
        for f in wanted[:1]
        if any(values(f) for f in wanted if f["id"] in answer.evidence)
    )
    return "right" if cited and held else "wrong"


def interval(rows: list[dict], key, *, replicates: int = 1000) -> list[float]:
    """95 % of resamples of the questions, each with all its photographs."""
    by = {}
    for row in rows:
        by.setdefault(row["question"], []).append(key(row))
    groups, rng = list(by.values()), random.Random(1)
    drawn = sorted(
        sum(map(sum, picked)) / sum(map(len, picked))
        for picked in (rng.choices(groups, k=len(groups)) for _ in range(replicates))
    )
    return [round(drawn[int(q * (replicates - 1))], 3) for q in (0.025, 0.975)]


WORDS = (
    ("answered rightly", True, "right"),
    ("refused though there is an answer", True, "refused"),
    ("answered wrongly", True, "wrong"),
    ("refused rightly", False, "right"),
    ("answered though nothing tells it", False, "answered"),
)


def summed(rows: list[dict]) -> dict:
    out = {"asked": len(rows), "questions": len({r["question"] for r in rows})}
    for name, answerable, good in WORDS:
        part = [r for r in rows if r["answerable"] == answerable]
        if part:
            share = sum(r["verdict"] == good for r in part) / len(part)
            out[name] = {
                "of": len(part),
                "share": round(share, 3),
                "interval": interval(part, lambda r, good=good: r["verdict"] == good),
            }
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="where 'osler read examples' wrote")
    parser.add_argument("--file", type=Path, action="append")
    parser.add_argument("--half", choices=("built", "kept"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--faults", action="store_true")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = said.folder
        if folder is None:
            folder = Path(made)
            batch.run([str(HERE.parent / "examples")], folder, options=batch.Options(html=False))
        cases = sorted(p.parent for p in folder.glob("*/findings.json"))
        rows, seconds = [], []
        for path in cases:
            tools = Toolbox(open_case(path))
            document = json.loads((path / "findings.json").read_text("utf-8"))
            findings = {f["id"]: f for f in document["findings"]}
            for file in said.file or sorted((HERE / "asking").glob("*.csv")):
                for one in questions(file):
                    begun = time.perf_counter()
                    answer, _ = ask(one["question"], tools)
                    seconds.append(time.perf_counter() - begun)
                    verdict = judged(one["expects"], answer, findings)
                    part = "fresh" if file.stem == "fresh" else half(one["question"])
                    if said.half and part != said.half:
                        continue
                    no = judged(one["expects"], type("No", (), {"seen": False})(), findings)
                    rows.append(
                        {**one, "half": part, "verdict": verdict, "answerable": no != "right"}
                    )
                    if said.faults and verdict != "right":
                        said_ = (answer.text, answer.evidence)
                        print(path.name, verdict, one["expects"], one["question"], "->", *said_)
    parts = sorted({r["half"] for r in rows})
    result = {
        "photographs": [p.name for p in cases],
        "all": summed(rows),
        "by part": {p: summed([r for r in rows if r["half"] == p]) for p in parts},
        "by language": {p: summed([r for r in rows if r["language"] == p]) for p in ("en", "zh")},
        "milliseconds a question (median)": round(1000 * sorted(seconds)[len(seconds) // 2], 1),
    }  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if said.out:
        said.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
