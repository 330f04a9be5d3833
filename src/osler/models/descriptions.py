"""What conditions look like in a fundus photograph, as short phrases for prompts.

FLAIR and its kin were trained with such phrases in place of names, so several of them say more
than the name alone. Source of the method: Silva-Rodriguez et al. 2025, "A foundation
language-image model of the retina (FLAIR)", Medical Image Analysis 99.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import yaml


def described(label: str, prompts: Sequence[str] = ()) -> list[str]:
    """A label's prompts and, after them, what it looks like; only the prompts where none is known.

    Args:
        label: name of a condition, such as ``"macular hole"`` or ``"PDR"``.
        prompts: that it has already; the label itself where there are none.
    """
    out = list(prompts) or [label]
    return out + [look for look in looks_of(label) if look not in out]


def looks_of(label: str) -> tuple[str, ...]:
    """Phrases that say what a condition looks like; none where it is not known."""
    return _looks().get(_key(label), ())


def known_labels() -> list[str]:
    """The conditions that are described, by their first names, in the order of the file."""
    return [names[0] for names, _ in _entries()]


def _key(label: str) -> str:
    return " ".join(label.casefold().replace("-", " ").split())


@cache
def _looks() -> Mapping[str, tuple[str, ...]]:
    return {_key(name): looks for names, looks in _entries() for name in names}


@cache
def _entries() -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    text = (files("osler.models") / "descriptions.yaml").read_text("utf-8")
    return tuple((tuple(one["names"]), tuple(one["looks"])) for one in yaml.safe_load(text))
