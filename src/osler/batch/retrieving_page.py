"""The page of a search: the query and what is like it, in one file without a script.

Thumbnails and sentences are made from the files when the page is written, of files that are what
was indexed; the index itself holds neither.
"""

import base64
import hashlib
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.batch.retrieving import Found, shown_file
from osler.errors import OslerError
from osler.language.encoder import eight_bits
from osler.language.index import Entry, Index
from osler.models.text_encoder import clean
from osler.record import Image, Text

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES: Final = Path(__file__).parent / "templates"
_WIDEST: Final = 320
_LONGEST: Final = 400  # characters of a text
_MOST_FILE: Final = 2 << 30


def write_page(found: Found, index: Index, path: Path) -> Path:
    """Write the page.

    Raises:
        OutputError: it cannot be written.
    """
    from osler.io.atomic_file import replacing

    with replacing(path) as part:
        part.write_text(page(found, index), encoding="utf-8")
    return path


def page(found: Found, index: Index) -> str:
    """What was found, as one HTML page."""
    import osler

    style = (_TEMPLATES / "search.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    said = index.listed.encoder
    return _template().render(
        style=style,
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'",
        pictures=[thumbnail(image) for image in found.pictures],
        text="" if found.pictures else clean(found.query)[:_LONGEST],
        doubts=found.doubts,
        found=[
            {
                "rank": rank,
                "score": hit.score,
                "kind": hit.entry.kind,
                "same": hit.row in found.same,
                "labels": {clean(k): clean(str(v)) for k, v in hit.entry.labels.items()},
                "patient": clean(hit.entry.patient),
                "file": clean(shown_file(hit.entry, index)),
                "place": clean(hit.entry.place),
                **_content(hit.entry, index),
            }
            for rank, hit in enumerate(found.hits, start=1)
        ],
        count=len(index),
        encoder=clean(said.name),
        version=said.version,
        likeness=found.likeness,
        osler=osler.__version__,
    )


def words_of(entry: Entry, index: Index, *, most: int = 80) -> str:
    """The beginning of a text in one line, read anew from its file; empty of a picture."""
    if entry.kind != "text":
        return ""
    said = _content(entry, index)
    words = " ".join(said.get("text", "").split())
    return words if len(words) <= most else words[: most - 1] + "…"


def _content(entry: Entry, index: Index) -> dict[str, str]:
    """A picture or the beginning of a text, read anew from the file; or why there is none."""
    path = index.where(entry)
    try:
        if entry.place:
            return {"text": _cell(path, entry)[:_LONGEST]}
        if path.stat().st_size > _MOST_FILE:
            return {"why": "the file is too large to be shown"}
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, OslerError):
        return {"why": "the file is no longer there"}
    if digest != entry.sha256:
        # nor is anything of it shown: an index from elsewhere may name any file
        return {"why": "the file has changed since it was indexed"}
    try:
        return _drawn(path, entry)
    except OslerError:
        return {"why": "the file cannot be read"}


def _drawn(path: Path, entry: Entry) -> dict[str, str]:
    from osler.io import load_file

    items = load_file(path).items
    if entry.kind == "image":
        images = [one for one in items.values() if isinstance(one, Image) and len(one.shape) == 2]
        named = [one for one in images if one.name == entry.item] or images
        return {"picture": thumbnail(named[0])} if named else {"why": "the file holds no picture"}
    texts = [one for one in items.values() if isinstance(one, Text)]
    named_text = [one for one in texts if one.name == entry.item] or texts
    return {"text": clean(named_text[0].text)[:_LONGEST]} if named_text else {"why": "no text"}


def _cell(path: Path, entry: Entry) -> str:
    """A cell of a table, if it still says what was indexed."""
    from osler.batch.indexing import text_digest
    from osler.data.cohort import read_cohort

    for row in read_cohort(path).rows:
        if row.where == entry.place:
            said = {**row.labels, **row.variables}.get(entry.item)
            if said is not None and text_digest(str(said)) == entry.sha256:
                return clean(str(said))
    raise ValueError("the table has changed")


def thumbnail(image: Image) -> str:
    """A small JPEG as a data address."""
    from PIL import Image as Pillow

    pixels: NDArray[np.uint8] = eight_bits(image)
    drawn = Pillow.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    drawn.thumbnail((_WIDEST, _WIDEST))
    buffer = io.BytesIO()
    drawn.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader: Any = FileSystemLoader(_TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("search.html.j2")
