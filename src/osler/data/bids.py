"""BIDS data sets: ``sub-01/[ses-a/]anat/sub-01_ses-a_T1w.nii.gz`` with ``participants.tsv``.

A case is a subject at a session. The file's entities besides subject and session name the item:
``T1w``, ``task-rest_bold``. Sidecars hold for their file, nearer ones first (the inheritance
principle); a few of their fields become variables ``ITEM.FIELD``.

Source: Brain Imaging Data Structure 1.10, "Common principles" and "Data summary files".
"""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from osler.data.cohort import Row
from osler.data.importing import Imported, Names, Options, column_name, read_json
from osler.data.tables import Value, typed
from osler.errors import UnreadableError
from osler.terminal import counted

_FILE = re.compile(r"(?P<entities>(?:[A-Za-z]+-[A-Za-z0-9+]+_)+)(?P<suffix>[A-Za-z0-9]+)\Z")
_DATA: Final = (".nii.gz", ".nii", ".edf")
FIELDS: Final = (
    "Manufacturer", "ManufacturersModelName", "MagneticFieldStrength", "RepetitionTime",
    "EchoTime", "InversionTime", "FlipAngle", "SliceThickness", "SamplingFrequency", "TaskName",
)  # fmt: skip
"""Fields of sidecars that become variables: how the item was acquired."""


def accepts(source: Path) -> bool:
    """Whether the folder describes itself and has a subject."""
    described = (source / "dataset_description.json").is_file()
    return described and next(source.glob("sub-*"), None) is not None


def read(source: Path, options: Options) -> Imported:
    """A case for each subject at each session.

    Raises:
        UnreadableError: a table or sidecar is damaged, or a file's name contradicts its folder.
    """
    about = _table(source / "participants.tsv", "participant_id")
    names, rows, other = Names(), [], 0
    for subject in sorted(p for p in source.glob("sub-*") if p.is_dir()):
        sessions = sorted(p for p in subject.glob("ses-*") if p.is_dir())
        visits = _table(subject / f"{subject.name}_sessions.tsv", "session_id")
        for place in sessions or [subject]:
            items, variables = {}, dict(about.get(subject.name, {}))
            variables |= visits.get(place.name, {})
            for file, ending in _files(place):
                if not ending:
                    other += 1
                    continue
                item, fields = _item(file, ending, subject, place, source)
                items[item] = file
                variables |= fields
            if items:
                case = names.new("_".join(dict.fromkeys([subject.name, place.name])))
                rows.append(Row(case, subject.name, None, items, {}, None, variables))
    notes = []
    if other:
        notes.append(f"{counted(other, 'file')} left out, of kinds that are not imported")
    if (source / "derivatives").is_dir():
        notes.append("the folder 'derivatives' was left out; import one of its data sets by itself")
    unseen = sorted(about.keys() - {row.patient_id for row in rows})
    if unseen:
        notes.append(f"{counted(len(unseen), 'participant')} of participants.tsv without a file")
    return Imported(source, rows, notes)


def _files(place: Path) -> Iterator[tuple[Path, str]]:
    """The files of a visit's datatype folders, each with its ending, or ``""`` if not imported."""
    for folder in sorted(p for p in place.iterdir() if p.is_dir() and "-" not in p.name):
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.suffix not in (".json", ".tsv", ".bval", ".bvec"):
                yield file, next((e for e in _DATA if file.name.endswith(e)), "")


def _item(
    file: Path, ending: str, subject: Path, place: Path, source: Path
) -> tuple[str, dict[str, Value]]:
    """An item's name and the variables of its sidecars."""
    match = _FILE.match(file.name.removesuffix(ending))
    entities = match["entities"].split("_")[:-1] if match else []
    session = place.name if place != subject else None
    stated = next((e for e in entities if e.startswith("ses-")), None)
    if match is None or entities[0] != subject.name or stated != session:
        raise UnreadableError(
            f"'{file.relative_to(source)}' is not named after its folder (sub-, ses-, suffix); "
            "rename it by the standard"
        )
    rest = [e for e in entities if not e.startswith(("sub-", "ses-"))]
    name = "_".join([*rest, match["suffix"]])
    fields = _sidecars(file, set(entities), match["suffix"], source)
    found = {f"{name}.{key}": fields[key] for key in FIELDS if key in fields}
    return name, found


def _sidecars(file: Path, entities: set[str], suffix: str, source: Path) -> dict[str, Value]:
    """Fields that hold for a file: of sidecars whose entities it has, from the root downwards."""
    fields: dict[str, Value] = {}
    above = [p for p in reversed(file.parents) if p == source or p.is_relative_to(source)]
    for folder in above:
        fitting = []
        for path in folder.glob(f"*{suffix}.json"):
            stem = path.name.removesuffix(".json").split("_")
            if stem[-1] == suffix and {*stem[:-1]} <= entities:
                fitting.append((len(stem), path))
        for _, path in sorted(fitting):
            stated = read_json(path, limit=1 << 24)
            if not isinstance(stated, dict):
                raise UnreadableError(f"'{path}' holds no object; correct the sidecar")
            fields |= {k: v for k, v in stated.items() if isinstance(v, str | int | float | bool)}
    return fields


def _table(path: Path, key: str) -> dict[str, Mapping[str, Value]]:
    """A TSV by its first column; ``n/a`` is missing."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.DictReader(stream, delimiter="\t", restval="n/a"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableError(f"'{path}' is no table: {error}") from None
    if lines and key not in lines[0]:
        raise UnreadableError(f"'{path}' lacks the column {key}")
    out: dict[str, dict[str, Value]] = {line[key]: {} for line in lines}
    for column in [c for c in (lines[0] if lines else {}) if c and c != key]:
        filled = [line for line in lines if line[column] not in ("n/a", "", None)]
        values = typed([line[column] for line in filled])
        for line, value in zip(filled, values, strict=True):
            out[line[key]][column_name(column)] = value
    return {**out}
