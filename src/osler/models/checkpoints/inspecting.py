"""What a checkpoint is, said without running anything in it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osler.models.checkpoints.reading import Stored, read_checkpoint
from osler.models.creating import recognise


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found in a checkpoint.

    Attributes:
        path: the file or folder.
        megabytes: its size.
        tensors: number of them.
        parameters: numbers in all of them together.
        types: their number formats, such as ``{"float32": 150}``.
        wrapper: the name they lie under; None where they lie open.
        stripped: what parallel or compiled training put before every name.
        groups: the first parts of the names, with how many numbers each holds.
        facts: what else is plain in it, such as the epoch.
        looks_like: pairs of network and layout.
    """

    path: Path
    megabytes: float
    tensors: int
    parameters: int
    types: dict[str, int]
    wrapper: str | None
    stripped: str
    groups: dict[str, int]
    facts: dict[str, Any] = field(default_factory=dict)
    looks_like: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        """For a person, a line a fact."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.types.items())
        lines = [
            f"{self.path}: {self.megabytes:.1f} MB, {self.tensors} tensors ({kinds}), "
            f"{self.parameters:,} numbers",
        ]
        if self.wrapper:
            lines.append(f"  the weights lie under '{self.wrapper}'")
        if self.stripped:
            lines.append(f"  every name begins with '{self.stripped}', which is taken off")
        for name, count in self.groups.items():
            lines.append(f"  {name:<40} {count:>14,}")
        for name, fact in self.facts.items():
            text = (
                ", ".join(f"{k}={v}" for k, v in fact.items()) if isinstance(fact, dict) else fact
            )
            lines.append(f"  {name}: {str(text)[:300]}")
        if self.looks_like:
            lines.append("it looks like")
            lines += [f"  {name}  ({layout})" for name, layout in self.looks_like]
        else:
            lines.append("it is in no layout that is known; 'osler models list' shows what is")
        return "\n".join(lines)


def inspect(path: str | Path) -> Inspected:
    """Say what a checkpoint is.

    Raises:
        InputError: it is absent, damaged, or holds what would have to be run (named).
    """
    stored = read_checkpoint(path)
    groups: Counter[str] = Counter()
    for name, value in stored.tensors.items():
        groups[_group(name)] += value.numel()
    files = (
        [one for one in Path(path).rglob("*") if one.is_file()]
        if Path(path).is_dir()
        else [Path(path)]
    )
    return Inspected(
        path=Path(path),
        megabytes=sum(one.stat().st_size for one in files) / 1e6,
        tensors=len(stored.tensors),
        parameters=sum(groups.values()),
        types=dict(
            Counter(
                str(v.dtype).removeprefix("torch.") for v in stored.tensors.values()
            ).most_common()
        ),
        wrapper=stored.wrapper,
        stripped=stored.stripped,
        groups=dict(groups.most_common(12)),
        facts=stored.facts,
        looks_like=_looks_like(stored),
    )


def _looks_like(stored: Stored) -> list[tuple[str, str]]:
    """Networks and layouts; a folder of a network that writes says itself which it is."""
    from osler.models.generative import network_of

    found = [(system.name, layout.name) for system, layout in recognise(stored)]
    writes = network_of(stored.facts.get("config", {}))
    return found or ([(writes, "Hugging Face")] if writes else [])


def _group(name: str) -> str:
    """The first two parts of a name, numbers left out: ``blocks.attn`` of a block's query."""
    parts = [part for part in name.split(".")[:-1] if not part.isdigit()]
    return ".".join(parts[:2]) or name
