"""The first specialty: the retina, read step after step from a fundus photograph."""

from osler.retina.pipeline import interpret

__all__ = ("interpret",)
