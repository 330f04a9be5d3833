"""Each fold left out once: a network a fold, and what each says of the cases it never saw."""

import json
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from osler.errors import RecipeError
from osler.learn.distributed import is_first

N = TypeVar("N")  # what training a fold gives: a network, or a run
V = TypeVar("V")  # what is kept of a case that was left out: probabilities, or figures

RECORD = "cross-validation.json"

Score = Callable[[Mapping[str, V]], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class CrossValidated(Generic[N, V]):
    """What cross-validation left.

    Attributes:
        members: what training gave, by the fold that was left out.
        left_out: what the network that never saw a case said of it, by case.
        fold_of: the fold of each case.
        figures: of all cases together, each judged by the network that never saw it.
        by_fold: the same of each fold alone.
    """

    members: dict[int, N]
    left_out: dict[str, V]
    fold_of: dict[str, int]
    figures: dict[str, float]
    by_fold: dict[int, dict[str, float]]

    def spread(self, name: str) -> tuple[float, float]:
        """Mean and standard deviation (of a sample) of a figure over the folds.

        Both are NaN where a fold does not define it, such as the AUROC of a class of which the
        fold has no case: a mean over the others would be another figure.

        The standard deviation is no confidence interval: folds share most of what taught them
        (Bengio and Grandvalet 2004, JMLR 5). Take one by bootstrap from ``left_out``.
        """
        values = [figures[name] for figures in self.by_fold.values()]
        if not all(map(math.isfinite, values)):
            return math.nan, math.nan
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def cross_validate(
    folds: Sequence[int],
    *,
    train_fold: Callable[[int, Path, bool], N],
    judge: Callable[[N, int], Mapping[str, V]],
    score: "Score[V]",
    folder: Path,
    resume: bool,
) -> CrossValidated[N, V]:
    """Train without each fold in turn, and judge each case by the network that never saw it.

    What comes of fold K lies in the folder's sub-folder ``fold-K``; the figures, with the fold of
    each case, in ``cross-validation.json``. An average of the networks is
    `osler.learn.ensembling.Ensemble`; the figures here are those of its members, one each, and
    say nothing of the ensemble, which has seen every case.

    Args:
        folds: their numbers, each once.
        train_fold: ``train_fold(fold, folder, resume)`` trains on all other folds.
        judge: ``judge(network, fold)`` gives what is kept of each case of the fold, by case.
        score: named figures of such cases.
        folder: of the whole.
        resume: folds that are done are not trained again (their training sees its checkpoint),
            and the one that was interrupted goes on.

    Raises:
        RecipeError: fewer than two folds, a fold twice, or a case in two folds.
    """
    if len(set(folds)) < 2 or len(set(folds)) != len(folds):
        raise RecipeError(
            f"cross-validation takes at least two folds, each once, and got {list(folds)}"
        )
    members: dict[int, N] = {}
    left_out: dict[str, V] = {}
    fold_of: dict[str, int] = {}
    by_fold: dict[int, dict[str, float]] = {}
    for fold in folds:
        members[fold] = train_fold(fold, folder / f"fold-{fold}", resume)
        judged = judge(members[fold], fold)
        if not judged:
            raise RecipeError(f"fold {fold} has no cases to judge")
        both = sorted(set(judged) & set(left_out))
        if both:
            raise RecipeError(
                f"the case '{both[0]}' is in the folds {fold_of[both[0]]} and {fold}, so a network "
                f"was taught with what it is judged on ({len(both)} such cases); deal the cohort "
                "out anew with 'osler data split'"
            )
        left_out.update(judged)
        fold_of.update(dict.fromkeys(judged, fold))
        by_fold[fold] = dict(score(judged))
    done = CrossValidated(members, left_out, fold_of, dict(score(left_out)), by_fold)
    if is_first():
        _write(done, folder / RECORD)
    return done


def _write(done: CrossValidated[Any, Any], path: Path) -> None:
    names = list(done.figures)
    record = {
        "figures": {name: _plain(done.figures[name]) for name in names},
        "folds": {
            str(fold): {name: _plain(value) for name, value in figures.items()}
            for fold, figures in done.by_fold.items()
        },
        "over_folds": {
            name: dict(zip(("mean", "deviation"), map(_plain, done.spread(name)), strict=True))
            for name in names
            if all(name in figures for figures in done.by_fold.values())
        },
        "cases": done.fold_of,
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None  # JSON has no NaN
