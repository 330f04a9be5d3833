"""What a file's own header tells of the people in it: the strings to look for everywhere else."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from osler.io.deidentification.dates import Offset, read_date
from osler.io.deidentification.uids import is_standard, names_a_class

_IDS: Final = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "ServiceEpisodeID",
    "MedicalRecordLocator",
    "PatientInsurancePlanCodeSequence",
    "RequestedProcedureID",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "PatientTelephoneNumbers",
    "ReferringPhysicianTelephoneNumbers",
    "PersonTelephoneNumbers",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
_PLACES: Final = (
    "InstitutionName",
    "InstitutionAddress",
    "PatientAddress",
    "ReferringPhysicianAddress",
    "PersonAddress",
    "ResponsibleOrganization",
)

# Words that stand in the names of many test objects, and are nobody's.
_NOBODY: Final = frozenset(
    (Path(__file__).parent / "everyday_words.txt").read_text("utf-8").split("\n")
)
_HAN: Final = re.compile(r"[㐀-鿿]")
_MONTHS: Final = (
    "January February March April May June July August September October November December"
)


@dataclass(slots=True)
class Known:
    """Strings that identify somebody, by what they are.

    Attributes:
        names: whole names and their parts.
        ids: numbers and codes of persons, orders and visits.
        places: institutions and addresses.
        dates: days, as YYYYMMDD.
        uids: unique identifiers that were replaced.
        births: those of the days that are somebody's birth.
        offsets: how far the dates of the people here move.
    """

    names: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    dates: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    births: set[str] = field(default_factory=set)
    offsets: set[Offset] = field(default_factory=set)

    def update(self, other: "Known") -> None:
        """Take over what another knows."""
        self.names |= other.names
        self.ids |= other.ids
        self.places |= other.places
        self.dates |= other.dates
        self.uids |= other.uids
        self.births |= other.births
        self.offsets |= other.offsets

    def add_name(self, name: str) -> None:
        """A person's name, in DICOM's form (FAMILY^GIVEN^MIDDLE) or as people write it."""
        for group in name.split("="):
            parts = [p for p in re.split(r"[\^,\s·]+", group) if p]
            halves = [half for p in parts if "-" in p for half in p.split("-")]
            self.names.update(p for p in (*parts, *halves) if _telling(p))
            if len(parts) > 1 and (any(map(_telling, parts)) or _HAN.search(group)):
                for order in (parts, parts[::-1]):
                    self.names.update(s.join(order) for s in (" ", "^", ", ", "", "_", "-"))

    def add_id(self, value: str) -> None:
        """A number or code; one that is too short to be told from a measurement is left out."""
        value = value.strip("\0 ")
        numbered = len(value) >= 4 and any(c.isdigit() for c in value)
        if numbered or (len(value) >= 6 and _telling(value)):
            self.ids.add(value)

    def add_place(self, value: str) -> None:
        """An institution or address, whole and line by line."""
        for line in (line.strip("\0 ") for line in re.split(r"[\r\n]+", value)):
            if len(line) >= (3 if _HAN.search(line) else 5) and line.casefold() not in _NOBODY:
                self.places.add(line)

    def add_date(self, value: str) -> None:
        """A day, as DICOM or ISO 8601 writes it."""
        day = read_date(value[:10]) or read_date(value[:8])
        if day is not None and day.year > 1850:
            self.dates.add(day.strftime("%Y%m%d"))

    def add_birth(self, value: str) -> None:
        """A day of birth, which never goes along."""
        before = set(self.dates)
        self.dates.clear()
        self.add_date(value)
        self.births |= self.dates
        self.dates |= before

    def date_variants(self) -> Iterator[str]:
        """Each day in the ways in which people write it."""
        for text in self.dates:
            day = read_date(text)
            if day is None:
                continue
            year, month, date = f"{day.year:04d}", f"{day.month:02d}", f"{day.day:02d}"
            yield text
            for sep in "-/.":
                yield from (sep.join((year, month, date)), sep.join((date, month, year)))
                yield from (sep.join((month, date, year)), f"{day.day}{sep}{day.month}{sep}{year}")
                yield f"{day.month}{sep}{day.day}{sep}{year}"
            long = _MONTHS.split()[day.month - 1]
            for word in (long, long[:3]):
                yield f"{day.day} {word} {year}"
                yield f"{word} {day.day}, {year}"
                yield f"{date}-{word}-{year}"
                yield f"{date}{word}{year}"
            yield f"{year}年{day.month}月{day.day}日"
            yield f"{year}年{month}月{date}日"

    def texts(self) -> list[tuple[str, str]]:
        """Strings to look for in text, the longest first, each with its kind."""
        kinds = (("NAME", self.names), ("ID", self.ids), ("PLACE", self.places))
        found = [(text, kind) for kind, texts in kinds for text in texts]
        found += [(text, "DATE") for text in self.date_variants()]
        return sorted(found, key=lambda item: (-len(item[0]), item[0]))

    def needles(self) -> Iterator[tuple[str, bytes]]:
        """Kind and bytes to look for in a file; long enough not to turn up by chance."""
        kinds = (
            ("NAME", self.names),
            ("ID", self.ids),
            ("PLACE", self.places),
            ("UID", self.uids),
        )
        for kind, texts in kinds:
            for text in texts:
                for encoding in _encodings(text):
                    data = text.encode(encoding, "ignore").lower()
                    if len(data) >= (12 if kind == "UID" else 6):
                        yield kind, data


def _encodings(text: str) -> tuple[str, ...]:
    return (
        ("utf-8", "utf-16-le") if text.isascii() else ("utf-8", "gb18030", "utf-16-le", "latin-1")
    )


def _telling(word: str) -> bool:
    """Whether a word of a name tells who it is: initials and everyday words do not."""
    word = word.strip(".'\0 ")
    if word.casefold() in _NOBODY or not any(c.isalpha() for c in word):
        return False
    return len(word) >= (2 if _HAN.search(word) else 3)


def from_dataset(dataset: Dataset, *, dates: bool, uids: bool = True) -> Known:
    """What a DICOM data set tells, sequences and all.

    Args:
        dataset: the data set, before anything is removed from it.
        dates: whether dates of visits are among what must not go along; that of birth always is.
        uids: whether unique identifiers are.
    """
    known = Known()
    _collect(dataset, known, dates=dates, uids=uids)
    maker = (
        f"{dataset.get('Manufacturer', '')} {dataset.get('ManufacturerModelName', '')}".casefold()
    )
    known.places = {p for p in known.places if p.casefold() not in maker}
    return known


def _collect(dataset: Dataset, known: Known, *, dates: bool, uids: bool) -> None:
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        if raw is None or tag.is_private or tag.group in (0x7FE0, 0x5400):
            continue
        if raw.VR in ("OB", "OW", "OF", "OD", "OL", "DS", "IS", "US", "SS", "FD", "FL", "CS"):
            continue
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value or ():
                _collect(item, known, dates=dates, uids=uids)
            continue
        texts = [str(v) for v in _values(element.value)]
        if element.VR == "PN":
            _each(known.add_name, texts)
        elif element.keyword in _IDS:
            _each(known.add_id, texts)
        elif element.keyword in _PLACES:
            _each(known.add_place, texts)
        elif element.VR == "UI":
            own = uids and not names_a_class(element.keyword)
            known.uids.update(t for t in texts if own and t and not is_standard(t))
        elif element.keyword == "PatientBirthDate":
            _each(known.add_birth, texts)
        elif dates and element.VR in ("DA", "DT"):
            _each(known.add_date, texts)


def _each(add: Callable[[str], None], texts: Iterable[str]) -> None:
    for text in texts:
        if text:
            add(text)


def _values(value: object) -> list[object]:
    if value is None:
        return []
    if isinstance(value, str | bytes | PersonName):
        return [value]
    return list(value) if isinstance(value, Iterable) else [value]
