"""Rows to cases: files are opened when their turn comes, some ahead in threads."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from osler import io
from osler.data.locations import Location, boxes, marked, place
from osler.errors import InputError
from osler.record import Box, Case, Image, Label, Mask, Point, Source, Table

if TYPE_CHECKING:
    from osler.data.cohort import Cohort, Row

DATE = "date:"
"""Before an item's name: the column that says when it was acquired, where its file does not."""

_MOST_LEVELS = 32  # of a label map whose structures are taken together
_WHITE = 255  # between it and black lie the greys of a picture; a label map ends before
SOURCE = Source("person", "cohort")
"""Who says what stands in the label columns."""


def cases(cohort: "Cohort", *, labels: bool, pixels: bool, threads: int) -> Iterator[Case]:
    """What ``Cohort.cases`` does."""
    if threads < 1:
        for row in cohort.rows:
            yield open_row(row, cohort, labels=labels, pixels=pixels)
        return
    with ThreadPoolExecutor(threads, "osler-cases") as pool:
        waiting: deque[Future[Case]] = deque()
        try:
            for row in cohort.rows:
                waiting.append(pool.submit(open_row, row, cohort, labels=labels, pixels=pixels))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def open_row(row: "Row", cohort: "Cohort", *, labels: bool = True, pixels: bool = False) -> Case:
    """One row as a case.

    A column's file gives the item of the column's name; further items of the same file follow as
    ``NAME-ITEM``. Variables are the table ``"variables"``, labels findings by a person. A column
    ``date:NAME`` says when the item was acquired, where its file does not.

    Raises:
        InputError: a file cannot be used; the message names the row.
    """
    case = Case(row.case_id, row.patient_id, absent=row.absent)
    for name, location in row.items.items():
        try:
            _add_file(case, name, location)
        except InputError as error:
            raise type(error)(f"the cohort '{cohort.path}', {row.where}: {error}") from error
    values = dict(row.variables)
    _add_dates(case, values, row, cohort)
    if values:
        name = "variables" if "variables" not in case else "variables-2"
        case.items[name] = Table(name, values)
    if labels:
        maps: dict[Location, NDArray[Any]] = {}  # several structures may share one
        for name, text in row.labels.items():
            _add_label(case, name, text, row, cohort, maps)
    if pixels:
        for item in case.items.values():
            if isinstance(item, Image):
                _ = item.array
    return case


def _add_dates(case: Case, values: dict[str, Any], row: "Row", cohort: "Cohort") -> None:
    """Give items the dates of columns ``date:NAME``, where their files say none."""
    for column in [one for one in values if one.startswith(DATE)]:
        when = values.pop(column)
        item = case.items.get(column.removeprefix(DATE))
        if not isinstance(when, date):
            raise InputError(
                f"the cohort '{cohort.path}', {row.where}: '{column}' is no date; write it as "
                "2024-05-31"
            )
        if item is not None and item.acquired is None:
            if not isinstance(when, datetime):
                when = datetime(when.year, when.month, when.day)  # of no zone
            item.acquired = when


def _add_file(case: Case, name: str, location: Location) -> None:
    opened = load_case(location)
    names = {}
    for k, (old, item) in enumerate(opened.items.items()):
        names[old] = item.name = name if k == 0 else f"{name}-{old}"
        case.items[item.name] = item
    for finding in opened.findings.values():
        if finding.item in names:
            finding.item = names[finding.item]
        if finding.id not in case:
            case.add(finding)


def load_case(location: Location) -> Case:
    """The one case that lies at a cell's path or URL.

    Raises:
        InputError: it cannot be used, or several lie there.
    """
    opened: object = io.load(location)
    found = [opened] if isinstance(opened, Case) else list(cast("Iterable[Case]", opened))
    if len(found) != 1:
        raise InputError(
            f"'{location}' holds {len(found)} cases; a cell of a cohort names the files of one"
        )
    return found[0]


def _add_label(
    case: Case,
    name: str,
    text: str,
    row: "Row",
    cohort: "Cohort",
    maps: dict[Location, NDArray[Any]],
) -> None:
    mark = marked(text, cohort.root)
    if mark is not None:
        if mark.location not in maps:
            maps[mark.location] = read_map(mark.location)
        values = maps[mark.location]
        if not mark.values:
            _refuse_grey(values, mark.location, row, cohort)
        mask = np.isin(values, mark.values) if mark.values else values > 0
        image = _image_of(case, mask.shape)
        if image is None:
            shapes = ", ".join(f"{i.name} {i.shape}" for i in _images(case)) or "no image"
            raise InputError(
                f"the cohort '{cohort.path}', {row.where}: the mask '{mark.location}' has shape "
                f"{mask.shape}, the case {shapes}; a mask lies in the grid of its image"
            )
        case.add(Mask(id=_id(case, name), name=name, source=SOURCE, item=image.name, mask=mask))
    elif not add_place(case, name, text):
        case.add(Label(id=_id(case, name), name=name, source=SOURCE, value=text))


def _id(case: Case, name: str) -> str:
    return name if name not in case else f"label:{name}"


def add_place(case: Case, name: str, text: str) -> bool:
    """Add what a label's cell says as a point or as boxes; False where it is neither."""
    id, item = _id(case, name), _only_image(case)
    found, position = boxes(text), place(text)
    if found is not None:
        for k, corners in enumerate(found):
            start, stop = (tuple(round(at) for at in corner) for corner in corners)
            one = id if len(found) == 1 else f"{id}.{k + 1}"
            case.add(Box(id=one, name=name, source=SOURCE, item=item, start=start, stop=stop))
    elif position is not None:
        case.add(Point(id=id, name=name, source=SOURCE, item=item, position=position))
    return found is not None or position is not None


def _refuse_grey(values: NDArray[Any], location: Location, row: "Row", cohort: "Cohort") -> None:
    """Refuse a picture that is named where a mask should be, or one with grey edges."""
    top = values.max() if values.size else 0
    if ((values == 0) | (values == top)).all():
        return
    levels = len(np.unique(values))
    if levels <= _MOST_LEVELS and top != _WHITE:
        return
    raise InputError(
        f"the cohort '{cohort.path}', {row.where}: '{location}' is named as a mask and holds "
        f"{levels} values up to {top:g}, as a grey picture does; a mask holds 0 and one other "
        "value. Of a label map say which voxels: PATH#1,2; what has grey edges (JPEG, smooth "
        "resizing) needs cutting at a threshold first"
    )


def read_map(location: Location) -> NDArray[Any]:
    """A label map ``([D,] H, W)``; of a colour picture, the brightest channel."""
    array: NDArray[Any] = map_image(location).array.max(axis=0)
    return array


def map_image(location: Location) -> Image:
    """The image of a file, such as a label map.

    Raises:
        InputError: the file cannot be used, or holds no image.
    """
    image = next(_images(load_case(location)), None)
    if image is None:
        raise InputError(f"'{location}' holds no image")
    return image


def _images(case: Case) -> Iterator[Image]:
    return (item for item in case.items.values() if isinstance(item, Image))


def _image_of(case: Case, shape: tuple[int, ...]) -> Image | None:
    return next((image for image in _images(case) if image.shape == shape), None)


def _only_image(case: Case) -> str | None:
    image = next(_images(case), None)
    return image.name if image else None
