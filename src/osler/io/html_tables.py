"""Measurements as tables a reader can scan: measures down, structures across, doubts as notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from osler.io.definition_words import note_words
from osler.io.html_words import WORDS
from osler.io.wording import flag_words, measure_name, quantity, reason_words, unit_words, word
from osler.record import Case, Measurement

_ACROSS: Final = ("artery", "vein", "all", "ratio")
_LESIONS: Final = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")
_CALIBRES: Final = ("crae", "crve", "avr", "crae-um", "crve-um")


@dataclass(frozen=True, slots=True)
class Cell:
    """A value with its unit, or none; ``notes`` are numbers into the table's notes."""

    text: str = ""
    notes: tuple[int, ...] = ()
    missing: bool = False


@dataclass(slots=True)
class Table:
    """One table: a title, a heading for each column, named rows of cells, numbered notes."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a measurement stands: which table, row and column, by slugs."""

    table: tuple[str, str]
    row: str
    column: str
    row_name: str


def tables_of(case: Case, *, language: str) -> list[Table]:
    """The case's measurements as tables, lesions first, then disc, calibre and vessels.

    What changed since an earlier photograph stands before them.
    """
    placed: dict[tuple[str, str], list[tuple[_Place, Measurement]]] = {}
    for measurement in case.of(Measurement):
        place = _place(measurement, language=language)
        placed.setdefault(place.table, []).append((place, measurement))
    order = ("lesion-change", "change", "lesions", "disc", "calibre", "vessel", "other")
    tables = sorted(placed, key=lambda table: (order.index(table[0]), table[1]))
    return [_table(table, placed[table], language=language) for table in tables]


def _place(m: Measurement, *, language: str) -> _Place:
    measure, _, rest = m.id.partition(".")
    second, _, region = rest.partition(".")
    if measure == "change":
        return _changed(m.id, second, region, language=language)
    name = measure_name(measure, language=language)
    if measure.endswith(("-um", "-px", "-mm2")):
        name += f" ({unit_words(m.unit, language=language)})"
    if second in _LESIONS:
        return _Place(("lesions", ""), measure, second, name)
    if measure.startswith("disc-") or measure == "field-diameter":
        return _Place(("disc", ""), m.id, "value", name)
    if measure == "cdr":
        suffix = f"{'，' if language == 'zh' else ', '}{word(second, language=language)}"
        return _Place(("disc", ""), m.id, "value", name + suffix)
    if measure in _CALIBRES and second:
        return _Place(("calibre", region), measure, second, name)
    if second in _ACROSS:
        return _Place(("vessel", region), measure, second, name)
    name = measure_name(measure, language=language, otherwise=m.name)
    if second:
        name += f", {word(second, language=language)}"
    return _Place(("other", region), m.id, "value", name)


def _changed(id: str, what: str, where: str, *, language: str) -> _Place:
    """Where a change stands: of lesions by kind, of anything else by what it is of."""
    if where in _LESIONS:
        said = "change-of-area" if what == "area" else what
        return _Place(("lesion-change", ""), what, where, word(said, language=language))
    name = measure_name(what, language=language, otherwise=word(what, language=language))
    if where:
        name += f"{'，' if language == 'zh' else ', '}{word(where, language=language)}"
    return _Place(("change", ""), id, "value", name)


def _table(
    key: tuple[str, str], placed: Sequence[tuple[_Place, Measurement]], *, language: str
) -> Table:
    words = WORDS[language]
    known = (*_ACROSS, *_LESIONS)
    slugs = sorted(
        dict.fromkeys(place.column for place, _ in placed),
        key=lambda slug: known.index(slug) if slug in known else len(known),
    )
    headings = [words["value"] if s == "value" else word(s, language=language) for s in slugs]
    table = Table(_title(key, words, language), headings)
    grid: dict[str, dict[str, Cell]] = {}
    names: dict[str, str] = {}
    for place, measurement in placed:
        names[place.row] = place.row_name
        grid.setdefault(place.row, {})[place.column] = _cell(measurement, table, words, language)
    table.rows = [
        (names[row], [cells.get(s, Cell()) for s in slugs]) for row, cells in grid.items()
    ]
    return table


def _title(key: tuple[str, str], words: Mapping[str, str], language: str) -> str:
    group, region = key
    title = words[f"group_{group}"]
    if region or group == "vessel":
        title += f" · {word(region or 'whole', language=language)}"
    return title


def _cell(m: Measurement, table: Table, words: Mapping[str, str], language: str) -> Cell:
    notes = flag_words(m.flags, language=language)
    if m.value is None:
        # the reason says it in full; the flag would say it again
        notes = [reason_words(m.reason, language=language)]
    elif m.note:
        notes.append(note_words(m.note, language=language))
    numbers = []
    for note in notes:
        if note not in table.notes:
            table.notes.append(note)
        numbers.append(table.notes.index(note) + 1)
    text = quantity(m, language=language) or words["not_computed"]
    return Cell(text, tuple(numbers), missing=m.value is None)
