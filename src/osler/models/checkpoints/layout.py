"""How the names in a published checkpoint become ours, and how well it fitted."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import WeightsError
from osler.models.checkpoints.reading import Stored

LEAST = 0.9
"""Share of an encoder's numbers that a checkpoint must bring."""

Tensors = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
Refit = Callable[[Tensor, torch.Size], Tensor | None]


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which a system's weights were published.

    Attributes:
        name: such as ``"MAE"``.
        systems: names of the networks whose weights come like this.
        marks: regular expressions; each must be found in some name of the checkpoint.
        without: regular expressions; none may be found in any name.
        strip: prefixes that the wanted names have; names without any of them are kept as well.
        rename: pairs of regular expression and replacement, done in order on each name.
        drop: regular expressions of names that the network does not need.
        heads: regular expressions of **our** names that a checkpoint need not bring.
        transform: a last change that names alone cannot say, such as folding LoRA: takes the
            renamed tensors and the network.
        options: what the shapes (after ``strip`` and ``rename``) say about how to build it.
        config: what the ``config.json`` beside the weights says about it, such as numbers of heads,
            which no shape tells; where both speak, shapes are believed.
        grids: our names of position embeddings, with the number of prefix tokens before the grid
            (or what tells it from the network); they are resized to the network's.
        beside: groups of weights that lie beside the main one in the file, such as a classifier
            beside its encoder, with what is put before their names; a file without them is not
            of this layout.
        part: what **our** names begin with that the file holds, where it holds no encoder but,
            say, a head; ``create`` takes it as a further file. ``heads`` says which of them may
            be absent or of another shape.
        needs: name of the layout of a further file without which the network is not whole.
        borrowed: it is that of other networks, from which this one may start; ``recognise`` does
            not name this one for it.
        refits: regular expressions of **our** names (or what tells them from the network), with
            what makes a tensor of another shape fit the shape due (it may return None where it
            cannot); the report says it was reshaped.
    """

    name: str
    systems: tuple[str, ...]
    marks: tuple[str, ...]
    without: tuple[str, ...] = ()
    strip: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    drop: tuple[str, ...] = ()
    heads: tuple[str, ...] = (r"^head\.",)
    transform: Callable[[Tensors, nn.Module], Tensors] | None = None
    options: Callable[[Shapes], dict[str, Any]] | None = None
    config: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    grids: Mapping[str, int | Callable[[Any], int]] = field(default_factory=dict)
    refits: tuple[tuple[str | Callable[[Any], str], Refit], ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    part: str | tuple[str, ...] = ""
    borrowed: bool = False
    needs: str = ""

    def suits(self, stored: Stored) -> bool:
        """Whether a checkpoint is of this layout."""
        return self.beside.keys() <= stored.others.keys() and self.fits(stored.tensors)

    def tensors(self, stored: Stored) -> Tensors:
        """All that a checkpoint of this layout holds of the network."""
        out = dict(stored.tensors)
        for group, prefix in self.beside.items():
            out |= {prefix + name: value for name, value in stored.others[group].items()}
        return out

    def fits(self, names: Iterable[str]) -> bool:
        """Whether a checkpoint with these names is of this layout."""
        text = "\n".join(names)
        return all(re.search(mark, text, re.M) for mark in self.marks) and not any(
            re.search(mark, text, re.M) for mark in self.without
        )

    def translated(self, name: str) -> str | None:
        """Our name for one of the checkpoint's; None where it is not needed."""
        for prefix in self.strip:
            name = name.removeprefix(prefix)
        if any(re.search(pattern, name) for pattern in self.drop):
            return None
        for pattern, replacement in self.rename:
            name = re.sub(pattern, replacement, name)
        return name

    def inferred(self, stored: Stored) -> dict[str, Any]:
        """Options that a checkpoint tells."""
        said = stored.facts.get("config")
        out = self.config(said) if self.config and isinstance(said, dict) else {}
        if self.options is None:
            return out
        shapes: dict[str, tuple[int, ...]] = {}
        for name, value in self.tensors(stored).items():
            ours = self.translated(name)
            if ours is not None:
                shapes[ours] = tuple(value.shape)
        return {**out, **self.options(shapes)}


@dataclass(slots=True)
class Report:
    """What became of each tensor of a checkpoint.

    Attributes:
        layout: the layout that was recognised.
        source: the file.
        matched: our names that were filled.
        missing: our names that the checkpoint did not bring.
        unexpected: the checkpoint's names that found no place.
        reshaped: our name, the shape it came in and the shape it has now.
        dropped: the checkpoint's names that the network does not need.
        converted: the checkpoint's names that became part of other tensors, such as LoRA that was
            folded or a fused projection that was split.
        share: of the encoder's numbers that were filled, 0 to 1.
    """

    layout: str
    source: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    reshaped: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    share: float = 0.0

    def joined(self, other: "Report") -> "Report":
        """This one of an encoder together with that of a further file."""
        return Report(
            f"{self.layout}; {other.layout}",
            f"{self.source}, {other.source}",
            sorted({*self.matched, *other.matched}),
            [name for name in self.missing if name not in other.matched],
            self.unexpected + other.unexpected,
            self.reshaped + other.reshaped,
            self.dropped + other.dropped,
            self.converted + other.converted,
            self.share,
        )

    def __str__(self) -> str:
        """For a person, a line a kind."""
        lines = [
            f"{self.source}: {self.layout}; {self.share:.1%} of the encoder's numbers",
            f"  matched     {len(self.matched)}",
            f"  missing     {_some(self.missing)}",
            f"  unexpected  {_some(self.unexpected)}",
            f"  reshaped    {_some([f'{n} {_x(a)} to {_x(b)}' for n, a, b in self.reshaped])}",
            f"  dropped     {_some(self.dropped)}",
        ]
        if self.converted:
            lines.append(f"  converted   {_some(self.converted)}")
        return "\n".join(lines)


def _some(names: list[str], most: int = 4) -> str:
    if not names:
        return "0"
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)}: {', '.join(names[:most])}{more}"


def _x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def load_weights(
    net: nn.Module, stored: Stored, layout: Layout, *, partial: bool = False
) -> Report:
    """Fill a network from a checkpoint.

    Args:
        net: the network, built to the checkpoint's sizes except for position embeddings and heads.
        stored: from ``read_checkpoint``.
        layout: how its names become ours.
        partial: go on if the checkpoint does not bring all of the encoder, but nine tenths of it.

    Returns:
        what became of each tensor.

    Raises:
        WeightsError: a tensor of the encoder is absent or has another shape, or, with ``partial``,
            more than a tenth of the encoder's numbers is. The message names them.
    """
    report = Report(layout.name, str(stored.path))
    own = net.state_dict()
    renamed: Tensors = {}
    came_as: dict[str, str] = {}
    for name, value in layout.tensors(stored).items():
        ours = layout.translated(name)
        if ours is None:
            report.dropped.append(name)
        else:
            renamed[ours] = value
            came_as[ours] = name
    if layout.transform is not None:
        before = list(renamed)
        renamed = layout.transform(renamed, net)
        report.converted = [came_as[name] for name in before if name not in renamed]
    wrong: list[str] = []
    filled: Tensors = {}
    for name, value in renamed.items():
        if name not in own and _is_any(name, layout.heads):
            report.dropped.append(came_as.get(name, name))
            continue
        if name not in own:
            report.unexpected.append(came_as.get(name, name))
            continue
        fitted = value
        if fitted.shape != own[name].shape and name in layout.grids:
            prefix = layout.grids[name]
            prefix = prefix if isinstance(prefix, int) else prefix(net)
            fitted = resize_grid(value, own[name].shape[1], prefix=prefix)
            report.reshaped.append((name, tuple(value.shape), tuple(fitted.shape)))
        elif fitted.shape != own[name].shape:
            fitted = _refitted(name, value, own[name].shape, net, layout)
            if fitted is not value:
                report.reshaped.append((name, tuple(value.shape), tuple(fitted.shape)))
        if fitted.shape == own[name].shape:
            unfit = _unfit(fitted, own[name])
            if unfit:
                raise WeightsError(
                    f"the checkpoint '{report.source}' ({report.layout}) cannot be used: "
                    f"{came_as.get(name, name)} {unfit}"
                )
            filled[name] = fitted.to(own[name].dtype)
        elif _is_any(name, layout.heads):
            report.dropped.append(came_as.get(name, name))
        else:
            there = came_as.get(name, name)
            wrong.append(
                f"{name} is {_x(tuple(value.shape))} where {_x(tuple(own[name].shape))} is due"
                + (f" ({there} in the file)" if there != name else "")
            )
    report.matched = sorted(filled)
    due = [name for name in own if name.startswith(layout.part)]
    report.missing = sorted(name for name in due if name not in filled)
    encoder = {name for name in due if not _is_any(name, layout.heads)}
    total = sum(own[name].numel() for name in encoder)
    report.share = sum(own[name].numel() for name in encoder if name in filled) / max(total, 1)
    absent = sorted(name for name in encoder if name not in filled)
    if report.share < LEAST or (absent and not partial):
        came = {name: came_as.get(name, name) for name in renamed}
        raise WeightsError(_misfit(report, absent, wrong, came, layout))
    net.load_state_dict(filled, strict=False)
    return report


def _unfit(value: Tensor, due: Tensor) -> str:
    """What is wrong with the numbers of a tensor; empty where nothing is."""
    if due.is_floating_point() and not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        return f"holds {kind}, no floating-point numbers; it may be quantised, which is not undone"
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        many = int((~torch.isfinite(value)).sum())
        return f"holds {many} numbers that are infinite or none (NaN); the training went wrong"
    return ""


def _refitted(name: str, value: Tensor, due: torch.Size, net: nn.Module, layout: Layout) -> Tensor:
    for pattern, refit in layout.refits:
        if re.search(pattern if isinstance(pattern, str) else pattern(net), name):
            fitted = refit(value, due)
            return value if fitted is None else fitted
    return value


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _misfit(
    report: Report, absent: list[str], wrong: list[str], came: Mapping[str, str], layout: Layout
) -> str:
    """The sentence that says how a checkpoint does not fit, with the ten nearest names."""
    from difflib import SequenceMatcher

    lines = [
        f"the checkpoint '{report.source}' ({report.layout}) does not fit the network: it brings "
        f"{report.share:.1%} of the encoder's numbers"
    ]
    lines += [f"  {one}" for one in wrong[:10]]
    missing = [name for name in absent if not any(one.startswith(f"{name} is ") for one in wrong)]
    for name in missing[:10]:
        near = max(
            came,
            key=lambda one: SequenceMatcher(None, one, name, autojunk=False).ratio(),
            default="",
        )
        lines.append(
            f"  {name} is absent{_in_file(name, near, came, layout)}; the nearest name is '{near}'"
        )
    if report.share >= LEAST:
        lines.append("  to use what there is, say partial=True (osler models import --partial)")
    else:
        lines.append("  'osler models inspect FILE' says what the file is")
    return "\n".join(lines)


def _in_file(name: str, near: str, came: Mapping[str, str], layout: Layout) -> str:
    """What the file would call an absent tensor, as far as a name beside it tells."""
    ours, theirs = near.split("."), came.get(near, near).split(".")
    while ours and theirs and ours[-1] == theirs[-1]:
        del ours[-1], theirs[-1]
    parts = name.split(".")
    guessed = ".".join([*theirs, *parts[len(ours) :]])
    if parts[: len(ours)] != ours or guessed == name or layout.translated(guessed) != name:
        return ""
    return f" ({guessed} in the file)"


def resize_grid(embedding: Tensor, tokens: int, *, prefix: int, antialias: bool = False) -> Tensor:
    """Resize learnt position embeddings to another grid, bicubic.

    Args:
        embedding: ``(1, prefix + g * g, D)``.
        tokens: wanted length, ``prefix + G * G``.
        prefix: tokens before the grid (class token, registers), kept as they are.
        antialias: as timm does it when it reduces; the published fine-tuning codes do not.

    Raises:
        WeightsError: one of the two is no square grid.
    """
    old, new = round((embedding.shape[1] - prefix) ** 0.5), round((tokens - prefix) ** 0.5)
    if old * old + prefix != embedding.shape[1] or new * new + prefix != tokens:
        raise WeightsError(
            f"position embeddings of {embedding.shape[1]} tokens cannot become {tokens}: with "
            f"{prefix} tokens before the grid one of them is no square"
        )
    kept, grid = embedding[:, :prefix], embedding[:, prefix:]
    grid = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2).float()
    grid = functional.interpolate(
        grid, size=(new, new), mode="bicubic", align_corners=False, antialias=antialias
    )
    grid = grid.permute(0, 2, 3, 1).reshape(1, new * new, -1).to(embedding.dtype)
    return torch.cat([kept, grid], dim=1)
