"""Trained models one can hand over: a card, an ONNX graph, and nothing that runs code."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.bundles.card import Card
    from osler.bundles.catalogue import load, names
    from osler.bundles.scores import probability
    from osler.bundles.session import Bundle, threads
    from osler.bundles.writing import save

__all__ = ("Bundle", "Card", "load", "names", "probability", "save", "threads")

_HOMES = {
    "Bundle": "session",
    "Card": "card",
    "load": "catalogue",
    "names": "catalogue",
    "probability": "scores",
    "save": "writing",
    "threads": "session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.bundles' has no attribute {name!r}")
    return getattr(import_module(f"osler.bundles.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
