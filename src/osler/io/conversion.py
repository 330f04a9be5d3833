"""Files to files: one to one, or a folder of cases to a folder of files.

The content decides how a file is read and the name how it is written. What the new format has no
place for is said; where values would change, nothing is written unless that is agreed to.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from osler.errors import InputError, OslerError, OutputError, UnsupportedError
from osler.io.converting import WRITERS, label_image, save, writer_for
from osler.io.input_file import MAX_PIXELS, opened, printable
from osler.io.losses import displayed, kind_of, lost_of_image, lost_of_record
from osler.io.readers import reader_for
from osler.io.reading import load
from osler.io.record_out import RECORD_WRITERS, save_record
from osler.io.sorting import Cases, refuse_unknown, sort
from osler.io.web_address import is_url
from osler.record import Case, Image, Item, Markers, Mask, Signal, Source, Table

_EXTENSION: Final = re.compile(r"\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,8}\Z")
_BESIDE: Final = {".mhd": (".zraw",), ".nhdr": (".raw.gz",), ".hea": (".dat",)}
_TABLES: Final = (".csv", ".parquet", ".pq")
_MOST_VALUES: Final = 255
_SHOWN_AS: Final = (".png", ".dcm")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes:
        item: name of the one item to write; empty for the only one that fits.
        masks: write the masks (as a DICOM segmentation, or as one label volume), not the image.
        findings: write what was found as a DICOM object of this kind (see
            ``dicom_statements_out``), not the image; ``masks`` then adds the outlines of masks.
        lossy: write grey values as they are displayed where the format cannot hold them.
        overwrite: replace what lies there.
        to: extension of the files in a folder, for what it fits; empty for one by kind.
    """

    item: str = ""
    masks: bool = False
    lossy: bool = False
    overwrite: bool = False
    to: str = ""
    findings: str = ""


@dataclass(slots=True)
class Conversion:
    """What came of it.

    Attributes:
        written: the files, each with what it has no place for.
        failed: what could not be read or written, each with the reason.
    """

    written: list[tuple[Path, tuple[str, ...]]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def convert(
    source: str,
    target: str | Path,
    plan: Plan | None = None,
    *,
    case: str | None = None,
    max_pixels: int = MAX_PIXELS,
    **options: Any,
) -> Conversion:
    """Write what lies in a file or folder to another file, or to a folder of files.

    Args:
        source: a file, a folder or a URL.
        target: a file, whose extension decides the format; or a folder: a path that is one, ends
            in a separator or has no extension.
        plan: what is asked for.
        case: of a folder or table of several cases, the one to take.
        max_pixels: refuse an image of more pixels.
        options: of the readers; for a folder also ``pattern``.

    Returns:
        What was written and what was not.

    Raises:
        InputError: the source cannot be used, or it does not say which item is meant.
        OutputError: the target cannot be written, or lies there already.
    """
    plan = plan or Plan()
    out = Conversion()
    if is_url(os.fspath(target)):
        raise OutputError(
            "a URL cannot be written to here; write a file, and send DICOM with osler.io.send"
        )
    into = _is_folder(target)
    if plan.findings:
        _check_findings(plan, target, into=into)
    if not into:
        check_extension(Path(target))
    if plan.to:
        check_extension(Path(f"NAME.{plan.to.lstrip('.')}"))
    if not into and case is None and _is_rows(source, target):
        return _rows(source, Path(target), plan, {"max_pixels": max_pixels, **options})
    cases = _opened(source, case, {"max_pixels": max_pixels, **options}, out)
    if into:
        for one in cases:
            _to_folder(one, Path(target), plan, out)
        return out
    several = list(cases) if not isinstance(cases, Cases) else cases
    if len(several) != 1:
        raise InputError(
            f"'{printable(source)}' holds {len(several)} cases and '{printable(target)}' is one "
            "file; give a folder to write into, or choose one with --case"
        )
    one = next(iter(several))
    out.failed += one.left_out
    if not one.items and out.failed:
        raise InputError(f"nothing of '{printable(source)}' can be read: {out.failed[-1][1]}")
    to_file(one, source, Path(target), plan, out)
    return out


def _check_findings(plan: Plan, target: str | Path, *, into: bool) -> None:
    from osler.io.dicom_statements_out import KINDS

    if plan.findings not in KINDS:
        raise InputError(
            f"findings are not written as '{plan.findings}'; choose one of {', '.join(KINDS)}"
        )
    if not into and not os.fspath(target).lower().endswith(".dcm"):
        raise OutputError(f"findings are written as DICOM; name '{printable(target)}' NAME.dcm")


def _is_rows(source: str, target: str | Path) -> bool:
    """Whether a table of rows goes to a table of rows, whosever they are."""
    if not os.path.isfile(source) or not os.fspath(target).lower().endswith(_TABLES):
        return False
    with opened(source) as file:
        reader = reader_for(file.head, file.path.suffix[1:].lower())
    return reader is not None and reader.format in ("csv", "parquet", "office")


def _rows(source: str, target: Path, plan: Plan, options: dict[str, Any]) -> Conversion:
    """A table of several cases as a whole; one of a single case, or a signal, as anything else."""
    from osler.io.table_grouping import read_table
    from osler.io.table_out import write_table

    out = Conversion()
    try:
        one = load(source, **options)
    except UnsupportedError as error:
        taken = {"encoding", "delimiter", "decimal", "missing", "sheet"}
        known = {name: value for name, value in options.items() if name in taken}
        try:
            frame = read_table(source, max_cells=options["max_pixels"], **known)
        except InputError:
            raise error from None
        _check_free(target, plan, source)
        write_table(frame, target)
        out.written.append((target, ()))
        return out
    if isinstance(one, Case):
        to_file(one, source, target, plan, out)
    return out


def one_case(
    source: str, case: str | None = None, *, max_pixels: int = MAX_PIXELS, **options: Any
) -> Case:
    """The one case of a file or folder, or the named one; what was skipped is in ``left_out``.

    Raises:
        InputError: there are several and none is named, or it cannot be read.
    """
    skipped = Conversion()
    cases = _opened(source, case, {"max_pixels": max_pixels, **options}, skipped)
    if len(cases) != 1:
        ids = [study.id for study in cases.studies] if isinstance(cases, Cases) else []
        some = ", ".join(ids[:8]) + (", …" if len(ids) > 8 else "")
        raise InputError(
            f"'{printable(source)}' holds {len(cases)} cases; choose one with --case: {some}"
        )
    found = cases[0]
    found.left_out += skipped.failed
    return found


def _opened(
    source: str, case: str | None, options: dict[str, Any], out: Conversion
) -> "Cases | list[Case]":
    if not os.path.isdir(source):
        loaded = load(source, **(options | ({"case": case} if case else {})))
        return loaded if isinstance(loaded, Cases) else [loaded]
    refuse_unknown({name: value for name, value in options.items() if name != "pattern"})
    cases = sort(source, **options)
    out.failed += [(p, w) for p, w in cases.skipped if not w.startswith("the same file as")]
    if case is not None:
        cases = replace(cases, studies=tuple(s for s in cases.studies if s.id == case))
    if not cases.studies:
        named = f" of the name '{case}'; 'osler info' lists them" if case else " that is read"
        if out.failed and not case:
            file, why = out.failed[0]
            named += f"; {len(out.failed)} skipped, such as '{file}': {why}"
        raise InputError(f"the folder '{printable(source)}' holds no case{named}")
    return cases


def _is_folder(target: str | Path) -> bool:
    text = os.fspath(target)
    ends = text.endswith(("/", os.sep))
    return ends or os.path.isdir(text) or not _EXTENSION.search(os.path.basename(text))


def check_extension(target: Path) -> None:
    """Refuse a name that nothing is written to, before anything is read."""
    known: dict[str, list[str]] = {}
    for writer in WRITERS:
        known.setdefault("images", []).extend(writer.extensions)
    for record in RECORD_WRITERS:
        known.setdefault(f"{record.holds.__name__.lower()}s", []).extend(record.extensions)
    if target.name.lower().endswith(tuple(e for some in known.values() for e in some)):
        return
    words = "; ".join(f"{kind}: {', '.join(some)}" for kind, some in known.items())
    raise OutputError(
        f"'{printable(target)}' has no extension that is written; known are, for {words}"
    )


def _fits(item: Item, name: str) -> bool:
    if isinstance(item, Image):
        return name.endswith(tuple(e for writer in WRITERS for e in writer.extensions))
    return any(isinstance(item, w.holds) and name.endswith(w.extensions) for w in RECORD_WRITERS)


def _chosen(case: Case, name: str, plan: Plan) -> Item:
    """The item that is meant: the named one, or the only one that the extension fits."""
    if plan.item:
        if plan.item not in case.items:
            raise InputError(
                f"case '{case.id}' has no item '{plan.item}'; it has: {', '.join(case.items)}"
            )
        return case.items[plan.item]
    fitting = [item for item in case.items.values() if _fits(item, name)]
    if any(isinstance(item, Signal) for item in fitting):
        # what a recording says about its patient goes along with it, not instead of it
        fitting = [item for item in fitting if not isinstance(item, Table)]
    if len(fitting) == 1:
        return fitting[0]
    have = ", ".join(f"{item.name} ({kind_of(item)})" for item in case.items.values())
    if fitting:
        names = ", ".join(item.name for item in fitting)
        raise InputError(
            f"case '{case.id}' has several items that '{name}' could hold: {names}; choose one "
            "with --item (item= in Python), or give a folder to write all of them into"
        )
    if not have and case.findings:
        have = "findings alone (for those say --findings, findings= in Python)"
    raise OutputError(
        f"case '{case.id}' has nothing that '{name}' could hold; it has: {have or 'no item'}"
    )


def to_file(case: Case, source: str, target: Path, plan: Plan, out: Conversion) -> None:
    """Write what is asked for of a case to one file, and say what was lost."""
    if plan.findings:
        _check_free(target, plan, source)
        out.written.append((_statements(case, target, plan), ()))
        return
    item = _chosen(case, target.name.lower(), plan)
    _check_free(target, plan, source)
    lost = _written(case, item, target, plan)
    others = [name for name in case.items if name != item.name]
    if others and not plan.item:
        lost.append(f"other items: {', '.join(others)}")
    kinds = {} if plan.masks else _findings_left(case, target)
    if kinds:
        lost.append("findings: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    out.written.append((target, tuple(lost)))


def _statements(case: Case, target: Path, plan: Plan) -> Path:
    from osler.io.dicom_statements_out import write_statements

    return write_statements(case, plan.findings, target, item=plan.item or None, masks=plan.masks)


def _findings_left(case: Case, target: Path) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for finding in case.findings.values():
        if not (isinstance(finding, Markers) and target.suffix.lower() == ".hea"):
            kind = type(finding).__name__.lower()
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def _check_free(target: Path, plan: Plan, source: str = "") -> None:
    if source and target.exists() and os.path.exists(source) and target.samefile(source):
        raise OutputError(f"'{printable(target)}' is the file that is read; give another name")
    beside = [target.with_suffix(e) for e in _BESIDE.get(target.suffix.lower(), ())]
    for path in (target, *beside):
        if path.exists() and not plan.overwrite:
            raise OutputError(
                f"'{printable(path)}' lies there already; give another name, or --overwrite "
                "(overwrite=True in Python)"
            )


def _written(case: Case, item: Item, target: Path, plan: Plan) -> list[str]:
    """Write one item; what is lost."""
    if plan.masks:
        return _write_masks(case, item, target)
    if isinstance(item, Image):
        return _write_image(item, target, plan)
    markers = list(case.of(Markers)) if isinstance(item, Signal) else []
    save_record(item, target, markers=markers)
    fitting = [w for w in RECORD_WRITERS if isinstance(item, w.holds)]
    format = next(w.format for w in fitting if target.name.lower().endswith(w.extensions))
    return lost_of_record(item, format)


def _write_image(image: Image, target: Path, plan: Plan) -> list[str]:
    writer = writer_for(target)
    lost = lost_of_image(image, writer)
    try:
        save(image, target)
    except OutputError as error:
        flat = len(image.shape) == 2 or target.suffix.lower() != ".png"
        shown = target.name.lower().endswith(_SHOWN_AS) and image.channel_count == 1 and flat
        if isinstance(error.__cause__, OSError) or not shown:
            raise
        if not plan.lossy:
            raise OutputError(
                f"{error}; or add --lossy (lossy=True in Python) to write the values as they are "
                "displayed, in 8 bits"
            ) from None
        picture, said = displayed(image)
        save(picture, target)
        lost.append(said)
    return lost


def _write_masks(case: Case, item: Item, target: Path) -> list[str]:
    if not isinstance(item, Image):
        raise InputError(f"item '{item.name}' is a {kind_of(item)}, which has no masks")
    masks = [m for m in case.of(Mask) if m.shape == item.shape]
    if target.suffix.lower() == ".dcm":
        from osler.io.dicom_seg_out import write_segmentation

        write_segmentation(masks or _masks_of_values(item), item, target)
        return []
    if not masks:
        _masks_of_values(item)  # which refuses what holds no labels
        return _write_image(item, target, Plan())
    labels = label_image(masks, item)
    save(labels, target)
    names = ", ".join(f"{value} {name}" for value, name in labels.header["labels"].items())
    return [f"the names of the values: {names}"]


def _masks_of_values(image: Image) -> list[Mask]:
    """The masks of a label image: one for each value above 0."""
    array = image.array
    whole = array.dtype.kind in "ui" or bool((array == np.round(array)).all())
    values = np.unique(array) if whole and image.channel_count == 1 else np.array([-1])
    if values[0] < 0 or not 0 < np.count_nonzero(values) <= _MOST_VALUES:
        raise InputError(
            f"image '{image.name}' has no masks, and its values are no labels (0 and up to "
            f"{_MOST_VALUES} whole numbers above it)"
        )
    # who drew them is not known
    source = Source("algorithm", "not stated")
    named = image.header.get("labels", {})
    return [
        Mask(
            id=f"label-{value:g}",
            name=str(named.get(int(value), f"Label {value:g}")),
            source=source,
            item=image.name,
            mask=array[0] == value,
        )
        for value in values
        if value > 0
    ]


def _to_folder(case: Case, folder: Path, plan: Plan, out: Conversion) -> None:
    """Every item of a case, or the named one; what fails does not keep the rest."""
    out.failed += case.left_out
    if plan.findings:
        target = folder / case.id / f"{plan.findings}.dcm"
        try:
            _check_free(target, plan)
            out.written.append((_statements(case, target, plan), ()))
        except OslerError as error:
            out.failed.append((case.id, str(error)))
        return
    items = [item for item in case.items.values() if plan.item in ("", item.name)]
    alone = len(case.items) == 1
    for item, extension in _with_extensions(items, plan):
        target = folder / f"{case.id}{extension}"
        if not alone:
            target = folder / case.id / f"{item.name}{extension}"
        try:
            _check_free(target, plan)
            out.written.append((target, tuple(_written(case, item, target, plan))))
        except OslerError as error:
            out.failed.append((f"{case.id}/{item.name}", str(error)))


def _with_extensions(items: list[Item], plan: Plan) -> Iterator[tuple[Item, str]]:
    wanted = f".{plan.to.lstrip('.').lower()}" if plan.to else ""
    for item in items:
        if plan.masks and not isinstance(item, Image):
            continue
        yield item, wanted if wanted and _fits(item, f"x{wanted}") else _usual(item)


def _usual(item: Item) -> str:
    """The extension that a kind of item gets in a folder."""
    if isinstance(item, Image):
        picture = len(item.shape) == 2 and item.affine is None
        return ".png" if picture and item.dtype in (np.uint8, np.uint16) else ".nii.gz"
    return {"signal": ".hea", "table": ".csv", "text": ".txt"}[kind_of(item)]
