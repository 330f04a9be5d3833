"""Makes small data sets of other tools, and spoils them."""

import contextlib
import json
from pathlib import Path

import nibabel
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from osler.data.cohort import read_cohort
from osler.data.importing import import_cohort
from osler.errors import OslerError


def picture(path: Path, value: int = 90, size: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


def volume(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), path)
    return path


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def take(source: Path, out: Path, **options):
    cohort, notes = import_cohort(source, out / "cohort.csv", **options)
    again = read_cohort(out / "cohort.csv")
    assert [row.case_id for row in again.rows] == [row.case_id for row in cohort.rows]
    return again, notes


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def replaced(head, draw):
    """The same content with something else in one place."""
    if isinstance(head, dict) and head and draw.draw(st.integers(0, 4)):
        key = draw.draw(st.sampled_from(sorted(head)))
        return head | {key: replaced(head[key], draw)}
    if isinstance(head, list) and head and draw.draw(st.integers(0, 4)):
        place = draw.draw(st.integers(0, len(head) - 1))
        return [*head[:place], replaced(head[place], draw), *head[place + 1 :]]
    return draw.draw(json_values)


def only_our_errors(source, folder, **options):
    with contextlib.suppress(OslerError):
        import_cohort(source, folder / "out" / "cohort.csv", **options)


FUZZ = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
