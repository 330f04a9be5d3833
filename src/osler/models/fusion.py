"""One answer from any named set of inputs, any of which may be missing.

Each input has a small encoder of its kind, and one of five ways makes one answer of what they read.
What stands in the place of an input that is absent changes nothing, in training as afterwards.

Sources: see `osler.models.fusion_ways`; dropping inputs in training after Neverova et al. 2016,
"ModDrop: adaptive multi-modal gesture recognition", IEEE TPAMI.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.models.fusion_encoders import encoder_of
from osler.models.fusion_ways import Crossed, Gated, Joint, Late, Parts

NAME = "fusion"
PRESENT = "present"

Way = Literal["late", "early", "gated", "cross-attention", "shared-encoder"]
_AXES = {"image": 2, "volume": 3, "signal": 1}
_KNOWN = ("signal", "number", "category", "table", "omics")
"""Kinds whose second half of channels says which of the first are known."""


class Summaries(nn.Module):
    """What each input says in the mean, as strategies of learning may look at it."""

    def forward(self, means: Tensor, present: Tensor) -> Tensor:
        """Means ``(B, M, D)`` as they are; ``present`` ``(B, M)``."""
        del present
        return means


class Fusion(nn.Module):
    """Encoders of each input, and what makes one answer of them.

    Args:
        inputs: of each ``name``, ``kind`` (image, volume, signal, number, category, table, omics,
            text), ``channels`` (the first axis of its array: of a signal, a table and the like
            twice as many as there are values, the second half says which are known) and ``size``
            of the other axes; and ``encoder``, of this input alone.
        labels: number of scores.
        strategy: ``late`` averages what each input says alone, with a temperature and a weight
            each; ``early`` joins their tokens and lets all attend to all; ``gated`` weighs their
            features by gates; ``cross-attention`` lets each ask the others; ``shared-encoder``
            cuts pictures, volumes and signals into patches and reads the tokens of all with one
            transformer.
        encoder: of images, another network by its name, or a mapping of ``name``, ``checkpoint``
            and options; a small network of convolutions by default.
        width: of the features.
        depth: blocks of attention; 2, and 4 of a shared encoder, by default.
        num_heads: of each attention.
        share: images, volumes and signals of one kind, channels and size have one encoder (two
            eyes).
        input_dropout: share of the inputs dropped in training, never all of a sample.
    """

    def __init__(
        self,
        *,
        inputs: Sequence[Mapping[str, Any]],
        labels: int = 1,
        strategy: Way = "late",
        encoder: str | Mapping[str, Any] | None = None,
        width: int = 64,
        depth: int | None = None,
        num_heads: int = 4,
        share: bool = False,
        input_dropout: float = 0.25,
    ) -> None:
        super().__init__()
        _check(inputs, labels, strategy, encoder, width, input_dropout)
        self.names = tuple(str(one["name"]) for one in inputs)
        self.kinds = tuple(str(one["kind"]) for one in inputs)
        self.strategy, self.input_dropout, self.width = strategy, input_dropout, width
        self.groups = _groups(inputs, share=share)
        patches = strategy == "shared-encoder"
        self.encoders = nn.ModuleDict({
            str(group): encoder_of(
                inputs[group], width=width, dim=width, patches=patches, encoder=encoder
            )
            for group in sorted(set(self.groups))
        })  # fmt: skip
        self.summaries = Summaries()
        many = len(inputs)
        attention: dict[str, int] = {"dim": width, "heads": num_heads, "inputs": many}
        self.way: nn.Module
        if strategy == "late":
            self.way = Late(dim=width, labels=labels, groups=self.groups)
        elif strategy == "gated":
            self.way = Gated(dim=width, inputs=many)
        elif strategy == "cross-attention":
            self.way = Crossed(depth=depth or 2, **attention)
        else:
            self.way = Joint(depth=depth or (4 if patches else 2), **attention)
        self.head = None if strategy == "late" else nn.Linear(width, labels, bias=False)
        self.prior = nn.Parameter(torch.zeros(labels))

    def forward(self, *arrays: Tensor, **named: Tensor) -> Tensor:
        """Scores ``(B, labels)``; without any input, what is said of no one in particular.

        Args:
            arrays: of each input in order, then ``present``; all are present where it is absent.
            named: the same by name.
        """
        given, present = self._given(arrays, named)
        parts = self.encode(given, present)
        said: Tensor = self.way(parts)
        if self.head is not None:
            said = self.head(said)
        out: Tensor = self.prior + said * parts.present.any(dim=1, keepdim=True).to(said)
        return out

    def _given(
        self, arrays: Sequence[Tensor], named: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        wanted = (*self.names, PRESENT)
        if len(arrays) > len(wanted) or set(named) - set(wanted[len(arrays) :]):
            raise RecipeError(
                f"the inputs are {', '.join(self.names)}, in this order, then '{PRESENT}'"
            )
        said = {**dict(zip(wanted, arrays, strict=False)), **named}
        if missing := [name for name in self.names if name not in said]:
            raise RecipeError(
                f"'{missing[0]}' is not given; of an absent input give zeros, and 0 in '{PRESENT}'"
            )
        given = [said[name] for name in self.names]
        present = said.get(PRESENT)
        if present is None:
            return given, torch.ones(
                given[0].shape[0], len(given), dtype=torch.bool, device=given[0].device
            )
        return given, present > 0.5

    def encode(self, arrays: Sequence[Tensor], present: Tensor) -> Parts:
        """What is read of each input, some dropped in training.

        Args:
            arrays: of each input, in order.
            present: ``(B, M)``, which there are.
        """
        if self.training and self.input_dropout:
            present = drop_inputs(present, self.input_dropout)
        tokens, there = [], []
        for number, (group, array) in enumerate(zip(self.groups, arrays, strict=True)):
            encoder = self.encoders[str(group)]
            said, known = _read(encoder, array, present[:, number])
            tokens.append(said)
            there.append(known)
        means = [_mean(one, its) for one, its in zip(tokens, there, strict=True)]
        summaries = self.summaries(torch.stack(means, dim=1), present)
        return Parts(tokens, there, summaries, present)


def _read(encoder: nn.Module, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens and which are there; what is absent is not read, or read as zeros."""
    x = torch.where(present.reshape(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))
    rows = present.nonzero()[:, 0] if encoder.training else None
    # statistics of a batch are of what is there; of fewer than two samples there are none
    if rows is None or not 2 <= len(rows) < len(x):
        tokens, there = encoder(x)
    else:
        some, its = encoder(x[rows])
        tokens = some.new_zeros(len(x), *some.shape[1:]).index_copy(0, rows, some)
        there = its.new_zeros(len(x), its.shape[1]).index_copy(0, rows, its)
    return tokens, there & present[:, None]


def _mean(tokens: Tensor, there: Tensor) -> Tensor:
    kept = there[:, :, None].to(tokens)
    return (tokens * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)


def drop_inputs(present: Tensor, share: float) -> Tensor:
    """Each present input is dropped with a chance of ``share``, but never all of a sample."""
    luck = torch.rand(present.shape, device=present.device)
    kept = present & (luck >= share)
    luckiest = torch.where(present, luck, -torch.ones_like(luck)).argmax(dim=1, keepdim=True)
    spared = torch.zeros_like(present).scatter(1, luckiest, value=True) & present
    return torch.where(kept.any(dim=1, keepdim=True), kept, spared)


def _groups(inputs: Sequence[Mapping[str, Any]], *, share: bool) -> tuple[int, ...]:
    """Of each input, the number of the first with which it shares an encoder."""
    first: dict[Any, int] = {}
    out = []
    for number, one in enumerate(inputs):
        alike: Any = number
        if share and one["kind"] in _AXES:
            own = repr(one.get("encoder"))
            alike = (one["kind"], int(one["channels"]), tuple(one["size"]), own)
        out.append(first.setdefault(alike, number))
    return tuple(out)


def _check(
    inputs: Sequence[Mapping[str, Any]], labels: int, strategy: str, encoder: Any, width: int,
    input_dropout: float,
) -> None:  # fmt: skip
    if strategy not in get_args(Way):
        raise RecipeError(f"strategy is one of {', '.join(get_args(Way))}, not '{strategy}'")
    if not 0 <= input_dropout < 1:
        raise RecipeError(f"input_dropout is a share from 0 to below 1, not {input_dropout}")
    if labels < 1 or width < 8 or width % 8:
        raise RecipeError("labels is 1 or more, and width a multiple of 8")
    names = [one.get("name") for one in inputs]
    if not inputs or len(set(names)) != len(names) or PRESENT in names:
        raise RecipeError(
            f"a fused network needs inputs with names that differ, none of them '{PRESENT}'"
        )
    for one in inputs:
        _check_input(one)
        own = one.get("encoder", encoder if one["kind"] == "image" else None)
        if own is not None and strategy == "shared-encoder":
            raise RecipeError(
                "strategy 'shared-encoder' reads all inputs with one transformer; leave out encoder"
            )


def _check_input(one: Mapping[str, Any]) -> None:
    name, kind = one["name"], one.get("kind")
    kinds = (*_AXES, *_KNOWN[1:], "text")
    if unknown := sorted(set(one) - {"name", "kind", "channels", "size", "encoder"}):
        raise RecipeError(f"the input '{name}' has an unknown key '{unknown[0]}'")
    if kind not in kinds:
        raise RecipeError(f"the input '{name}' is one of {', '.join(kinds)}, not '{kind}'")
    channels, size = int(one.get("channels", 0)), tuple(one.get("size", ()))
    if channels < 1 or any(side < 1 for side in size):
        raise RecipeError(f"the input '{name}' must say its channels, and sizes above 0")
    if len(size) != _AXES.get(str(kind), 0):
        raise RecipeError(
            f"the input '{name}' ({kind}) has {_AXES.get(str(kind), 0)} axes beside its channels; "
            f"its size says {len(size)}"
        )
    if kind in _KNOWN and channels % 2:
        raise RecipeError(
            f"the input '{name}' ({kind}) holds values, then as many that say which are known: its "
            f"channels are even, not {channels}"
        )


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """Inputs of which the first sample lacks the last."""
    generator = torch.Generator().manual_seed(0)
    out: dict[str, Tensor] = {}
    for one in options["inputs"]:
        sides = tuple(one.get("size", ()))
        if size is not None and one["kind"] == "image":
            sides = size
        array = torch.rand(batch, int(one["channels"]), *sides, generator=generator)
        if one["kind"] in _KNOWN:
            array[:, int(one["channels"]) // 2 :] = 1
        out[one["name"]] = array
    present = torch.ones(batch, len(out))
    present[:1, -1:] = 0
    return {**out, PRESENT: present}


SIZES = {NAME: [(48, 32), (33, 50)]}
