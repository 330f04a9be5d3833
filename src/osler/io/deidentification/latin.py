"""Letters of names in Latin script: Nguyễn, Bárányi and José, written in one sign or two."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final


def _signs(wanted: Callable[[str], bool]) -> str:
    """Latin letters as the inside of a pattern's class, in runs."""
    codes = [*range(0x41, 0x250), *range(0x1E00, 0x1F00)]
    chosen = [c for c in codes if chr(c).isalpha() and wanted(chr(c))]
    runs: list[list[int]] = []
    for code in chosen:
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in runs)


UPPER: Final = _signs(str.isupper)
LOWER: Final = _signs(lambda c: not c.isupper()) + "\u0300-\u036f"

PARTICLE: Final = "(?:de|van|von|der|den|la|le|bin|ibn|al|el|ter|ten|del|di|da|dos|du|zu)"
WORD: Final = (
    rf"(?:(?:al|el|ad|as|ash|an|ar)-)?[{UPPER}](?:[{LOWER}]+|['’][{UPPER}][{LOWER}]+|\.|"
    rf"(?=[ \t,.;]))(?:[-'’][{UPPER}]?[{LOWER}]+)*"
)
"""A word with a capital, or an initial."""

CAPITALISED: Final = re.compile(
    rf"\b[{UPPER}](?:['’][{UPPER}][{LOWER}]+|[{LOWER}]+)(?:[-'’][{UPPER}]?[{LOWER}]+)*\b"
)


def plain(word: str) -> str:
    """A word without its accents."""
    return "".join(c for c in unicodedata.normalize("NFD", word) if not "\u0300" <= c <= "\u036f")
