"""Figures of pictures and texts that look for each other, of rows of the task ``image-text``.

Two things are *akin* where they share a keyword, and *equal* where they have the same keywords.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.tasks.task import Figure, Row

PLACES = (1, 5, 10)

Values = list[float | None]


def _unit(rows: Sequence[Row], key: str) -> NDArray[np.float64]:
    return np.array([row[key] for row in rows], np.float64)


def _kin(keywords: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """``(N, M)``: which share a keyword."""
    return np.array([[bool(set(a) & set(b)) for b in others] for a in keywords], np.bool_)


def ranked(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places ``(N, M)`` from the best; what is equal keeps its order."""
    return np.asarray(np.argsort(-scores, axis=1, kind="stable"), np.int64)


def precision_at(right: NDArray[np.bool_], order: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Share of the ``k`` best that are right, of each query: ``(N,)``."""
    best = order[:, :k]
    return np.asarray(np.take_along_axis(right, best, axis=1).mean(axis=1), np.float64)


def recall_at(right: NDArray[np.bool_], order: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Of what is right, the share among the ``k`` best, of at most ``k``: ``(N,)``; NaN of none."""
    found = np.take_along_axis(right, order[:, :k], axis=1).sum(axis=1)
    there = np.minimum(right.sum(axis=1), k)
    return np.where(there > 0, found / np.maximum(there, 1), np.nan)


def retrieval(rows: Sequence[Row], patients: Sequence[str]) -> list[tuple[str, Values, str]]:
    """Name, value of each case, and how: precision and recall at 1, 5 and 10, and chance."""
    keywords = [row["keywords"] for row in rows]
    seen, said = _unit(rows, "image"), _unit(rows, "text")
    first: dict[frozenset[str], int] = {}
    for place, words in enumerate(keywords):
        first.setdefault(frozenset(words), place)
    places = list(first.values())
    sets = [set(one) for one in keywords]
    out: list[tuple[str, Values, str]] = []

    def table(
        name: str, kin: NDArray[np.bool_], equal: NDArray[np.bool_] | None,
        scores: NDArray[np.float64], allowed: NDArray[np.bool_], how: str,
    ) -> None:  # fmt: skip
        order = ranked(np.where(allowed, scores, -np.inf))
        kin = kin & allowed
        least = int(allowed.sum(axis=1).min())
        for k in PLACES:
            if k > least:
                continue
            values = _known(precision_at(kin, order, k))
            shared = f"share of the {k} best that share a keyword; {how}"
            out.append((f"precision at {k}, {name}", values, shared))
            if equal is not None:
                values = _known(recall_at(equal, order, k))
                found = f"those of the same keywords among the {k} best, of at most {k}; {how}"
                out.append((f"recall at {k}, {name}", values, found))
        chance = kin.sum(axis=1) / np.maximum(allowed.sum(axis=1), 1)
        out.append((f"chance: precision, {name}", _known(chance), f"of any order; {how}"))

    texts = [keywords[n] for n in places]
    equal = np.array([[a == set(b) for b in texts] for a in sets], np.bool_)
    everything = np.ones((len(rows), len(places)), np.bool_)
    table("picture to text", _kin(keywords, texts), equal, seen @ said[places].T, everything,
          f"each picture asks {len(places)} distinct texts")  # fmt: skip
    kin = _kin(keywords, keywords)
    equal = np.array([[a == b for b in sets] for a in sets], np.bool_)
    table("text to picture", kin, equal, said @ seen.T, np.ones_like(kin),
          f"each case's text asks {len(rows)} pictures")  # fmt: skip
    other = np.array([[a != b for b in patients] for a in patients], np.bool_)
    if other.any(axis=1).all():
        table("picture to picture", kin, None, seen @ seen.T, other,
              "each picture asks those of other patients")  # fmt: skip
    return out


def _known(values: NDArray[np.float64]) -> Values:
    return [None if np.isnan(one) else float(one) for one in values]


def zero_shot(
    truth: NDArray[np.int64], p: NDArray[np.float64]
) -> tuple[float | None, float | None, float | None]:
    """Macro AUROC, balanced accuracy and accuracy over the classes that some case has.

    Args:
        truth: ``(N,)``, -1 where a case is of none of the classes, which then does not count.
        p: probabilities ``(N, L)``.
    """
    truth, p = truth[truth >= 0], p[truth >= 0]
    there = np.unique(truth)
    if not len(truth):
        return None, None, None
    areas = [metrics.auroc((truth == k).astype(int), p[:, k]) for k in there]
    known = [one for one in areas if one is not None]
    said = p.argmax(axis=1)
    balanced = float(np.mean([(said[truth == k] == k).mean() for k in there]))
    area = float(np.mean(known)) if len(known) == len(there) and len(there) > 1 else None
    return area, balanced, float((said == truth).mean())


def figures(
    rows: Sequence[Row], patients: Sequence[str], *, seed: int, replicates: int
) -> list[Figure]:
    """All figures, each with its interval by patient."""
    out = []
    for name, values, how in retrieval(rows, patients):
        done = metrics.summarise(values, seed=seed, groups=list(patients), replicates=replicates)
        out.append(Figure(name, done.mean, done.cases, how, done.left_out))
    truth = np.array([row["class"] for row in rows], np.int64)
    p = np.array([row["probability"] for row in rows], np.float64)
    kept = truth >= 0
    if not kept.any():
        return out
    truth, p, groups = truth[kept], p[kept], np.array(patients)[kept]
    names = ("macro AUROC", "balanced accuracy", "accuracy")
    hows = ("each class against the rest, mean over the classes that test",
            "mean over the classes that test", "the likeliest class counts")  # fmt: skip
    for number, (name, how) in enumerate(zip(names, hows, strict=True)):

        def statistic(
            t: NDArray[np.int64], q: NDArray[np.float64], k: int = number
        ) -> float | None:
            return zero_shot(t, q)[k]

        interval = metrics.bootstrap_interval(
            statistic, truth, p, seed=seed, groups=groups, replicates=replicates
        )
        left = int((~kept).sum())
        out.append(Figure(f"zero-shot {name}", interval, len(truth), how, left))
    return out
