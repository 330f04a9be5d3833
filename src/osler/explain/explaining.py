"""The verb: one map of one answer, with its faithfulness and what random weights make of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.bundles import Bundle
from osler.errors import RecipeError
from osler.explain.alike import Likeness, likeness
from osler.explain.faithfulness import Faithfulness, faithfulness
from osler.explain.general import on_case
from osler.explain.occlusion import Score, occlusion
from osler.explain.photograph import on_photograph
from osler.explain.subject import Subject, log_odds
from osler.explain.values import explain_values, takes_values
from osler.record import Case, Heatmap

if TYPE_CHECKING:
    from osler.explain.evidence import EvidencePath
    from osler.explain.inputs import InputsExplanation
    from osler.tasks.task import Task

OUTSIDE: Final = ("occlusion", "attention")
"""Methods that need no more than answers: of bundles."""

INSIDE: Final = (
    "grad-cam",
    "grad-cam++",
    "layer-cam",
    "score-cam",
    "attention-rollout",
    "integrated-gradients",
    "gradient-times-input",
    "smooth-grad",
)
"""Methods that look inside a torch network."""

METHODS: Final = (*OUTSIDE, *INSIDE)

WORDS: Final = {
    "occlusion": "what the score loses when a window is taken away (Zeiler & Fergus 2014)",
    "attention": "the weights by which the network pools its places; the same for every label",
    "grad-cam": "Grad-CAM (Selvaraju et al. 2017)",
    "grad-cam++": "Grad-CAM++ (Chattopadhyay et al. 2018)",
    "layer-cam": "Layer-CAM (Jiang et al. 2021)",
    "score-cam": "Score-CAM (Wang et al. 2020)",
    "attention-rollout": "attention followed through all blocks (Abnar & Zuidema 2020); "
    "the same for every label",
    "integrated-gradients": "integrated gradients (Sundararajan et al. 2017)",
    "gradient-times-input": "gradient times input (Shrikumar et al. 2017)",
    "smooth-grad": "SmoothGrad (Smilkov et al. 2017)",
}
"""Method to what its map is."""


@dataclass(slots=True, eq=False, kw_only=True)
class Explanation:
    """Why a model answered as it did.

    Attributes:
        case: the case, with ``heatmap`` among its findings.
        heatmap: where the answer comes from, in the native grid, 0 to 1.
        signed: the same in ``units``, below 0 where the picture speaks against it.
        units: of ``signed``, such as ``"log-odds"``.
        method: one of ``METHODS``.
        layer: the layer that a map was made at; empty for none.
        label: the answer that is explained.
        question: what the score is, in words.
        value: the score.
        faithful: deletion and insertion.
        random_weights: how like the map is to those of random weights, stage after stage; empty
            where the weights could not be drawn anew.
        absent: what stands where something is taken away, in words.
        window: sides of windows and parts, pixels of the model's input.
        input_shape: ``([D,] H, W)`` of the model's input.
        additive: for integrated gradients the ``difference`` they share out and their ``gap``.
        evidence: the path from lesions to a grade, for a photograph of the fundus.
        notes: what a reader must know.
        seconds: how long it took.
    """

    case: Case
    heatmap: Heatmap
    signed: NDArray[np.float32]
    units: str
    method: str
    layer: str
    label: str
    question: str
    value: float
    faithful: Faithfulness
    random_weights: tuple[Likeness, ...]
    absent: str
    window: tuple[int, ...]
    input_shape: tuple[int, ...]
    additive: dict[str, float] | None = None
    evidence: "EvidencePath | None" = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def write(self, out: Any) -> Any:
        """Write pictures, ``explanation.json`` and ``explanation.html`` into ``out/CASE``.

        Returns:
            The folder.

        Raises:
            OutputError: the folder cannot be written.
        """
        from osler.explain.writing import write

        return write(self, out)


@dataclass(slots=True, eq=False)
class _Map:
    """A map on the grid of the model's input."""

    values: NDArray[np.float32]
    layer: str = ""
    additive: dict[str, float] | None = None
    notes: list[str] = field(default_factory=list)


def explain(
    bundle: Any,
    case: Case,
    *,
    method: str | None = None,
    label: str | None = None,
    layer: str | None = None,
    tasks: "Sequence[type[Task]]" = (),
    network: Any = None,
) -> "Explanation | InputsExplanation":
    """Say where an answer comes from, and how far that can be believed.

    The map is added to the case as the finding ``explanation``. Of a bundle of several named inputs
    it is said what each contributed; with the method ``"occlusion"`` a map goes with it, of the
    image that moved the answer most. Of one that reads a table or a signal, what each value or
    channel contributed. For a photograph of the fundus that
    has been read, the path of evidence goes with it.

    Args:
        bundle: a loaded bundle, or a network of ``osler.models`` whose card says how a picture
            becomes its input.
        case: with the image.
        method: one of `METHODS`; None is ``"occlusion"`` for a bundle and ``"grad-cam"`` for a
            network.
        label: the answer to explain; None takes the one that is given.
        layer: name of a module of a network; None finds one.
        tasks: tasks of one's own.
        network: the torch network of a bundle (`osler.learn.opening.network_of`), for the methods
            that look inside.

    Raises:
        RecipeError: there is no such method, label or layer, or the method does not fit the model.
        InputError: the case cannot be used.
    """
    begun = time.perf_counter()
    if isinstance(bundle, Bundle) and takes_inputs(bundle):
        from osler.explain.inputs import explain_inputs

        return explain_inputs(
            bundle, case, method=method, label=label, layer=layer, tasks=tasks, mapped=mapped
        )
    if takes_values(bundle):
        return explain_values(bundle, case, method=method, label=label, layer=layer, tasks=tasks)
    subject = _subject(bundle, case, label, tasks, network)
    return mapped(subject, case, method=method, layer=layer, begun=begun)


def looks_inside(model: Any, method: str | None) -> bool:
    """Whether a method needs the torch network of a bundle that answers to one image."""
    return (
        method in INSIDE
        and isinstance(model, Bundle)
        and model.card.preprocessing is None
        and not takes_inputs(model)
        and not takes_values(model)
    )


def takes_inputs(model: Any) -> bool:
    """Whether a bundle answers from several named inputs."""
    return isinstance(model, Bundle) and bool(model.card.settings.get("inputs"))


def mapped(
    subject: Subject, case: Case, *, method: str | None, layer: str | None, begun: float
) -> Explanation:
    """The map of a subject, with its faithfulness, added to the case.

    Raises:
        RecipeError: there is no such method or layer, or the method does not fit the model.
    """
    method = method or ("occlusion" if subject.net is None else "grad-cam")
    _check(method, subject, layer)
    made = _map(subject, subject.score, method, layer)
    faithful = faithfulness(
        subject.score,
        subject.image,
        made.values,
        absent=subject.absent,
        side=subject.window,
        steps=subject.steps,
        orders=subject.orders,
        within=subject.within,
        batch=subject.batch,
    )
    alike, notes = _random_weights(subject, made, method)
    signed = np.asarray(subject.home(made.values), np.float32)
    heatmap = Heatmap(
        id=_free(case, "explanation"),
        name=f"Where '{subject.label}' comes from",
        source=subject.source,
        item=subject.item,
        values=positive(signed),
        method=WORDS[method],
    )
    case.add(heatmap)
    return Explanation(
        case=case,
        heatmap=heatmap,
        signed=signed,
        units=_units(subject, method),
        method=method,
        layer=made.layer,
        label=subject.label,
        question=subject.question,
        value=subject.value,
        faithful=faithful,
        random_weights=alike,
        absent=subject.absent_words,
        window=subject.window,
        input_shape=tuple(subject.image.shape[1:]),
        additive=made.additive,
        evidence=_evidence(case, heatmap),
        notes=(*subject.notes, *made.notes, *notes),
        seconds=time.perf_counter() - begun,
    )


def _units(subject: Subject, method: str) -> str:
    if method == "occlusion":
        return "log-odds" if subject.odds else "score" if subject.net else "probability"
    if method == "attention":
        return "share"
    return "score" if method == "integrated-gradients" else "1"


def opened(model: Any) -> Any:
    """A bundle by its name or folder, or a network by the folder that it is kept in.

    Args:
        model: a name, a path, or what is open already, which is given back.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        InputError: the network's folder is damaged.
    """
    from osler import bundles

    if not isinstance(model, str | Path):
        return model
    config = Path(model) / "config.json"
    if isinstance(model, str) and model in bundles.names():
        return bundles.load(model)
    if config.is_file():
        import json

        from osler import models

        name = json.loads(config.read_text("utf-8")).get("osler_network")
        if isinstance(name, str):
            return models.create(name, checkpoint=model)
    return bundles.load(model)


def reads_fundus(model: Any) -> bool:
    """Whether a bundle takes prepared photographs of the fundus."""
    return isinstance(model, Bundle) and model.card.preprocessing is not None


def positive(signed: NDArray[np.float32]) -> NDArray[np.float16]:
    """What speaks for the answer, 1 at its peak; 0 everywhere where nothing does."""
    for_it = np.clip(signed, 0, None)
    peak = float(for_it.max(initial=0.0))
    return np.asarray(for_it / peak if peak > 0 else for_it, np.float16)


def _subject(
    bundle: Any, case: Case, label: str | None, tasks: "Sequence[type[Task]]", network: Any
) -> Subject:
    if not isinstance(bundle, Bundle):
        from osler.explain.inside.network import on_network

        return on_network(bundle, case, label=label)
    if bundle.card.preprocessing is not None:
        return on_photograph(bundle, case, label=label)
    if network is not None:
        from osler.explain.inside.trained import on_trained

        return on_trained(bundle, network, case, label=label)
    return on_case(bundle, case, label=label, tasks=tasks)


def _check(method: str, subject: Subject, layer: str | None) -> None:
    if method not in METHODS:
        import difflib

        near = difflib.get_close_matches(method, METHODS, n=1, cutoff=0.0)
        raise RecipeError(
            f"there is no method '{method}'; did you mean '{near[0]}'? There are "
            f"{', '.join(METHODS)}"
        )
    if method in INSIDE and subject.net is None:
        raise RecipeError(
            f"'{method}' looks inside a network and '{subject.source.name}' is an ONNX graph, "
            "which gives answers only; use occlusion"
            + (" or attention" if "attention" in subject.given else "")
            + ", or explain the torch network in Python"
        )
    if method == "attention" and "attention" not in subject.given:
        raise RecipeError(
            f"'{subject.source.name}' gives no attention of its own; use "
            + ("occlusion" if subject.net is None else "attention-rollout or occlusion")
        )
    if layer is not None and not method.endswith(("cam", "cam++")):
        raise RecipeError(f"a layer is for class activation maps; '{method}' takes none")


def _map(subject: Subject, score: Score, method: str, layer: str | None) -> _Map:
    if method == "occlusion":
        values = occlusion(
            log_odds(score) if subject.odds else score,
            subject.image,
            absent=subject.absent,
            window=subject.window,
            stride=subject.stride,
            within=subject.within,
            batch=subject.batch,
        )
        return _Map(values)
    if method == "attention":
        return _Map(subject.given["attention"] * subject.within)
    from osler.explain.inside.network import map_of

    values, found, additive, notes = map_of(subject, method, layer)
    return _Map(values, found, additive, notes)


def _random_weights(
    subject: Subject, made: _Map, method: str
) -> tuple[tuple[Likeness, ...], list[str]]:
    """The randomisation test: in a cascade for a network, of all weights for an ONNX graph."""
    if subject.net is not None:
        from osler.explain.inside.network import random_maps

        return tuple(
            likeness(made.values, other, stage=stage, within=subject.within)
            for stage, other in random_maps(subject, method, made.layer or None)
        ), []
    if method == "attention":
        return (), ["the attention of random weights was not asked for: use occlusion to test it"]
    draw: Callable[[], Score | None] | None = subject.redrawn
    other = draw() if draw is not None else None
    if other is None:
        return (), ["the weights could not be drawn anew: the graph holds none as floats"]
    values = _map(subject, other, method, None).values
    return (likeness(made.values, values, stage="all", within=subject.within),), []


def _evidence(case: Case, heatmap: Heatmap) -> "EvidencePath | None":
    from osler.explain.evidence import evidence_path, has_been_read

    return evidence_path(case, heatmap=heatmap) if has_been_read(case) else None


def _free(case: Case, id: str) -> str:
    """The id, with a number where it is taken."""
    number, free = 1, id
    while free in case:
        number += 1
        free = f"{id}-{number}"
    return free
