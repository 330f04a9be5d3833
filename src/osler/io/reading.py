"""``load``: a file, a folder or a URL to cases."""

import os
from typing import TYPE_CHECKING, Any

from osler.errors import InputError, UnreadableError, UnsupportedError
from osler.io import signatures
from osler.io.content import Content
from osler.io.input_file import MAX_PIXELS, InputFile, opened
from osler.io.naming import case_id
from osler.io.readers import READERS, reader_for
from osler.record import Case

if TYPE_CHECKING:
    from osler.io.sorting import Cases


def load(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    at_once: bool = True,
    **options: Any,
) -> "Case | Cases":
    """Open a file as a case, or a folder as the cases in it; content decides how, not the name.

    A folder is sorted by patient and study (see ``sorting.sort``). Where it holds one case, that
    one is given, else an iterable of them, each loaded when its turn comes.

    Args:
        path: a file of any kind that is read, a folder, a DICOMDIR for its folder, or a URL (see
            ``web_address``).
        max_pixels: refuse an image of more pixels, before it is decoded.
        at_once: decode a single photograph or slice now, so that damage is told now; volumes
            wait until their pixels are asked for. Else it waits too.
        options: what only some formats take, as their errors name it, such as ``prefer``; for a
            folder also ``pattern``, for a URL also the fields of ``web_session.Access``.

    Raises:
        InputError: as ``load_file``; or the folder holds nothing that is read.
    """
    from osler.io.sorting import load_folder
    from osler.io.web_address import is_url

    if is_url(path):
        from osler.io.web import load_url

        return load_url(os.fspath(path), max_pixels=max_pixels, at_once=at_once, **options)
    if os.path.isdir(path):
        return load_folder(path, max_pixels=max_pixels, **options)
    if _is_index(path):
        folder = os.path.dirname(os.path.abspath(path))
        return load_folder(folder, max_pixels=max_pixels, **options)
    return load_file(path, max_pixels=max_pixels, at_once=at_once, **options)


def _is_index(path: str | os.PathLike[str]) -> bool:
    """Whether it is a DICOMDIR, whatever it is called."""
    with opened(path) as file:
        return signatures.is_dicomdir(file.head)


def load_file(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    at_once: bool = True,
    **options: Any,
) -> Case:
    """Open one file as a case; the content decides how, not the name.

    A photograph is the item ``"photo"``: sRGB ``(3, H, W)`` in ``uint8``, or grey ``(1, H, W)`` in
    its stored units as ``uint8`` or ``uint16``.

    Args:
        path: a file of any kind that is read.
        max_pixels: refuse an image of more pixels, before it is decoded.
        at_once: as in ``load``.
        options: what only some formats take, as their errors name it, such as ``prefer``.

    Raises:
        InputError: there is no such file, it is a folder, it may not be read, or its format does
            not take an option.
        UnreadableError: it is empty, damaged, incomplete, or not what its name claims.
        UnsupportedError: it is sound, but of a kind that is not read.
        TooLargeError: it has more than ``max_pixels`` pixels.
    """
    from osler.io.web_address import is_url

    if is_url(path):
        from osler.io.web import load_url

        found = load_url(os.fspath(path), max_pixels=max_pixels, at_once=at_once, **options)
        if not isinstance(found, Case):
            raise InputError("the URL names several cases; open it with osler.load")
        return found
    content = read_file(path, max_pixels=max_pixels, at_once=at_once, **options)
    case = Case(case_id(path), content.patient_id, {item.name: item for item in content.items})
    for finding in content.findings:
        case.add(finding)
    return case


def read_file(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    at_once: bool = True,
    **options: Any,
) -> Content:
    """What one file holds; as ``load_file``, which makes a case of it."""
    with opened(path) as file:
        reader = reader_for(file.head, file.path.suffix[1:].lower())
        if reader is None:
            raise _not_read(file)
        for option in options:
            if option not in reader.options:
                known = ", ".join(("max_pixels", *reader.options))
                raise InputError(
                    f"'{file.name}' is {reader.format}, which takes no option '{option}'; it "
                    f"takes: {known}"
                )
        if reader.waits and not at_once:
            options["at_once"] = False
        return reader.read(file, reader.format, max_pixels=max_pixels, **options)


def _not_read(file: InputFile) -> InputError:
    """Damaged where the name claims a format that is read, or nothing is known of the content."""
    words = signatures.describe(file.head)
    extension = file.path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if any(extension in extensions for extensions in signatures.EXTENSIONS.values()):
        return UnreadableError(
            f"'{file.name}' is named .{extension} but its content is {words}; copy it again from "
            "its source, or give it its own name"
        )
    words = signatures.markup(file.head) or words
    known = signatures.way_out(words) or "docs/formats.md lists what is read"
    if words == "text":
        names = ", ".join(f".{name}" for one in READERS[-2:] for name in one.extensions)
        known = f"plain text is read where its name ends in one of {names}"
    kind = UnreadableError if words == signatures.UNKNOWN else UnsupportedError
    return kind(f"'{file.name}' is {words}, which is not read; {known}")
