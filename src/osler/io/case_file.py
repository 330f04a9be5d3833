"""A case, or one item of it, to one file of a standard."""

from pathlib import Path

from osler.errors import InputError, OutputError
from osler.io.conversion import Conversion, Plan, check_extension, to_file
from osler.io.converting import WRITERS
from osler.io.record_out import RECORD_WRITERS
from osler.io.web_address import is_url
from osler.record import Case, Item


def is_file_name(path: str | Path) -> bool:
    """Whether a path names a file of a format that is written, and no folder that is there."""
    name, known = Path(path).name.lower(), [e for w in WRITERS for e in w.extensions]
    known += [e for w in RECORD_WRITERS for e in w.extensions]
    return name.endswith(tuple(known)) and not Path(path).is_dir()


def write_file(what: Case | Item, path: str | Path, plan: Plan) -> Path:
    """Write an item, or what was found in a case, to a file that appears whole or not at all.

    Args:
        what: the case, or the item itself.
        path: its extension decides the format.
        plan: which item, or which findings; whether values may change, and a file be replaced.

    Returns:
        The path.

    Raises:
        InputError: several items fit and none is named, or there is none of that name.
        OutputError: it cannot be written, does not fit the format, or lies there already.
    """
    if is_url(str(path)):
        raise OutputError("a URL cannot be written to here; send DICOM with osler.io.send")
    check_extension(Path(path))
    case = what if isinstance(what, Case) else Case(what.name, items={what.name: what})
    if plan.findings and not str(path).lower().endswith(".dcm"):
        raise InputError(f"findings are written as DICOM; name '{path}' NAME.dcm")
    to_file(case, "", Path(path), plan, Conversion())
    return Path(path)
