"""How counts, and names that others have chosen, are shown to a person."""

_SEPARATORS = "\u2028\u2029"
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def one_line(text: str, *, keep: str = "") -> str:
    r"""Text in which no line breaks, and nothing moves the cursor, rings or turns the letters.

    Such characters become what Python writes for them: a line break is ``\n``.

    Args:
        text: with names of files, columns or items in it.
        keep: characters that stay as they are.
    """
    return "".join(char if char in keep or not _moves(char) else repr(char)[1:-1] for char in text)


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: ``"1 case"``, ``"2 cases"``, ``"1,000 series"``.

    Args:
        count: how many.
        one: the noun for one of them.
        many: for any other number; ``one`` with an s where it is not given.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _moves(char: str) -> bool:
    code = ord(char)
    return code < 32 or 127 <= code < 160 or char in _SEPARATORS or char in _TURNS
