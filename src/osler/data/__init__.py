"""Many cases: cohorts as tables of paths and labels, splits, leaks, importers and a cache."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.data.cohort import Cohort, Row, read_cohort

__all__ = ("Cohort", "Row", "read_cohort")

_HOMES = {
    "Cohort": "osler.data.cohort",
    "Row": "osler.data.cohort",
    "read_cohort": "osler.data.cohort",
}


def __getattr__(name: str) -> Any:
    # lazy, so that importing osler stays fast and loads no imaging library
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.data' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
