"""Parts and folds of a cohort: by patient, balanced by labels, the same on every machine.

What belongs together (a patient's cases; on demand a site's patients) is one unit and never parted.
Units are dealt out greedily, the rarest value first, each to the part that lacks it most [1].
Nothing is drawn: ties are broken by a hash of the seed and the unit's name, so the order of the
rows does not matter either. A value that at least as many units have as there are parts is in each.

[1] Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data", ECML PKDD,
LNCS 6913, algorithm 1; here with units of several cases.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from osler.data.cohort import Cohort, Row
from osler.data.digest import cohort_digest
from osler.data.locations import looks_like_path
from osler.errors import RecipeError

METHOD: Final = "iterative-stratification/1"
"""Name and version of the rule; raised when the same seed would give another split."""

_BINNED = 10  # a column of more different numbers than this is balanced by its quarters


@dataclass(frozen=True, slots=True)
class Split:
    """A cohort that was split, and how.

    Attributes:
        cohort: the cases with their part or fold.
        record: what a run keeps: method, seed, digest of the cohort, parts, what was balanced and
            kept together, and how many cases of each value each part got. Plain JSON values.
    """

    cohort: Cohort
    record: Mapping[str, Any]

    def write(self, table: Path) -> Cohort:
        """Write the table, and the record beside it as ``TABLE.split.json``."""
        written = self.cohort.write(table)
        text = json.dumps(self.record, indent=1, ensure_ascii=False) + "\n"
        table.with_name(f"{table.name}.split.json").write_text(text, encoding="utf-8")
        return written


@dataclass(slots=True)
class Unit:
    """What is never parted.

    Attributes:
        name: the first of its patients by name.
        cases: how many cases it has.
        counts: value to the number of its cases that have it.
    """

    name: str
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)


def split_cohort(
    cohort: Cohort,
    *,
    parts: Mapping[str, float] | None = None,
    folds: int | None = None,
    seed: int = 0,
    stratify: Sequence[str] = (),
    together: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Split:
    """Split a cohort by patient.

    Args:
        cohort: the cases.
        parts: name to share, such as ``{"train": 0.7, "val": 0.1, "test": 0.2}``; they add to 1.
        folds: number of folds instead.
        seed: another seed gives another split of the same quality.
        stratify: labels and variables whose values every part shall have in proportion.
        together: labels and variables, such as a site, whose patients are never parted either.
        keep: parts that are there already and stay as they are, such as ``("test",)``.

    Raises:
        RecipeError: the shares do not add up, a column is not there, or there are fewer units than
            parts.
        InputError: a file cannot be read for the digest.
    """
    names, shares = _parts(parts, folds)
    kept = {row.patient_id for row in cohort.rows if row.split is not None and row.split in keep}
    rows = [row for row in cohort.rows if row.patient_id not in kept]
    columns = {name: _column(cohort, rows, name) for name in (*stratify, *together)}
    joined = _join(rows, [columns[name] for name in together])
    values = [_balanced(name, columns[name]) for name in stratify] or [[""] * len(rows)]
    units: dict[str, Unit] = {}
    for k, row in enumerate(rows):
        unit = units.setdefault(joined[row.patient_id], Unit(joined[row.patient_id]))
        unit.cases += 1
        unit.counts.update(column[k] for column in values)
    if len(units) < len(names):
        what = f"patients joined by {', '.join(together)}" if together else "patients"
        raise RecipeError(
            f"the cohort '{cohort.path}' has {len(units)} {what} to deal out, fewer than the "
            f"{len(names)} parts"
        )
    dealt = deal(list(units.values()), shares, seed=seed)
    place = {row.patient_id: dealt[joined[row.patient_id]] for row in rows}
    done = [_placed(row, place, names, folds=folds is not None) for row in cohort.rows]
    counts: dict[str, Counter[str]] = {str(name): Counter() for name in names}
    for k, row in enumerate(rows):
        counts[str(names[place[row.patient_id]])].update(["cases", *(c[k] for c in values if c[k])])
    record = {
        "method": METHOD,
        "seed": seed,
        "cohort_sha256": cohort_digest(cohort),
        "parts": {str(name): float(share) for name, share in zip(names, shares, strict=True)},
        "stratify": list(stratify),
        "together": list(together),
        "kept": list(keep),
        "patients": {
            str(name): len({p for p, where in place.items() if where == k})
            for k, name in enumerate(names)
        },
        "cases": {name: dict(sorted(found.items())) for name, found in counts.items()},
    }
    return Split(replace(cohort, rows=tuple(done)), record)


def _parts(
    parts: Mapping[str, float] | None, folds: int | None
) -> tuple[list[str | int], list[Fraction]]:
    if (parts is None) == (folds is None):
        raise RecipeError("a split takes either parts or folds")
    if folds is not None:
        if folds < 2:
            raise RecipeError(f"folds is {folds}; it is at least 2")
        return list(range(folds)), [Fraction(1, folds)] * folds
    shares = {name: Fraction(str(share)) for name, share in (parts or {}).items()}
    if len(shares) < 2 or min(shares.values()) <= 0 or abs(float(sum(shares.values())) - 1) > 1e-6:
        listed = ", ".join(f"{name}={float(share):g}" for name, share in shares.items())
        raise RecipeError(f"the parts are {listed or 'none'}; two or more shares above 0 add to 1")
    return list(shares), list(shares.values())


def _column(cohort: Cohort, rows: Sequence[Row], name: str) -> list[object]:
    """A label's or variable's value for each row, None where it is missing."""
    plain = name.removeprefix("label:")
    if plain in cohort.columns("labels"):
        texts = [row.labels.get(plain) for row in rows]
        return ["present" if t and looks_like_path(t.split("#")[0]) else t for t in texts]
    if name in cohort.columns("variables"):
        return [row.variables.get(name) for row in rows]
    known = ", ".join([*cohort.columns("labels"), *cohort.columns("variables")]) or "none"
    raise RecipeError(f"the cohort '{cohort.path}' has no '{name}'; it has: {known}")


def _join(rows: Sequence[Row], columns: Sequence[Sequence[object]]) -> dict[str, str]:
    """Patient to the name of its unit: patients that share a value are one."""
    above: dict[str, str] = {}

    def find(key: str) -> str:
        above.setdefault(key, key)
        while above[key] != key:
            above[key] = above[above[key]]
            key = above[key]
        return key

    for k, row in enumerate(rows):
        patient = find(f"p{row.patient_id}")
        for number, column in enumerate(columns):
            if column[k] is not None:
                above[find(f"v{number} {column[k]}")] = patient = find(patient)
    first: dict[str, str] = {}
    for patient in sorted({row.patient_id for row in rows}):
        first.setdefault(find(f"p{patient}"), patient)
    return {row.patient_id: first[find(f"p{row.patient_id}")] for row in rows}


def _balanced(name: str, column: Sequence[object]) -> list[str]:
    """The values to balance; of many numbers, the quarter that each is in."""
    numbers = sorted(v for v in column if isinstance(v, int | float) and not isinstance(v, bool))
    if len(set(numbers)) <= _BINNED or any(isinstance(v, str) for v in column):
        return [f"{name}={'missing' if v is None else v}" for v in column]
    cuts = [numbers[len(numbers) * q // 4] for q in (1, 2, 3)]
    return [
        f"{name}=missing"
        if not isinstance(v, int | float)
        else f"{name}=quarter {1 + sum(v >= cut for cut in cuts)}"
        for v in column
    ]


def _placed(row: Row, place: Mapping[str, int], names: Sequence[Any], *, folds: bool) -> Row:
    if row.patient_id not in place:
        return row
    name = names[place[row.patient_id]]
    return replace(row, fold=name) if folds else replace(row, split=name)


def deal(units: Sequence[Unit], shares: Sequence[Fraction], *, seed: int) -> dict[str, int]:
    """Unit name to the number of its part.

    Args:
        units: what is dealt out, at least as many as shares.
        shares: of the cases, for each part; they add to 1.
        seed: breaks ties.
    """
    chance = {
        unit.name: hashlib.sha256(f"{seed}\0{unit.name}".encode()).hexdigest() for unit in units
    }
    left = {unit.name: unit for unit in sorted(units, key=lambda unit: chance[unit.name])}
    room = [share * sum(unit.cases for unit in units) for share in shares]
    wanted = _wanted(units, shares)
    dealt: dict[str, int] = {}
    while left:
        having = Counter(value for unit in left.values() for value in unit.counts)
        rarest = min(having, key=lambda value: (having[value], value))
        # large units first: the small ones even out what they upset
        turn = sorted(
            (u for u in left.values() if rarest in u.counts), key=lambda u: -u.counts[rarest]
        )
        for unit in turn:
            part = max(
                range(len(shares)),
                key=lambda k: (wanted[rarest][k], room[k], _tie(chance[unit.name], k)),
            )
            dealt[unit.name] = part
            room[part] -= unit.cases
            for value, count in unit.counts.items():
                wanted[value][part] -= count
            del left[unit.name]
    _fill(dealt, units, len(shares))
    return dealt


def _tie(chance: str, part: int) -> str:
    return hashlib.sha256(f"{chance}{part}".encode()).hexdigest()


def _wanted(units: Sequence[Unit], shares: Sequence[Fraction]) -> dict[str, list[Fraction]]:
    """Value to the cases that each part shall have of it; at least one where that can be."""
    out: dict[str, list[Fraction]] = {}
    having = Counter(value for unit in units for value in unit.counts)
    for value in having:
        cases = sum(unit.counts[value] for unit in units)
        want = [share * cases for share in shares]
        if having[value] >= len(shares):
            for k, amount in enumerate(want):
                if amount < 1:
                    most = max(range(len(want)), key=lambda j: want[j])
                    want[most] -= 1 - amount
                    want[k] = Fraction(1)
        out[value] = want
    return out


def _fill(dealt: dict[str, int], units: Iterable[Unit], parts: int) -> None:
    """Give an empty part the smallest unit of the fullest: no part stays empty."""
    size = {unit.name: unit.cases for unit in units}
    for part in range(parts):
        if part in dealt.values():
            continue
        fullest = Counter(dealt.values()).most_common(1)[0][0]
        smallest = min((n for n, p in dealt.items() if p == fullest), key=lambda n: (size[n], n))
        dealt[smallest] = part
