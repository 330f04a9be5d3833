"""What the header of a DICOM image says, checked: whose, which eye, when, how large."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from osler.errors import UnreadableError
from osler.io.colour import Flags, to_srgb
from osler.io.hushing import hushed
from osler.io.input_file import InputFile
from osler.io.signatures import is_dicom_without_preamble
from osler.record import Laterality, Origin

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OPHTHALMIC_PHOTOGRAPHY = (
    "1.2.840.10008.5.1.4.1.1.77.1.5.1",  # 8 bit
    "1.2.840.10008.5.1.4.1.1.77.1.5.2",  # 16 bit
)
"""SOP classes in which PixelSpacing is a distance on the retina (PS3.3 C.8.17.2)."""

LARGEST_RETINA_MM = 100.0
"""No photograph of a retina spans more: half the circumference of an eye is about 38 mm."""

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "DataSetTrailingPadding")
_BULK_BYTES = 262_144
_DEEPEST = 32


def text(dataset: "Dataset", keyword: str) -> str:
    """The first value as text without padding; empty where absent."""
    value = dataset.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if len(value) else None
    return "" if value is None else str(value).strip(" \0")


def uid_name(value: str) -> str:
    """A UID of the standard in words; "unknown" for any other value, which may be anything."""
    from pydicom.uid import UID

    name = UID(value, validation_mode=0).name
    return "unknown" if name == value or not name else f"{name}, {value}"


def integer(file: InputFile, dataset: "Dataset", keyword: str, *, default: int | None) -> int:
    """A whole number of the header.

    Raises:
        UnreadableError: it is no whole number, or it is absent and there is no default.
    """
    value = dataset.get(keyword)
    if value is None and default is not None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        state = "no" if value is None else "an unusable"
        raise UnreadableError(
            f"'{file.name}' has {state} {keyword}; it is damaged: copy or export it again"
        ) from None


def decimal(dataset: "Dataset", keyword: str) -> float | None:
    """A finite number of the header, or None."""
    try:
        value = float(dataset.get(keyword))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def refuse_deep(name: str, dataset: "Dataset") -> None:
    """Refuse sequences in sequences without end, before anything descends into them.

    An error in a deep one is told at every level with all that was told below it, twice over: some
    200 levels take minutes and all of the memory.

    Args:
        name: the file, for the message.
        dataset: of which only sequences are looked at.

    Raises:
        UnreadableError: they are nested more than 32 deep.
    """
    level = [dataset]
    for _ in range(_DEEPEST):
        level = [item for one in level for item in _items(one)]
        if not level:
            return
    raise UnreadableError(
        f"'{name}' has sequences more than {_DEEPEST} deep, as no device writes; do not trust it"
    )


def _items(dataset: "Dataset") -> Iterator["Dataset"]:
    from pydicom.datadict import dictionary_VR

    for tag in tuple(dataset.keys()):
        stated = dataset.get_item(tag, keep_deferred=True).VR
        if stated in (None, "UN"):
            try:
                stated = dictionary_VR(tag)
            except KeyError:
                continue
        if stated == "SQ":
            yield from dataset[tag].value or ()


def tag_present(dataset: "Dataset", *keywords: str) -> bool:
    """Whether one of these elements is there, however empty."""
    return any(keyword in dataset for keyword in keywords)


def patient_id(dataset: "Dataset") -> str | None:
    """PatientID, or None where it is empty."""
    return text(dataset, "PatientID") or None


def laterality(dataset: "Dataset") -> tuple[Laterality | None, Flags]:
    """The eye by ImageLaterality, else by the series' Laterality; None where they disagree."""
    image = text(dataset, "ImageLaterality").upper()
    series = text(dataset, "Laterality").upper()
    if {image, series} == {"R", "L"}:
        return None, ("laterality-contradictory",)
    stated = image or series
    if stated in ("R", "L"):
        return ("R" if stated == "R" else "L"), ()
    return None, (("laterality-both",) if stated == "B" else ())


def acquired(dataset: "Dataset") -> datetime | None:
    """AcquisitionDateTime, else AcquisitionDate and Time, else ContentDate and Time.

    A date without a time is taken as midnight; a value that is no date is passed over.
    """
    moment = _datetime(text(dataset, "AcquisitionDateTime"))
    if moment is not None:
        return moment
    for kind in ("Acquisition", "Content"):
        day = _date(text(dataset, f"{kind}Date"))
        if day is not None:
            return datetime.combine(day, _time(text(dataset, f"{kind}Time")) or time())
    return None


def _datetime(value: str) -> datetime | None:
    from pydicom.valuerep import DT

    try:
        parsed = DT(value) if len(value) >= 8 else None
    except (ValueError, TypeError):
        return None
    return datetime.fromisoformat(parsed.isoformat()) if parsed else None


def _date(value: str) -> date | None:
    from pydicom.valuerep import DA

    try:
        parsed = DA(value) if value else None
    except (ValueError, TypeError):
        return None
    return date(parsed.year, parsed.month, parsed.day) if parsed else None


def _time(value: str) -> time | None:
    from pydicom.valuerep import TM

    try:
        parsed = TM(value) if value else None
    except (ValueError, TypeError):
        return None
    return time.fromisoformat(parsed.isoformat()) if parsed else None


def spacing(
    dataset: "Dataset", *, shape: tuple[int, ...]
) -> tuple[tuple[float, float] | None, Flags]:
    """Millimetres on the retina between pixel centres along ``(H, W)``, where one can trust them.

    PixelSpacing of an Ophthalmic Photography object only. ImagerPixelSpacing is a distance on the
    detector, and a secondary capture's spacing may be of paper: both are left out.

    Args:
        dataset: the header.
        shape: ``(H, W)`` in pixels, to see whether the retina would be of a possible size.
    """
    if text(dataset, "SOPClassUID") not in OPHTHALMIC_PHOTOGRAPHY:
        return None, ()
    if "PixelSpacing" not in dataset:
        return None, (("spacing-at-detector",) if "ImagerPixelSpacing" in dataset else ())
    try:
        rows, columns = (float(value) for value in dataset.PixelSpacing)
    except (TypeError, ValueError):
        return None, ("spacing-implausible",)
    sides = (rows * shape[0], columns * shape[1])
    if not all(0.0 < side <= LARGEST_RETINA_MM for side in sides):
        return None, ("spacing-implausible",)
    return (rows, columns), ()


def flags(file: InputFile, dataset: "Dataset") -> Flags:
    """Doubts about the file as a whole."""
    found = file.extension_flags("dicom")
    if is_dicom_without_preamble(file.head):
        found = (*found, "no-preamble")
    if dataset.get("BurnedInAnnotation") == "YES":
        found = (*found, "burned-in-annotation")
    return found


def profile_flags(profile: bytes) -> Flags:
    """What an ICC profile will do to the colours; tried on a single pixel."""
    if not profile:
        return ()
    from PIL import Image as Pillow

    return to_srgb(Pillow.new("RGB", (1, 1)), profile)[1]


def origin(file: InputFile, format: str, dataset: "Dataset", *, sha256: str, lazy: bool) -> Origin:
    """Where an image came from; ``lazy`` leaves a header unconverted until it is asked for."""
    dicom = LazyHeader(dataset) if lazy else as_json(dataset)
    return Origin(path=file.name, sha256=sha256, format=format, dicom=dicom)


class LazyHeader(Mapping[str, Any]):
    """A header in the DICOM JSON model, converted when it is first asked for."""

    def __init__(self, dataset: "Dataset") -> None:
        self._dataset = dataset
        self._json: Mapping[str, Any] | None = None

    def _converted(self) -> Mapping[str, Any]:
        if self._json is None:
            with hushed():
                self._json = as_json(self._dataset)
        return self._json

    def __getitem__(self, tag: str) -> Any:
        return self._converted()[tag]

    def __iter__(self) -> Iterator[str]:
        return iter(self._converted())

    def __len__(self) -> int:
        return len(self._converted())


def as_json(dataset: "Dataset") -> Mapping[str, Any]:
    """The header in the DICOM JSON model (PS3.18 F.2), without pixels and large binary values."""
    import pydicom

    header = pydicom.Dataset({e.tag: e for e in dataset.elements() if not _is_bulk(e)})
    return header.to_json_dict(
        bulk_data_threshold=_BULK_BYTES,
        bulk_data_element_handler=lambda _element: "",
        suppress_invalid_tags=True,
    )


def _is_bulk(element: Any) -> bool:
    from pydicom.datadict import keyword_for_tag

    value = element.value
    too_long = isinstance(value, bytes) and len(value) > _BULK_BYTES
    return too_long or keyword_for_tag(element.tag) in _PIXEL_KEYWORDS
