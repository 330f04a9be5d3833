"""Learning: from a recipe to a bundle. Needs the extra ``train`` (torch)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.learn.cross_fitting import cross_fit
    from osler.learn.fitting import Run, fit
    from osler.learn.rehearsal import Rehearsal, rehearse
    from osler.learn.rounds import Round, learn_in_rounds
    from osler.learn.tuning import Tuned, tune

__all__ = (
    "Rehearsal", "Round", "Run", "Tuned", "cross_fit", "fit", "learn_in_rounds", "rehearse", "tune",
)  # fmt: skip

_HOMES = {
    "Run": "fitting", "fit": "fitting", "Tuned": "tuning", "tune": "tuning",
    "cross_fit": "cross_fitting",
    "Rehearsal": "rehearsal", "rehearse": "rehearsal",
    "Round": "rounds", "learn_in_rounds": "rounds",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.learn' has no attribute {name!r}")
    return getattr(import_module(f"osler.learn.{_HOMES[name]}"), name)
