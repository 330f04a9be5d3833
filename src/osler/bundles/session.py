"""A bundle in use: its card, and ONNX Runtime on exactly the bytes that were checked."""

import json
import os
import threading
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.bundles.card import MODEL_FILE, Card, Input
from osler.bundles.integrity import read_file
from osler.errors import BundleError, InputError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

THREADS_VARIABLE = "OSLER_THREADS"
LABELS = "osler.labels"
"""The property of a graph that names the channels of its outputs, as JSON."""
_PROVIDERS = {"cpu": "CPUExecutionProvider", "openvino": "OpenVINOExecutionProvider"}
_RANGE_SLACK = 1e-3
_TURN = threading.Lock()


class Bundle:
    """A trained model, ready to run.

    Made by `osler.bundles.load`. ONNX Runtime is imported and the graph is prepared at the first
    run; runs may come from several threads at once.

    Attributes:
        card: everything the bundle says about itself.
        folder: where it lies.
    """

    def __init__(self, card: Card, folder: Path, *, relabelled: Collection[str] = ()) -> None:
        """Args: ``relabelled`` are outputs whose labels are asked of the task, not of the graph."""
        self.card = card
        self.folder = folder
        self._relabelled = frozenset(relabelled)
        self._session: InferenceSession | None = None
        self._others: dict[str, InferenceSession] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Bundle({self.card.name!r}, {self.card.version!r})"

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """Run the graph once.

        Args:
            inputs: each input of the card to an array of ``float32``: ``(N, C, H, W)``, or
                ``(N, C)`` where the graph takes vectors. C are the card's channels; H and W are
                divisible by its ``multiple`` and equal its ``size`` where it has one; values of
                a photograph lie within ``preprocessing.range``.

        Returns:
            Each output of the card to the scores that the graph gives, ``(N, L, ...)`` with a
            channel for each label (logits: `probability` turns them into probabilities).

        Raises:
            InputError: an array is missing, unknown, or of the wrong type, shape or range.
            BundleError: the model is damaged, or does not do what its card says.
        """
        session = self._session or self._open()
        feed = self._checked(inputs, session)
        names = [output.name for output in self.card.outputs]
        # each uses all cores: two at once take the memory of both and no less time
        turn = _TURN if session.get_session_options().intra_op_num_threads > 1 else nullcontext()
        try:
            with turn:
                values = session.run(names, feed)
        except Exception as error:
            shapes = ", ".join(f"'{name}' {value.shape}" for name, value in feed.items())
            raise BundleError(
                f"bundle '{self.card.name}' {self.card.version} failed on {shapes}: {error}"
            ) from error
        return dict(zip(names, values, strict=True))

    def _open(self) -> "InferenceSession":
        with self._lock:
            if self._session is None:
                session = self._created()
                self._check_names(session)
                self._check_labels(session)
                self._session = session
            return self._session

    def read(self, name: str) -> bytes:
        """The content of a file of the bundle, as its card has it.

        Raises:
            BundleError: it is not listed, missing or changed.
        """
        return read_file(self.folder, self.card, name)

    def beside(self, name: str, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run a further graph of the bundle, such as ``text.onnx``, once.

        Args:
            name: of the file.
            feed: its inputs by name.

        Returns:
            Its outputs in order.

        Raises:
            BundleError: the file is not of the bundle or is damaged, or the graph fails.
        """
        with self._lock:
            if name not in self._others:
                self._others[name] = self._created(name)
        try:
            return list(self._others[name].run(None, dict(feed)))
        except Exception as error:
            shapes = ", ".join(f"'{key}' {value.shape}" for key, value in feed.items())
            raise BundleError(
                f"'{name}' of bundle '{self.card.name}' failed on {shapes}: {error}"
            ) from error

    def _created(self, name: str = MODEL_FILE) -> "InferenceSession":
        import onnxruntime as ort

        ort.disable_telemetry_events()
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads(self.card.runtime.threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails is said by the error, once
        # measured on a U-Net of 0.5 M parameters at 1024 × 1024: plans of memory cost 1012 instead
        # of 548 MB at the peak and save no time, no arena at all doubles the time
        options.enable_mem_pattern = False
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # one verified form only: never the runtime's own format, which hides its operators
        options.add_session_config_entry("session.load_model_format", "ONNX")
        wanted = _PROVIDERS[self.card.runtime.provider]
        providers = [name for name in (wanted,) if name in ort.get_available_providers()]
        if _PROVIDERS["cpu"] not in providers:
            providers.append(_PROVIDERS["cpu"])
        # the bytes that were hashed are the bytes that are loaded
        content = read_file(self.folder, self.card, name)
        try:
            return ort.InferenceSession(content, options, providers=providers)
        except Exception as error:
            raise BundleError(
                f"{self.folder / name}: ONNX Runtime {ort.__version__} does not take it "
                f"({error}); update onnxruntime, or export the model anew"
            ) from error

    def _check_names(self, session: "InferenceSession") -> None:
        """The card and the graph must name the same inputs, and the graph every output."""
        pairs = (
            ("inputs", {i.name for i in self.card.inputs}, {i.name for i in session.get_inputs()}),
            (
                "outputs",
                {o.name for o in self.card.outputs},
                {o.name for o in session.get_outputs()},
            ),
        )
        for what, said, real in pairs:
            if not (said == real if what == "inputs" else said <= real):
                raise BundleError(
                    f"bundle '{self.card.name}': its card names the {what} {sorted(said)}, its "
                    f"graph {sorted(real)}; the card and the model do not belong together"
                )

    def _check_labels(self, session: "InferenceSession") -> None:
        """The card must name the channels as the graph was taught, where the graph says so."""
        kept = session.get_modelmeta().custom_metadata_map.get(LABELS)
        if kept is None:
            return
        try:
            taught = {str(name): [str(one) for one in of] for name, of in json.loads(kept).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise BundleError(
                f"bundle '{self.card.name}': its graph keeps names of labels that cannot be read"
            ) from error
        for output in self.card.outputs:
            said = [label.name for label in output.labels]
            if output.name in self._relabelled:
                continue
            if output.name in taught and said != taught[output.name]:
                raise BundleError(
                    f"bundle '{self.card.name}': its card names the labels of '{output.name}' "
                    f"{', '.join(said)}, its graph was taught {', '.join(taught[output.name])}; "
                    "put the names of the card back, in that order"
                )

    def _checked(
        self, inputs: Mapping[str, NDArray[np.float32]], session: "InferenceSession"
    ) -> dict[str, NDArray[np.float32]]:
        expected = {one.name: one for one in self.card.inputs}
        for name in (*expected, *inputs):
            if name not in inputs or name not in expected:
                fault = "is missing" if name in expected else "is unknown"
                raise InputError(
                    f"bundle '{self.card.name}': input '{name}' {fault}; it takes "
                    f"{', '.join(repr(known) for known in expected)}"
                )
        ranks = {one.name: len(one.shape) for one in session.get_inputs()}
        for name, one in expected.items():
            self._check_array(inputs[name], one, ranks[name])
        return {name: np.ascontiguousarray(inputs[name]) for name in expected}

    def _check_array(self, array: NDArray[np.float32], one: Input, rank: int) -> None:
        who = f"bundle '{self.card.name}': input '{one.name}'"
        if not isinstance(array, np.ndarray):
            raise InputError(f"{who} is a {type(array).__name__}; give a numpy array")
        if array.dtype != np.float32:
            raise InputError(f"{who} is {array.dtype}; give it as .astype(np.float32)")
        known = {2: "(N, C)", 3: "(N, C, T)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
        axes = known.get(rank, f"{rank} axes")
        if array.ndim != rank or array.size == 0:
            raise InputError(f"{who} has shape {array.shape}; expected {axes}, none of them 0")
        if array.shape[1] != len(one.channels):
            raise InputError(
                f"{who} has {array.shape[1]} channels (shape {array.shape}); expected "
                f"{len(one.channels)}: {', '.join(one.channels)}"
            )
        if rank > 2:
            _check_size(array.shape[2:], one, who)
        self._check_values(array, one, who)

    def _check_values(self, array: NDArray[np.float32], one: Input, who: str) -> None:
        least, most = float(array.min()), float(array.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            raise InputError(f"{who} holds NaN or infinite values; mend them before the run")
        drawn = self.card.preprocessing
        low, high = (0.0, 0.0) if drawn is None else drawn.range
        if one.source == "photograph" and not (
            low - _RANGE_SLACK <= least and most <= high + _RANGE_SLACK
        ):
            raise InputError(
                f"{who} has values from {least:.4g} to {most:.4g}; expected {low:g} to {high:g} "
                "(a uint8 photograph is divided by 255)"
            )


@cache
def _share_arena() -> None:
    """Let all sessions of this process draw on one arena.

    A session's own arena keeps its peak for as long as it lives; four warm networks held 1856 MB
    by themselves and 611 MB together, at the same speed.
    """
    import onnxruntime as ort

    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    default = -1
    arena = ort.OrtArenaCfg(
        {
            "max_mem": 0,
            "arena_extend_strategy": default,
            "initial_chunk_size_bytes": default,
            "max_dead_bytes_per_chunk": default,
        }
    )
    ort.create_and_register_allocator(place, arena)


def _check_size(sides: tuple[int, ...], one: Input, who: str) -> None:
    shown = " × ".join(str(side) for side in sides)
    if one.size is not None and sides != one.size:
        raise InputError(f"{who} is {shown} pixels; expected exactly {one.size}")
    if any(side % one.multiple for side in sides):
        padded = " × ".join(str(-(-side // one.multiple) * one.multiple) for side in sides)
        both = "both" if len(sides) == 2 else "each"
        raise InputError(
            f"{who} is {shown} pixels; {both} must be divisible by {one.multiple}: pad it to "
            f"{padded}"
        )


def threads(said: int | None = None) -> int:
    """Threads of one run: the environment, else the card, else the cores this process may use."""
    text = os.environ.get(THREADS_VARIABLE)
    if text is not None:
        if not text.isdecimal() or int(text) < 1:
            raise InputError(
                f"{THREADS_VARIABLE} is {text!r}; set a whole number from 1, or unset it"
            )
        return int(text)
    if said is not None:
        return said
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
