"""XML reports: HL7 CDA, and plain XML whose elements are named as sections.

Sources: HL7 CDA R2 (the narrative block, 4.3.5); LOINC codes of sections in the Diagnostic Imaging
Report guide (HL7 CDAR2_IG_DIAGIMGRPT).
"""

import base64
import binascii
import re
from datetime import datetime
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from osler.errors import TooLargeError, UnreadableError, UnsupportedError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.text_reading import checked, text_item
from osler.io.text_sections import canonical

MAX_BYTES: Final = 64_000_000
MAX_DEPTH: Final = 200
MAX_TAGS: Final = 1_000_000

_LOINC: Final = {
    "18782-3": "findings", "59776-5": "findings", "121070": "findings",
    "19005-8": "impression", "121072": "impression", "51848-0": "impression",
    "18785-6": "indication", "121109": "indication", "42349-1": "indication",
    "11329-0": "history", "55752-0": "history", "121060": "history", "10164-2": "history",
    "18834-2": "comparison", "121068": "history", "55111-9": "technique", "121064": "technique",
    "18783-1": "recommendation", "121074": "recommendation", "55115-0": "indication",
}  # fmt: skip
_BLOCKS: Final = {"paragraph", "item", "tr", "br", "list", "table", "caption", "title", "p", "div",
                  "li", "h1", "h2", "h3", "h4"}  # fmt: skip
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?")


def read_xml(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Read a report.

    Args:
        file: the opened file.
        format: ``"xml"``; a CDA document is ``"cda"`` in its origin.
        max_pixels: not used.

    Raises:
        UnreadableError: it is no sound XML, or has a document type or entities.
        UnsupportedError: it holds no text, or a CDA document whose body is no XML and no text.
        TooLargeError: more than 64 MB, or nested deeper than 200.
    """
    del max_pixels
    with decoding(file, format):
        root = parsed(file)
        if _plain(root) == "ClinicalDocument":
            return _cda(file, root)
        lines: list[tuple[str, str]] = []
        _leaves(root, "", lines)
        text = checked(file, "\n".join(text for _, text in lines))
        known: dict[str, list[str]] = {}
        for name, words in lines:
            if name:
                known.setdefault(name, []).append(words)
        return Content([text_item(text, file.origin(format), known=_joined(known))])


def parsed(file: InputFile) -> Element:
    """The root element; entities, document types and bottomless nesting are refused.

    Raises:
        UnreadableError: it is no sound XML, or has a document type or entities.
        TooLargeError: more than 64 MB, or nested deeper than 200.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if file.size > MAX_BYTES:
        raise TooLargeError(f"'{file.name}' has {file.size:,} bytes of XML, too many for a report")
    file.stream.seek(0)
    raw = file.stream.read()
    if raw.count(b"<") > MAX_TAGS:
        raise TooLargeError(f"'{file.name}' has more than {MAX_TAGS:,} tags, too many for a report")
    try:
        root: Element = fromstring(raw, forbid_dtd=True)
    except DefusedXmlException:
        raise UnreadableError(
            f"'{file.name}' is XML with a document type or entities, which no report needs; do "
            "not trust it"
        ) from None
    except (ParseError, ValueError):
        raise UnreadableError(
            f"'{file.name}' starts as XML but is not well-formed; it is damaged or incomplete: "
            "copy it again from its source"
        ) from None
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return root
    raise TooLargeError(f"'{file.name}' is XML nested deeper than {MAX_DEPTH}, which no report is")


def _plain(element: Element) -> str:
    tag = element.tag if isinstance(element.tag, str) else ""
    return tag.rpartition("}")[2]


def _find(element: Element, *names: str) -> Element | None:
    for name in names:
        found = next((child for child in element if _plain(child) == name), None)
        if found is None:
            return None
        element = found
    return element


def _cda(file: InputFile, root: Element) -> Content:
    lines: list[str] = []
    known: dict[str, list[str]] = {}
    title = _find(root, "title")
    if title is not None and (words := narrative(title)):
        lines.append(words)
    component = _find(root, "component")
    structured = _find(component, "structuredBody") if component is not None else None
    if structured is not None:
        for child in structured:
            if (section := _find(child, "section")) is not None:
                _section(section, "", lines, known)
    elif component is not None and (body := _find(component, "nonXMLBody", "text")) is not None:
        lines.append(_embedded(file, body))
    text = checked(file, "\n".join(lines))
    said = _find(root, "languageCode")
    item = text_item(
        text,
        file.origin("cda"),
        known=_joined(known) or None,
        said_language="" if said is None else said.get("code", "").partition("-")[0].lower(),
        acquired=_moment(_find(root, "effectiveTime")),
    )
    return Content([item], patient_id=_patient(root))


def _joined(known: dict[str, list[str]]) -> dict[str, str]:
    return {name: "\n".join(words) for name, words in known.items()}


def _section(section: Element, within: str, lines: list[str], known: dict[str, list[str]]) -> None:
    code, title = _find(section, "code"), _find(section, "title")
    heading = narrative(title) if title is not None else ""
    name = _LOINC.get(code.get("code", "") if code is not None else "") or canonical(heading)
    # a section within one that has a name belongs to it, unless it has its own
    name = name or within
    if heading:
        lines.append(heading)
    text = _find(section, "text")
    words = narrative(text) if text is not None else ""
    if words:
        lines.append(words)
        key = name or re.sub(r"\s+", "-", heading.casefold()) or "text"
        known.setdefault(key, []).append(words)
    for child in section:
        if _plain(child) == "component" and (inner := _find(child, "section")) is not None:
            _section(inner, name, lines, known)


def narrative(element: Element) -> str:
    """The words of a narrative block: a line a paragraph, item or row, cells parted by tabs."""
    pieces: list[str] = []
    _narrate(element, pieces)
    lines = ("\t".join(" ".join(cell.split()) for cell in line.split("\t"))
             for line in "".join(pieces).split("\n"))  # fmt: skip
    return "\n".join(line.strip(" ") for line in (one.strip("\t") for one in lines) if line.strip())


def _narrate(element: Element, pieces: list[str]) -> None:
    name = _plain(element)
    if name in _BLOCKS:
        pieces.append("\n")
    # a line break in the source is a space to the reader
    pieces.append(re.sub(r"\s+", " ", element.text or ""))
    for child in element:
        _narrate(child, pieces)
        pieces.append(re.sub(r"\s+", " ", child.tail or ""))
    if name in _BLOCKS:
        pieces.append("\n")
    elif name in ("td", "th"):
        pieces.append("\t")


def _embedded(file: InputFile, body: Element) -> str:
    kind = body.get("mediaType", "text/plain")
    words = "".join(body.itertext())
    if not kind.startswith("text/plain"):
        raise UnsupportedError(
            f"'{file.name}' is a CDA document around another ({kind[:40]}); take that out and open "
            "it alone"
        )
    if body.get("representation") != "B64":
        return words.strip()
    try:
        return base64.b64decode(words, validate=False).decode("utf-8")
    except (binascii.Error, ValueError):
        raise UnreadableError(f"'{file.name}' holds text in base64 that is damaged") from None


def _moment(element: Element | None) -> datetime | None:
    match = _TIME.match(element.get("value", "")) if element is not None else None
    if match is None:
        return None
    try:
        return datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None


def _patient(root: Element) -> str | None:
    role = _find(root, "recordTarget", "patientRole")
    id = _find(role, "id") if role is not None else None
    return (id.get("extension") or None) if id is not None else None


def _leaves(element: Element, within: str, lines: list[tuple[str, str]]) -> None:
    """Each element's own text as a line, with the section that its name or label says."""
    label = element.get("Label") or element.get("label") or element.get("name") or ""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]+", " ", _plain(element))
    name = canonical(label) or canonical(spaced) or within
    words = (element.text or "").strip()
    if words:
        lines.append((name, words))
    for child in element:
        _leaves(child, name, lines)
        if tail := (child.tail or "").strip():
            lines.append((name, tail))
