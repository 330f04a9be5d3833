"""A published network on many inputs: features, scores, masks, texts."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.batch import interrupt, lock, network_tasks, network_words, plan
from osler.batch.collecting import Batch, collect, make_folder
from osler.batch.job import Outcome
from osler.batch.network_questions import (
    Features,
    Masks,
    Picture,
    Prompted,
    Scores,
    Work,
    ZeroShot,
)
from osler.batch.one import failed
from osler.batch.predictions import stems
from osler.errors import InputError, RecipeError


@dataclass(frozen=True, slots=True)
class Ask:
    """What a network is asked.

    Attributes:
        features: what it saw, a row a picture, in ``features.parquet``.
        labels: names to tell apart without training; for networks of image and language.
        prompt: sentence around each name, with ``{}`` in its place; None takes the card's.
        knowledge: say of each name what it looks like, too.
        boxes: ``(x0, y0, x1, y1)`` in pixels of the picture; for promptable networks.
        points: ``(x, y)`` in pixels of the picture, each of them inside what is wanted.
        probabilities: also write ``STEM.npz`` where masks are written.
        tokenizer: folder of the tokenizer, where it does not lie beside the checkpoint.
        batch: pictures at a time.
        device: such as ``cpu`` or ``cuda``; None takes a GPU where there is one.
        precision: of matrix products, ``float32`` or ``bfloat16``.
        task: settings of the task that asks a network of volumes, signals, tables or pairs.
        words: most tokens that a network writes of each input.
    """

    features: bool = False
    labels: tuple[str, ...] = ()
    prompt: str | None = None
    knowledge: bool = False
    boxes: tuple[tuple[float, ...], ...] = ()
    points: tuple[tuple[float, ...], ...] = ()
    probabilities: bool = False
    tokenizer: Path | None = None
    batch: int = 8
    device: str | None = None
    precision: str = "float32"
    task: Mapping[str, Any] = field(default_factory=dict)
    words: int = 128


def is_network(name: str) -> bool:
    """Whether a name or a folder is a network of ``osler.models`` and not a bundle."""
    from osler.models import SYSTEMS

    folder = Path(name)
    configs = ("config.json", "open_clip_config.json")
    kept = folder.is_dir() and any((folder / one).is_file() for one in configs)
    return kept or any(system.name == name for system in SYSTEMS)


def run(
    name: str,
    inputs: Sequence[str],
    out: str | Path,
    *,
    ask: Ask,
    checkpoints: Sequence[Path] = (),
    options: Mapping[str, Any] | None = None,
    trace: bool = False,
    started: Callable[[int], None] | None = None,
    told: Callable[[Outcome], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> Batch:
    """Run one network on every input.

    Args:
        name: a network's name, or a folder that ``osler models import`` wrote.
        inputs: files, folders and globs of pictures.
        out: the output folder; made where it is missing.
        ask: what is asked.
        checkpoints: the weights, for a name: a file or folder, or those of its parts, the encoder's
            first.
        options: how the network is built, where it differs from its card.
        trace: keep where unexpected errors came from.
        started: called with the number of inputs before the first is read.
        told: called with each outcome as it comes.
        stopping: called when the user asks to stop.

    Raises:
        InputError: there is nothing to read, or the checkpoint does not serve.
        RecipeError: the network cannot be asked this.
        OutputError: the folder cannot be written, or another run holds it.
    """
    out = Path(out)
    watch: dict[str, Any] = {
        "trace": trace, "started": started, "told": told, "stopping": stopping,
    }  # fmt: skip
    if network_words.writes(name, checkpoints):
        return network_words.run(name, inputs, out, ask=ask, checkpoints=checkpoints,
                                 options=dict(options or {}), **watch)  # fmt: skip
    if ask.prompt and not ask.labels:
        raise RecipeError(f"'{name}' writes nothing; --prompt goes with --labels")
    _one_question(ask)
    net = built(name, list(checkpoints), dict(options or {}))
    if _tasked(net, ask):
        batch: Batch = network_tasks.run(
            _placed(net, ask), inputs, out, said=ask.task, checkpoints=checkpoints or [Path(name)],
            features=ask.features, precision=ask.precision, **watch,
        )  # fmt: skip
        return batch
    paths = plan.inputs(inputs, out)
    work = _work(net, ask, out)
    make_folder(out)
    with lock.hold(out), interrupt.listen(stopping) as stop:
        if started:
            started(len(paths))
        outcomes = _outcomes(paths, work, ask.batch, stop, trace=trace)
        batch = collect(outcomes, out, total=len(paths), stop=stop, told=told)
        rows = [dict(o.row) for o in batch.outcomes if o.row]
        if rows:
            batch.summary = work.table(rows, out)
    return batch


def built(name: str, checkpoints: list[Path], options: dict[str, Any]) -> Any:
    """A network by its name and weights, or from a folder that ``osler models import`` wrote."""
    from osler import models

    if Path(name).is_dir() and not checkpoints:
        folder = Path(name)
        looks_like = models.inspect(folder).looks_like
        if len({network for network, _ in looks_like}) != 1:
            raise RecipeError(
                f"which network '{name}' is for cannot be told; name it and say --checkpoint {name}"
            )
        name, checkpoints = looks_like[0][0], [folder]
    if not checkpoints:
        models.find(name)
        raise RecipeError(
            f"'{name}' needs its weights: --checkpoint FILE; 'osler models show {name}' says where "
            "they are published"
        )
    weights = checkpoints[0] if len(checkpoints) == 1 else checkpoints
    return models.create(name, checkpoint=weights, **options)


def _one_question(ask: Ask) -> None:
    asked = {
        "--features": ask.features,
        "--labels": ask.labels,
        "--box or --point": ask.boxes or ask.points,
    }
    if len(said := [name for name, there in asked.items() if there]) > 1:
        raise RecipeError(f"{' and '.join(said)} are different questions; ask one at a time")
    if len(ask.labels) == 1:
        raise RecipeError(
            f"a picture is '{ask.labels[0]}' for sure where --labels names nothing else: name two "
            'or more, such as --labels "normal,macular hole"'
        )


def _tasked(net: Any, ask: Ask) -> bool:
    """Whether a network is asked by the task that trains it: its card cannot prepare a picture."""
    if ask.labels or ask.boxes or ask.points:
        if ask.task:
            raise RecipeError("--task is not for --labels, --box and --point")
        return False
    if ask.probabilities and (ask.task or net.card.preprocessing is None):
        raise RecipeError("--probabilities is for networks of pictures whose card prepares them")
    return bool(ask.task) or net.card.preprocessing is None


def _placed(net: Any, ask: Ask) -> Any:
    from osler.models import asking

    placed = asking.place(net, ask.device)
    asking.precision(placed, ask.precision)
    return placed


_WAYS = {
    "features": "--features",
    "zero-shot": "--labels A,B",
    "promptable segmentation": "--box X0,Y0,X1,Y1 or --point X,Y",
    "classification": "classes need a fine-tuned checkpoint",
}
"""How an answer is asked for."""


def _work(net: Any, ask: Ask, out: Path) -> Work:
    card = net.card
    wanted: type[Work]
    if ask.labels:
        wanted, needed = ZeroShot, "zero-shot"
    elif ask.boxes or ask.points:
        wanted, needed = Prompted, "promptable segmentation"
    elif ask.features:
        wanted, needed = Features, "features"
    elif "classification" in card.answers and net.options.get("num_classes"):
        wanted, needed = Scores, "classification"
    elif "segmentation" in card.answers:
        wanted, needed = Masks, "segmentation"
    else:
        ways = [way for answer, way in _WAYS.items() if answer in card.answers]
        if not ways:
            raise network_tasks.from_python(card)
        raise RecipeError(
            f"say what '{card.name}' is asked: it answers {', '.join(card.answers)} "
            f"({'; '.join(ways)})"
        )
    if needed not in card.answers:
        raise RecipeError(
            f"'{card.name}' answers {', '.join(card.answers)}, and was asked for {needed}"
        )
    if "backbone" in net.options and net.options["backbone"] is None:
        raise RecipeError(
            f"these weights of '{card.name}' are its attention alone, without the backbone that "
            "sees pictures: train one with a recipe, or give it maps from Python"
        )
    if len(ask.boxes) > 1 and ask.points:
        raise RecipeError("points say more of one box; give one --box, or leave --point out")
    if ask.tokenizer is not None:
        net.tokenizer_folder = ask.tokenizer
    return wanted(_placed(net, ask), ask, out)


def _outcomes(
    paths: Sequence[Path], work: Work, size: int, stop: interrupt.Stop, *, trace: bool
) -> Generator[Outcome]:
    """An outcome for each input, until the user asks to stop; those of a batch come together."""
    waiting: list[Picture] = []
    for path, stem in stems(paths):
        if stop:
            return  # what waits was only read
        try:
            picture = Picture(path, stem, pixels(path))
            work.prepare(picture)
        except Exception as error:  # noqa: BLE001 - one bad file must not end the others
            yield failed(path, stem, error, trace=trace)
            continue
        if waiting and (len(waiting) >= size or not _alike(waiting[0], picture)):
            yield from _answered(waiting, work, trace=trace)
            waiting = []
        waiting.append(picture)
    if waiting:
        yield from _answered(waiting, work, trace=trace)


def _alike(one: Picture, other: Picture) -> bool:
    """Whether two pictures may lie in one batch."""
    if one.ready is None or other.ready is None:
        return one.ready is other.ready
    return one.ready.shape == other.ready.shape


def _answered(pictures: list[Picture], work: Work, *, trace: bool) -> Generator[Outcome]:
    from osler.io.input_file import printable
    from osler.io.tables import safe
    from osler.models import asking

    try:
        with asking.precision(work.net, work.ask.precision):
            rows = work.answer(pictures)
    except Exception as error:  # noqa: BLE001 - as above
        if len(pictures) > 1:
            for one in pictures:
                yield from _answered([one], work, trace=trace)
            return
        yield failed(pictures[0].path, pictures[0].stem, error, trace=trace)
        return
    for picture, row in zip(pictures, rows, strict=True):
        named = {"input": safe(printable(picture.path)), **row} if row else {}
        yield Outcome(picture.path, picture.stem, "read", row=named)


def pixels(path: Path) -> NDArray[np.uint8]:
    """The one flat picture of a file, ``(3, H, W)`` of 8 bits."""
    from osler import io
    from osler.record import Image
    from osler.tasks.canvas import rgb

    case = io.load_file(path)
    flat: list[Image] = [
        item for item in case.items.values() if isinstance(item, Image) and len(item.shape) == 2
    ]
    if not flat:
        volume = any(isinstance(item, Image) for item in case.items.values())
        raise InputError(
            f"'{path}' holds no flat picture"
            + ("; cut a slice out of it first" if volume else ": 'osler info' says what is in it")
        )
    return rgb(flat[0])
