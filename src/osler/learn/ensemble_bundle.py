"""One bundle that answers as the mean of others: the runs of a recipe's folds, in one graph.

As `osler.learn.ensembling.Ensemble` does with networks, probabilities are averaged, not scores;
each member's scores are calibrated first, so the mean needs no calibration of its own.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler import bundles
from osler.bundles import Bundle
from osler.bundles.card import Output
from osler.bundles.integrity import read_file
from osler.data.taught import FILE as TAUGHT
from osler.data.taught import join_records
from osler.errors import BundleError, RecipeError
from osler.learn.export import labels_kept

MOST_DIFFERENT: Final = 1e-4
"""Difference in probability between the graph and the mean of its members' answers."""

LIMIT: Final = (
    "No unseen case judged this bundle: its members together were taught with every case of the "
    "cohort. The figures are those of its members, each on the cases that it never saw; judge the "
    "bundle itself on other patients ('osler evaluate')."
)
_MEAN_OF_CHANCE: Final = "generation"  # its answers are drawn at random; their mean is none
_PLANNED: Final = ("counts",)
"""Settings that say what a member was taught with, and change no answer."""


def ensemble_bundle(
    members: Sequence[Bundle],
    folder: Path,
    *,
    name: str,
    metrics: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write a bundle whose one graph holds those of its members and gives their mean.

    Args:
        members: of one task, with the same settings, inputs and outputs.
        folder: of the bundle; one that lies there is replaced.
        name: of the bundle.
        metrics: figures of its members, as a card holds them.

    Returns:
        The folder.

    Raises:
        RecipeError: the members cannot be averaged; the message says what differs.
        BundleError: a member is damaged, or the graph does not give what its members give.
    """
    _refuse_different(members)
    first = members[0].card
    graph = joined_graph([_graph(one) for one in members], [one.card.outputs for one in members])
    card = first.model_dump(mode="json")
    outputs = [{**one, "calibration": None} for one in card["outputs"]]
    card |= {
        "name": name,
        "title": f"{first.title} (mean of {len(members)})",
        "outputs": outputs,
        "metrics": [{**one, "name": f"{one['name']} (members)"} for one in metrics],
        "limits": [LIMIT, *first.limits],
    }
    if card["training"] is not None:
        trained = [one.card.training for one in members if one.card.training is not None]
        card["training"]["parameters"] = sum(one.parameters for one in trained)
        card["training"]["minutes"] = round(sum(one.minutes for one in trained), 1)
    card.pop("files")
    files: dict[str, bytes | Path] = {"model.onnx": graph}
    for path in first.files:
        if path not in ("model.onnx", TAUGHT):
            files[path] = read_file(members[0].folder, first, path)
    if all(TAUGHT in one.card.files for one in members):
        files[TAUGHT] = join_records([read_file(o.folder, o.card, TAUGHT) for o in members])
    folder = bundles.save(card, files, folder, overwrite=True)
    _refuse_difference(bundles.load(folder), members)
    return folder


def _graph(bundle: Bundle) -> bytes:
    return read_file(bundle.folder, bundle.card, "model.onnx")


def _refuse_different(members: Sequence[Bundle]) -> None:
    if not members:
        raise RecipeError("an ensemble needs at least one bundle")
    first = members[0].card
    if first.task == _MEAN_OF_CHANCE:
        raise RecipeError(f"the mean of what bundles of {first.task} draw means nothing")
    for one in (member.card for member in members):
        for what in ("task", "inputs", "preprocessing", "requires"):
            if getattr(one, what) != getattr(first, what):
                raise RecipeError(f"the members cannot be averaged: their {what} differ")
        differ = [
            key
            for key in sorted(first.settings.keys() | one.settings.keys())
            if key not in _PLANNED and first.settings.get(key) != one.settings.get(key)
        ]
        if differ:
            raise RecipeError(
                "the members cannot be averaged: each fold planned other "
                f"{', '.join(f'settings.{key}' for key in differ)}; write them in the recipe, so "
                "that all folds share them"
            )
        same = [output.model_copy(update={"calibration": None}) for output in one.outputs]
        if same != [output.model_copy(update={"calibration": None}) for output in first.outputs]:
            raise RecipeError("the members cannot be averaged: their outputs differ")


def joined_graph(graphs: Sequence[bytes], outputs: Sequence[Sequence[Output]]) -> bytes:
    """One graph with the inputs and outputs of each, that gives their mean.

    Args:
        graphs: ONNX models with the same inputs and outputs.
        outputs: of each, with activation and calibration.
    """
    import onnx
    from onnx import compose, helper

    models = [onnx.load_from_string(one) for one in graphs]
    if any(len(model.functions) for model in models):
        raise RecipeError("a member's graph defines functions of its own; export it without them")
    first = models[0].graph
    nodes: list[Any] = []
    tensors: list[Any] = []
    for number, model in enumerate(models):
        prefix = f"m{number}."
        inner = compose.add_prefix_graph(model.graph, prefix)
        nodes += [
            helper.make_node("Identity", [one.name], [prefix + one.name]) for one in first.input
        ]
        nodes += inner.node
        tensors += inner.initializer
    for place, spec in enumerate(first.output):
        parts = []
        for number, (model, said) in enumerate(zip(models, outputs, strict=True)):
            name = f"m{number}.{model.graph.output[place].name}"
            declared = next(one for one in said if one.name == spec.name)
            parts.append(_calibrated(name, declared, nodes, tensors))
        declared = next(one for one in outputs[0] if one.name == spec.name)
        _mean(parts, declared.activation, spec.name, nodes, tensors)
    graph = helper.make_graph(nodes, "ensemble", list(first.input), list(first.output), tensors)
    versions = {one.domain: one.version for model in models for one in model.opset_import}
    if any(versions[one.domain] != one.version for model in models for one in model.opset_import):
        raise RecipeError("the members' graphs are of several operator sets; export them anew")
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(domain, v) for domain, v in versions.items()]
    )
    model.ir_version = max(one.ir_version for one in models)
    named = {one.name: [label.name for label in one.labels] for one in outputs[0]}
    helper.set_model_props(model, labels_kept(named))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _calibrated(name: str, output: Output, nodes: list[Any], tensors: list[Any]) -> str:
    """Scores over the temperature, plus the bias."""
    from onnx import helper

    fitted = output.calibration
    if fitted is None or fitted.method == "none":
        return name
    scale = _constant(f"{name}.temperature", fitted.temperature, tensors)
    bias = _constant(f"{name}.bias", fitted.bias, tensors)
    nodes.append(helper.make_node("Div", [name, scale], [f"{name}.scaled"]))
    nodes.append(helper.make_node("Add", [f"{name}.scaled", bias], [f"{name}.calibrated"]))
    return f"{name}.calibrated"


def _mean(
    parts: Sequence[str], activation: str, out: str, nodes: list[Any], tensors: list[Any]
) -> None:
    """Scores whose softmax or sigmoid is the mean of those of the parts, into ``out``."""
    from onnx import helper

    def node(kind: str, inputs: Sequence[str], name: str, **said: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [name], **said))
        return name

    def sum_of_logs(names: Sequence[str], said: str) -> str:
        """The logarithm of the sum, the greatest taken out first so that none is lost."""
        top = node("Max", names, f"{said}.top")
        less = [
            node("Exp", [node("Sub", [one, top], f"{one}.{said}.less")], f"{one}.{said}.exp")
            for one in names
        ]
        return node("Add", [top, node("Log", [node("Sum", less, f"{said}.sum")], f"{said}.log")],
                    f"{said}.all")  # fmt: skip

    if activation == "softmax":
        logs = [node("LogSoftmax", [one], f"{one}.logp", axis=1) for one in parts]
        count = _constant(f"{out}.count", math.log(len(parts)), tensors)
        node("Sub", [sum_of_logs(logs, f"{out}.yes"), count], out)
    elif activation == "sigmoid":  # log sigmoid(x) = -softplus(-x)
        minus = [node("Neg", [one], f"{one}.minus") for one in parts]
        yes = [node("Neg", [node("Softplus", [one], f"{one}.sp")], f"{one}.logp") for one in minus]
        no = [node("Neg", [node("Softplus", [one], f"{one}.sp")], f"{one}.logq") for one in parts]
        both = [sum_of_logs(yes, f"{out}.yes"), sum_of_logs(no, f"{out}.no")]
        node("Sub", both, out)
    else:
        node("Mean", parts, out)


def _constant(name: str, value: float, tensors: list[Any]) -> str:
    from onnx import numpy_helper

    tensors.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return name


def _refuse_difference(whole: Bundle, members: Sequence[Bundle]) -> None:
    """Ask the graph and its members about noise, and compare."""
    rng = np.random.default_rng(0)
    feed: dict[str, NDArray[np.float32]] = {}
    for one in whole.card.inputs:
        known = _shape(whole, one.name)
        shape = [
            1 if axis == 0 else size if isinstance(size, int) else one.multiple * 4
            for axis, size in enumerate(known)
        ]
        feed[one.name] = rng.random(shape, np.float32)
    said = whole.run(feed)
    each = [member.run(feed) for member in members]
    for output in whole.card.outputs:
        declared = [
            next(one for one in member.card.outputs if one.name == output.name)
            for member in members
        ]
        mine = _chances(output, said[output.name])
        theirs = np.mean(
            [_chances(d, e[output.name]) for d, e in zip(declared, each, strict=True)], axis=0
        )
        scale = max(1.0, float(np.abs(theirs).max()))
        if float(np.abs(mine - theirs).max()) > MOST_DIFFERENT * scale:
            raise BundleError(
                f"the joined graph of '{whole.card.name}' does not give the mean of its members"
            )


def _shape(bundle: Bundle, name: str) -> Sequence[Any]:
    """The shape of an input, as the graph says it: a number, or a name where it may differ."""
    import onnx

    graph = onnx.load_from_string(_graph(bundle)).graph
    spec = next(one for one in graph.input if one.name == name)
    return [one.dim_value or one.dim_param for one in spec.type.tensor_type.shape.dim]


def _chances(output: Output, scores: NDArray[Any]) -> NDArray[np.float64]:
    from osler.bundles import probability

    if output.activation == "none":
        return np.asarray(scores, np.float64)
    return np.asarray(probability(output, scores), np.float64)
