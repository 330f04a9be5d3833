"""Searching measured: milliseconds on a million vectors, recall of the graph, precision at k.

    python benchmarks/search.py exact --rows 1000000 --out benchmarks/search/exact.json
    python benchmarks/search.py speed --rows 100000 --others --out benchmarks/search/graph.json
    python benchmarks/search.py precision NAME BUNDLE --data busi --out benchmarks/search

Speed is processor time on one thread, ours and that of faiss and usearch in one run on the same
vectors. Precision at k leaves out the query's own patient; its interval is a bootstrap of patients.
"""

import argparse
import csv
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from osler.batch.indexing import text_digest
from osler.batch.retrieval_encoders import open_encoder
from osler.io import load_file
from osler.language.encoder import Encoder, NetworkEncoder, eight_bits, open_text_only
from osler.language.index import KINDS, Entry, Index
from osler.language.index_parts import EncoderSaid
from osler.language.searching import nearest
from osler.models.text_encoder import unit
from osler.record import Image

REPLICATES = 1000
KS = (1, 5, 10)
Item = tuple[str, str, set[str], bool]  # file or text, patient, labels, whether it may ask


def timed(run: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least processor time, milliseconds."""
    best, said = 1e9, None
    for _ in range(repeats):
        begun = time.process_time()
        said = run()
        best = min(best, time.process_time() - begun)
    return round(1000 * best, 2), said


def made_up(count: int, dim: int, rng: np.random.Generator, shared: tuple[Any, Any]) -> Any:
    """Vectors with the structure of embeddings: 500 kinds, 32 directions of change, some noise."""
    centres, ways = shared
    values = 0.7 * centres[rng.integers(0, len(centres), count)]
    values += rng.standard_normal((count, len(ways)), dtype=np.float32) @ ways * np.float32(0.12)
    values += 0.3 * rng.standard_normal((count, dim), dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def speed(rows: int, out_file: Path, *, others: bool, dim: int = 512) -> dict[str, Any]:
    import faiss
    from usearch.index import Index as Graph
    from usearch.index import MetricKind
    from usearch.index import search as brute

    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    shared = (
        rng.standard_normal((500, dim), dtype=np.float32),
        rng.standard_normal((32, dim), dtype=np.float32),
    )
    asked = made_up(200, dim, rng, shared)
    out: dict[str, Any] = {"rows": rows, "dim": dim}
    said = EncoderSaid(kind="text", name="made", version="1", dim=dim, images=False, texts=True)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "index", said)
        for start in range(0, rows, 100_000):
            part = min(100_000, rows - start)
            index.append(
                made_up(part, dim, rng, shared),
                [Entry("text", "f", f"{start + n:064x}", "report") for n in range(part)],
            )
        stored = np.concatenate([index._vectors(part) for part in index.listed.parts])
        flat = faiss.IndexFlatIP(dim)
        flat.add(stored)
        exact, truth = {}, None
        for count in (1, 64):
            some = asked[:count]
            ours, found = timed(lambda some=some: index.search(some, 10), 2)
            theirs, flat_found = timed(lambda some=some: flat.search(some, 10), 2)
            exact[count] = {"osler_ms": ours, "faiss_flat_ms": theirs}
            rows_found = np.array([[hit.row for hit in one] for one in found])
            exact[count]["same_rows_as_faiss"] = float((rows_found == flat_found[1]).mean())
        halves = [stored.astype(np.float16)]
        exact[1]["usearch_exact_ms"], _ = timed(
            lambda: brute(stored, asked[:1], 10, MetricKind.IP, exact=True, threads=1), 1
        )
        exact[1]["osler_float16_ms"], _ = timed(lambda: nearest(halves[0], asked[:1], 10), 1)
        halves.clear()
        out["exact"] = exact
        truth = [{hit.row for hit in one} for one in index.search(asked, 10)]
        begun = time.process_time()
        index.build()
        graph_file = next((Path(folder) / "index").glob("graph-*/*"))
        out["graph"] = {
            "build_s": round(time.process_time() - begun, 1),
            "bytes": graph_file.stat().st_size, "at": {},
        }  # fmt: skip
        begun = time.process_time()
        index.search(asked[:1], 10, approximate=True)
        out["graph"]["open_ms"] = round(1000 * (time.process_time() - begun), 1)
        for effort in (16, 64, 128, 256):
            took, found = timed(
                lambda effort=effort: index.search(asked, 10, approximate=True, effort=effort), 1
            )
            out["graph"]["at"][effort] = {
                "ms": round(took / len(asked), 2),
                "recall_at_10": recall([{hit.row for hit in one} for one in found], truth),
            }
        out_file.write_text(json.dumps(out, indent=1) + "\n")
        if not others:
            return out
        cells = round(rows**0.5)
        begun = time.process_time()
        theirs = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
        theirs.train(stored[rng.permutation(rows)[: 64 * cells]])
        theirs.add(stored)
        out["faiss_ivf"] = {"build_s": round(time.process_time() - begun, 1), "at": {}}
        for probes in (1, 4, 16, 32, 64):
            theirs.nprobe = probes
            took, found = timed(lambda by=theirs: by.search(asked, 10), 1)
            out["faiss_ivf"]["at"][probes] = {
                "ms": round(took / len(asked), 2),
                "recall_at_10": recall([set(one) for one in found[1].tolist()], truth),
            }
        few = min(rows, 20_000)
        flat = faiss.IndexFlatIP(dim)
        flat.add(stored[:few])
        truth = [set(one) for one in flat.search(asked, 10)[1].tolist()]
        out["graphs"] = {"rows": few}
        begun = time.process_time()
        graph = faiss.IndexHNSWFlat(dim, 16, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 100
        graph.add(stored[:few])
        out["graphs"]["faiss_hnsw"] = {"build_s": round(time.process_time() - begun, 1)}
        graph.hnsw.efSearch = 64
        took, found = timed(lambda: graph.search(asked, 10), 1)
        out["graphs"]["faiss_hnsw"] |= {
            "ms": round(took / len(asked), 2),
            "recall_at_10": recall([set(one) for one in found[1].tolist()], truth),
        }
        begun = time.process_time()
        other = Graph(ndim=dim, metric="ip", dtype="f16", connectivity=16, expansion_add=100)
        other.add(np.arange(few), stored[:few], threads=1)
        out["graphs"]["usearch"] = {"build_s": round(time.process_time() - begun, 1)}
        took, found = timed(lambda: other.search(asked, 10, threads=1), 1)
        out["graphs"]["usearch"] |= {
            "ms": round(took / len(asked), 2),
            "recall_at_10": recall([set(one) for one in found.keys.tolist()], truth),
        }
    return out


def exact(rows: int, dim: int = 512) -> dict[str, Any]:
    """Exact search in memory, ours and faiss's, on random vectors."""
    import faiss

    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    stored = np.empty((rows, dim), np.float32)
    for start in range(0, rows, 50_000):
        part = rng.standard_normal((min(50_000, rows - start), dim), dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        stored[start : start + len(part)] = part
    asked = unit(rng.standard_normal((64, dim)))
    flat = faiss.IndexFlatIP(dim)
    flat.add(stored)
    out: dict[str, Any] = {"rows": rows, "dim": dim}
    for count in (1, 64):
        some = asked[:count]
        ours, found = timed(lambda some=some: nearest(stored, some, 10), 3 if count == 1 else 1)
        theirs, other = timed(lambda some=some: flat.search(some, 10), 3 if count == 1 else 1)
        out[str(count)] = {
            "osler_ms": ours, "faiss_flat_ms": theirs,
            "same_rows": float((found.rows == other[1]).mean()),
        }  # fmt: skip
        print(out, flush=True)
    return out


def recall(found: Sequence[set[int]], truth: Sequence[set[int]]) -> float:
    return round(
        float(np.mean([len(a & b) / len(b) for a, b in zip(found, truth, strict=True)])), 4
    )


def data_folder() -> Path:
    return Path(os.environ.get("OSLER_DATA", "../shared/data"))


def items_of(name: str, asking: set[str] | None) -> list[Item]:
    """The entries of a data set; ``asking`` are the ids of the cases that may be queries."""
    root = data_folder()
    if name == "busi":
        files = sorted(root.glob("busi/*/*.jpg"))
        return [
            (
                str(f),
                f.stem,
                {f.parent.name},
                asking is None or f"{f.parent.name}-{f.stem}" in asking,
            )
            for f in files
        ]
    if name == "idrid":
        rows = list(csv.DictReader((root / "idrid-grading/labels.csv").open()))
        return [
            (str(root / "idrid-grading" / r["image"]), r["image"], {r["dr_grade"]},
             asking is None or Path(r["image"]).stem in asking)
            for r in rows
        ]  # fmt: skip
    if name == "odir":
        out = []
        for r in csv.DictReader((root / "odir/patients.csv").open(encoding="utf-8")):
            for side in ("left", "right"):
                words = {w.strip() for w in r[f"{side}_keywords"].replace("，", ",").split(",")}
                words -= {"", "lens dust", "low image quality"}
                may = asking is None or f"odir-{r['patient_id']}-{side}" in asking
                out.append((str(root / "odir" / r[f"{side}_image"]), r["patient_id"], words, may))
        return out
    if name == "cxr-notes":
        rows = list(csv.DictReader((root / "cxr-outcomes/images.csv").open(encoding="utf-8")))
        texts = [r for r in rows if len(r["clinical_notes"].strip()) > 20 and r["finding"]]
        return [(r["clinical_notes"], r["patientid"], {r["finding"]}, True) for r in texts]
    raise SystemExit(f"no data set {name}")


def image_of(path: str) -> Image:
    return next(one for one in load_file(path).items.values() if isinstance(one, Image))


def encoded(encoder: str, items: Sequence[Item]) -> tuple[Any, Encoder | None]:
    if encoder in ("words", "minilm"):
        opened: Encoder = open_text_only(encoder)
        return opened.texts([one[0] for one in items]), opened
    if encoder == "pixels":
        from PIL import Image as Pillow

        rows = []
        for one in items:
            pixels = np.moveaxis(eight_bits(image_of(one[0])), 0, -1)
            small = np.asarray(Pillow.fromarray(pixels).convert("L").resize((24, 24)), np.float64)
            rows.append((small - small.mean()).ravel())
        return unit(np.stack(rows)), None
    if encoder == "random":
        import torch

        from osler import models

        torch.manual_seed(0)
        opened = NetworkEncoder(models.create("resnet-18", weights="random"))
    else:
        opened = open_encoder(encoder)
    vectors = [opened.images([image_of(one[0])])[0] for one in items]
    return np.stack(vectors), opened


def precision(items: Sequence[Item], vectors: Any, seed: int = 0) -> dict[str, Any]:
    """Share of the k nearest that have a label of the query, its patient left out."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(one[1] for one in items))}
    groups = np.array([numbers[one[1]] for one in items])
    asking = np.array([row for row, one in enumerate(items) if one[3] and one[2]])
    alike = np.array([[bool(items[a][2] & b[2]) for b in items] for a in asking])
    found = nearest(vectors, vectors[asking], max(KS), groups=groups, own=groups[asking])
    others = groups[None] != groups[asking][:, None]
    out: dict[str, Any] = {
        "entries": len(items), "queries": len(asking),
        "patients": len(set(groups[asking].tolist())),
        "by_chance": round(float(((alike & others).sum(1) / others.sum(1)).mean()), 3),
    }  # fmt: skip
    rng = np.random.default_rng(seed)
    patients = np.unique(groups[asking])
    members = {p: np.flatnonzero(groups[asking] == p) for p in patients}
    for k in KS:
        each = np.take_along_axis(alike, found.rows[:, :k], 1).mean(axis=1)
        means = [
            each[np.concatenate([members[p] for p in rng.choice(patients, len(patients))])].mean()
            for _ in range(REPLICATES)
        ]
        out[f"precision_at_{k}"] = [
            round(float(v), 3) for v in (each.mean(), *np.percentile(means, [2.5, 97.5]))
        ]
    return out


def open_set(items: Sequence[Item], vectors: Any, strangers: Any) -> dict[str, Any]:
    """Entries that were never queries teach the threshold; queries and strangers are judged."""
    with tempfile.TemporaryDirectory() as folder:
        said = EncoderSaid(
            kind="network", name="x", version="1", dim=vectors.shape[1], images=True, texts=False
        )
        index = Index.create(Path(folder) / "index", said)
        stay = [row for row, one in enumerate(items) if not one[3]]
        index.append(
            vectors[stay],
            [Entry("image", items[row][0], text_digest(items[row][0]), "photo") for row in stay],
            groups=[items[row][1] for row in stay],
        )
        index.learn_known()

        def refused(some: Any) -> float:
            hits = index.search(some, 1)
            p = [index.likeness(one[0].score, asked="image", given="image") for one in hits]
            return round(float(np.mean(np.array(p, float) <= 0.05)), 3)

        asking = [row for row, one in enumerate(items) if one[3]]
        return {
            "entries": len(stay), "belong": len(asking),
            "refused_of_these": refused(vectors[asking]),
            **{name: {"count": len(v), "refused": refused(v)} for name, v in strangers.items()},
        }  # fmt: skip


def pairs(bundle: str, table: Path, column: str = "keywords") -> dict[str, Any]:
    """Pictures and texts of a table through an index on disk: each asks for those of others.

    A hit is right where it shares a keyword with the query; the query's patient is left out.
    """
    from osler.batch import indexing

    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    words = [set(re.split(r"\s*[,，;；]\s*", row[f"label:{column}"].strip())) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        batch, index = indexing.index(
            [str(table)], Path(folder) / "index", ask=indexing.Ask(bundle, texts=(column,))
        )
        if failed := sum(one.status == "failed" for one in batch.outcomes):
            raise SystemExit(f"{failed} of {len(rows)} cases failed")
        took = time.process_time() - begun
        places = {f"line {n}": n - 2 for n in range(2, len(rows) + 2)}
        photos = {Path(row["photo"]).name: n for n, row in enumerate(rows)}
        case = [
            places[e.place] if e.kind == "text" else photos[Path(e.file).name]
            for e in index.entries()
        ]
        labels = [words[n] for n in case]
        kinds, groups = index.kinds, index.groups
        patients = np.unique(groups)
        out: dict[str, Any] = {"cases": len(rows), "patients": len(patients)}
        out["seconds an entry"] = round(took / len(index), 3)
        vectors = index.vectors(np.arange(len(index)))
        for asking, given in (("text", "image"), ("image", "text"), ("image", "image")):
            asked = np.flatnonzero(kinds == KINDS.index(asking))
            pool = np.flatnonzero(kinds == KINDS.index(given))
            found = index.search(vectors[asked], max(KS), kind=given, own=groups[asked])
            right = np.array(
                [[bool(labels[q] & labels[hit.row]) for hit in one]
                 for q, one in zip(asked, found, strict=True)], float,
            )  # fmt: skip
            others = groups[asked][:, None] != groups[pool][None]
            alike = np.array([[bool(labels[q] & labels[p]) for p in pool] for q in asked])
            rng = np.random.default_rng(0)
            members = {p: np.flatnonzero(groups[asked] == p) for p in patients}
            entry = {"by_chance": round(float(((alike & others).sum(1) / others.sum(1)).mean()), 3)}
            for k in KS:
                each = right[:, :k].mean(1)
                means = [
                    each[
                        np.concatenate([members[p] for p in rng.choice(patients, len(patients))])
                    ].mean()
                    for _ in range(REPLICATES)
                ]
                entry[f"precision_at_{k}"] = [
                    round(float(v), 3) for v in (each.mean(), *np.percentile(means, [2.5, 97.5]))
                ]
            out[f"{asking} to {given}"] = entry
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["exact", "speed", "precision", "pairs"])
    parser.add_argument("encoders", nargs="*", help="pixels, random, words, minilm or a bundle")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--others", action="store_true", help="speed: also other kinds of index")
    parser.add_argument("--data", default="busi")
    parser.add_argument("--table", type=Path, help="pairs: a table of pictures and keywords")
    parser.add_argument("--judged", type=Path, help="cases.json of the run that taught the bundle")
    parser.add_argument("--strangers", nargs="*", default=[], help="globs of other pictures")
    parser.add_argument("--out", type=Path, required=True)
    said = parser.parse_args()
    if said.what == "exact":
        out = exact(said.rows)
    elif said.what == "pairs":
        out = {one: pairs(one, said.table) for one in said.encoders}
    elif said.what == "speed":
        said.out.parent.mkdir(parents=True, exist_ok=True)
        out = speed(said.rows, said.out, others=said.others)
    else:
        asking = set(json.loads(said.judged.read_text())) if said.judged else None
        items = items_of(said.data, asking)
        out = {"data": said.data, "encoders": {}}
        for encoder in said.encoders:
            begun = time.process_time()
            vectors, opened = encoded(encoder, items)
            figures = precision(items, vectors)
            figures["seconds_an_entry"] = round((time.process_time() - begun) / len(items), 3)
            if opened is not None and said.strangers:
                others = {}
                for pattern in said.strangers:
                    files = sorted(data_folder().glob(pattern))[:60]
                    others[pattern] = opened.images([image_of(str(f)) for f in files])
                figures["open_set"] = open_set(items, vectors, others)
            out["encoders"][encoder if "/" not in encoder else Path(encoder).parent.name] = figures
            print(encoder, json.dumps(figures), flush=True)
    said.out.parent.mkdir(parents=True, exist_ok=True)
    said.out.write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
