"""The measurement groups of a report (TID 1410, 1411 and 1501) as findings [1].

1. DICOM PS3.16, TID 300, 310, 1410, 1411, 1419, 1501 and 4019.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.io import dicom_header as header
from osler.io.dicom_codes import side, slug, unit_of
from osler.io.dicom_context import plane_of_frame, planes_of
from osler.io.dicom_sr_parts import UNITS
from osler.io.dicom_sr_regions import BOUNDED_BY, PURPOSE, corners_of, joined
from osler.io.dicom_sr_tree import Node
from osler.record import (
    Box,
    Code,
    Contour,
    Finding,
    Image,
    Label,
    Laterality,
    Measurement,
    Point,
    Source,
    vocab,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TRACKING_ID = "112039"
_FINDING = ("121071", "276214006")  # finding, finding category
_SITE = ("363698007", "G-C0E3")
_LATERALITY = ("272741003", "G-C171")
_MODIFIER = ("106233006", "G-A1F8")
_METHOD = ("370129005", "G-C036")
_ALGORITHM, _ALGORITHM_VERSION = "111001", "111003"
_OBSERVER_KIND, _DEVICE = "121005", "121007"
_BOUNDED = (BOUNDED_BY.value, BOUNDED_BY.scheme)
_NOT_STATEMENTS = {
    PURPOSE,
    *_FINDING,
    *_SITE,
    *_LATERALITY,
    *_MODIFIER,
    *_METHOD,
    "C2348792",  # time point
    "112040",
    "126402",  # measurement statistics
    "121401",
}
_FLAG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SET = re.compile(r" at (\d+)%$")
_ELLIPSE_POINTS = 64


class Groups:
    """Reads one group after another; ids are unique over the document."""

    def __init__(
        self, dataset: "Dataset", root: Node, images: Sequence[Image], taken: set[str]
    ) -> None:
        self._images = planes_of(images)
        self._taken = taken
        self.observer = _observer(root)
        named = _evidence(dataset)
        known = [i.name for uid, (i, _) in self._images.items() if uid in named and i]
        self.item = known[0] if known else None
        """The image of the case that the document is about, where there is one."""

    def unused(self, wanted: str) -> str:
        """The id, with a number behind it where it is taken; it is taken from now on."""
        id, n = wanted, 1
        while id in self._taken:
            n += 1
            id = f"{wanted}-{n}"
        self._taken.add(id)
        return id

    def findings(self, group: Node) -> Iterator[Finding]:
        """What a group says, evidence before what stands on it."""
        tracked = _text(group, _TRACKING_ID)
        finding = _value(group, _FINDING[0])
        source = _algorithm(group) or self.observer
        site, laterality, _ = _site(group)
        shared: dict[str, Any] = {
            "source": source,
            "item": self.item,
            "site": site,
            "laterality": laterality,
        }
        name = finding.meaning if finding else tracked or "Measurements"
        named = {"name": name, "code": finding}
        numbers = [n for n in group.children if n.kind == "NUM"]
        shapes = list(self._shapes(group, tracked or slug(name), named, shared))
        if (box := self._box(group, shapes, numbers)) is not None:
            shapes = [box]
            numbers = [n for n in numbers if n.name != vocab.PROBABILITY]
        elif (whole := joined(shapes)) is not None:
            shapes = [whole]
        yield from shapes
        subject = shapes[0] if shapes else None
        statements = [
            n
            for n in group.children
            if n.kind == "CODE"
            and n.code
            and n.name
            and (n.concept not in _NOT_STATEMENTS or (finding and n.concept == finding.value))
        ]
        doubts = tuple(
            n.code.value for n in statements if n.name == vocab.DOUBT and n.code is not None
        )
        statements = [n for n in statements if n.name != vocab.DOUBT]
        for one in shapes:
            one.flags = (*one.flags, *doubts)
        labels = list(self._labels(statements, numbers, tracked, doubts, shared))
        yield from labels
        if labels and _is_label_group(finding, statements):
            return
        evidence = () if subject is None else (subject.id,)
        yield from self._measurements(group, numbers, tracked, evidence, shared)

    def _measurements(
        self,
        group: Node,
        numbers: Sequence[Node],
        tracked: str,
        evidence: tuple[str, ...],
        shared: dict[str, Any],
    ) -> Iterator[Finding]:
        remarks = [n.text for n in group.children if n.kind == "TEXT" and n.concept != _TRACKING_ID]
        reasons = dict(found for text in remarks if (found := _not_computed(text)))
        for node in numbers:
            value, unit = node.number
            wanted = _text(node, _TRACKING_ID)
            name = node.name.meaning if node.name else "Measurement"
            plain = ".".join(filter(None, (slug(name), slug(tracked) if tracked else "")))
            site, laterality, region = _site(node)
            method = _value(node, *_METHOD)
            flags, note = _remarks(remarks, wanted)
            id = self.unused(wanted or plain)
            drawn = list(self._shapes(node, f"{id}.drawn", {"name": name, "code": None}, shared))
            yield from drawn
            yield Measurement(
                id=id,
                name=name,
                code=node.name,
                value=value,
                unit=unit_of(unit),
                reason="" if value is not None else reasons.pop(wanted, "") or _qualifier(node),
                method=method.meaning if method else "",
                region=region.meaning if region else "",
                structure=tracked if evidence or tracked not in ("", self.item) else "",
                evidence=tuple(one.id for one in drawn) or evidence,
                flags=flags,
                note=note,
                **shared
                | {"source": _algorithm(node) or shared["source"]}
                | ({"site": site} if site else {})
                | ({"laterality": laterality} if laterality else {}),
            )
        for node in group.children:
            found = _not_computed(node.text) if node.kind == "TEXT" else None
            if found is not None and found[0] in reasons:  # no number speaks of it
                flags, note = _remarks(remarks, found[0])
                yield Measurement(
                    id=self.unused(found[0]),
                    name=node.name.meaning if node.name else "Measurement",
                    code=node.name,
                    value=None,
                    unit=unit_of(_value(node, UNITS.value)),
                    reason=found[1],
                    evidence=evidence,
                    flags=flags,
                    note=note,
                    **shared,
                )

    def _labels(
        self,
        statements: Sequence[Node],
        numbers: Sequence[Node],
        tracked: str,
        doubts: tuple[str, ...],
        shared: dict[str, Any],
    ) -> Iterator[Label]:
        sets = [n for n in statements if n.concept == vocab.PREDICTION_SET.value]
        for node in statements:
            if node in sets or node.name is None or node.code is None:
                continue
            alone = len(statements) - len(sets) == 1
            id = self.unused(tracked if tracked and alone else slug(node.name.meaning))
            value, meaning = _answer(id, node.code)
            chances, own = _chances(id, value, numbers)
            excluded = [_answer(id, n.code) for n in sets if n.code]
            level = _SET.search(sets[0].name.meaning) if sets and sets[0].name else None
            yield Label(
                id=id,
                name=node.name.meaning,
                code=node.name,
                value=value,
                probabilities=chances,
                probability=chances.get(value, own),
                prediction_set=tuple(v for v, _ in excluded),
                coverage=int(level[1]) / 100 if level else None,
                meanings={v: m for v, m in [(value, meaning), *excluded] if m != v},
                flags=doubts,
                **shared,
            )

    def _shapes(
        self, node: Node, id: str, named: dict[str, Any], shared: dict[str, Any]
    ) -> Iterator[Finding]:
        """The points and lines right under a group or number; a segment is in its own object."""
        for region in node.children:
            if region.kind in ("SCOORD", "SCOORD3D"):
                width = 2 if region.kind == "SCOORD" else 3
                data = np.array(region.dataset.get("GraphicData") or [], np.float64)
                if data.size and data.size % width == 0 and np.isfinite(data).all():
                    points = data.reshape(-1, width)
                    yield self._shape(region, points, {**shared, **named, "id": self.unused(id)})

    def _box(self, group: Node, shapes: Sequence[Finding], numbers: Sequence[Node]) -> Box | None:
        """The box that the lines of a group are, where the group says that they bound."""
        purpose = next((n.code for _, n in group.walk() if n.concept == PURPOSE), None)
        outlines = [one for one in shapes if isinstance(one, Contour)]
        if purpose is None or (purpose.value, purpose.scheme) != _BOUNDED or not outlines:
            return None
        corners = corners_of(outlines) if len(outlines) == len(shapes) else None
        if corners is None:
            return None
        first = outlines[0]
        chance = next((n.number[0] for n in numbers if n.name == vocab.PROBABILITY), None)
        known = chance is not None and 0 <= chance <= 1
        return Box(
            id=first.id, name=first.name, source=first.source, code=first.code, item=first.item,
            site=first.site, laterality=first.laterality, start=corners[0], stop=corners[1],
            probability=chance if known else None,
        )  # fmt: skip

    def _shape(self, region: Node, points: NDArray[np.float64], shared: dict[str, Any]) -> Finding:
        graphic = header.text(region.dataset, "GraphicType")
        item, plane = self._referred(region)
        shared = shared | {"item": item or shared["item"]}
        frame = ""
        if points.shape[1] == 3:
            frame = header.text(region.dataset, "ReferencedFrameOfReferenceUID")
        else:
            # DICOM counts (column, row) from the top left corner of the first pixel
            points = points[:, ::-1] - 0.5
            if plane is not None:
                points = np.column_stack([np.full(len(points), float(plane)), points])
            if graphic == "POINT":
                return Point(position=tuple(float(v) for v in points[0]), **shared)
        if graphic in ("POINT", "MULTIPOINT"):  # places, no line through them
            return Contour(rings=tuple(points[:, None]), closed=False, frame=frame, **shared)
        if graphic == "ELLIPSOID":
            flags = {"flags": ("ellipsoid-as-axes",)}
            axes = tuple(points[n : n + 2] for n in range(0, len(points), 2))
            return Contour(rings=axes, closed=False, frame=frame, **shared | flags)
        returns = len(points) > 2 and bool(np.array_equal(points[0], points[-1]))
        line = outline(graphic, points[:-1] if returns else points)
        closed = returns or graphic in ("CIRCLE", "ELLIPSE", "POLYGON")
        return Contour(rings=(line,), closed=closed, frame=frame, **shared)

    def _referred(self, region: Node) -> tuple[str | None, int | None]:
        for child in region.children:
            for reference in child.dataset.get("ReferencedSOPSequence") or ():
                uid = header.text(reference, "ReferencedSOPInstanceUID")
                image, plane = self._images.get(uid, (None, None))
                if image is not None:
                    frame = header.text(reference, "ReferencedFrameNumber")
                    if plane is None and len(image.shape) == 3 and frame.isdecimal():
                        plane = plane_of_frame(image, int(frame))
                    return image.name, plane
        return None, None


def outline(graphic: str, points: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    """The line of a graphic: circles and ellipses become 64 points on them.

    A circle is given by its centre and a point on it, an ellipse by the ends of its major and of
    its minor axis (PS3.3 C.18.6.1.2).
    """
    turn = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, None]
    if graphic == "CIRCLE" and len(points) == 2:
        centre, radius = points[0], float(np.linalg.norm(points[1] - points[0]))
        across = np.zeros_like(centre)
        down = np.zeros_like(centre)
        across[-1], down[-2] = radius, radius
        return centre + np.cos(turn) * across + np.sin(turn) * down
    if graphic == "ELLIPSE" and len(points) == 4:
        centre = points[:2].mean(0)
        return centre + np.cos(turn) * (points[1] - centre) + np.sin(turn) * (points[3] - centre)
    return points


def _evidence(dataset: "Dataset") -> set[str]:
    out = set()
    for keyword in (
        "CurrentRequestedProcedureEvidenceSequence",
        "PertinentOtherEvidenceSequence",
    ):
        for study in dataset.get(keyword) or ():
            for series in study.get("ReferencedSeriesSequence") or ():
                for instance in series.get("ReferencedSOPSequence") or ():
                    out.add(header.text(instance, "ReferencedSOPInstanceUID"))
    return out


def _observer(root: Node) -> Source:
    kind = root.one(_OBSERVER_KIND)
    device = kind is not None and kind.code is not None and kind.code.value == _DEVICE
    if not device:
        return Source("person", "author of the report")
    name = next((n.text for n in root.children if n.concept == "121013"), "")
    return Source("algorithm", name or "device of the report")


def _text(node: Node, concept: str) -> str:
    found = node.one(concept)
    return found.text if found else ""


def _value(node: Node, *concepts: str) -> Code | None:
    return next((n.code for c in concepts for n in node.all(c) if n.kind == "CODE"), None)


def _algorithm(node: Node) -> Source | None:
    name = _text(node, _ALGORITHM)
    return Source("algorithm", name, _text(node, _ALGORITHM_VERSION)) if name else None


def _site(node: Node) -> tuple[Code | None, Laterality | None, Code | None]:
    """Site, side and topographical modifier of a group or measurement."""
    place = next((n for c in _SITE for n in node.all(c)), None)
    if place is None:
        return None, None, None
    lateral = _value(place, *_LATERALITY) or _value(node, *_LATERALITY)
    return place.code, side(lateral) if lateral else None, _value(place, *_MODIFIER)


def _qualifier(node: Node) -> str:
    said = node.dataset.get("NumericValueQualifierCodeSequence")
    return (header.text(said[0], "CodeMeaning") if said else "") or "the report gives no value"


def _not_computed(text: str) -> tuple[str, str] | None:
    """The id and the reason in a remark of our writer about a number that is missing."""
    found = re.match(r"(\S+) not computed: (.+)", text, re.DOTALL)
    return (found[1], found[2]) if found else None


def _remarks(remarks: Sequence[str], id: str) -> tuple[tuple[str, ...], str]:
    """Flags and note of a measurement: the words of the group that start with its id."""
    own = [r[len(id) + 1 :] for r in remarks if id and r.startswith(f"{id} ")]
    own = [r for r in own if not r.startswith("not computed: ")]
    flags = tuple(r for r in own if _FLAG.fullmatch(r))
    return flags, " ".join(r for r in own if not _FLAG.fullmatch(r))


def _is_label_group(finding: Code | None, statements: Sequence[Node]) -> bool:
    """Whether the group's numbers are the chances of its label, not measurements."""
    return finding is not None and any(n.name and n.name.value == finding.value for n in statements)


def _answer(id: str, code: Code) -> tuple[str, str]:
    """The value of a label and the words for it, undoing ``vocab.value``."""
    for value, known in vocab.VALUES.get(id, {}).items():
        if (known.value, known.scheme) == (code.value, code.scheme):
            return value, code.meaning
    start = vocab.local(f"{id}-x").value[:-1]
    if code.scheme == vocab.LOCAL and code.value.startswith(start):
        short = code.value[len(start) :]
        value = code.meaning if slug(code.meaning) == short.lower() else short
        return value, code.meaning
    return code.value, code.meaning


def _chances(id: str, value: str, numbers: Sequence[Node]) -> tuple[dict[str, float], float | None]:
    chances: dict[str, float] = {}
    own = None
    start = vocab.local(f"p-{id}-x").value[:-1]
    for node in numbers:
        number, _ = node.number
        if number is None or not 0 <= number <= 1:
            continue
        if node.name == vocab.PROBABILITY or node.concept == vocab.PROBABILITY.value:
            own = number
        elif node.concept.startswith(start):
            said = node.concept[len(start) :]
            chances[value if vocab.local(value).value == said else said] = number
    return chances, own
