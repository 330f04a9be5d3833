"""ComBat on the variables of a cohort: fitted on the cases that teach, applied to all.

What was fitted is kept beside the table as JSON, so that later cases of the same sites are made
comparable in the same way.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.data.cohort import Cohort, Row
from osler.data.harmonisation import Combat, fit_combat
from osler.errors import InputError, RecipeError

_ARRAYS = ("mean", "slopes", "deviation", "shift", "spread")
_LISTED = 10  # cases that a message names


@dataclass(frozen=True, slots=True)
class Harmonised:
    """How the variables of a cohort are made comparable.

    Attributes:
        by: the variable that names the site.
        columns: what is made comparable.
        keep: variables whose effect stays, such as age; of words, one value each but the first.
        levels: the values of each variable of ``keep`` that holds words, sorted.
        combat: what was fitted.
        fitted: on how many cases.
    """

    by: str
    columns: tuple[str, ...]
    keep: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    combat: Combat
    fitted: int

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with comparable values in the same columns.

        Raises:
            RecipeError: a case lacks a value.
            InputError: a site, or a word of ``keep``, was not fitted.
        """
        _refuse_gaps(cohort.rows, (self.by, *self.columns, *self.keep))
        rows = cohort.rows
        values = _numbers(rows, self.columns)
        known = _covariates(rows, self.keep, self.levels)
        clean = self.combat.apply(values, [str(row.variables[self.by]) for row in rows], known)
        return replace(cohort, rows=tuple(
            replace(row, variables={**row.variables, **dict(zip(self.columns, line, strict=True))})
            for row, line in zip(rows, clean.tolist(), strict=True)
        ))  # fmt: skip

    def as_json(self) -> str:
        """For `read_harmonised`."""
        combat = {name: getattr(self.combat, name).tolist() for name in _ARRAYS}
        return json.dumps({
            "by": self.by, "columns": self.columns, "keep": self.keep, "levels": self.levels,
            "sites": self.combat.sites, "fitted": self.fitted, **combat,
        }, indent=1)  # fmt: skip


def harmonise(
    cohort: Cohort, *, by: str, columns: Sequence[str], keep: Sequence[str] = ()
) -> Harmonised:
    """Fit ComBat on the cases of a cohort, which should be those that teach.

    Args:
        cohort: of two sites at least.
        by: the variable that names the site.
        columns: numeric variables to make comparable; one alone is fitted by itself, several
            together (empirical Bayes).
        keep: variables whose effect shall stay.

    Raises:
        RecipeError: a case lacks a value, a column is no number, or one is named twice.
        InputError: as of `osler.data.harmonisation.fit_combat`.
    """
    names = [by, *columns, *keep]
    if len(set(names)) < len(names):
        raise RecipeError("a variable is named twice among --by, --columns and --keep")
    if not columns:
        raise RecipeError("name the variables to make comparable with --columns")
    _refuse_gaps(cohort.rows, names)
    levels = {
        name: tuple(sorted({str(row.variables[name]) for row in cohort.rows}))
        for name in keep if any(isinstance(row.variables[name], str) for row in cohort.rows)
    }  # fmt: skip
    sites = [str(row.variables[by]) for row in cohort.rows]
    if len(set(sites)) < 2:
        raise RecipeError(f"'{by}' has one value in the cases that are fitted; there must be two")
    combat = fit_combat(
        _numbers(cohort.rows, columns), sites, _covariates(cohort.rows, keep, levels),
        empirical_bayes=len(columns) > 1,
    )  # fmt: skip
    return Harmonised(by, tuple(columns), tuple(keep), levels, combat, len(cohort))


def read_harmonised(path: Path) -> Harmonised:
    """What `Harmonised.as_json` wrote.

    Raises:
        RecipeError: it is no such file.
    """
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        arrays = {name: np.array(said[name], np.float64) for name in _ARRAYS}
        arrays["slopes"] = arrays["slopes"].reshape(-1, len(said["columns"]))
        combat = Combat(tuple(said["sites"]), **arrays)
        levels = {name: tuple(values) for name, values in said["levels"].items()}
        return Harmonised(
            said["by"], tuple(said["columns"]), tuple(said["keep"]), levels, combat, said["fitted"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"'{path}' is not what 'osler data harmonise' wrote beside a table (.combat.json)"
        ) from error


def _refuse_gaps(rows: Sequence[Row], names: Sequence[str]) -> None:
    for name in names:
        gaps = [row.case_id for row in rows if name not in row.variables]
        if len(gaps) == len(rows):
            known = sorted({one for row in rows for one in row.variables})
            raise RecipeError(
                f"the table has no variable '{name}'; it has: {', '.join(known) or 'none'}"
            )
        if gaps:
            more = ", …" if len(gaps) > _LISTED else ""
            raise RecipeError(
                f"{len(gaps)} cases have no '{name}' ({', '.join(gaps[:_LISTED])}{more}); ComBat "
                "needs all values: fill them in or leave the cases out"
            )


def _numbers(rows: Sequence[Row], names: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[_number(row, name) for name in names] for row in rows], np.float64)


def _number(row: Row, name: str) -> float:
    value = row.variables[name]
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise RecipeError(f"'{name}' of case '{row.case_id}' is no finite number")
    return float(value)


def _covariates(
    rows: Sequence[Row], names: Sequence[str], levels: dict[str, tuple[str, ...]]
) -> NDArray[np.float64]:
    parts: list[NDArray[np.float64]] = [np.zeros((len(rows), 0))]
    for name in names:
        if name not in levels:
            parts.append(_numbers(rows, [name]))
            continue
        words = [str(row.variables[name]) for row in rows]
        if strange := sorted(set(words) - set(levels[name])):
            raise InputError(
                f"'{name}' is {', '.join(strange)} in some cases, which no fitted case was"
            )
        parts.append(np.array([[word == one for one in levels[name][1:]] for word in words], float))
    return np.concatenate(parts, axis=1)
