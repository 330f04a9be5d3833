"""How many heads share the width of an attention, which no tensor's shape tells."""

from collections.abc import Mapping
from typing import Any

from osler.errors import RecipeError

PAIRS = (
    ("num_heads", "embed_dim"),
    ("decoder_heads", "decoder_dim"),
    ("decoder_heads", "dim"),
)
"""Options that say a number of heads, and the width that they share."""

_WIDEST = {1280: 16, 1408: 16, 1664: 16}
"""Widths of the largest published transformers whose heads are not 64 wide."""


def heads_for(width: int, option: str, *, told: int | None = None) -> int:
    """Heads that share a width.

    Args:
        width: of the attention.
        option: what a person says them by.
        told: what was said; None is one for each 64 of the width, as published transformers have
            it (16 in the widest).

    Raises:
        RecipeError: they do not share it, or none were said and the width is not of that kind.
    """
    if told:
        if width % told:
            raise RecipeError(f"a width of {width} cannot be shared by {option} {told}")
        return told
    if width in _WIDEST:
        return _WIDEST[width]
    if width % 64:
        raise RecipeError(_unknown(width, option))
    return width // 64


def inferred_heads(
    published: Mapping[str, Any], inferred: Mapping[str, Any], said: Mapping[str, Any]
) -> dict[str, int]:
    """Heads for widths that a checkpoint has and the published network has not.

    Args:
        published: options of the published network.
        inferred: what the checkpoint tells.
        said: what the user says.

    Raises:
        RecipeError: they cannot be known, so that the network would say something else than the
            one whose weights these are.
    """
    out: dict[str, int] = {}
    for option, wide in PAIRS:
        width, own, heads = inferred.get(wide), published.get(wide), published.get(option)
        if option in said or option in inferred or wide in said or not (width and own and heads):
            continue
        if width == own:
            continue
        if own != 64 * heads:
            raise RecipeError(_unknown(width, option))
        out[option] = heads_for(width, option)
    return out


def _unknown(width: int, option: str) -> str:
    return (
        f"how many heads share the width of {width} is in no checkpoint: say {option} "
        f"({option}=N; on the command line --set {option}=N)"
    )
