"""A published network on cases that are more than a picture: volumes, pairs, signals, tables.

The task that trains such a network also asks it: it makes cases alike, moves windows over volumes
and recordings, and brings the answer home to the native grid. What a card does not say, the task is
told in the words of a recipe's ``settings``.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.batch import asking
from osler.batch.asking import Opening
from osler.batch.collecting import Batch
from osler.batch.nnunet_plans import Plans, plans_beside
from osler.batch.predictions import FEATURES, write_features
from osler.errors import InputError, RecipeError
from osler.models.card import Card

if TYPE_CHECKING:
    from osler.record import Case, Finding
    from osler.tasks.task import Arrays, Task

Settings = Mapping[str, Any]


def settings_of(said: Sequence[str]) -> dict[str, Any]:
    """``--task image.spacing=[1,1,1]`` as nested settings; values are read as YAML.

    Raises:
        RecipeError: one of them has no ``=``, or says a key and a part of it.
    """
    import yaml

    out: dict[str, Any] = {}
    for one in said:
        path, mark, text = one.partition("=")
        keys = path.split(".")
        if not mark or not all(key.isidentifier() for key in keys):
            raise RecipeError(f"'--task {one}' is not KEY=VALUE, such as --task patch=[96,96,96]")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"the value in '--task {one}' cannot be read") from error
        place = out
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise RecipeError(f"'--task {one}': '{key}' has a value already")
        if isinstance(place.get(keys[-1]), dict) != isinstance(value, dict) and keys[-1] in place:
            raise RecipeError(f"'--task {one}': '{keys[-1]}' is said twice")
        place[keys[-1]] = {**place[keys[-1]], **value} if keys[-1] in place and isinstance(
            value, dict
        ) else value  # fmt: skip
    return out


def task_name(card: Card, options: Mapping[str, Any], *, features: bool) -> str | None:
    """The task that asks a network; None where none does."""
    kinds = {one.kind for one in card.inputs}
    if "registration" in card.answers:
        return None if features else "registration"
    if "detection" in card.answers and not features:
        return "detection"
    mixed = "image" in kinds and len(kinds) > 1
    if mixed or not kinds <= {"image", "volume", "signal", "table"}:
        return None
    if features:
        return "classification" if "features" in card.answers else None
    if "segmentation" in card.answers and options.get("answer") != "classification":
        return "segmentation"
    if "classification" not in card.answers:
        return None
    if not _outputs(options):
        raise RecipeError(
            f"'{card.name}' was built without classes: a classifier needs a trained checkpoint "
            "(and --set num_classes=N where it does not say), or ask for --features"
        )
    return "classification"


def run(
    net: Any,
    inputs: Sequence[str],
    out: str | Path,
    *,
    said: Settings,
    checkpoints: Sequence[Path] = (),
    features: bool = False,
    precision: str = "float32",
    **told: Any,
) -> Batch:
    """Ask a network about every case; what is written is as `osler.batch.asking.run` says.

    Args:
        net: the network, where it will run.
        inputs: files, folders (a DICOM series, say), globs and tables of cases; ``NAME=FILE`` for
            the parts of one case; two files that are registered, the fixed one first.
        out: the output folder.
        said: settings of the task that asks it, over what the network and its plans say.
        checkpoints: where its weights come from, beside which plans may lie.
        features: what it saw, in ``features.parquet``, instead of its answer.
        precision: of matrix products.
        told: ``trace``, ``started``, ``told`` and ``stopping``.

    Raises:
        RecipeError: the network cannot be asked this, or the settings do not suffice.
        InputError: there is nothing to read.
        OutputError: the folder cannot be written, or another run holds it.
    """
    card: Card = net.card
    name = task_name(card, net.options, features=features)
    if name is None:
        raise from_python(card)
    plans = plans_beside(checkpoints[0]) if checkpoints and name == "segmentation" else None
    task = _task(net, name, said, plans, features=features)
    predict = _predict(
        net, task, precision, features=features, turned=plans.turned if plans else ()
    )
    kept: list[tuple[str, np.ndarray[Any, Any]]] = []

    def answered(case: "Case") -> "Sequence[Finding] | None":
        from osler.record import Source
        from osler.record.case import Event

        begun = time.monotonic()
        sample = task.encode(case)
        outputs = task.run(predict, sample)
        if features:
            kept.append((case.id, outputs["scores"]))
            return None
        found = task.decode(outputs, sample, source=Source("algorithm", card.name))
        for one in found:
            case.add(one)
        case.history.append(Event(task.name, card.name, time.monotonic() - begun))
        return found

    batch = asking.each(_openings(inputs, name, card), out, answered, **told)
    if kept:
        batch.summary = write_features(kept, card.name, Path(out) / FEATURES, of="case")
    return batch


def from_python(card: Card) -> RecipeError:
    """That a network is not asked from the command line, and the lines of Python that ask it."""
    given = ", ".join(f"{one.name}=…" for one in card.inputs if not one.optional)
    given = given or f"{card.inputs[0].name}=…"
    shapes = "; ".join(f"{one.name} is {one.shape}" for one in card.inputs)
    return RecipeError(
        f"'{card.name}' answers {', '.join(card.answers)} and is asked from Python: net = "
        f"osler.models.create('{card.name}', checkpoint='FILE'); net({given}), where {shapes}. A "
        "bundle of a recipe that trained one is asked by 'osler predict'"
    )


# The task ----------------------------------------------------------------------------------------


def _task(net: Any, name: str, said: Settings, plans: Plans | None, *, features: bool) -> "Task":
    from osler.tasks.catalogue import create

    card: Card = net.card
    settings = _merged(plans.settings if plans else {}, said)
    if name == "segmentation":
        settings = _segmentation(net, settings)
    elif name == "classification":
        settings = _classification(net, settings, features=features)
    elif name == "registration":
        _needs(card, settings, ["size"], "--task size=[160,192,224] --task spacing=[1,1,1]")
    elif name == "detection":
        _needs(card, settings, ["labels"], "--task labels=[nodule] --task patch=[48,64,64]")
    try:
        return create(name, settings, ())
    except RecipeError as error:
        raise RecipeError(
            f"'{card.name}' is asked by the task '{name}', and its settings (--task KEY=VALUE) do "
            f"not hold: {error}"
        ) from error


def _segmentation(net: Any, settings: dict[str, Any]) -> dict[str, Any]:
    from osler.models.class_names import fitting_names

    card: Card = net.card
    image = dict(settings.get("image") or {})
    volumes = card.inputs[0].kind == "volume" and net.options.get("dims", 3) != 2
    said = {f"image.{key}" for key in image} | set(settings)
    if volumes:
        _needs_said(card, said, ["image.spacing", "image.intensity"])
        if not {"patch", "image.size"} & said:
            side = net.options.get("image_size")
            settings["patch"] = list(card.inputs[0].size or (side or 96,) * 3)
    else:
        _needs_said(card, said, ["image.intensity"])
    several = getattr(net, "modalities", None)
    if several:
        image.setdefault("items", list(several))
        settings["missing"] = len(image["items"]) > 1
    settings["image"] = image
    if "labels" not in settings:
        count = _outputs(net.options)
        overlapping = bool(settings.get("overlapping")) or count == 1
        names = fitting_names(net, count) or [f"class-{k}" for k in range(count)]
        settings["overlapping"] = overlapping
        settings["labels"] = list(names) if overlapping else list(names)[1:]
    return settings


def _classification(net: Any, settings: dict[str, Any], *, features: bool) -> dict[str, Any]:
    from osler.models.class_names import fitting_names

    card: Card = net.card
    kind = card.inputs[0].kind
    if kind == "signal":
        example = "--task signal.channels=[I,II] --task signal.rate=250 --task signal.seconds=10"
        _needs(card, settings, ["signal"], example)
    elif kind == "table":
        example = "--task 'table={columns: [age], numbers: {age: {mean: 50, deviation: 10}}}'"
        _needs(card, settings, ["table"], example)
        if net.options.get("categories"):
            raise RecipeError(
                f"this '{card.name}' has categories of its own, whose numbers a table does not "
                "tell; ask it from Python: net(numbers=..., categories=...)"
            )
    else:
        image = settings.get("image") or {}
        _needs_said(card, {f"image.{key}" for key in image}, ["image.size", "image.intensity"])
    if "labels" not in settings:
        count = 2 if features else _outputs(net.options)
        settings["labels"] = list(
            (None if features else fitting_names(net, count))
            or [f"class-{k}" for k in range(count)]
        )
    return settings


def _outputs(options: Mapping[str, Any]) -> int:
    """How many scores a network gives."""
    return int(options.get("labels") or options.get("num_classes") or 0)


_EXAMPLES = {
    "image.spacing": "image.spacing=[1.5,1.5,1.5] (mm of D, H, W; null keeps each file's)",
    "image.size": "image.size=[224,224]",
    "image.intensity": "image.intensity.method=z-score (or range or clip, with their numbers)",
}


def _needs_said(card: Card, said: set[str], keys: Sequence[str]) -> None:
    """Refuse to guess how a network's inputs were made alike."""
    lacking = [key for key in keys if key not in said]
    if lacking:
        ways = "; ".join(f"--task {_EXAMPLES[key]}" for key in lacking)
        deep = "image.spacing" in lacking
        beside = ". Beside weights of nnU-Net its plans.json says so" if deep else ""
        raise RecipeError(
            f"the card of '{card.name}' does not say how its inputs are prepared, and that is not "
            f"guessed: say {ways}{beside}"
        )


def _needs(card: Card, settings: Settings, keys: Sequence[str], example: str) -> None:
    if any(key not in settings for key in keys):
        raise RecipeError(
            f"the card of '{card.name}' does not say how its inputs are prepared, and that is not "
            f"guessed: say it as a recipe's settings do, such as {example}"
        )


def _merged(one: Settings, over: Settings) -> dict[str, Any]:
    out = dict(one)
    for key, value in over.items():
        inner = out.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        # another way of making values alike does not keep the numbers of the one before
        fresh = both and isinstance(value, Mapping) and "method" in value
        out[key] = _merged(inner, value) if both and inner and not fresh else value
    return out


# Asking ------------------------------------------------------------------------------------------


def _predict(
    net: Any, task: "Task", precision: str, *, features: bool, turned: tuple[int, ...]
) -> Callable[["Arrays"], "Arrays"]:
    from osler.models import asking as networks

    axes = turned if turned and turned != tuple(range(len(turned))) else ()

    def predict(arrays: "Arrays") -> "Arrays":
        given = {name: _turned(one, axes) for name, one in arrays.items()}
        try:
            with networks.precision(net, precision):
                said = networks.told(net, given, features=features)
        except (RuntimeError, ValueError, IndexError) as error:
            if "memory" in str(error).lower():
                raise
            shapes = ", ".join(f"'{name}' {one.shape}" for name, one in given.items())
            reason = str(error).strip().split("\n", 1)[0]
            raise RecipeError(
                f"'{net.card.name}' does not take {shapes} (samples, channels, sides): {reason}. "
                "Channels and sides are said by --task, such as image.colour=true, "
                "patch=[96,96,96] or image.size=[224,224]"
            ) from error
        if features:
            return {"scores": said[0]}
        back = tuple(axes.index(axis) for axis in range(len(axes)))
        return {name: _turned(one, back) for name, one in task.named(tuple(said)).items()}

    return predict


def _turned(array: Any, axes: tuple[int, ...]) -> Any:
    if not axes or array.ndim != 2 + len(axes):
        return array
    return np.ascontiguousarray(array.transpose(0, 1, *(2 + axis for axis in axes)))


def _openings(inputs: Sequence[str], name: str, card: Card) -> Iterator[Opening]:
    """Cases as a bundle's, and two further ways to name one of several parts."""
    from osler.data.composing import composed

    parts = {key: path for key, mark, path in (one.partition("=") for one in inputs) if mark}
    if len(parts) == len(inputs) and not any(Path(one).exists() for one in inputs):
        found = {key: Path(path) for key, path in parts.items()}
    elif name == "registration" and len(inputs) == 2 and all(_image(one) for one in inputs):
        found = {"fixed": Path(inputs[0]), "moving": Path(inputs[1])}
    elif name == "registration" and not all(one.endswith((".csv", ".parquet")) for one in inputs):
        raise InputError(
            f"'{card.name}' brings one image onto another: name FIXED MOVING, or a table with the "
            "columns fixed and moving"
        )
    else:
        yield from asking.openings(inputs, prompted=False)
        return
    absent = [str(path) for path in found.values() if not path.exists()]
    if absent:
        raise InputError(f"there is nothing at '{absent[0]}'")
    yield Opening(next(iter(found.values())), "-".join(_stem(one) for one in found.values())[:80],
                  lambda: composed(found))  # fmt: skip


def _image(name: str) -> bool:
    path = Path(name)
    return path.exists() and path.suffix.lower() not in (".csv", ".parquet")


def _stem(path: Path) -> str:
    from osler.io.naming import case_id

    return case_id(path.resolve())
