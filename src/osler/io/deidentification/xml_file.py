"""An XML document → an XML document without people: values by their elements, all else as text.

HL7 CDA [1] is cleaned by its own rules for identifiers, codes and times; comments and processing
instructions go, and a document type is refused.

1. HL7 Clinical Document Architecture, release 2, https://www.hl7.org/implement/standards.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from xml.dom.minidom import Attr, Element, Node

from osler.errors import TooLargeError, UnreadableError, UnsupportedError
from osler.io.deidentification.cells import Cells, Row
from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.deidentification.trees import Leaves, kind_of_key, learn
from osler.io.deidentification.uids import is_standard, replaced
from osler.io.input_file import InputFile
from osler.io.record_signatures import is_xml

ENDING: Final = ".xml"
_LARGEST: Final = 64 << 20
_MOST_TAGS: Final = 300_000  # a tree of more takes gigabytes
_DEEPEST: Final = 200
_CDA: Final = "urn:hl7-org:v3"
_OTHER_FORMATS: Final = frozenset(
    ("svg", "html", "NativeDicomModel", "Workbook", "wordDocument", "package")
)
_CODES: Final = frozenset((
    "code", "codeSystem", "codeSystemName", "codeSystemVersion", "classCode", "moodCode",
    "typeCode", "nullFlavor", "unit", "determinerCode", "contextControlCode",
    "contextConductionInd", "use", "mediaType", "type", "schemaLocation", "styleCode",
    "operator", "inversionInd", "negationInd", "colspan", "rowspan",
))  # fmt: skip
"""Attributes of CDA that hold a code or a fixed word."""

_TIME: Final = re.compile(r"(\d{4}(?:\d{2}){0,5})(\.\d+)?([+-]\d{4})?\Z")
_PSEUDONYM: Final = re.compile(r"N?[A-Z2-7]{12}")
_TEXT: Final = frozenset((Node.TEXT_NODE, Node.CDATA_SECTION_NODE))


def accepts(file: InputFile) -> bool:
    """Whether a file is XML, by its first bytes, or by its name and a first tag."""
    start = file.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return is_xml(file.head) or (file.path.suffix.lower() == ENDING and start.startswith(b"<"))


class Document:
    """Cleans one document.

    Args:
        file: where it comes from, for messages.
        leaves: cleans the values.
    """

    def __init__(self, file: InputFile, leaves: Leaves) -> None:
        self._file, self._leaves = file, leaves
        self._cda = False

    def clean(self, tree: Any) -> None:
        """Take the people out of a tree, in place.

        Raises:
            UnsupportedError: it is of a format whose elements say nothing of their content.
        """
        root = tree.documentElement
        if root.localName in _OTHER_FORMATS or root.namespaceURI == "http://hl7.org/fhir":
            raise UnsupportedError(
                f"'{self._file.name}' is {root.localName} in XML, which is not cleaned; give it in "
                "its usual form (FHIR as JSON, a workbook as .xlsx, DICOM as .dcm)"
            )
        self._cda = root.namespaceURI == _CDA
        known = Known()
        for kind, _, text in _values(root):
            learn(known, kind, text.strip())
        self._leaves.cells.learn(known)
        for child in list(tree.childNodes):
            if child is not root:
                self._drop(tree, child)
        self._element(root, "", self._leaves.cells.about(_identity(root)))

    def _element(self, element: Element, above: str, row: Row) -> None:
        kind = kind_of_key(element.localName or "", above)
        if self._cda and element.localName == "id":
            self._identifier(element)
            return
        if element.getAttribute("representation") == "B64":
            raise UnsupportedError(
                f"'{self._file.name}' has a document of another kind in it, which is not cleaned; "
                "take it out"
            )
        for attribute in list(element.attributes.values()):
            attribute.value = self._attribute(attribute, kind, row)
        for child in list(element.childNodes):
            if child.nodeType == Node.ELEMENT_NODE:
                self._element(child, kind, row)
            elif child.nodeType in _TEXT:
                child.data = self._words(child.data, kind, row)
            else:
                self._drop(element, child)

    def _words(self, text: str, kind: str, row: Row) -> str:
        inner = text.strip()
        if not inner:
            return text
        start = text.index(inner)
        return text[:start] + self._leaves.clean(inner, kind, row) + text[start + len(inner) :]

    def _attribute(self, attribute: Attr, above: str, row: Row) -> str:
        name, value = attribute.localName or attribute.name, attribute.value
        if attribute.name.startswith(("xmlns", "xml:", "xsi:")) or not value.strip():
            return value
        if self._cda:
            if name in _CODES:
                return self._leaves.cells.scrubber.known_only(value)
            if name == "root":
                return self._uid(value) if value.count("-") == 4 else value
            if name == "ID" or value.startswith("#"):
                return self._anchor(value)
            if name == "value" and _TIME.match(value) and above in ("date", "birth", ""):
                return self._time(value, above, row)
        return self._leaves.clean(value, kind_of_key(name, above) or above, row)

    def _identifier(self, element: Element) -> None:
        """Both halves of an instance identifier: who gave it, and what."""
        for name in ("root", "extension", "assigningAuthorityName"):
            value = element.getAttribute(name)
            if not value:
                continue
            if name == "assigningAuthorityName":
                element.removeAttribute(name)
                self._leaves.changed.append(("place", value))
            else:
                new = self._uid(value) if name == "root" else self._number(value)
                element.setAttribute(name, new)

    def _number(self, value: str) -> str:
        if not _PSEUDONYM.fullmatch(value):
            self._leaves.changed.append(("number", value))
        self._leaves.cells.counts["identifier", "replaced"] += 1
        return self._leaves.cells.key.name("patient", value)

    def _anchor(self, value: str) -> str:
        mark, value = ("#", value[1:]) if value.startswith("#") else ("", value)
        return f"{mark}N{self._leaves.cells.key.name('anchor', value)}"

    def _uid(self, uid: str) -> str:
        if self._leaves.cells.options.uids or is_standard(uid):
            return uid
        if not uid.startswith("2.25."):
            self._leaves.changed.append(("uid", uid))
        return replaced(uid, self._leaves.cells.key)

    def _time(self, value: str, kind: str, row: Row) -> str:
        """A time as HL7 v3 writes it."""
        options = self._leaves.cells.options
        if kind != "birth" and options.dates == "keep":
            return value
        if kind == "" and len(value) < 8:
            return value  # a number of an observation
        moved = row.offset.datetime(value) if options.dates == "shift" and kind != "birth" else None
        self._leaves.changed.append((kind or "date", value))
        self._leaves.cells.counts["dates", "removed" if moved is None else "shifted"] += 1
        return moved or ""

    def _drop(self, owner: Any, child: Any) -> None:
        owner.removeChild(child)
        self._leaves.changed.append(("comment", ""))
        self._leaves.cells.counts["XML comments and instructions", "removed"] += 1


def _values(element: Element, above: str = "") -> Iterator[tuple[str, str, str]]:
    """Kind, name and text of each text and attribute in a tree."""
    name = element.localName or ""
    kind = kind_of_key(name, above)
    for attribute in element.attributes.values():
        own = kind_of_key(attribute.localName or attribute.name, kind)
        yield own or kind, attribute.name, attribute.value
    for child in element.childNodes:
        if child.nodeType == Node.ELEMENT_NODE:
            yield from _values(child, kind)
        elif child.nodeType in _TEXT and child.data.strip():
            yield kind, name, child.data


def _identity(root: Element) -> str:
    """The first number of a patient, whose dates move together."""
    return next((text.strip() for kind, _, text in _values(root) if kind == "patient"), "")


def parsed(file: InputFile) -> Any:
    """The tree of a document.

    Raises:
        UnreadableError: it is damaged, or has a document type.
        TooLargeError: it is longer than 64 MiB, or has too many tags.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.minidom import parseString

    file.stream.seek(0)
    raw = file.stream.read(_LARGEST + 1)
    if len(raw) > _LARGEST or raw.count(b"<") > _MOST_TAGS:
        raise TooLargeError(
            f"'{file.name}' has more than 64 MiB or {_MOST_TAGS:,} tags of XML; divide it"
        )
    broken = UnreadableError(
        f"'{file.name}' holds XML that cannot be read, or that has a document type; export it again"
    )
    try:
        tree: Any = parseString(raw, forbid_dtd=True)  # type: ignore[arg-type]  # bytes, too
    except (DefusedXmlException, ValueError, RecursionError):
        raise broken from None
    except Exception as error:
        if type(error).__name__ == "ExpatError":
            raise broken from None
        raise
    level: list[Any] = [tree.documentElement]
    depth = 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise UnreadableError(f"'{file.name}' is nested more than {_DEEPEST} levels deep")
        level = [c for one in level for c in one.childNodes if c.nodeType == Node.ELEMENT_NODE]
    return tree


def clean(file: InputFile, cells: Cells) -> bytes:
    """The document without people, in UTF-8."""
    tree = parsed(file)
    Document(file, Leaves(cells)).clean(tree)
    return bytes(tree.toxml(encoding="UTF-8"))


def write(data: bytes, path: Path) -> None:
    """Write the document."""
    path.write_bytes(data)


def left(file: InputFile, known: Known) -> Iterator[str]:
    """What a copy still tells of people who are known."""
    scrubber = Scrubber(known)
    for _, _, text in _values(parsed(file).documentElement):
        if scrubber.known_only(text) != text:
            yield "something of a patient in its values"


def left_unaided(file: InputFile, cells: Cells, options: Options) -> Iterator[str]:
    """What a copy still tells, by its elements and by the rules."""
    leaves = Leaves(cells)
    Document(file, leaves).clean(parsed(file))
    yield from leaves.unclean(options)
