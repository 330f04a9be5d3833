"""A study, series or instance of a DICOMweb service as a case.

The headers of all instances are asked for at once, and judged as those of files are. Of a volume
one slice is fetched then; the others are fetched when their pixels are asked for, and held against
the headers that were judged.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from osler.errors import OslerError, UnreadableError
from osler.io.content import Content
from osler.io.dicom_frames import Frames
from osler.io.dicom_geometry import Allowed, pose_of_header
from osler.io.dicom_layout import EXPLICIT_LITTLE, TRANSFER_SYNTAXES, layout_of
from osler.io.dicom_pixels import Pixels
from osler.io.dicom_scan import TAGS, of_dataset
from osler.io.dicom_series import Slice, open_slice, volumes
from osler.io.dicom_values import rescale_of
from osler.io.input_file import InputFile, decoding
from osler.io.naming import safe_name
from osler.io.sorting import DicomFile, Series
from osler.io.study import add_content, images_of, parts, statement
from osler.io.web_address import Address, address_of
from osler.io.web_dicom import Json, Service, url_of, value, values
from osler.io.web_folder import Again, Fetched
from osler.record import Case, Image
from osler.record.item import Region

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEG: Final = "1.2.840.10008.5.1.4.1.1.66."
_MODALITY_LUT: Final = "00283000"
_FLOATS: Final = ("7FE00008", "7FE00009")
_GEOMETRY: Final = ("allow_tilt", "allow_irregular")
_SAME: Final = 1e-6
"""Numbers of a header in JSON and in the file differ by no more (relative)."""


def load_dicomweb(address: Address, *, access: Any, max_pixels: int, **options: Any) -> Case:
    """Open what the URL of a DICOMweb service names.

    Args:
        address: with a study.
        access: how the service is asked.
        max_pixels: refuse a frame of more pixels.
        options: ``allow_tilt``, ``allow_irregular`` and ``split_by``.

    Returns:
        A case; what could not be read is in ``case.left_out``.

    Raises:
        InputError: it cannot be had, or nothing of it can be read.
    """
    fetch = _Fetch(address, access, max_pixels, options)
    case = Case(safe_name(address.instance or address.series or address.study))
    errors: list[OslerError] = []
    later: list[Json] = []
    if address.instance:
        headers = [_named(address)]
        found = [Series(0, "", (DicomFile(address.instance, placed=False, image=True),))]
    else:
        headers = fetch.service.series(address.study, address.series)
        found = _sorted(headers)
    by_uid = {value(one, "00080018"): one for one in headers}
    fetch.headers = by_uid
    for series in found:
        alone = series.modality == "SEG"
        images = [file for file in series.files if file.image and not alone]
        later.extend(by_uid[file.path] for file in series.files if alone or not file.image)
        for some in parts(series, images):
            uids = [file.path for file in some]
            read = partial(_read, fetch, uids, options)
            add_content(case, errors, url_of(address, by_uid[uids[0]]), read)
    for header in later:
        add_content(case, errors, url_of(address, header), partial(_later, fetch, case, header))
    if errors and not (case.items or case.findings):
        raise errors[0]
    return case


def _named(address: Address) -> Json:
    return {
        "00080018": {"vr": "UI", "Value": [address.instance]},
        "0020000E": {"vr": "UI", "Value": [address.series]},
    }


def _sorted(headers: Sequence[Json]) -> list[Series]:
    """The series of a study, as those of a folder are sorted."""
    by_series: dict[str, list[Json]] = {}
    for one in headers:
        by_series.setdefault(value(one, "0020000E"), []).append(one)
    found = []
    for some in by_series.values():
        some.sort(key=lambda one: (_whole(one, "00200013"), value(one, "00080018")))
        files = tuple(_file(one) for one in some)
        found.append(Series(_whole(some[0], "00200011"), value(some[0], "00080060"), files))
    return sorted(found, key=lambda series: series.number)


def _file(header: Json) -> DicomFile:
    rows = bool(values(header, "00280010"))
    return DicomFile(
        value(header, "00080018"),
        placed=bool(values(header, "00200032")) and rows and _whole(header, "00280008") <= 1,
        image=rows and not value(header, "00080016").startswith(_SEG),
    )


def _whole(header: Json, tag: str) -> int:
    with suppress(ValueError, OverflowError):
        return int(float(value(header, tag) or 0))
    return 0


@dataclass
class _Fetch:
    """Instances of one study, each fetched once.

    Another process gets the address and the names of the instances, and fetches for itself.
    """

    address: Address
    access: Any
    max_pixels: int
    options: dict[str, Any]
    headers: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._paths: dict[str, Path] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        names = {
            uid: {tag: one[tag] for tag in ("00080018", "0020000E") if tag in one}
            for uid, one in self.headers.items()
        }
        return _Fetch, (self.address, self.access, self.max_pixels, self.options, names)

    @cached_property
    def service(self) -> Service:
        """The service, first asked when something is missing."""
        return Service(self.address.base, self.access)

    @cached_property
    def folder(self) -> Fetched:
        """Where the instances lie."""
        return Fetched(self.address.shown, self.access.max_bytes)

    def again(self, uid: str) -> Again:
        """Where another process finds what is read from one instance."""
        url = f"dicomweb+{self.url(uid)}"
        given = self.access.open_options() | self.options
        return Again(partial(_load_again, url, self.max_pixels, given))

    def url(self, uid: str) -> str:
        return url_of(self.address, self.headers[uid])

    def path(self, uid: str) -> Path:
        """The file of an instance, fetched if it is not here yet."""
        with self._lock:
            lock = self._locks.setdefault(uid, threading.Lock())
        with lock:
            if uid not in self._paths:
                series = value(self.headers[uid], "0020000E")
                study = self.address.study
                self._paths[uid] = self.service.instance(self.folder, study, series, uid)
            return self._paths[uid]


def _read(fetch: _Fetch, uids: list[str], options: dict[str, Any]) -> Content:
    if len(uids) > 1 and not any(_MODALITY_LUT in fetch.headers[uid] for uid in uids):
        return _volume(fetch, uids, options)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(fetch.path, uids))
    files = [DicomFile(str(path), placed=True, image=True) for path in paths]
    with _renamed(fetch, uids):
        content = images_of(files, fetch.max_pixels, options)
    if len(uids) > 1:
        return _kept(fetch, content, fetch.folder.shown)
    return _kept(fetch, content, fetch.url(uids[0]), fetch.again(uids[0]))


def _later(fetch: _Fetch, case: Case, header: Json) -> Content:
    uid = value(header, "00080018")
    path = str(fetch.path(uid))
    with _renamed(fetch, [uid]):
        content = statement(case, path, fetch.max_pixels)
    return _kept(fetch, content, fetch.url(uid))


def _load_again(url: str, max_pixels: int, options: dict[str, Any]) -> Case:
    from osler.io.web_session import Access

    given = dict(options)
    access = Access.taken_from(given)
    return load_dicomweb(address_of(url), access=access, max_pixels=max_pixels, **given)


class _renamed:
    """Within, errors name the URL of an instance and not its file."""

    def __init__(self, fetch: _Fetch, uids: Sequence[str]) -> None:
        self._names = [(str(fetch.folder.path / f"{uid}.dcm"), fetch.url(uid)) for uid in uids]

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OslerError) or len(error.args) != 1:
            return
        words = str(error.args[0])
        for path, url in self._names:
            words = words.replace(path, url)
        error.args = (words,)


def _kept(fetch: _Fetch, content: Content, url: str, again: Again | None = None) -> Content:
    for at, item in enumerate(content.items):
        fetch.folder.keep_item(item, again, at)
        if item.origin is not None:
            item.origin = replace(item.origin, path=url)
    for finding in content.findings:
        fetch.folder.keep_finding(finding)
    return content


def _volume(fetch: _Fetch, uids: list[str], options: dict[str, Any]) -> Content:
    split_by = options.get("split_by")
    slices = [_slice(fetch, uid, split_by) for uid in uids]
    allowed = Allowed(*(bool(options.get(name)) for name in _GEOMETRY))
    source = _Source(fetch)
    with _renamed(fetch, uids):
        content = volumes(
            slices,
            max_pixels=fetch.max_pixels,
            allowed=allowed,
            split_by=split_by,
            source=source,
        )
    for image in content.items:
        if image.origin is not None and isinstance(image, Image):
            order = cast("tuple[str, ...]", image.header["SOPInstanceUID"])
            path = fetch.url(order[0]).partition("/instances/")[0]
            files = tuple(fetch.url(uid) for uid in order)
            image.origin = replace(image.origin, path=path, files=files)
    return content


def _slice(fetch: _Fetch, uid: str, also: str | None) -> Slice:
    """What the header says of a slice that is not here yet."""
    from osler.io.dicom_series import tag_of

    header, url = fetch.headers[uid], fetch.url(uid)
    file = InputFile(Path(url), url, cast(Any, None), 0, b"")
    tags = TAGS if also is None else {**TAGS, also: tag_of(also)}
    with decoding(file, "dicom"):
        dataset = _dataset(header, [tag for tag, _ in tags.values()])
        scan = of_dataset(dataset, tags=tags)
        stated = value(header, "00083002")  # AvailableTransferSyntaxUID
        layout = layout_of(
            file,
            dataset,
            syntax=stated if stated in TRANSFER_SYNTAXES else EXPLICIT_LITTLE,
            real=any(tag in header for tag in _FLOATS),
            max_pixels=fetch.max_pixels,
        )
        rescale = rescale_of(url, dataset, layout)
        pose = pose_of_header(f"'{url}'", dataset)
    return Slice(url, url, scan, layout, Frames("", url, 0), rescale, pose)


def _dataset(header: Json, tags: Sequence[int]) -> "Dataset":
    """The elements that matter, as a data set."""
    from pydicom.dataset import Dataset

    names = [f"{tag:08X}" for tag in (*tags, 0x00080060, 0x30040002, 0x3004000E)]
    some = {name: header[name] for name in names if name in header}
    return Dataset.from_json(
        {name: one for name, one in some.items() if isinstance(one, dict) and "Value" in one}
    )


class _Source:
    """Slices on the service; see ``dicom_series.Source``."""

    def __init__(self, fetch: _Fetch) -> None:
        self._fetch = fetch

    def first(self, one: Slice) -> Slice:
        return self.fetched(one)

    def pixels(self, pixels: Pixels, slices: Sequence[Slice]) -> Pixels:
        given = {f.name: getattr(pixels, f.name) for f in fields(Pixels)}
        return _RemotePixels(**given, slices=tuple(slices), source=self)

    def fetched(self, one: Slice) -> Slice:
        """The slice as it came, the same in all that was judged.

        Raises:
            UnreadableError: it is another than its header said.
        """
        uid = one.scan.text("SOPInstanceUID")
        path = self._fetch.path(uid)
        with _renamed(self._fetch, [uid]):
            true = open_slice(path, max_pixels=self._fetch.max_pixels)
        if not _alike(one, true):
            raise UnreadableError(
                f"'{one.name}' is another than the service's list of headers says (place, size or "
                "values), so the geometry of its volume cannot be trusted; ask the service's "
                "keepers"
            )
        return true


def _alike(a: Slice, b: Slice) -> bool:
    kept = ("rows", "columns", "samples", "allocated", "signed", "grey", "real")
    if any(getattr(a.layout, name) != getattr(b.layout, name) for name in kept):
        return False
    uids = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
    if any(a.scan.text(name) != b.scan.text(name) for name in uids):
        return False
    if (a.rescale.units, a.rescale.table) != (b.rescale.units, b.rescale.table):
        return False
    for name in ("position", "orientation", "spacing"):
        here, there = getattr(a.pose, name), getattr(b.pose, name)
        if (here is None) != (there is None) or not _close(here or (), there or ()):
            return False
    return _close((a.rescale.slope, a.rescale.intercept), (b.rescale.slope, b.rescale.intercept))


def _close(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=_SAME, atol=_SAME))


@dataclass(frozen=True)
class _RemotePixels(Pixels):
    """Pixels whose files are fetched when they are asked for."""

    slices: tuple[Slice, ...] = ()
    source: _Source | None = None

    def region(self, slices: Region) -> NDArray[Any]:
        """Fetch the slices that a region needs, and cut it out of them."""
        assert self.source is not None
        wanted = range(*slices[0].indices(len(self.slices)))
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(self.source.fetched, [self.slices[at] for at in wanted])
            true = dict(zip(wanted, found, strict=True))
        given = {f.name: getattr(self, f.name) for f in fields(Pixels)}
        given["files"] = tuple(
            true[at].frames if at in true else frames for at, frames in enumerate(self.files)
        )
        given["layouts"] = tuple(
            true[at].layout if at in true else layout for at, layout in enumerate(self.layouts)
        )
        return Pixels(**given).region(slices)
