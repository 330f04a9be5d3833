"""A case: one patient's record, the findings about it, and the history of what was done."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from osler.errors import InputError
from osler.record.finding import Finding, Measurement
from osler.record.item import Image, Item

F = TypeVar("F", bound=Finding)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was done to a case.

    Attributes:
        step: the step's name, such as ``"retina.vessels"``.
        by: the program or bundle and its version.
        seconds: how long it took.
        at: when it ended (UTC).
    """

    step: str
    by: str
    seconds: float
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(slots=True, eq=False)
class Case:
    """One patient's record: named items, findings about them, and what was done.

    ``case["photo"]`` gives an item and ``case["vessels"]`` a finding; the names are shared.

    Attributes:
        id: names the case in outputs; safe as a folder name.
        patient_id: the unit of splitting; None where the source does not say.
        items: name to item.
        findings: id to finding, in the order in which they were made.
        history: what was done, oldest first.
        left_out: files that belong here but could not be read, each with the reason.
        absent: names of items that the source has a place for and this case lacks; no other item
            may stand for one of them.
    """

    id: str
    patient_id: str | None = None
    items: dict[str, Item] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    absent: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> Item | Finding:
        if name in self.items:
            return self.items[name]
        if name in self.findings:
            return self.findings[name]
        known = ", ".join([*self.items, *self.findings]) or "nothing yet"
        raise KeyError(f"case '{self.id}' has no item or finding '{name}'; it has: {known}")

    def __contains__(self, name: object) -> bool:
        return name in self.items or name in self.findings

    def add(self, finding: F) -> F:
        """Add a finding and give it back.

        Raises:
            InputError: the id is taken, or evidence is named that the case does not have.
        """
        if finding.id in self:
            raise InputError(f"case '{self.id}' already has '{finding.id}'; amend it instead")
        missing = [i for i in finding.evidence if i not in self]
        if missing:
            raise InputError(
                f"finding '{finding.id}' names evidence that the case lacks: {', '.join(missing)}"
            )
        self.findings[finding.id] = finding
        return finding

    def of(self, kind: type[F]) -> Iterator[F]:
        """The findings of one kind, in order."""
        return (f for f in self.findings.values() if isinstance(f, kind))

    def get(self, id: str, kind: type[F]) -> F | None:
        """The finding with this id if it is there and of this kind, else None."""
        finding = self.findings.get(id)
        return finding if isinstance(finding, kind) else None

    def image(self, name: str) -> Image:
        """The image item of this name.

        Raises:
            InputError: there is no such item, or it is no image.
        """
        item = self.items.get(name)
        if not isinstance(item, Image):
            raise InputError(f"case '{self.id}' has no image '{name}'")
        return item

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Id to measurement, in order."""
        return {f.id: f for f in self.of(Measurement)}
