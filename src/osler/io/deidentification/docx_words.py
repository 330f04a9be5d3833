"""The words of one part of a Word document: text, tracked changes, fields and attributes."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from xml.dom.minidom import Document as Xml
from xml.dom.minidom import Element, Node

from osler.io.deidentification.free_text import Passage, Scrubber, merged

Counts = Counter[tuple[str, str]]

_LEAVES: Final = frozenset(("t", "delText", "instrText", "delInstrText"))
_BREAKS: Final = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_AUTHOR, _INITIALS = "REMOVED", "R"

# Elements that hold what a program needs of a person, a file or another program.
_GONE: Final = frozenset(
    [
        "docVars",
        "attachedTemplate",
        "mailMerge",
        "rsids",
        "docId",
        "dataBinding",
        "placeholder",
        "smartTagPr",
        "schemaLibrary",
        "activeWritingStyle",
        "embedRegular",
        "embedBold",
        "embedItalic",
        "embedBoldItalic",
        "writeProtection",
        "documentProtection",
        "attachedSchema",
        "saveThroughXslt",
    ]
)
_NO_SUCH_ATTRIBUTE: Final = frozenset(
    ("date", "dateUtc", "fullDate", "userId", "providerId", "author", "initials")
)
# Attributes in which people write, by the element that has them.
_WRITTEN: Final = frozenset(
    [
        "displayText",
        "value",
        "string",
        "placeholderText",
        "prompt",
        "instr",
        "help",
        "statusText",
        "tooltip",
    ]
)
_WRITTEN_VALUES: Final = frozenset(
    ["alias", "tag", "default", "statusText", "helpText", "name", "title", "category"]
)
_ALT_TEXT: Final = frozenset(("descr", "title", "alt"))


def clean(tree: Xml, scrubber: Scrubber, counts: Counts) -> None:
    """Clean a part in place."""
    for node in list(_nodes(tree)):
        if node.nodeType in (Node.COMMENT_NODE, Node.PROCESSING_INSTRUCTION_NODE) or (
            node.nodeType == Node.ELEMENT_NODE and node.localName in _GONE
        ):
            if node.parentNode is not None:
                node.parentNode.removeChild(node)
        elif node.nodeType == Node.ELEMENT_NODE:
            _attributes(node, scrubber, counts)
    leaves, text = _text(tree)
    passages = scrubber.passages(text)
    counts.update((f"text: {p.kind.lower()}", "replaced") for p in passages)
    for leaf, start in leaves:
        _replace(leaf, start, passages)


def left(tree: Xml, scrubber: Scrubber) -> Iterator[str]:
    """What a part still tells of somebody."""
    _, text = _text(tree)
    if scrubber.passages(text):
        yield "something of somebody in its text"
    for node in _nodes(tree):
        if node.nodeType == Node.COMMENT_NODE:
            yield "a comment in its XML"
        if node.nodeType != Node.ELEMENT_NODE:
            continue
        if node.localName in _GONE:
            yield f"<{node.localName}>"
        for name, value in _pairs(node):
            told = name in _NO_SUCH_ATTRIBUTE and value not in (_AUTHOR, _INITIALS)
            if told or scrubber.known_only(value) != value:
                yield f"something in the attribute '{name}'"


def _nodes(tree: Any) -> Iterator[Any]:
    """All nodes in document order, without recursion."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.childNodes))


def _pairs(element: Element) -> list[tuple[str, str]]:
    if not element.hasAttributes():
        return []
    attributes: Any = element.attributes
    return [
        (one.localName or one.name, one.value)
        for one in (attributes.item(i) for i in range(attributes.length))
        if one is not None and not one.name.startswith("xmlns")
    ]


def _attributes(element: Element, scrubber: Scrubber, counts: Counts) -> None:
    if not element.hasAttributes():
        return
    attributes: Any = element.attributes
    for one in [attributes.item(i) for i in range(attributes.length)]:
        if one is None or one.name.startswith("xmlns"):
            continue
        name, value = one.localName or one.name, one.value
        new = _value(element.localName, name, value, scrubber)
        if new is None:
            element.removeAttribute(one.name)
        elif new != value:
            one.value = new
        else:
            continue
        if not name.startswith("rsid"):
            counts[f"Word attribute '{name}'", "removed" if new is None else "replaced"] += 1


def _value(element: str, name: str, value: str, scrubber: Scrubber) -> str | None:
    """The new value of an attribute; None where it goes."""
    if name == "author":
        return _AUTHOR
    if name == "initials":
        return _INITIALS
    if name in _NO_SUCH_ATTRIBUTE or name.startswith("rsid"):
        return None
    if element in ("docPr", "cNvPr") and name == "name":
        return "Picture"
    if name in _ALT_TEXT:
        return ""
    written = name in _WRITTEN or (name == "val" and element in _WRITTEN_VALUES)
    if element == "bookmarkStart" and name == "name":
        return value if not scrubber.passages(value.replace("_", " ")) else "removed"
    if element == "style" or (element == "name" and name == "val"):
        written = False  # names of styles are referred to
    new = scrubber.clean(value) if written else scrubber.known_only(value)
    return "removed" if new != value and not written else new


def _text(tree: Xml) -> tuple[list[tuple[Any, int]], str]:
    """Text nodes with where each starts in the text of the part, and that text.

    Cells of a table are set as "label: value", which is how rules know a name by its label.
    """
    leaves: list[tuple[Any, int]] = []
    pieces: list[str] = []
    length = 0
    stack: list[Any] = [tree.documentElement]

    def append(words: str) -> None:
        nonlocal length
        pieces.append(words)
        length += len(words)

    while stack:
        node = stack.pop()
        if isinstance(node, str):
            last = pieces[-1][-1:] if pieces else ""
            if node == "\t" and last == "\n":
                length -= len(pieces.pop())
                last = pieces[-1][-1:] if pieces else ""
            append(":\t" if node == "\t" and last.isalnum() else node)
        elif node.nodeType in (Node.TEXT_NODE, Node.CDATA_SECTION_NODE):
            if node.parentNode.localName in _LEAVES:
                leaves.append((node, length))
                append(node.data)
        elif node.nodeType == Node.ELEMENT_NODE:
            name = node.localName
            if name in _BREAKS:
                append(_BREAKS[name])
            if name in ("p", "tr"):
                stack.append("\n")
            elif name == "tc":
                stack.append("\t")
            stack.extend(reversed(node.childNodes))
    return leaves, "".join(pieces)


def _replace(leaf: Any, start: int, passages: list[Passage]) -> None:
    """Put the placeholder of a passage where it starts, and take out the rest of it."""
    text, end = leaf.data, start + len(leaf.data)
    pieces, at = [], start
    for passage in merged(passages):
        if passage.end <= start or passage.start >= end:
            continue
        pieces.append(text[at - start : max(passage.start, start) - start])
        if passage.start >= start:
            pieces.append(passage.sign)
        at = min(passage.end, end)
    if at > start or pieces:
        leaf.data = "".join((*pieces, text[at - start :]))
