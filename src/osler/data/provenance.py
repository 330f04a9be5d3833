"""What a run was taught with: digests of a cohort and of its split, and whether they still hold."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from osler.data.cohort import Cohort, Row
from osler.data.digest import cohort_digest
from osler.errors import InputError, RecipeError

_DEALT = ("method", "seed", "cohort_sha256")  # of the record that a split leaves beside its table


def cohort_used(cohort: Cohort, *, hold: int | None) -> dict[str, Any]:
    """What a run keeps of its cohort, as plain JSON values.

    Args:
        cohort: the cases.
        hold: the fold that does not teach; None where all do, or each is left out in turn.

    Returns:
        ``cohort`` with the table's name, the digest of its content and counts; ``split`` with a
        digest of which case is in which part and fold, what each fold holds, the one held out, and,
        where ``TABLE.split.json`` lies beside the table, how they were dealt out: method, seed, and
        the digest of the cohort that was split.

    Raises:
        RecipeError: a file of the cohort cannot be read; the message names the case.
    """
    try:
        digest = cohort_digest(cohort)
    except InputError as error:
        raise RecipeError(str(error)) from error
    folds = {
        str(fold): _counts(row for row in cohort.rows if row.fold == fold) for fold in cohort.folds
    }
    split = {"sha256": split_digest(cohort), "hold": hold, "folds": folds, **_dealt(cohort.path)}
    return {
        "cohort": {"table": cohort.path.name, "sha256": digest, **_counts(cohort.rows)},
        "split": split,
    }


def split_digest(cohort: Cohort) -> str:
    """SHA-256 of which case is in which part and fold; the order of the rows does not matter."""
    places = sorted((row.case_id, row.split or "", str(row.fold)) for row in cohort.rows)
    return hashlib.sha256(json.dumps(places, ensure_ascii=False).encode()).hexdigest()


def refuse_change(before: Mapping[str, Any], now: Mapping[str, Any], *, where: Path) -> None:
    """Refuse to go on with a run whose cohort is no longer what its first steps were taught with.

    Args:
        before: what the run kept (``cohort_used``).
        now: the same of the cohort as it is.
        where: the run's folder, for the message.

    Raises:
        RecipeError: contents, splits or the held-out fold differ; the message says which.
    """
    old, new = _essence(before), _essence(now)
    changed = [
        f"{name} (was {old[name]}, is {new[name]})" for name in new if old[name] != new[name]
    ]
    if changed:
        table = now["cohort"]["table"]
        raise RecipeError(
            f"the run in '{where}' cannot go on: since it began, the cohort '{table}' has changed "
            f"in {' and '.join(changed)}; put back what it was, or start anew in another folder or "
            "without --resume"
        )


def _essence(used: Mapping[str, Any]) -> dict[str, str]:
    cohort, split = used.get("cohort", {}), used.get("split", {})
    return {
        "its files, values or labels": str(cohort.get("sha256"))[:12],
        "its folds": str(split.get("sha256"))[:12],
        "the fold held out": str(split.get("hold")),
    }


def _counts(rows: Iterable[Row]) -> dict[str, int]:
    patients = [row.patient_id for row in rows]
    return {"cases": len(patients), "patients": len(set(patients))}


def _dealt(table: Path) -> dict[str, Any]:
    """How the split was made, where its record lies beside the table and can be read."""
    try:
        record = json.loads(table.with_name(f"{table.name}.split.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {"dealt": {name: record[name] for name in _DEALT if name in record}}
