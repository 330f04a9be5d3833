"""Other numbers in the places of those that a prompt and its text share."""

import re
from typing import Final

import numpy as np

_NUMBER: Final = re.compile(r"(?<![\d.])(\d+\.\d+|\d{2,})(?![\d.]*\d)")


def with_other_numbers(prompt: str, text: str, rng: np.random.Generator) -> tuple[str, str]:
    """Prompt and text with other digits in the numbers that both have, the same in both.

    Decimal numbers keep what stands before the point, and all keep their length, so that a ratio
    stays a ratio; single digits, such as grades, stay as they are.

    Args:
        prompt: what is read.
        text: what is to be written.
        rng: draws the digits.
    """
    shared = sorted(set(_NUMBER.findall(prompt)) & set(_NUMBER.findall(text)))
    other = {one: _drawn(one, rng) for one in shared}

    def put(found: re.Match[str]) -> str:
        return other.get(found[1], found[1])

    return _NUMBER.sub(put, prompt), _NUMBER.sub(put, text)


def _drawn(number: str, rng: np.random.Generator) -> str:
    whole, point, part = number.partition(".")
    if point:
        return whole + point + "".join(str(one) for one in rng.integers(0, 10, len(part)))
    first = str(rng.integers(1, 10))
    return first + "".join(str(one) for one in rng.integers(0, 10, len(whole) - 1))
