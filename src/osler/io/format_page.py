"""The page of the formats, made of the lists of readers and writers: ``docs/formats.md``.

python -m osler.io.format_page > docs/formats.md
"""

import sys
from collections.abc import Iterable
from typing import Final

from osler.io.converting import WRITERS
from osler.io.doubts import DOUBTS
from osler.io.losses import ASPECTS
from osler.io.readers import READERS, Reader
from osler.io.record_out import RECORD_WRITERS

_HEAD: Final = """# Formats

What `osler.load`, `osler info`, `osler convert` and `osler view` understand. This page is made from
the lists of readers and writers by `make docs`. The content of a file decides how it is read; its
name decides only where a row names an extension. The name decides how a file is written.
"""

_KINDS: Final = {
    "image": "Images and volumes",
    "signal": "Signals",
    "table": "Tables and omics",
    "text": "Text",
}


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD, "## Read\n"]
    for kind, title in _KINDS.items():
        parts.append(f"### {title}\n")
        parts.append(_table(("format", "kept", "not read", "options"), _rows(kind)))
    parts.append("## Written\n")
    parts.append(
        "Values are exact in every format. What one cannot hold is refused; `osler convert` asks\n"
        "for `--lossy` before it writes values as displayed. A file appears whole or not at all.\n"
        "`osler convert --masks` writes masks: to `.dcm` as a DICOM segmentation, else as labels.\n"
    )
    parts.append("### Images and volumes\n")
    names = [name for name in ASPECTS if any(name in writer.keeps for writer in WRITERS)]
    parts.append(_table(("extension", "keeps", "has no place for"), _image_rows(names)))
    parts.append("Header means the fields of the same format, where the image came from it.\n")
    parts.append("### Signals, tables and text\n")
    parts.append(_table(("extension", "takes a", "keeps", "has no place for"), _record_rows()))
    parts.append("## Doubts\n")
    parts.append("What a reader is not sure of is a flag on the item, and is said in words.\n")
    parts.append(_table(("flag", "says"), ((f"`{flag}`", said) for flag, said in DOUBTS.items())))
    return "\n".join(parts)


def _rows(kind: str) -> Iterable[tuple[str, ...]]:
    for reader in READERS:
        if reader.kind == kind:
            options = ", ".join(f"`{name}`" for name in reader.options) or "–"
            yield f"`{reader.format}` {_title(reader)}", reader.keeps, reader.drops, options


def _title(reader: Reader) -> str:
    if not reader.extensions:
        return reader.title
    named = ", ".join(f"`.{extension}`" for extension in reader.extensions)
    return f"{reader.title} (named {named})"


def _image_rows(names: list[str]) -> Iterable[tuple[str, ...]]:
    for writer in WRITERS:
        extensions = ", ".join(f"`{extension}`" for extension in writer.extensions)
        kept = [name for name in (*names, "header") if name in writer.keeps]
        lost = [name for name in names if name not in writer.keeps]
        yield extensions, ", ".join(kept) or "–", ", ".join(lost) or "–"


def _record_rows() -> Iterable[tuple[str, ...]]:
    for writer in RECORD_WRITERS:
        extensions = ", ".join(f"`{extension}`" for extension in writer.extensions)
        yield extensions, writer.holds.__name__.lower(), writer.keeps, writer.drops


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(page())
