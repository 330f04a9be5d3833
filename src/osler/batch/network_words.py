"""Networks that write: a caption of each picture, an answer about it, or a text about a text."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.batch import interrupt, lock, plan
from osler.batch.collecting import Batch, collect, make_folder, one_by_one
from osler.batch.job import Outcome
from osler.batch.one import failed
from osler.batch.predictions import TABLE, stems, write_table
from osler.errors import InputError, RecipeError

if TYPE_CHECKING:
    from osler.batch.networks import Ask
    from osler.language.engine_folder import FolderEngine

_HOURS = 3600.0  # seconds that one answer may take
_ADAPTED = {
    "llava-med": "import it first: 'osler models import FOLDER --as llava-med --out DIR', then "
    "'osler predict llava --checkpoint DIR'",
    "deepdr-llm": "it is a Llama with an adapter of its own: osler.models.create('deepdr-llm', "
    "checkpoint=[LLAMA, ADAPTER]).generate(...) in Python, or 'osler fit' of an instruction recipe",
}


def writes(name: str, checkpoints: Sequence[Path]) -> bool:
    """Whether a name, or a folder in the layout of Hugging Face, is of a network that writes."""
    from osler.models import SYSTEMS

    if not any(system.name == name for system in SYSTEMS):
        if not Path(name).is_dir() or checkpoints:
            return False
        name = _told(Path(name))
    return any(s.name == name and s.card.group == "generative language" for s in SYSTEMS)


def _told(folder: Path) -> str:
    """The network that a folder's configuration names; its weights, which may be large, stay."""
    import json

    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    from osler.models.generative import network_of

    return network_of(config) or ""


def run(
    name: str,
    inputs: Sequence[str],
    out: Path,
    *,
    ask: "Ask",
    checkpoints: Sequence[Path],
    options: dict[str, Any],
    **watch: Any,
) -> Batch:
    """Write ``predictions.csv``: a row an input, with the column ``text``.

    Args:
        name: of the network, or its folder.
        inputs: files, folders and globs of pictures; of a network of words alone, of texts.
        out: the output folder.
        ask: with the ``prompt``; of texts it may hold ``{}``, where the text goes.
        checkpoints: its folder, where ``name`` is a name.
        options: none are taken: the folder says how it was built.
        watch: ``trace``, ``started``, ``told`` and ``stopping``.

    Raises:
        RecipeError: the network cannot be asked this.
        InputError: there is nothing to read, or the folder cannot be used.
        OutputError: the folder cannot be written, or another run holds it.
    """
    folder = _folder(name, checkpoints, options, ask)
    paths = plan.inputs(inputs, out)
    from osler.language.engine_folder import FolderEngine

    engine = FolderEngine(folder, timeout=_HOURS)
    if not engine.sees_images and not ask.prompt:
        raise RecipeError(
            f"'{name}' is told in words what to do: --prompt 'Summarise in one sentence: {{}}'"
        )
    make_folder(out)
    started, trace = watch.get("started"), bool(watch.get("trace"))
    with engine, lock.hold(out), interrupt.listen(watch.get("stopping")) as stop:
        if started:
            started(len(paths))
        batch = collect(
            one_by_one(stems(paths), lambda named: _one(*named, engine, ask, trace=trace), stop),
            out, total=len(paths), stop=stop, told=watch.get("told"),
        )  # fmt: skip
        rows = [dict(one.row) for one in batch.outcomes if one.row]
        if rows:
            batch.summary = write_table(rows, out / TABLE)
    return batch


def _folder(name: str, checkpoints: Sequence[Path], options: dict[str, Any], ask: "Ask") -> Path:
    if name in _ADAPTED:
        raise RecipeError(f"'{name}' is not asked by its name; {_ADAPTED[name]}")
    if options or ask.task or ask.features or ask.labels or ask.boxes or ask.points:
        raise RecipeError(
            f"'{name}' writes: it takes --prompt, and none of --set, --task, --features, --labels, "
            "--box and --point"
        )
    if ask.precision != "float32" or (ask.device or "cpu").split(":")[0] not in ("cpu", "cuda"):
        raise RecipeError(
            f"'{name}' runs in float32 on a processor and as it is stored on a GPU, if there is any"
        )
    if not checkpoints and not Path(name).is_dir():
        raise RecipeError(
            f"'{name}' needs its folder in the layout of Hugging Face: --checkpoint DIR; 'osler "
            f"models show {name}' says where it is published"
        )
    if len(checkpoints) > 1 or (checkpoints and not checkpoints[0].is_dir()):
        raise RecipeError(f"'{name}' lies in one folder, with its config.json and its tokenizer")
    return checkpoints[0] if checkpoints else Path(name)


def _one(path: Path, stem: str, engine: "FolderEngine", ask: "Ask", *, trace: bool) -> Outcome:
    from osler.batch.networks import pixels
    from osler.io.input_file import printable
    from osler.io.tables import safe
    from osler.language.engine import Message

    begun = time.perf_counter()
    try:
        if engine.sees_images and ask.prompt is None:
            said = engine.caption(pixels(path), limit=ask.words)
        elif engine.sees_images:
            turn = Message("user", ask.prompt or "")
            said = engine.write([turn], images=[pixels(path)], limit=ask.words)
        else:
            turn = Message("user", _filled(ask.prompt or "{}", _text(path)))
            said = engine.write([turn], limit=ask.words)
        row = {"input": safe(printable(path)), "text": safe(" ".join(said.split()))}
        return Outcome(path, stem, "read", row=row, seconds=time.perf_counter() - begun)
    except Exception as error:  # noqa: BLE001 - one bad file must not end the others
        return failed(path, stem, error, trace=trace, seconds=time.perf_counter() - begun)


def _filled(prompt: str, text: str) -> str:
    return prompt.replace("{}", text) if "{}" in prompt else f"{prompt}\n\n{text}"


def _text(path: Path) -> str:
    """The text of a file."""
    from osler import io
    from osler.record import Text

    texts = [one.text for one in io.load_file(path).items.values() if isinstance(one, Text)]
    if not texts:
        raise InputError(f"'{path}' holds no text")
    return "\n\n".join(texts)
