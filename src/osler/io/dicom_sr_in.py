"""DICOM Structured Reports read back: measurements, labels, points, contours and passages [1].

A measurement report (TID 1500) becomes findings; any other report becomes its passages. What was
not computed comes back as such, and what our own writer says comes back as it was.

1. DICOM PS3.16, TID 1500, 1410, 1411 and 1501.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from osler.io import dicom_header as header
from osler.io.dicom_codes import slug, unit_of
from osler.io.dicom_sr_groups import Groups
from osler.io.dicom_sr_tree import MOST_NODES, Node, tree
from osler.io.dicom_whole import read_whole
from osler.io.input_file import InputFile, decoding
from osler.record import Finding, Image, Measurement, Passage, Text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ITEM = "report"
_MEASUREMENT_REPORT = "126000"
_MEASUREMENTS = ("126010", "C0034375")  # imaging measurements, qualitative evaluations
_GROUP = "125007"
_LANGUAGE = "121049"
_OBSERVER_NAMES = ("PNAME", "UIDREF")
_SECTIONS = {"121073": "impression", "121071": "findings", "121106": "quality"}
"""Concepts of our own writer to the section of a passage."""


def read_sr(
    file: InputFile, format: str, *, images: Sequence[Image] = ()
) -> tuple[Text, list[Finding], str | None]:
    """Read a structured report.

    Args:
        file: the opened file.
        format: ``"dicom"``.
        images: images that the report may be about.

    Returns:
        The report in words, what it says as findings, and the patient's id. Names of observers
        and identifiers are in neither.

    Raises:
        UnreadableError: damaged, incomplete, or nested too deeply.
    """
    with decoding(file, format):
        dataset = read_whole(file)
        root = tree(dataset)
        language = _language(root)
        words = "\n".join(_lines(root))
        text = Text(
            name=ITEM,
            text=words,
            language=language,
            sections=_sections(root),
            acquired=header.acquired(dataset),
            origin=file.origin(format, header.as_json(dataset)),
            flags=_flags(dataset, root),
        )
        return text, list(_findings(dataset, root, language, images)), header.patient_id(dataset)


def _flags(dataset: "Dataset", root: Node) -> tuple[str, ...]:
    flags = []
    if header.text(dataset, "CompletionFlag") == "PARTIAL":
        flags.append("report-partial")
    if sum(1 for _ in root.walk()) >= MOST_NODES - 1:
        flags.append("report-cut-off")
    return tuple(flags)


def _language(node: Node, around: str = "en") -> str:
    """What a node and those under it are written in: as it says, else as what is around it."""
    said = node.one(_LANGUAGE)
    code = said.code if said else None
    return {"eng": "en", "zho": "zh", "chi": "zh"}.get(code.value, code.value) if code else around


def _lines(root: Node) -> Iterator[str]:
    if root.name:
        yield root.name.meaning
    for depth, node in root.walk():
        if node.kind in _OBSERVER_NAMES:
            continue
        name = node.name.meaning if node.name else ""
        said = node.text
        if node.kind == "CONTAINER":
            said = ""
        elif not said:
            continue
        yield "  " * min(depth, 8) + ": ".join(filter(None, (name, said)))


def _sections(root: Node) -> dict[str, str]:
    out: dict[str, list[str]] = {}
    for _, node in root.walk():
        section = _section(node)
        if node.kind == "TEXT" and section:
            out.setdefault(section, []).append(node.text)
    return {name: "\n".join(parts) for name, parts in out.items()}


def _section(node: Node) -> str:
    known = _SECTIONS.get(node.concept)
    words = node.name.meaning.lower() if node.name else ""
    for section in ("impression", "conclusion", "finding", "indication", "recommendation"):
        if known is None and section in words:
            return {"finding": "findings", "conclusion": "impression"}.get(section, section)
    return known or ""


def _findings(
    dataset: "Dataset", root: Node, language: str, images: Sequence[Image]
) -> Iterator[Finding]:
    taken: set[str] = {ITEM, *(image.name for image in images)}
    groups = Groups(dataset, root, images, taken)
    if root.concept == _MEASUREMENT_REPORT:
        for _, node in root.walk():
            if node.concept == _GROUP and node.kind == "CONTAINER":
                yield from groups.findings(node)
        boxes = [box for box in root.children if box.concept in _MEASUREMENTS]
        nodes = [said for box in boxes for said in _spoken(box, language, without=_GROUP)]
    else:
        nodes = list(_spoken(root, language))
        yield from _numbers(root, groups)
    statements = [(n, said_in) for n, said_in in nodes if n.kind == "TEXT" and n.text]
    for number, (node, said_in) in enumerate(statements, 1):
        yield Passage(
            id=groups.unused(f"statement-{number}"),
            name=node.name.meaning if node.name else "Statement",
            source=groups.observer,
            item=groups.item,
            code=node.name,
            text=node.text,
            language=said_in,
            section=_section(node) or "findings",
        )


def _spoken(node: Node, around: str, *, without: str = "") -> Iterator[tuple[Node, str]]:
    """What a node holds, however deep, with the language of each.

    Args:
        node: the node.
        around: the language around it.
        without: a concept whose contents are left out.
    """
    inside = _language(node, around)
    for child in node.children:
        yield child, _language(child, inside)
        if not without or child.concept != without:
            yield from _spoken(child, inside, without=without)


def _numbers(root: Node, groups: Groups) -> Iterator[Finding]:
    """The numbers of a report that is no measurement report."""
    for _, node in root.walk():
        value, unit = node.number if node.kind == "NUM" else (None, None)
        if value is not None:
            name = node.name.meaning if node.name else "Measurement"
            yield Measurement(
                id=groups.unused(slug(name)),
                name=name,
                source=groups.observer,
                item=groups.item,
                code=node.name,
                value=value,
                unit=unit_of(unit),
            )
