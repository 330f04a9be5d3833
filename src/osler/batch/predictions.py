"""One bundle on many photographs: masks, probabilities, and the table of grades."""

import csv
import io
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.batch import interrupt, lock, plan
from osler.batch.collecting import Batch, collect, make_folder, one_by_one
from osler.batch.job import Outcome
from osler.batch.one import failed
from osler.errors import MissingExtraError, OutputError

if TYPE_CHECKING:
    from osler.bundles import Bundle
    from osler.retina.predict import Prediction

TABLE = "predictions.csv"
FEATURES = "features.parquet"

# Outputs that mark a point: a network draws them as a disc, but no mask is meant.
_POINTS = frozenset({"fovea"})


def run(
    bundle: str,
    inputs: Sequence[str],
    out: str | Path,
    *,
    probabilities: bool = False,
    trace: bool = False,
    started: Callable[[int], None] | None = None,
    told: Callable[[Outcome], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> Batch:
    """Run one bundle on every input.

    A bundle that segments gives ``STEM.LABEL.png`` (0 and 255, native size) for each label, and
    with ``probabilities`` ``STEM.npz``: ``probability`` (``float16``, ``(label, H, W)``) and
    ``labels``. A bundle that grades gives ``predictions.csv``.

    Args:
        bundle: the name of a shipped bundle, or the folder of one.
        inputs: files, folders and globs.
        out: the output folder; made where it is missing.
        probabilities: also write the probabilities of each pixel.
        trace: keep where unexpected errors came from.
        started: called with the number of inputs before the first is read.
        told: called with each outcome as it comes.
        stopping: called when the user asks to stop.

    Raises:
        BundleError: the bundle is damaged, unsafe or unknown.
        InputError: there is nothing to read.
        OutputError: the folder cannot be written, or another run holds it.
    """
    from osler import bundles

    out = Path(out)
    model = bundles.load(bundle)
    paths = plan.inputs(inputs, out)
    make_folder(out)
    with lock.hold(out), interrupt.listen(stopping) as stop:
        if started:
            started(len(paths))
        work = _Work(model, out, probabilities=probabilities, trace=trace)
        batch = collect(
            one_by_one(stems(paths), work, stop), out, total=len(paths), stop=stop, told=told
        )
        rows = [o.row for o in batch.outcomes if o.row]
        if rows:
            batch.summary = write_table(rows, out / TABLE)
    return batch


def stems(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each path and the name of its files; a second ``photo`` becomes ``photo-2``."""
    taken: set[str] = set()
    for path in paths:
        stem, number = path.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.casefold())
        yield path, stem


class _Work:
    """The bundle and what to write of it."""

    def __init__(self, bundle: "Bundle", out: Path, *, probabilities: bool, trace: bool) -> None:
        self.bundle = bundle
        self.out = out
        self.probabilities = probabilities
        self.trace = trace

    def __call__(self, named: tuple[Path, str]) -> Outcome:
        from osler import io
        from osler.io.input_file import printable
        from osler.io.tables import safe
        from osler.retina.predict import predict

        path, stem = named
        start = time.perf_counter()
        try:
            prediction = predict(self.bundle, io.load_file(path))
            row: Mapping[str, object] = {}
            if prediction.masks:
                _write_masks(prediction, self.out, stem, probabilities=self.probabilities)
            else:
                row = {"input": safe(printable(path)), **cells(prediction)}
            return Outcome(path, stem, "read", row=row, seconds=time.perf_counter() - start)
        except Exception as error:  # noqa: BLE001 - one bad file must not end the others
            return failed(path, stem, error, trace=self.trace, seconds=time.perf_counter() - start)


def cells(prediction: "Prediction") -> dict[str, object]:
    """The label and the probabilities of one photograph as cells of the table.

    The classes of the first output are ``p_CLASS``, a yes-or-no output is ``p_OUTPUT``, and the
    classes of any other are ``p_OUTPUT_CLASS``.
    """
    row: dict[str, object] = {"label": prediction.label}
    later: dict[str, object] = {}
    for number, (output, labels) in enumerate(prediction.probabilities.items()):
        if number == 0:
            row |= {f"p_{label}": f"{p:.6f}" for label, p in labels.items()}
        elif len(labels) == 1:
            row[f"p_{output}"] = f"{next(iter(labels.values())):.6f}"
        elif "yes" in labels:
            row[f"p_{output}"] = f"{labels['yes']:.6f}"
        else:
            later |= {f"p_{output}_{label}": f"{p:.6f}" for label, p in labels.items()}
    return row | later


def _write_masks(prediction: "Prediction", out: Path, stem: str, *, probabilities: bool) -> None:
    from PIL import Image

    from osler.retina.predict import half

    labels = [label for label in prediction.labels if label not in _POINTS]
    for label in labels:
        picture = Image.fromarray(prediction.masks[label].astype(np.uint8) * 255)
        with whole(out / f"{stem}.{label}.png") as file:
            picture.save(file, format="PNG")
    if probabilities and prediction.probability is not None:
        kept = [prediction.labels.index(label) for label in labels]
        with whole(out / f"{stem}.npz") as file:
            np.savez_compressed(
                file,
                probability=half(prediction.probability[kept]),
                labels=np.array(labels),
            )


def write_table(rows: Sequence[Mapping[str, object]], path: Path) -> Path:
    """Write rows as CSV, a column for each key in the order in which they first come."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    with whole(path) as file:
        file.write(text.getvalue().encode("utf-8", "replace"))
    return path


def write_features(
    rows: Sequence[tuple[str, NDArray[Any]]], network: str, path: Path, *, of: str = "input"
) -> Path:
    """Write what a network saw: a row an input, with its name (column ``of``) and its numbers.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="tables", purpose="write features") from error
    values = np.stack([row for _, row in rows]).astype(np.float32)
    columns: dict[str, Any] = {of: [name for name, _ in rows]}
    columns |= {f"f_{number}": values[:, number] for number in range(values.shape[1])}
    table = pa.table(columns).replace_schema_metadata({"network": network})
    with whole(path) as file:
        pq.write_table(table, file)
    return path


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when all of it is written."""
    part = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be written ({error.strerror}); free some space, or choose "
            "another --out"
        ) from error
    finally:
        part.unlink(missing_ok=True)
