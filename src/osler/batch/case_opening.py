"""A path to a case that questions can be asked about: read now, or read before."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from osler.errors import InputError

if TYPE_CHECKING:
    from osler.record import Case

_MOST_FOLDERS = 200


def open_case(
    path: str | Path,
    *,
    source: str | Path | None = None,
    interpret: bool = True,
    language: str = "en",
) -> "Case":
    """Open what lies at a path as one case with its findings.

    Args:
        path: a file, a folder of one case (such as a DICOM series), or a folder that ``osler
            read`` or ``osler predict`` wrote.
        source: the photograph that such a folder was written of, where its pixels are wanted.
        interpret: read a photograph of the fundus first, where nobody has.
        language: of the sentences about it.

    Raises:
        InputError: it cannot be used, or several cases lie there.
    """
    from osler.batch.asking import one_case

    folder = folder_of_findings(path)
    if folder is not None:
        return _written(folder, source)
    if source is not None:
        raise InputError(
            f"'{path}' is no folder of findings; --source names the photograph of such a folder"
        )
    case = one_case(path)
    if not case.items:
        raise InputError("; ".join(why for _, why in case.left_out) or "nothing is in it")
    if interpret and "photo" in case.items and "photograph" not in case:
        from osler import retina

        retina.interpret(case, language=language)
    return case


def follow(then: "Case", now: "Case", *, language: str = "en") -> None:
    """Bring an earlier photograph onto a later one and add to the later what changed.

    Raises:
        OslerError: they cannot be brought onto each other, or have no pixels.
    """
    from osler.record import Image
    from osler.retina.change import compare

    for case in (then, now):
        photo = case.items.get("photo")
        if not isinstance(photo, Image) or "photograph" not in case:
            raise InputError("not both visits are photographs of the fundus that were read")
        _ = photo.array  # an image that is known by its findings alone says so here
    compare(then, now, language=language)


def folder_of_findings(path: str | Path) -> Path | None:
    """The folder with ``findings.json`` that a path names; None where it is something else.

    Raises:
        InputError: several cases lie there.
    """
    folder = Path(path)
    if folder.name == "findings.json" and folder.is_file():
        return folder.parent
    if not folder.is_dir():
        return None
    if (folder / "findings.json").is_file():
        return folder
    inside = sorted(folder.glob("*/findings.json"))[: _MOST_FOLDERS + 1]
    if len(inside) > 1:
        raise InputError(f"'{folder}' holds several cases; name the folder of one of them")
    return inside[0].parent if inside else None


def _written(folder: Path, source: str | Path | None) -> "Case":
    from osler import io
    from osler.io.findings_json import read_findings
    from osler.record import Case

    def load(path: Path) -> Case:
        return io.load_file(path)

    case = read_findings(folder, load=load, source=source)
    if source is None:
        _announce(case, folder)
    return case


def _announce(case: "Case", folder: Path) -> None:
    """The images that were read, without their pixels: shape, scale, side and date are known."""
    import json
    from datetime import datetime

    from osler.io.findings_json import FILE
    from osler.record import Deferred, Image

    def absent() -> NoReturn:
        raise InputError(
            "the folder holds findings and no pixels; name the photograph with --source"
        )

    items: dict[str, Any] = json.loads((folder / FILE).read_text("utf-8")).get("items") or {}
    for name, row in items.items():
        try:
            if row["kind"] != "image":
                continue
            case.items[str(name)] = Image(
                str(name),
                Deferred(tuple(int(n) for n in row["shape"]), np.dtype(np.uint8), absent),
                modality=str(row["modality"]),
                spacing=None if row["spacing"] is None else tuple(map(float, row["spacing"])),
                laterality=row["laterality"] if row["laterality"] in ("R", "L") else None,
                acquired=None if row["acquired"] is None else datetime.fromisoformat(
                    row["acquired"]),
                flags=tuple(map(str, row["flags"])),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{folder / FILE}: its items are not as its schema says; read the photograph again"
            ) from error
