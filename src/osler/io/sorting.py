"""A folder of anything, sorted into cases by patient and study: headers only.

DICOM files belong together by PatientID, StudyInstanceUID and SeriesInstanceUID, wherever they
lie; those without a StudyInstanceUID belong to the others in their folder. Other files that are
read are a case each, or are grouped by a pattern of their paths. What is not understood is told
with the reason, and nothing is decoded.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osler.errors import InputError
from osler.io import dicomdir
from osler.io.dicom_scan import IDENTITY, TAGS, Scan
from osler.io.input_file import MAX_PIXELS, printable
from osler.io.naming import case_id, safe_name
from osler.io.path_pattern import PathPattern
from osler.io.readers import READERS
from osler.io.searching import OUTPUT_MARK, natural_key
from osler.io.sorting_companions import COMPANIONS, companions
from osler.io.sorting_files import Looked, in_threads, look
from osler.io.sorting_twins import Twins
from osler.record import Case
from osler.terminal import counted

_SORTED_BY = {
    keyword: TAGS[keyword]
    for keyword in (*IDENTITY, "ImagePositionPatient", "NumberOfFrames", "Rows")
}
_ROWS = TAGS["Rows"][0]
_PIXELS = 0x7FE00008
_SEG = "1.2.840.10008.5.1.4.1.1.66."
_MOST_SCANS = 20_000
"""Headers that are kept until the cases are opened; those of further files are read again."""

_AT_ONCE = 8192  # files whose headers are held until they have been sorted
_FOLDER = "folder "  # before what stands for an identifier that is missing; no UID begins so
_LATE = Looked("skipped", "does not answer; check the disk")

__all__ = ("COMPANIONS", "Cases", "DicomFile", "Series", "Study", "load_folder", "sort")


@dataclass(frozen=True, slots=True)
class DicomFile:
    """One DICOM file of a series.

    Attributes:
        path: the file.
        placed: whether it is a single frame with a place in the patient.
        image: whether it has pixels of its own, which those of a segmentation are not.
        scan: the elements of its header that stacking needs, where they have been kept.
        stamp: length in bytes and time of the last change (ns) of the file that ``scan`` is of.
    """

    path: str
    placed: bool
    image: bool
    scan: Scan | None = field(default=None, compare=False, repr=False)
    stamp: tuple[int, int] = field(default=(0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Series:
    """The files of one DICOM series.

    Attributes:
        number: SeriesNumber, 0 where there is none.
        modality: DICOM modality code.
        files: in the order of their names.
    """

    number: int
    modality: str
    files: tuple[DicomFile, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """What makes one case; nothing of it has been decoded.

    Attributes:
        id: the id that its case will have.
        patient_id: PatientID, or what the pattern says; None where neither does.
        series: its DICOM series, by number.
        files: its other files, each with the fields of the pattern.
    """

    id: str
    patient_id: str | None
    series: tuple[Series, ...] = ()
    files: tuple[tuple[str, dict[str, str]], ...] = ()

    def load(self, *, max_pixels: int = MAX_PIXELS, **options: Any) -> Case:
        """The case, its pixels left in their files.

        What cannot be read is in ``case.left_out`` with the reason.

        Args:
            max_pixels: refuse a frame of more pixels.
            options: of the readers, such as ``allow_tilt``.

        Raises:
            InputError: nothing of it can be read.
        """
        from osler.io.study import load_study

        return load_study(self, max_pixels=max_pixels, **options)


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of a folder, each loaded when its turn comes.

    A case of which nothing can be read comes too, without items: ``case.left_out`` says why.

    Attributes:
        studies: what makes each of them.
        skipped: files that belong to none, each with the reason.
        options: for ``Study.load``.
    """

    studies: tuple[Study, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.studies)

    def __iter__(self) -> Iterator[Case]:
        return (study.load(allow_empty=True, **self.options) for study in self.studies)

    def __getitem__(self, index: int) -> Case:
        return self.studies[index].load(**self.options)

    def __repr__(self) -> str:
        skipped = counted(len(self.skipped), "file")
        return f"Cases({counted(len(self.studies), 'case')}, {skipped} skipped)"


def sort(folder: str | os.PathLike[str], *, pattern: str | None = None, **options: Any) -> Cases:
    """Sort a folder and everything below it into cases.

    Args:
        folder: files of any kind, DICOM with or without DICOMDIR.
        pattern: how the paths of files that are not DICOM (below ``folder``) name what they are,
            such as ``"{patient}/{eye}.jpg"``: files with the same patient and study make one
            case. ``{patient}``, ``{study}``, ``{item}`` and ``{eye}`` are understood; ``*``
            stands for anything within a name and ``**`` for anything. Without it each file is a
            case.
        options: of the readers, kept for when the cases are loaded.

    Returns:
        The cases and what was skipped, both in natural order.

    Raises:
        InputError: there is no such folder, or the pattern is wrong.
    """
    return _sorted(folder, pattern, options)


def _sorted(
    folder: str | os.PathLike[str],
    pattern: str | None,
    options: dict[str, Any],
    *,
    for_opening: bool = False,
) -> Cases:
    sorter = _Sorter(
        Path(folder), PathPattern(pattern) if pattern else None, for_opening=for_opening
    )
    sorter.walk()
    return sorter.cases(options)


def load_folder(
    folder: str | os.PathLike[str], *, pattern: str | None = None, **options: Any
) -> Case | Cases:
    """The one case that lies in a folder, or all of them; see ``sort``.

    Raises:
        InputError: nothing that is read lies there, or nothing of the one case can be read.
    """
    refuse_unknown(options)
    cases = _sorted(folder, pattern, options, for_opening=True)
    if len(cases) == 1:
        return cases[0]
    if not cases.studies:
        why = ""
        if cases.skipped:
            path, reason = cases.skipped[0]
            why = f"; {len(cases.skipped)} skipped, such as '{printable(path)}': {reason}"
        raise InputError(f"the folder '{printable(folder)}' holds no file that is read{why}")
    return cases


def refuse_unknown(options: dict[str, Any]) -> None:
    """Raise ``InputError`` for an option that no reader takes."""
    known = {"max_pixels", "split_by", *(name for reader in READERS for name in reader.options)}
    for name in options:
        if name not in known:
            raise InputError(
                f"no reader takes an option '{name}'; they take: {', '.join(sorted(known))}"
            )


@dataclass(slots=True)
class _Found:
    """One DICOM file and whose it is."""

    patient: str
    study: str
    series: str
    number: int
    modality: str
    file: DicomFile


class _Sorter:
    """Collects what lies in a folder."""

    def __init__(
        self, root: Path, pattern: PathPattern | None, *, for_opening: bool = False
    ) -> None:
        self.root = root
        self.pattern = pattern
        self._keeps_scans = for_opening
        self._tags, self._last = (TAGS, _PIXELS) if for_opening else (_SORTED_BY, _ROWS + 1)
        self.dicom: list[_Found] = []
        self.others: list[str] = []
        self.skipped: dict[str, str] = {}
        self._indices: list[str] = []
        self._folders: set[tuple[int, int]] = set()
        self._twins = Twins()

    def walk(self) -> None:
        try:
            status = os.stat(self.root)
            if not stat.S_ISDIR(status.st_mode):
                raise InputError(f"'{printable(self.root)}' is no folder; give a folder to sort")
            paths = self._list(os.fspath(self.root), status)
        except (OSError, ValueError) as error:
            from osler.io.input_file import unopenable

            raise unopenable(printable(self.root), error) from None
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            looked = in_threads(lambda path: look(path, self._tags, self._last), some, late=_LATE)
            for path, what in zip(some, looked, strict=True):
                self._file(path, what)
        for index in self._indices:
            self.skipped.update(dicomdir.missing(index))

    def _list(self, folder: str, status: os.stat_result) -> list[str]:
        """The files of a folder and of all below it that may be a case's."""
        paths: list[str] = []
        pending = [(folder, status)]
        while pending:
            folder, status = pending.pop()
            if (status.st_dev, status.st_ino) in self._folders:
                continue  # a link that leads back
            self._folders.add((status.st_dev, status.st_ino))
            try:
                with os.scandir(folder) as listing:
                    entries = [entry for entry in listing if not entry.name.startswith(".")]
            except OSError as error:
                if folder == os.fspath(self.root):
                    raise
                self.skipped[folder] = f"cannot be listed ({error.strerror})"
                continue
            names = {entry.name for entry in entries}
            if OUTPUT_MARK in names:
                self.skipped[folder] = f"an output folder (it holds {OUTPUT_MARK})"
                continue
            entries.sort(key=_name)
            belonging = companions(folder, names)
            for entry in entries:
                try:
                    if entry.is_dir():
                        pending.append((entry.path, entry.stat()))
                    elif entry.name not in belonging:
                        paths.append(entry.path)
                except OSError as error:
                    self.skipped[entry.path] = f"cannot be opened ({error.strerror})"
        return paths

    def _file(self, path: str, what: Looked) -> None:
        if what.kind == "skipped":
            self.skipped[path] = what.reason
        elif what.kind == "index":
            self._indices.append(path)
        elif what.kind == "other":
            self.others.append(path)
        else:
            self._dicom_file(path, what)

    def _dicom_file(self, path: str, what: Looked) -> None:
        # the general reader changes what all threads share, so it works here
        found = what.scan
        kept = found is not None and bool(found.values)
        if found is None or not found.values:
            found = _by_general_reader(path)
        if "SOPClassUID" not in found and "Modality" not in found and "Rows" not in found:
            self.skipped[path] = "a DICOM file whose header cannot be read"
            return
        # without its identifiers a file belongs to the others in its folder
        folder = os.path.dirname(path)
        study = found.text("StudyInstanceUID") or f"{_FOLDER}{folder}"
        twin = self._twins.of(path, study, found, what.stamp[0])
        if twin is not None:
            self.skipped[path] = f"the same file as '{printable(twin)}'"
            return
        number = found.get("SeriesNumber")
        frames = found.get("NumberOfFrames")
        several = isinstance(frames, int) and frames > 1
        keep = kept and self._keeps_scans and len(self.dicom) < _MOST_SCANS
        self.dicom.append(
            _Found(
                found.text("PatientID"),
                study,
                found.text("SeriesInstanceUID") or f"{_FOLDER}{folder}",
                number if isinstance(number, int) else 0,
                found.text("Modality"),
                DicomFile(
                    path,
                    placed="ImagePositionPatient" in found and "Rows" in found and not several,
                    image="Rows" in found and not found.text("SOPClassUID").startswith(_SEG),
                    scan=found if keep else None,
                    stamp=what.stamp,
                ),
            )
        )

    def cases(self, options: dict[str, Any]) -> Cases:
        studies = [*self._dicom_studies(), *self._other_studies()]
        named = _distinct(studies)
        skipped = sorted(self.skipped.items(), key=lambda item: natural_key(Path(item[0])))
        return Cases(tuple(named), tuple(skipped), options)

    def _dicom_studies(self) -> Iterator[tuple[str, str, Study]]:
        """For each study the name and the key for its id, and the study."""
        by_study: dict[tuple[str, str], list[_Found]] = {}
        self._join_lost()
        for found in self.dicom:
            by_study.setdefault((found.patient, found.study), []).append(found)
        for (patient, uid), files in by_study.items():
            by_series: dict[str, list[_Found]] = {}
            for found in files:
                by_series.setdefault(found.series, []).append(found)
            series = [
                Series(
                    some[0].number,
                    some[0].modality,
                    tuple(sorted((found.file for found in some), key=_path)),
                )
                for some in by_series.values()
            ]
            series.sort(key=lambda one: (one.number, natural_key(Path(one.files[0].path))))
            folder = os.path.commonpath([os.path.dirname(found.file.path) for found in files])
            yield (
                safe_name(os.path.basename(os.path.abspath(folder))),
                f"{patient}\0{uid}",
                Study("", patient or None, tuple(series)),
            )

    def _join_lost(self) -> None:
        """Give files without a StudyInstanceUID to the one study that has their series."""
        known: dict[tuple[str, str], set[str]] = {}
        for found in self.dicom:
            if not found.study.startswith(_FOLDER):
                known.setdefault((found.patient, found.series), set()).add(found.study)
        for found in self.dicom:
            studies = known.get((found.patient, found.series), set())
            if found.study.startswith(_FOLDER) and len(studies) == 1:
                (found.study,) = studies

    def _other_studies(self) -> Iterator[tuple[str, str, Study]]:
        groups: dict[tuple[str, str], list[tuple[str, dict[str, str]]]] = {}
        for path in sorted(self.others, key=lambda path: natural_key(Path(path))):
            if self.pattern is None:
                yield case_id(path), path, Study("", None, (), ((path, {}),))
                continue
            fields = self.pattern.match(os.path.relpath(path, self.root).replace(os.sep, "/"))
            if fields is None:
                self.skipped[path] = f"does not fit the pattern '{self.pattern.text}'"
            else:
                key = (fields.get("patient", ""), fields.get("study", ""))
                key = key if any(key) else ("", path)
                groups.setdefault(key, []).append((path, fields))
        for (patient, study), files in groups.items():
            name = "-".join(part for part in (patient, study) if part)
            name = name if self.pattern and files[0][1].keys() & {"patient", "study"} else ""
            yield (
                safe_name(name) if name else case_id(files[0][0]),
                f"{patient}\0{study}",
                Study("", patient or None, (), tuple(files)),
            )


def _name(entry: "os.DirEntry[str]") -> str:
    return entry.name


def _path(file: DicomFile) -> str:
    return file.path


def _by_general_reader(path: str) -> Scan:
    """A file that cannot be walked over, through pydicom; nothing where that fails too."""
    try:
        return dicomdir.identity(path, _SORTED_BY)
    except Exception:  # noqa: BLE001 - damaged headers raise anything
        return Scan(tags=_SORTED_BY)


def _distinct(studies: Sequence[tuple[str, str, Study]]) -> list[Study]:
    """The studies with ids of which no two are alike, in natural order."""
    counts: dict[str, int] = {}
    for name, _, _ in studies:
        counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
    out = []
    for name, key, study in studies:
        id = name
        if counts[name.casefold()] > 1:
            digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:8]
            id = f"{name}-{digest}"
        out.append(Study(id, study.patient_id, study.series, study.files))
    return sorted(out, key=lambda study: natural_key(Path(study.id)))
