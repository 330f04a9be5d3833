"""The second pass: look through a copy for anything that is left of anybody."""

import contextlib
import gzip
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from osler.errors import UnreadableError
from osler.io.deidentification.free_text import Scrubber, second_look
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.deidentification.profile import Action, action_of, row_of, safe_private
from osler.io.deidentification.uids import is_standard
from osler.io.dicom_header import refuse_deep
from osler.io.hushing import hushed
from osler.io.input_file import opened, printable
from osler.io.record_signatures import is_edf, is_pdf, is_zip
from osler.io.signatures import (
    HEAD_BYTES,
    describe,
    is_bmp,
    is_dicom,
    is_jpeg,
    is_metaimage,
    is_nrrd,
    is_png,
    is_tiff,
)

_WORDS: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"))
_OURS: Final = ("DeidentificationMethod",)
_BLOCK = 1 << 22
_OVERLAP = 1 << 10


def left(path: Path, known: Known, options: Options, *, thorough: bool = False) -> list[str]:
    """What a copy still holds of the people its original named; empty where nothing is left.

    Args:
        path: the copy.
        known: what the original's header told of them.
        options: what was to be kept.
        thorough: also search the pixels for text, which takes its time.

    Returns:
        Kinds of things found and where, never the things themselves.
    """
    found = {f"a {kind} in its bytes" for kind in _in_bytes(path, known)}
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if is_dicom(head):
        with hushed():
            dataset = pydicom.dcmread(path, force=True, defer_size=65536)
            refuse_deep(printable(path), dataset)
            found.update(_in_tags(dataset, known))
            found.update(_by_profile(dataset, options))
            if thorough:
                found.update(_in_pixels(dataset, options))
    else:
        found.update(_in_other(path, head, known, options, thorough=thorough))
    return sorted(found)


def _in_other(
    path: Path, head: bytes, known: Known, options: Options, *, thorough: bool
) -> Iterator[str]:
    """What photographs, volumes, recordings, documents, tables and texts still tell."""
    from osler.io.deidentification import (
        docx_file,
        edf_file,
        excel_file,
        json_file,
        nifti_file,
        pdf_file,
        volume_file,
        wfdb_parts,
        xml_file,
    )

    if is_nrrd(head) or is_metaimage(head):
        yield from volume_file.left(path)
    elif is_edf(head):
        yield from edf_file.left(path, known, options)
    elif is_zip(head):
        with opened(path) as file:
            is_excel = excel_file.accepts(file)
        if is_excel:
            yield from excel_file.left(path, known)
        else:
            yield from docx_file.left(path, known, options, thorough=thorough)
    elif is_pdf(head):
        yield from pdf_file.left(path, known, options)
    elif is_jpeg(head) or is_png(head) or is_tiff(head) or is_bmp(head):
        yield from _in_picture(path, head, options, thorough=thorough)
    elif (tree := _tree(path)) is not None:
        with opened(path) as file:
            yield from (xml_file if tree == "xml" else json_file).left(file, known)
    elif path.name.endswith((".txt", ".csv", ".tsv")) or _is_text(head):
        scrubber = second_look(known, dates=options.dates)
        if scrubber.known_only(text := path.read_text("utf-8", "replace")) != text:
            yield "something of a patient in its text"
        elif path.name.endswith(".txt") and scrubber.passages(text):
            yield "something of somebody in its text"
    elif (role := wfdb_parts.role_of(path)) is not None and role.format == 0:
        with opened(path) as file:
            yield from wfdb_parts.left(file, second_look(known, dates=options.dates))
    else:
        yield from nifti_file.words_left(path)


def _tree(path: Path) -> str | None:
    """Whether a copy is a tree of names, and in which notation."""
    from osler.io.deidentification import json_file, xml_file

    with opened(path) as file:
        if xml_file.accepts(file):
            return "xml"
        if json_file.accepts(file):  # or a text that starts with a placeholder
            with contextlib.suppress(UnreadableError):
                json_file.parsed(file)
                return "json"
    return None


def _in_picture(path: Path, head: bytes, options: Options, *, thorough: bool) -> Iterator[str]:
    """What a photograph still tells, in its tags and in its pixels."""
    from osler.io.deidentification import raster_bytes, text_boxes

    counts: raster_bytes.Counts = Counter()
    if is_jpeg(head):
        raster_bytes.jpeg(path.read_bytes(), counts)
    elif is_png(head):
        raster_bytes.png(path.read_bytes(), counts)
    yield from (name for name, _ in counts)
    if not thorough or options.pixels == "rules":
        return
    from PIL import Image

    from osler.io.deidentification import raster_file

    if is_tiff(head):
        if any(text_boxes.find(p, markers=options.markers) for p in raster_file.seen_pages(path)):
            yield "text in its pixels"
        return
    with Image.open(path) as image:
        if text_boxes.find(np.asarray(image.convert("RGB")), markers=options.markers):
            yield "text in its pixels"


def _is_text(head: bytes) -> bool:
    return describe(head) == "text"


def _in_pixels(dataset: pydicom.FileDataset, options: Options) -> Iterator[str]:
    """Whether text can be read in the pixels."""
    from osler.io.deidentification import burnt_in
    from osler.io.deidentification.frames import Frames

    look = options.pixels == "all" or (options.pixels == "likely" and burnt_in.likely(dataset))
    if look and burnt_in.has_picture(dataset):
        frames = Frames(dataset, str(dataset.file_meta.TransferSyntaxUID))
        if burnt_in.text_in(frames, markers=options.markers):
            yield "text in its pixels"


def in_name(place: str, known: Known) -> list[str]:
    """Whether a copy's own name, or that of a folder it is in, tells of anybody."""
    text = place.replace("/", " ")
    return ["something of the patient in its name"] * (Scrubber(known).known_only(text) != text)


def _in_bytes(path: Path, known: Known) -> Iterator[str]:
    """Kinds of the known strings that occur anywhere in a file, in any usual encoding."""
    needles = list(known.needles())
    if not needles:
        return
    kinds = {data: kind for kind, data in needles}
    pattern = re.compile(b"|".join(_bounded(data) for data in sorted(kinds, key=len, reverse=True)))
    for stream in _streams(path):
        before = b""
        while block := stream.read(_BLOCK):
            for match in pattern.finditer((before + block).lower()):
                yield kinds.get(match[0], "ID")
            before = block[-_OVERLAP:]


def _streams(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, and of what is compressed in it."""
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(0)
        yield stream
    if head.startswith(b"\x1f\x8b"):
        with gzip.open(path, "rb") as inner:
            yield cast("BinaryIO", inner)
    if is_zip(head):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield io.BytesIO(name.encode())
                with archive.open(name) as member:
                    yield cast("BinaryIO", member)


def _bounded(data: bytes) -> bytes:
    if data.isdigit():
        return rb"(?<![0-9.])" + data + rb"(?![0-9])"
    return re.escape(data)


def _in_tags(dataset: Dataset, known: Known) -> Iterator[str]:
    """What the elements of a data set still say, in every sequence."""
    scrubber = Scrubber(known)
    for element in _elements(dataset):
        tag = element.tag
        if tag.is_private and not tag.is_private_creator:
            yield from _private(element)
        if element.VR not in _WORDS or element.keyword in _OURS:
            continue
        text = str(element.value)
        if scrubber.known_only(text) != text:
            yield f"something of the patient in {tag}"


def _private(element: Any) -> Iterator[str]:
    numbers = {(group, last) for group, _, last in safe_private()}
    if (element.tag.group, element.tag.element & 0xFF) not in numbers:
        yield f"a private attribute {element.tag}"


def _elements(dataset: Dataset) -> Iterator[Any]:
    for tag in list(dataset.keys()):
        if tag.group == 0x7FE0:
            continue
        element = dataset[tag]
        yield element
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _elements(item)


def _by_profile(dataset: Dataset, options: Options) -> Iterator[str]:
    """Attributes that the profile takes away and that are there all the same."""
    for element in _elements(dataset):
        row = row_of(element.tag)
        if row is None:
            continue
        action = action_of(row, options)
        if action is Action.REMOVE:
            yield f"({element.tag.group:04X},{element.tag.element:04X}) {row.name}"
        if action is Action.REMAP and element.VR == "UI":
            values = [element.value] if isinstance(element.value, str) else element.value or ()
            if any(not (uid.startswith("2.25.") or is_standard(uid)) for uid in values if uid):
                yield f"({element.tag.group:04X},{element.tag.element:04X}) {row.name}"
