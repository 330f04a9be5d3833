"""What a run says of itself: a plain log, TensorBoard, a progress bar, and whoever listens."""

import contextlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

EVERY = 50
"""Steps between two lines of the loss."""

Listener = Callable[[int, Mapping[str, float]], None]
_LISTENERS: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())
_SHOWN: ContextVar["Progress | None"] = ContextVar("shown", default=None)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While it lasts, ``listener(step, figures)`` is called after each validation of any run.

    An error that it raises ends the run: so tuning gives up what does not promise.
    """
    token = _LISTENERS.set((*_LISTENERS.get(), listener))
    try:
        yield
    finally:
        _LISTENERS.reset(token)


def tell(step: int, figures: Mapping[str, float]) -> None:
    """Call those who listen."""
    for listener in _LISTENERS.get():
        listener(step, figures)


def watched(each: Iterable[T], doing: str, *, total: int) -> Iterator[T]:
    """Each in turn, counted on a terminal, below the bar of the training where there is one.

    Args:
        each: what is worked through.
        doing: what is done to each.
        total: how many there are.
    """
    from rich.progress import Progress

    shown = _SHOWN.get()
    with contextlib.ExitStack() as stack:
        if shown is None:
            bar = Progress(transient=True, disable=not os.isatty(2))
            shown = stack.enter_context(bar)
        task = shown.add_task(doing, total=total)
        stack.callback(shown.remove_task, task)
        for one in each:
            yield one
            shown.advance(task)


class Log:
    """``log.jsonl``, TensorBoard where it is installed, and a progress bar on a terminal.

    Args:
        folder: of the run.
        steps: how many there will be.
        begin: steps already taken; lines and events of later ones, which will be taken again,
            are removed.
        smooth: the running mean of the loss at that step.
        silent: writes and shows nothing, as in all processes but the first.
    """

    def __init__(
        self, folder: Path, steps: int, *, begin: int = 0, smooth: float | None = None,
        silent: bool = False,
    ) -> None:  # fmt: skip
        self.smooth = smooth
        self.board: Any = None
        self.file: Any = None
        self._silent = silent
        if silent:
            return
        path = folder / "log.jsonl"
        _cut(path, begin)
        self.file = path.open("a", encoding="utf-8")
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=begin + 1)
        from rich.progress import Progress

        self.progress = Progress(disable=not os.isatty(2))
        self.progress.start()
        self._token = _SHOWN.set(self.progress)
        self.task = self.progress.add_task("training", total=steps, completed=begin)

    def step(self, step: int, loss: float, *, seconds: float, **more: float) -> None:
        """One step: its loss and, every fiftieth time, a line of it and of ``more``."""
        self.smooth = loss if self.smooth is None else 0.98 * self.smooth + 0.02 * loss
        if self._silent:
            return
        self.progress.update(self.task, completed=step, description=f"loss {self.smooth:.4f}")
        if step % EVERY == 0:
            figures = {"loss": round(self.smooth, 5)}
            figures.update((key, float(f"{value:.5g}")) for key, value in more.items())
            self._write(step, figures, seconds)

    def figures(self, step: int, figures: Mapping[str, float], *, seconds: float) -> None:
        """What a validation found."""
        if not self._silent:
            self._write(step, {k: round(float(v), 5) for k, v in figures.items()}, seconds)

    def pictures(self, step: int, pictures: Mapping[str, NDArray[Any]]) -> None:
        """Pictures ``(H, W)`` or ``(H, W, 3)``, uint8 or 0 to 1, for TensorBoard."""
        if self.board is None:
            return
        for name, picture in pictures.items():
            layout = "HW" if picture.ndim == 2 else "HWC"
            self.board.add_image(name, picture, step, dataformats=layout)

    def graph(self, net: nn.Module, example: tuple[Any, ...]) -> None:
        """The network's graph, for TensorBoard; a line where it cannot be drawn."""
        if self.board is None:
            return
        with warnings.catch_warnings():  # tracing is deprecated, and TensorBoard has nothing else
            warnings.simplefilter("ignore")
            try:
                with torch.no_grad():
                    self.board.add_graph(net, example)
            except Exception as error:  # noqa: BLE001 - a picture is not worth a run
                self._line({"step": 0, "graph": f"not drawn: {type(error).__name__}"})

    def _write(self, step: int, figures: Mapping[str, float], seconds: float) -> None:
        plain = {k: v if math.isfinite(v) else None for k, v in figures.items()}  # JSON has no NaN
        self._line({"step": step, **plain, "seconds": round(seconds, 1)})
        if self.board is not None:
            for key, value in figures.items():
                self.board.add_scalar(key, value, step)

    def _line(self, line: Mapping[str, Any]) -> None:
        self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Let go of files and terminal."""
        if self._silent:
            return
        self.progress.stop()
        _SHOWN.reset(self._token)
        self.file.close()
        if self.board is not None:
            self.board.close()


def _cut(path: Path, last: int) -> None:
    """Keep the lines of a log up to a step: those after it will be written again."""
    if not path.exists():
        return
    if not last:
        os.replace(path, path.with_name("log.before.jsonl"))
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut by a kill
            if json.loads(line)["step"] <= last:
                kept.append(line + "\n")
    part = path.with_suffix(".part")
    part.write_text("".join(kept), encoding="utf-8")
    os.replace(part, path)
