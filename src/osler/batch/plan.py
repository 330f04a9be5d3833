"""Which cases there are to read: a folder for each input, and which of them lie there already."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.batch.job import Job, Options
from osler.errors import InputError

_NAMES = frozenset((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".dcm"))


@dataclass(frozen=True, slots=True)
class Written:
    """What a case's folder says of itself.

    Attributes:
        file: name of the source file.
        sha256: digest of the source file.
        bundles: name to version of the bundles that had a say.
        languages: of its sentences.
        outputs: which of ``"html"``, ``"dicom"`` and ``"fhir"`` lie there.
        draft: who worded a second report; empty where nobody did, or nothing came of it.
    """

    file: str
    sha256: str
    bundles: Mapping[str, str]
    languages: frozenset[str]
    outputs: frozenset[str]
    draft: str = ""


def inputs(named: Sequence[str], out: Path) -> list[Path]:
    """The files to read.

    A search of a folder passes over what is no image; a file that calls itself one is kept, so
    that the batch says why it cannot be read. What an earlier run left under ``out`` is dropped,
    unless it was named.

    Raises:
        InputError: there is nothing to read.
    """
    from osler import io

    found = io.find_all(named)
    broken = [path for path, _ in found.skipped if path.suffix.lower() in _NAMES and path.is_file()]
    spelt = {str(Path(n)) for n in named}
    root = out.resolve()
    paths = [
        path
        for path in (*found.paths, *broken)
        if str(path) in spelt or not path.resolve().is_relative_to(root)
    ]
    if not paths:
        raise InputError(f"all that was found lies in the output folder '{out}'; name other files")
    return paths


def jobs(
    paths: Sequence[Path],
    out: Path,
    *,
    options: Options,
    current: Mapping[str, str],
    force: bool = False,
) -> Iterator[Job]:
    """A job for each input, in order, made when it is asked for.

    An input whose folder holds the reading of another file, of an earlier run, gets the next
    free name (``photo-2``): nothing that was read is lost.

    Args:
        paths: the input files.
        out: the output folder.
        options: what is to be written for each.
        current: name to version of the bundles at hand.
        force: read again what lies there already.
    """
    from osler.io.naming import name_cases

    names = name_cases(paths)
    taken = {name.casefold() for name in names.values()}
    for path in paths:
        name, done = _place(path, names[path], out, taken, options, current)
        taken.add(name.casefold())
        yield Job(path, name, done and not force)


def _place(
    path: Path,
    base: str,
    out: Path,
    taken: set[str],
    options: Options,
    current: Mapping[str, str],
) -> tuple[str, bool]:
    """The name of the case's folder, and whether it holds what is asked for."""
    digest = ""
    name, number = base, 1
    while True:
        folder = out / name
        if name == base or name.casefold() not in taken:
            if not folder.exists():
                return name, False
            there = written(folder)
            digest = digest or sha256(path)
            if there is not None and there.sha256 == digest:
                return name, _same(there, options, current)
        number += 1
        name = f"{base}-{number}"


def written(folder: Path) -> Written | None:
    """What lies in a case's folder, or None where it holds no readable case."""
    try:
        content = json.loads((folder / "findings.json").read_bytes())
        sources = [i["source"] for i in content["items"].values() if i["source"]]
        return Written(
            file=sources[0]["file"],
            sha256=sources[0]["sha256"],
            bundles={s["name"]: s["version"] for s in content["sources"] if s["kind"] == "bundle"},
            languages=frozenset(
                f["language"] for f in content["findings"] if f["kind"] == "passage"
            ),
            outputs=frozenset(name for name, mark in _OUTPUTS.items() if (folder / mark).is_file()),
            draft=_draft(content["findings"]),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _draft(findings: Sequence[Any]) -> str:
    check = next((f for f in findings if f.get("id") == "draft-check"), None)
    if check is None or "draft-missing" in check["flags"]:
        return ""  # an engine that was down may be up by now
    return str(check["source"]["name"])


# the file by which one sees that an output was written
_OUTPUTS = {"html": "report.html", "dicom": "report.dcm", "fhir": "fhir.json"}


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file; empty where it cannot be read (reading it says why)."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _drafted_by(said: str) -> str:
    from osler.language.drafting import drafted_by
    from osler.language.engine import name_of

    return drafted_by(name_of(said))


def _same(there: Written, options: Options, current: Mapping[str, str]) -> bool:
    """Whether the bundles at hand would write nothing that does not lie there."""
    wanted = {name for name in _OUTPUTS if getattr(options, name)}
    return (
        wanted <= there.outputs
        and there.languages <= {options.language}
        and (options.engine == "none" or there.draft == _drafted_by(options.engine))
        and all(current.get(name) == version for name, version in there.bundles.items())
    )
