"""What a person should look at before training on a cohort, in plain words."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from osler.data.fingerprint import Fingerprint

_FEW = 5  # cases of a value in a part below which a figure on them says little


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning.

    Attributes:
        level: a ``"fault"`` makes results wrong; a ``"doubt"`` may.
        text: what it is and what to do, in a sentence or two.
        cases: some of the cases it is about.
    """

    level: Literal["fault", "doubt"]
    text: str
    cases: tuple[str, ...] = ()


def warnings_of(found: "Fingerprint") -> list[Warned]:
    """All warnings, faults first."""
    listed = [*_leaks(found), *_files(found), *_pictures(found), *_labels(found)]
    return sorted(listed, key=lambda warning: warning.level != "fault")


def _count(number: int, one: str, verb: str = "") -> str:
    """A number with its noun, and with its verb as it stands after several."""
    if number != 1:
        return f"{number:,} {one}s {verb}".rstrip()
    irregular = {"are": "is", "have": "has", "carry": "carries"}
    singular = irregular.get(verb, f"{verb}s" if verb else "")
    return f"1 {one} {singular}".rstrip()


def _leaks(found: "Fingerprint") -> Iterator[Warned]:
    leaks, scans = found.leaks, found.scans

    def cases(pairs: object) -> tuple[str, ...]:
        return tuple(
            f"{scans[p.first].row.case_id} and {scans[p.second].row.case_id}"
            for p in list(pairs)[:8]  # type: ignore[call-overload]
        )

    if leaks.patients:
        yield Warned(
            "fault",
            f"{_count(len(leaks.patients), 'patient', 'are')} in more than one part, so "
            "a test would know them already. Split again: osler data split.",
            tuple(f"{p}: {' and '.join(parts)}" for p, parts in list(leaks.patients.items())[:8]),
        )
    if leaks.across:
        yield Warned(
            "fault",
            f"{_count(len(leaks.across), 'pair')} of images from different parts, each showing the "
            "same twice, so a test would know them already. Give both the same patient_id and "
            "split again.",
            cases(leaks.across),
        )
    inside = [p for p in leaks.strangers if p not in leaks.across]
    if inside:
        yield Warned(
            "doubt",
            f"{_count(len(inside), 'pair')} of images, each showing the same twice, said to be of "
            "different patients. Give both the same patient_id before you split.",
            cases(inside),
        )
    if leaks.conflicts:
        yield Warned(
            "fault",
            f"{_count(len(leaks.conflicts), 'picture')}, held more than once by the cohort, "
            "with labels that differ. Decide which is right.",
            tuple(
                f"{c.label}: " + ", ".join(f"{case} says {v}" for case, v in c.cases)
                for c in leaks.conflicts[:8]
            ),
        )


def _files(found: "Fingerprint") -> Iterator[Warned]:
    broken = [s for s in found.scans if s.error]
    if broken:
        yield Warned(
            "fault",
            f"{_count(len(broken), 'file')} cannot be read; each is listed below with its reason.",
            tuple(f"{s.row.case_id}: {s.item}" for s in broken[:8]),
        )
    if found.absent:
        yield Warned(
            "fault",
            f"{_count(len(found.absent), 'mask')} named in the table cannot be found.",
            tuple(f"{case}: {name}" for case, name in found.absent[:8]),
        )
    yield from _misplaced(found)
    for column in found.columns:
        missing = sum(column.missing.values())
        if column.kind == "item" and missing:
            yield Warned(
                "doubt",
                f"'{column.name}' is missing in {_count(missing, 'case')} of {len(found.cohort)}.",
            )
        spacing = column.counts.get("spacing", {})
        if column.counts.get("axes", {}).get("3-D") and spacing.get("not said"):
            yield Warned(
                "doubt",
                f"The spacing of '{column.name}' is not said in "
                f"{_count(spacing['not said'], 'volume')}, so nothing in them can be "
                "measured in millimetres.",
            )
        mixed = {key: column.counts.get(key, {}) for key in ("type", "channels", "axes", "kind")}
        for key, counts in mixed.items():
            if len(counts) > 1:
                said = ", ".join(f"{n} {v}" for v, n in sorted(counts.items(), key=lambda p: -p[1]))
                yield Warned("doubt", f"'{column.name}' differs in {key}: {said}.")
        steps = [n for words, n in column.spread.items() if words.startswith("spacing")]
        if any(n.most > 1.5 * n.least for n in steps):
            yield Warned(
                "doubt",
                f"The spacing of '{column.name}' differs by more than half between cases: resample "
                "before a network sees them.",
            )


_MISPLACED: dict[str, tuple[Literal["fault", "doubt"], str, str, str]] = {
    "unreadable": ("fault", "mask", "", "cannot be read."),
    "size": ("fault", "mask", "have", "another size than its image."),
    "place": ("fault", "mask", "lie", "elsewhere in the patient than the image (affine)."),
    "outside": ("fault", "position", "leave", "the image."),
    "empty": ("doubt", "mask", "mark", "nothing; leave the cell empty where it is not known."),
}


def _misplaced(found: "Fingerprint") -> Iterator[Warned]:
    for kind, (level, noun, verb, rest) in _MISPLACED.items():
        some = [fault for fault in found.misplaced if fault.kind == kind]
        if some:
            listed = (f"{f.case}: {f.label}" + (f": {f.text}" if f.text else "") for f in some[:8])
            yield Warned(level, f"{_count(len(some), noun, verb)} {rest}", tuple(listed))


def _pictures(found: "Fingerprint") -> Iterator[Warned]:
    flat = [s for s in found.scans if not s.error and s.flat]
    if flat:
        yield Warned(
            "fault",
            f"{_count(len(flat), 'image', 'show')} nothing: all their values are nearly the same.",
            tuple(s.row.case_id for s in flat[:8]),
        )
    if found.outliers:
        yield Warned(
            "doubt",
            f"{_count(len(found.outliers), 'image', 'stand')} out from the others: see below.",
        )
    for column in found.columns:
        for flag, count in column.counts.get("doubts", {}).items():
            yield Warned(
                "doubt",
                f"The reader doubts {_count(count, 'image')} of '{column.name}': {flag}.",
            )


def _labels(found: "Fingerprint") -> Iterator[Warned]:
    for column in found.columns:
        if column.kind != "label":
            continue
        missing = sum(column.missing.values())
        if missing:
            yield Warned(
                "doubt",
                f"The label '{column.name}' is missing in {_count(missing, 'case')} of "
                f"{len(found.cohort)}.",
            )
        few = [
            f"{value}: {counts[part]} in {part}"
            for value, counts in column.values.items()
            for part in found.parts
            if part and counts.get(part, 0) < _FEW
        ]
        if few and len(column.values) <= 12:
            yield Warned(
                "doubt",
                f"Some values of '{column.name}' have fewer than {_FEW} cases in a part, so "
                "figures on them say little there.",
                tuple(few[:8]),
            )
        if column.what == "value" and len(column.values) == 1:
            yield Warned("doubt", f"The label '{column.name}' has the same value in every case.")
