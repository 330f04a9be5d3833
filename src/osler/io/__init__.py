"""Files to cases, and cases to files.

``load`` opens a file or a folder, ``sort`` says what lies in a folder, ``find`` turns what a person
typed into files, ``write`` writes a case, ``search`` and ``send`` ask a DICOMweb service.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.io.reading import load, load_file
    from osler.io.record_out import save_record
    from osler.io.searching import Found, find, find_all
    from osler.io.sorting import Cases, sort
    from osler.io.table_grouping import read_table, table_cases
    from osler.io.table_out import write_table
    from osler.io.web_dicom import FoundStudy, search, send
    from osler.io.writing import write

__all__ = (
    "Cases",
    "Found",
    "FoundStudy",
    "find",
    "find_all",
    "load",
    "load_file",
    "read_table",
    "save_record",
    "search",
    "send",
    "sort",
    "table_cases",
    "write",
    "write_table",
)

_HOMES = {
    "load": "osler.io.reading",
    "load_file": "osler.io.reading",
    "sort": "osler.io.sorting",
    "Cases": "osler.io.sorting",
    "Found": "osler.io.searching",
    "find": "osler.io.searching",
    "find_all": "osler.io.searching",
    "read_table": "osler.io.table_grouping",
    "table_cases": "osler.io.table_grouping",
    "write_table": "osler.io.table_out",
    "save_record": "osler.io.record_out",
    "write": "osler.io.writing",
    "FoundStudy": "osler.io.web_dicom",
    "search": "osler.io.web_dicom",
    "send": "osler.io.web_dicom",
}


def __getattr__(name: str) -> Any:
    # lazy, so that importing osler stays fast and loads no imaging library
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.io' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
