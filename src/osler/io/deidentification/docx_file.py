"""A Word document → the same document without people in its text, its margins and its properties.

Only parts that are known are kept, as they are reached from one another; pictures are cleaned like
photographs, or blanked. ``docx_words.py`` cleans the words of a part.

Source: ECMA-376-1 (parts and relationships: ECMA-376-2, 9.3).
"""

import io
import posixpath
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast
from xml.dom.minidom import Element

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.deidentification import docx_words
from osler.io.deidentification.free_text import Scrubber, second_look
from osler.io.deidentification.known import Known
from osler.io.deidentification.office_package import EMPTY_CORE, Package
from osler.io.deidentification.options import Options
from osler.io.input_file import InputFile, opened
from osler.io.office_zip import archive, kind_of, part
from osler.terminal import counted

_MAX_TAGS: Final = 300_000  # of a part: a tree of more takes gigabytes
_TYPES: Final = "[Content_Types].xml"
_ROOT: Final = "_rels/.rels"
_CORE: Final = "docProps/core.xml"
_NOWHERE: Final = "https://removed.invalid/"
"""What links lead to (RFC 2606: no such name can exist)."""

# Last words of the types of relationships. Parts of others are left out: properties of the
# company, XML of other programs, people, templates, thumbnails, settings of printers.
_KEPT: Final = frozenset(
    [
        "officeDocument",
        "styles",
        "stylesWithEffects",
        "settings",
        "webSettings",
        "fontTable",
        "theme",
        "numbering",
        "footnotes",
        "endnotes",
        "header",
        "footer",
        "comments",
        "commentsExtended",
        "commentsIds",
        "commentsExtensible",
        "image",
        "hyperlink",
    ]
)
_NOT_CLEANED: Final = frozenset(
    [
        "oleObject",
        "package",
        "chart",
        "chartEx",
        "control",
        "aFChunk",
        "subDocument",
        "diagramData",
        "diagramLayout",
        "diagramQuickStyle",
        "diagramColors",
        "diagramDrawing",
        "vbaProject",
        "video",
        "audio",
        "media",
        "ink",
        "frame",
    ]
)
_PICTURES: Final = {
    b"\xff\xd8\xff": ".jpeg",
    b"\x89PNG": ".png",
    b"BM": ".bmp",
}
_MEDIA: Final = {
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".bmp": "image/bmp",
}


def accepts(file: InputFile) -> bool:
    """Whether an archive is a Word document."""
    try:
        with archive(file) as source:
            return kind_of(source.namelist()) == "docx"
    except InputError:
        return False


def clean(file: InputFile, options: Options, scrubber: Scrubber) -> Package:
    """The document without people.

    Raises:
        UnsupportedError: it has objects of other programs in it, or is encrypted.
        UnreadableError: it is damaged.
        TooLargeError: it is a bomb, or a part has more than 300,000 tags.
    """
    with archive(file) as source:
        known = Known()
        for name in _authors(file, source):
            known.add_name(name)
        work = _Cleaner(file, source, options, scrubber.knowing(known))
        work.reach("", _ROOT)
        work.finish()
        return work.document


def _authors(file: InputFile, source: zipfile.ZipFile) -> Iterator[str]:
    """People whom the document's own properties name."""
    names = set(source.namelist())
    if _CORE in names:
        core = part(file, source, _CORE)
        for value in re.findall(rb"<(?:dc:creator|cp:lastModifiedBy)>([^<]+)<", core):
            yield value.decode("utf-8", "replace")
    for name in sorted(n for n in names if re.fullmatch(r"word/[a-z]+\d*\.xml", n)):
        for value in set(re.findall(rb'w:author="([^"]+)"', part(file, source, name))):
            yield value.decode("utf-8", "replace")


class _Cleaner:
    """Walks from part to part."""

    def __init__(
        self, file: InputFile, source: zipfile.ZipFile, options: Options, scrubber: Scrubber
    ) -> None:
        self._file, self._source, self._options = file, source, options
        self._scrubber = scrubber
        self._names = set(source.namelist())
        self._pictures: dict[str, str] = {}
        self._blanked = 0
        self.document = Package()

    def reach(self, owner: str, place: str) -> None:
        """Clean the relationships of a part, and the parts that they lead to."""
        if place not in self._names:
            return
        tree = _parsed(self._file, self._source, place)
        for one in list(tree.getElementsByTagNameNS("*", "Relationship")):
            if not self._follow(owner, one):
                one.parentNode.removeChild(one)
                self.document.counts["Word parts", "removed"] += 1
        self.document.parts[place] = _serial(tree)

    def _follow(self, owner: str, one: Element) -> bool:
        """Whether a relationship stays; its target is cleaned then."""
        kind = one.getAttribute("Type").rsplit("/", 1)[-1]
        if one.getAttribute("TargetMode") == "External":
            one.setAttribute("Target", _NOWHERE)
            self.document.counts["Word links", "replaced"] += 1
            return kind in ("hyperlink", "image")
        if kind in _NOT_CLEANED:
            raise UnsupportedError(
                f"'{self._file.name}' has an object of another program in it ({kind}), which is "
                "not cleaned; take it out, or save the document as PDF"
            )
        if kind == "core-properties":
            self.document.parts[_CORE] = EMPTY_CORE.encode()
            self.document.counts["Word core properties", "removed"] += 1
            one.setAttribute("Target", _CORE)
            return True
        if kind not in _KEPT or (owner.endswith("settings.xml")):
            return False
        target = one.getAttribute("Target")
        if target.startswith("#"):
            return True
        name = posixpath.normpath(posixpath.join("/", posixpath.dirname(owner), target))[1:]
        if name not in self._names:
            return False
        if kind == "image":
            one.setAttribute("Target", "/" + self._picture(name))
        elif name not in self.document.parts:
            self._part(name)
        return True

    def _part(self, name: str) -> None:
        if not re.fullmatch(r"word/(?:theme/)?[A-Za-z]+\d*\.xml", name):
            raise UnsupportedError(
                f"'{self._file.name}' has a part under an unusual name; save it again with Word"
            )
        self.document.parts[name] = b""  # parts may lead to one another
        tree = _parsed(self._file, self._source, name)
        docx_words.clean(tree, self._scrubber, self.document.counts)
        self.document.parts[name] = _serial(tree)
        folder, last = posixpath.split(name)
        self.reach(name, f"{folder}/_rels/{last}.rels")

    def _picture(self, name: str) -> str:
        """Clean a picture once; its new name."""
        if name not in self._pictures:
            data = self._cleaned(part(self._file, self._source, name))
            ending = next(e for start, e in _PICTURES.items() if data.startswith(start))
            new = f"word/media/image{len(self._pictures) + 1}{ending}"
            self._pictures[name], self.document.parts[new] = new, data
        return self._pictures[name]

    def _cleaned(self, data: bytes) -> bytes:
        """A picture without text and tags, or a blank one where that cannot be had."""
        from osler.io.deidentification import raster_file

        known = any(data.startswith(start) for start in _PICTURES)
        if known and self._options.pixels != "rules":
            stream = cast("Any", io.BytesIO(data))
            name = f"{self._file.name}, a picture in it"
            inner = InputFile(self._file.path, name, stream, len(data), data[:2048])
            try:
                picture = raster_file.clean(inner, self._options)
            except OslerError:
                pass  # damaged, or too large: blank it
            else:
                self.document.counts.update(picture.counts)
                self.document.counts["Word pictures", "cleaned"] += 1
                with tempfile.TemporaryDirectory() as folder:
                    picture.write(Path(folder, "p"))
                    return Path(folder, "p").read_bytes()
        self.document.counts["Word pictures", "blanked"] += 1
        self._blanked += 1
        return _blank()

    def finish(self) -> None:
        """Say which parts there are, and put that first, as programs expect it."""
        tree = _parsed(self._file, self._source, _TYPES)
        root = tree.documentElement
        parts = self.document.parts
        for one in list(tree.getElementsByTagNameNS("*", "Override")):
            if one.getAttribute("PartName").lstrip("/") not in parts:
                root.removeChild(one)
        for one in list(tree.getElementsByTagNameNS("*", "Default")):
            if one.getAttribute("Extension").casefold() not in ("xml", "rels"):
                root.removeChild(one)
        for ending in sorted({posixpath.splitext(n)[1] for n in self._pictures.values()}):
            one = tree.createElementNS(root.namespaceURI, "Default")
            one.setAttribute("Extension", ending[1:])
            one.setAttribute("ContentType", _MEDIA[ending])
            root.insertBefore(one, root.firstChild)
        self.document.parts = {_TYPES: _serial(tree), **parts}
        if self._blanked:
            self.document.notes.append(
                f"{counted(self._blanked, 'picture')} blanked, as pixels were not searched"
            )
        left_out = len(self._names) - len(parts) - 1
        if left_out > 0:
            self.document.notes.append(f"{counted(left_out, 'part')} besides the text left out")


def _parsed(file: InputFile, source: zipfile.ZipFile, name: str) -> Any:
    from defusedxml import DefusedXmlException
    from defusedxml.minidom import parseString

    raw = part(file, source, name)
    if raw.count(b"<") > _MAX_TAGS:
        raise TooLargeError(f"'{file.name}' has a part of more than {_MAX_TAGS:,} tags; split it")
    try:
        return parseString(raw, forbid_dtd=True)  # type: ignore[arg-type]  # bytes are read too
    except (DefusedXmlException, ValueError, RecursionError):
        raise _broken(file) from None
    except Exception as error:
        if type(error).__name__ == "ExpatError":
            raise _broken(file) from None
        raise


def _broken(file: InputFile) -> UnreadableError:
    return UnreadableError(f"'{file.name}' holds XML that cannot be read; save it again with Word")


def _serial(tree: Any) -> bytes:
    return bytes(tree.toxml(encoding="UTF-8", standalone=True))


def _blank() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (1, 1), 200).save(out, "PNG")
    return out.getvalue()


def left(path: Path, known: Known, options: Options, *, thorough: bool) -> Iterator[str]:
    """What a copy still tells."""
    scrubber = second_look(known, dates=options.dates)
    with opened(path) as file, archive(file) as source:
        for name in source.namelist():
            data = part(file, source, name)
            if name.startswith("word/media/"):
                if thorough and options.pixels != "rules" and _shows_text(data, options):
                    yield "text in a picture"
            elif name == _CORE:
                if data != EMPTY_CORE.encode():
                    yield "core properties"
            elif name.endswith(".rels"):
                tree = _parsed(file, source, name)
                for one in tree.getElementsByTagNameNS("*", "Relationship"):
                    outside = one.getAttribute("TargetMode") == "External"
                    if outside and one.getAttribute("Target") != _NOWHERE:
                        yield "a link"
            elif re.fullmatch(r"word/(?:theme/)?[A-Za-z]+\d*\.xml", name):
                yield from docx_words.left(_parsed(file, source, name), scrubber)
            elif name != _TYPES:
                yield "a part that is not cleaned"


def _shows_text(data: bytes, options: Options) -> bool:
    import numpy as np
    from PIL import Image

    from osler.io.deidentification import text_boxes

    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "BMP")) as image:
        picture = np.asarray(image.convert("RGB"))
    return bool(text_boxes.find(picture, markers=options.markers))
