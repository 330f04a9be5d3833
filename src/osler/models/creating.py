"""Build a network by its name, with published weights or, when told so, without."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from osler.errors import MissingExtraError, RecipeError, WeightsError
from osler.models.attention_heads import inferred_heads
from osler.models.card import System
from osler.models.catalogue import SYSTEMS, find
from osler.models.class_names import published_names, read_names

if TYPE_CHECKING:
    from torch import nn

    from osler.models.checkpoints.layout import Layout
    from osler.models.checkpoints.reading import Stored


def create(
    name: str,
    *,
    checkpoint: str | Path | Sequence[str | Path] | None = None,
    weights: Literal["random"] | None = None,
    partial: bool = False,
    **options: Any,
) -> "nn.Module":
    """Build a network.

    Args:
        name: as ``osler models list`` shows it.
        checkpoint: a file or folder with published weights, in the layout they were published in;
            sizes that its shapes tell are taken from it. Where parts were published apart, such
            as a decoder, several: the encoder's first.
        weights: ``"random"`` builds it without a checkpoint; nothing is ever downloaded.
        partial: accept a checkpoint that brings nine tenths of the encoder or more.
        options: what the card's ``options`` say otherwise, such as ``num_classes=5``, and, of any
            network, ``preprocessing``, the name of one of the card's ``alternatives``, and
            ``class_names``, what its outputs are called.

    Returns:
        The network in eval mode, with its card as ``net.card`` and, from a checkpoint, what
        became of each tensor as ``net.report``.

    Raises:
        RecipeError: no network has this name or it does not take an option, or neither a
            checkpoint nor random weights were named.
        InputError: the checkpoint is absent, damaged, refused or does not fit.
        MissingExtraError: torch is not installed.
    """
    system = find(name)
    need_torch(f"build the network '{name}'")
    there = weights in (None, "random")
    if not there or (checkpoint is None) == (weights is None):
        raise RecipeError(
            ("" if there else f"there are no weights called {weights!r}; ")
            + f"say where the weights of '{name}' come from: checkpoint=FILE"
            + (f" ({system.card.weights})" if system.card.weights else "")
            + ', or weights="random" for a network that knows nothing yet'
        )
    if checkpoint is None:
        return _build(system, {**system.card.options, **options})
    opened = _opened(system, checkpoint, options)
    if opened is not None:
        return opened
    from osler.models.checkpoints.layout import load_weights
    from osler.models.checkpoints.reading import read_checkpoint

    paths = [checkpoint] if isinstance(checkpoint, str | Path) else checkpoint
    files = [read_checkpoint(path) for path in paths]
    known = [fitted(system, stored) for stored in files]
    if not known or known[0][1].part:
        raise WeightsError(
            f"the first file for '{name}' must bring its encoder; "
            + (f"'{known[0][0].path}' is a {known[0][1].name}" if known else "no file is named")
        )
    names = {layout.name for _, layout in known}
    for stored, layout in known:
        if layout.needs and layout.needs not in names and not partial:
            raise WeightsError(
                f"'{stored.path}' ({layout.name}) is not the whole of '{name}': name the file of "
                f"'{layout.needs}' too, or say partial=True to train from this one alone"
            )
    inferred: dict[str, Any] = {}
    for stored, layout in known:
        inferred |= layout.inferred(stored)
        called = published_names(stored.facts.get("config", {}))
        if called is not None and len(called) == inferred.get("num_classes"):
            inferred["class_names"] = called
        inferred |= stored.facts.get("osler", {}).get("osler_options", {})
    if len(inferred.get("class_names", ())) != options.get(
        "num_classes", inferred.get("num_classes")
    ):
        inferred.pop("class_names", None)  # the names of a head that another replaces
    if not any("osler" in stored.facts for stored, _ in known):
        inferred |= inferred_heads(system.card.options, inferred, options)
    net = _build(system, {**system.card.options, **inferred, **options})
    report = None
    for stored, layout in known:
        said = load_weights(net, stored, layout, partial=partial)
        report = said if report is None else report.joined(said)
    net.report = report  # type: ignore[assignment]
    return net


def _opened(
    system: System, checkpoint: "str | Path | Sequence[str | Path]", options: dict[str, Any]
) -> "nn.Module | None":
    """A folder that the network's own library opens, with its configuration; None for others."""
    opener = getattr(import_module(system.module), "open_folder", None)
    if opener is None or not isinstance(checkpoint, str | Path):
        return None
    config = Path(checkpoint) / "config.json"
    if not config.is_file() or '"osler_network"' in config.read_text("utf-8"):
        return None
    net, report = opener(system.name, Path(checkpoint), options)
    net.card, net.report = system.card, report
    return cast("nn.Module", net)


# which preprocessing the card names is no matter of the network's own, nor what classes are
_APART = ("preprocessing", "class_names")


def _build(system: System, options: dict[str, Any]) -> "nn.Module":
    module, _, function = system.builder.partition(":")
    card = system.card.chosen(options)
    if options.get("class_names") is not None:
        names = read_names(options["class_names"])
        count = options.get("num_classes") or options.get("labels")
        if isinstance(count, int) and count != len(names):
            raise RecipeError(
                f"class_names has {len(names)} names ({', '.join(names)}) and '{system.name}' "
                f"{count} classes"
            )
        options = {**options, "class_names": list(names)}
    for key in ("num_classes", "labels"):
        count = options.get(key)
        least = int(key == "labels")
        if isinstance(count, bool | float) or (isinstance(count, int) and count < least):
            raise RecipeError(f"{key} is a whole number from {least}, not {count}")
    taken = {name: value for name, value in options.items() if name not in _APART}
    try:
        net: nn.Module = getattr(import_module(module), function)(**{**dict(system.fixed), **taken})
    except TypeError as error:
        raise RecipeError(_not_taken(system, str(error))) from error
    net.card = card  # type: ignore[assignment]
    net.options = options  # type: ignore[assignment]
    return net.eval()


def _not_taken(system: System, error: str) -> str:
    """The sentence for options that a network's constructor refuses, with the nearest it knows."""
    found = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", error)
    if found is None:
        return f"the network '{system.name}' does not take these options: {error}"
    refusing, option = found.groups()
    known = {*system.card.options, *_APART}
    constructor = getattr(import_module(system.module), refusing, None)
    if callable(constructor):
        known |= {*signature(constructor).parameters} - {"self", "options", "kwargs"}
    near = get_close_matches(option, sorted(known), n=1, cutoff=0.6)
    return (
        f"the network '{system.name}' does not take these options: '{option}'"
        + (f" (the nearest is '{near[0]}')" if near else "")
        + f"; it takes {', '.join(sorted(known))}"
    )


def need_torch(purpose: str) -> None:
    """Say what to install where torch is absent."""
    if find_spec("torch") is None:
        raise MissingExtraError("torch", extra="train", purpose=purpose)


def layouts(system: System) -> "list[Layout]":
    """The layouts in which a network's weights were published."""
    known: tuple[Layout, ...] = getattr(import_module(system.module), "LAYOUTS", ())
    family = system.name.partition("/")[0]
    return [layout for layout in known if family in layout.systems]


def layout_for(system: System, stored: "Stored") -> "Layout":
    """The layout of a checkpoint, as one of a network's own.

    Raises:
        WeightsError: it is of none; the message says which other network it looks like.
    """
    kept = stored.facts.get("osler")
    if kept and kept["osler_network"] == system.name:
        return _kept(system)
    for layout in layouts(system):
        if not kept and layout.suits(stored):
            return layout
    others = [other.name for other, _ in recognise(stored)]
    known = ", ".join(layout.name for layout in layouts(system)) or "none"
    raise WeightsError(
        f"'{stored.path}' is not in a layout of '{system.name}' (known: {known}). "
        + (f"It looks like {' or '.join(others)}. " if others else "")
        + f"Its first names: {', '.join(list(stored.tensors)[:10])}"
    )


def fitted(system: System, stored: "Stored") -> "tuple[Stored, Layout]":
    """A checkpoint and its layout; what training put before every name is taken off if it must be.

    Raises:
        WeightsError: it is of none of a network's layouts.
    """
    from osler.models.checkpoints.reading import bared

    try:
        return stored, layout_for(system, stored)
    except WeightsError:
        for bare in bared(stored):
            for layout in layouts(system):
                if layout.suits(bare):
                    return bare, layout
        raise


def recognise(stored: "Stored") -> "list[tuple[System, Layout]]":
    """Which networks a checkpoint may belong to, by its names, in the order of the list."""
    kept = stored.facts.get("osler")
    if kept:
        system = find(str(kept["osler_network"]))
        return [(system, _kept(system))]
    from osler.models.checkpoints.reading import bared

    for one in (stored, *bared(stored)):
        found = [
            (system, layout)
            for system in SYSTEMS
            for layout in layouts(system)
            if layout.suits(one) and not layout.borrowed
        ]
        if found:
            return found
    return []


def _kept(system: System) -> "Layout":
    """The layout of a network that Osler wrote: its own names, and what may differ as ever."""
    from osler.models.checkpoints.layout import Layout

    published = layouts(system)
    # what is published in halves is kept whole, so that neither half may be absent
    halves = {one.needs for one in published if one.needs}
    whole = [one for one in published if not one.needs and one.name not in halves]
    return Layout(
        "kept by Osler",
        (system.name,),
        marks=(),
        heads=tuple({head for one in whole for head in one.heads}),
        grids={name: prefix for one in published for name, prefix in one.grids.items()},
        refits=tuple(refit for one in published for refit in one.refits),
    )
