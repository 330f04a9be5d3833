"""Learning: from a recipe to a bundle. Needs the extra ``train`` (torch)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.learn.fitting import Run, fit

__all__ = ("Run", "fit")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'osler.learn' has no attribute {name!r}")
    return getattr(import_module("osler.learn.fitting"), name)
