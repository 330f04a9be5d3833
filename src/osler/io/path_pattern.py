"""Patterns by which a path says whose file it is, such as ``{patient}/{eye}.jpg``."""

import re

from osler.errors import InputError

FIELDS = ("patient", "study", "item", "eye")
"""What a pattern may name."""

_PIECE = re.compile(r"\{([^{}]*)\}|(\*\*/?)|(\*)|([^{}*]+)|([{}])")

EYES = {
    **dict.fromkeys(("r", "od", "right"), "R"),
    **dict.fromkeys(("l", "os", "left"), "L"),
}
"""What ``{eye}`` may be, in lower case, and the side it means."""


class PathPattern:
    """A pattern of relative paths with ``/`` between their parts.

    Args:
        text: fields in braces, ``*`` for anything within a name, ``**`` for anything.

    Raises:
        InputError: an unknown or double field, or a brace that does not close.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts, seen = [], set()
        for name, deep, star, plain, stray in _PIECE.findall(text):
            if (
                stray
                or name in seen
                or (name and name not in FIELDS)
                or not any((name, deep, star, plain))
            ):
                raise InputError(
                    f"pattern '{text}' is not understood at '{name or stray or '{}'}'; it takes "
                    f"each of {', '.join('{' + known + '}' for known in FIELDS)} once, and * and **"
                )
            if name:
                seen.add(name)
                parts.append(f"(?P<{name}>[^/]+?)")
            elif deep:
                parts.append("(?:.*/)?" if deep == "**/" else ".*")
            else:
                parts.append("[^/]*" if star else re.escape(plain))
        self._regex = re.compile("".join(parts), re.IGNORECASE)

    def match(self, path: str) -> dict[str, str] | None:
        """The fields of a path, or None where it does not fit or its eye is none."""
        match = self._regex.fullmatch(path)
        if match is None:
            return None
        fields = match.groupdict()
        if "eye" in fields:
            side = EYES.get(fields["eye"].lower())
            if side is None:
                return None
            fields["eye"] = side
        return fields
