"""What the shapes of many tensors agree on, so that one damaged tensor does not decide."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

Shapes = Mapping[str, tuple[int, ...]]


def commonest(shapes: Shapes, pattern: str, axis: int) -> int | None:
    """The length of an axis that most tensors of a pattern have, so that one odd one stands out."""
    found = [
        shape[axis]
        for name, shape in shapes.items()
        if re.search(pattern, name) and len(shape) > max(axis, 0)
    ]
    return Counter(found).most_common(1)[0][0] if found else None


def agreed(*lengths: int | None) -> int | None:
    """What most of some lengths are; of two that differ, the rounder one, as widths are."""
    known = Counter(one for one in lengths if one is not None)
    # one & -one is the greatest power of two that divides it
    return max(known, key=lambda one: (known[one], one & -one), default=None)


def count(names: Iterable[str], pattern: str) -> int | None:
    """One more than the greatest number that a pattern's group finds."""
    found = [int(one[1]) for name in names if (one := re.search(pattern, name))]
    return 1 + max(found) if found else None


def known(**options: int | None) -> dict[str, int]:
    """Those options that are not None."""
    return {name: value for name, value in options.items() if value is not None}
