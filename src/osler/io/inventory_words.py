"""An inventory in words."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_WORDS: Final = {"L": "left", "R": "right", "P": "posterior", "A": "anterior", "S": "superior",
                 "I": "inferior"}  # fmt: skip


def count(number: int, noun: str) -> str:
    """So many of something."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def facts(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of an item, each with its name, in the order in which it is read."""
    out: list[tuple[str, str]] = []
    if item["kind"] == "image":
        out.append(("size", _size(item)))
        steps = item.get("spacing_mm")
        out.append(("spacing", f"{_by(steps)} mm" if steps else "not known"))
        if "orientation" in item:
            out.append(("orientation", _orientation(item)))
    elif item["kind"] == "signal":
        channels, samples = item["shape"]
        out.append(("size", f"{count(channels, 'channel')} x {count(samples, 'sample')}"))
        out.append(("rate", f"{item['rate_hz']:g} Hz, {item['seconds']:g} s"))
    elif item["kind"] == "table":
        if "shape" in item:
            out.append(("matrix", f"{_by(item['shape'])}, {item['missing']:,} missing"))
        if item["values"] or "shape" not in item:
            out.append(("values", _few(item["variables"], item["values"])))
    else:
        out.append(("size", f"{count(item['characters'], 'character')} ({item['language']})"))
        out.append(("sections", ", ".join(item["sections"]) or "none recognised"))
    for key, name in (("laterality", "eye or side"), ("units", "unit"), ("acquired", "made")):
        value = item.get(key)
        if value:
            out.append((name, value if isinstance(value, str) else ", ".join(filter(None, value))))
    if item.get("channels"):
        out.append(("channels", _few(item["channels"], len(item["channels"]))))
    if item["kind"] == "image" and "seconds" in item:
        out.append(("lasts", f"{item['seconds']:g} s"))
    out.extend(("doubt", words) for words in item["doubts"].values())
    return out


def _size(item: Mapping[str, Any]) -> str:
    channels, *shape = item["shape"]
    first = "frames" if "frames" in item else "slices"
    axes = f" ({first} x rows x columns)" if len(shape) == 3 else " (rows x columns)"
    several = f", {channels} channels" if channels > 1 else ""
    return f"{_by(shape)}{axes}{several}, {item['type']}"


def _orientation(item: Mapping[str, Any]) -> str:
    names = ("slices", "rows", "columns")[3 - len(item["orientation"]) :]
    pairs = zip(names, item["orientation"], strict=True)
    said = ", ".join(f"{name} to {_WORDS[letter]}" for name, letter in pairs)
    slant = item.get("oblique_degrees")
    turned = f", oblique by {slant:g}°" if slant else ""
    return f"{''.join(item['orientation'])} ({said}{turned})"


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _few(names: Sequence[str], total: int) -> str:
    shown = ", ".join(names[:12])
    return f"{total}: {shown}{', …' if total > 12 else ''}" if total > 1 else shown
