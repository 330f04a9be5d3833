"""A small graph of what is known: signs, anatomy, diseases, their grades, and the rules between.

It is data (``graphs/retina.yaml``), checked when it is loaded: every node has a kind and a name,
every edge leads from one node to another in a way that fits their kinds and names its source, no
node stands alone, and every code is one of `osler.record.vocab`. Nothing in it is evaluated.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from osler.errors import RecipeError
from osler.record import vocab
from osler.record.code import Code

Kind = Literal["anatomy", "sign", "measure", "disease", "grade", "rule"]
Relation = Literal[
    "seen-in", "part-of", "measure-of", "sign-of", "grade-of", "reached-by", "asks-for", "excludes"
]

FITS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "seen-in": (frozenset({"sign"}), frozenset({"anatomy"})),
    "part-of": (frozenset({"anatomy"}), frozenset({"anatomy"})),
    "measure-of": (frozenset({"measure"}), frozenset({"anatomy"})),
    "sign-of": (frozenset({"sign", "measure"}), frozenset({"disease"})),
    "grade-of": (frozenset({"grade"}), frozenset({"disease"})),
    "reached-by": (frozenset({"grade"}), frozenset({"rule"})),
    "asks-for": (frozenset({"rule"}), frozenset({"sign", "measure"})),
    "excludes": (frozenset({"rule"}), frozenset({"sign"})),
}
"""Relation to the kinds of node that it leads from and to."""

_GRAPHS: Final = Path(__file__).parent / "graphs"
_Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Condition(_Part):
    """What a rule asks of the signs that it names.

    Attributes:
        kind: ``none`` of them is there; ``only`` those asked for are and those excluded are not;
            ``any`` of them is there; more than ``more_than`` of them in at least so many
            ``quadrants``; the nearest to the fovea lies ``within`` or ``beyond`` so many disc
            ``diameters``; a measure is ``at-least`` the ``value``.
    """

    kind: Literal["none", "only", "any", "quadrants", "within", "beyond", "at-least"]
    more_than: Annotated[int, Field(ge=0)] | None = None
    quadrants: Annotated[int, Field(ge=1, le=4)] | None = None
    diameters: Annotated[float, Field(gt=0)] | None = None
    value: float | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        takes = {
            "quadrants": {"more_than", "quadrants"},
            "within": {"diameters"},
            "beyond": {"diameters"},
            "at-least": {"value"},
        }.get(self.kind, set())
        given = {key for key, value in self if key != "kind" and value is not None}
        if given != takes:
            raise ValueError(f"a test of kind '{self.kind}' takes {sorted(takes) or 'nothing'}")
        return self


class Node(_Part):
    """One thing that is known of.

    Attributes:
        id: unique.
        kind: what it is.
        name: as a sentence says it.
        plural: of a sign.
        code: a constant of `osler.record.vocab`, or ``LABEL.VALUE`` of its ``VALUES``.
        measured: id of the finding or measurement that shows it in a case; None where no model
            looks for it.
        value: of a grade, as the label says it.
        test: of a rule.
        note: what a reader must know.
    """

    id: _Text
    kind: Kind
    name: _Text
    plural: str = ""
    code: str | None = None
    measured: str | None = None
    value: str | None = None
    test: Condition | None = None
    note: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for key, kind in (("test", "rule"), ("value", "grade"), ("plural", "sign")):
            if bool(getattr(self, key)) != (self.kind == kind):
                raise ValueError(f"'{self.id}': '{key}' is given exactly for a {kind}")
        if self.code is not None and _code(self.code) is None:
            raise ValueError(f"'{self.id}': the vocabulary has no code '{self.code}'")
        return self

    @property
    def coded(self) -> Code:
        """Its code: the vocabulary's, or one of ``99OSLER`` made from its id."""
        known = _code(self.code) if self.code is not None else None
        return known or vocab.local(self.id, self.name)


class Edge(_Part):
    """How two nodes belong together, and who says so.

    Attributes:
        start: id of the node that it leads from (``from`` in the file).
        to: id of the node that it leads to.
        relation: how (``is`` in the file).
        source: ids of the sources that say so.
        note: what a reader must know.
    """

    start: Annotated[str, Field(alias="from")]
    to: str
    relation: Annotated[Relation, Field(alias="is")]
    source: Annotated[list[str], Field(min_length=1)]
    note: str = ""


class Knowledge(_Part):
    """A checked graph.

    Attributes:
        schema_version: of the layout.
        title: what it is about.
        sources: id to citation.
        nodes: what is known of.
        edges: how it belongs together.
    """

    schema_version: Literal[1]
    title: _Text
    sources: dict[str, _Text]
    nodes: list[Node]
    edges: list[Edge]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        ids = [node.id for node in self.nodes]
        if twice := sorted({id for id in ids if ids.count(id) > 1}):
            raise ValueError(f"the node '{twice[0]}' stands there more than once")
        kinds = {node.id: node.kind for node in self.nodes}
        for edge in self.edges:
            shown = f"the edge '{edge.start}' {edge.relation} '{edge.to}'"
            for end in (edge.start, edge.to):
                if end not in kinds:
                    raise ValueError(f"{shown} names '{end}', which is no node")
            begins, ends = FITS[edge.relation]
            if kinds[edge.start] not in begins or kinds[edge.to] not in ends:
                raise ValueError(f"{shown} joins a {kinds[edge.start]} to a {kinds[edge.to]}")
            for source in edge.source:
                if source not in self.sources:
                    raise ValueError(f"{shown} names the source '{source}', which is not listed")
        keys = [(edge.start, edge.to, edge.relation) for edge in self.edges]
        if len(set(keys)) < len(keys):
            raise ValueError("an edge stands there more than once")
        joined = {end for edge in self.edges for end in (edge.start, edge.to)}
        if alone := [id for id in ids if id not in joined]:
            raise ValueError(f"the node '{alone[0]}' stands alone; join it to another")
        used = {source for edge in self.edges for source in edge.source}
        if idle := sorted(set(self.sources) - used):
            raise ValueError(f"nothing stands on the source '{idle[0]}'")
        for node in self.nodes:
            self._reachable(node)
        return self

    def _reachable(self, node: Node) -> None:
        if node.kind == "rule" and not self.to(node.id, "asks-for"):
            raise ValueError(f"the rule '{node.id}' asks for nothing")
        if node.kind == "rule" and not self.onto(node.id, "reached-by"):
            raise ValueError(f"the rule '{node.id}' leads to no grade")
        if node.kind == "grade" and len(self.to(node.id, "grade-of")) != 1:
            raise ValueError(f"the grade '{node.id}' is not of one disease")
        if node.kind == "grade" and not self.to(node.id, "reached-by"):
            raise ValueError(f"the grade '{node.id}' is reached by no rule")

    def node(self, id: str) -> Node:
        """The node of this id.

        Raises:
            KeyError: there is none.
        """
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)

    def to(self, id: str, relation: Relation) -> list[Node]:
        """The nodes that edges of this kind lead to from a node, in the order of the file."""
        ends = [e.to for e in self.edges if e.start == id and e.relation == relation]
        return [self.node(end) for end in ends]

    def onto(self, id: str, relation: Relation) -> list[Node]:
        """The nodes that edges of this kind lead from to a node, in the order of the file."""
        starts = [e.start for e in self.edges if e.to == id and e.relation == relation]
        return [self.node(start) for start in starts]

    def sources_of(self, start: str, to: str) -> tuple[str, ...]:
        """The citations of the edges between two nodes."""
        ids = [s for e in self.edges if (e.start, e.to) == (start, to) for s in e.source]
        return tuple(self.sources[id] for id in dict.fromkeys(ids))


@cache
def retina() -> Knowledge:
    """What is known of the retina, from ``graphs/retina.yaml``."""
    return load(_GRAPHS / "retina.yaml")


def load(path: Path) -> Knowledge:
    """A graph from a YAML file.

    Raises:
        RecipeError: it cannot be read or is not sound; the message says where.
    """
    import yaml

    try:
        return Knowledge.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise RecipeError(f"'{path}' is no sound graph of knowledge: {error}") from error


def _code(name: str) -> Code | None:
    label, _, value = name.partition(".")
    if value:
        return vocab.VALUES.get(label, {}).get(value)
    found = getattr(vocab, name, None)
    return found if isinstance(found, Code) else None
