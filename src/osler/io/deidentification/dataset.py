"""A DICOM data set, cleaned in place by the profile: every element, in every sequence."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom import config
from pydicom.datadict import (
    dictionary_has_tag,
    dictionary_VR,
    keyword_for_tag,
    repeater_has_tag,
)
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from osler.io.deidentification import coded, descriptors, fitting, icc, uids
from osler.io.deidentification.dates import Offset
from osler.io.deidentification.dummies import LONGEST, dummy
from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.deidentification.profile import Action, action_of, row_of, safe_private

_TEXT: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_FREE_TEXT: Final = frozenset(("LO", "LT", "SH", "ST", "UC", "UT"))
_LONG_TEXT: Final = frozenset(("LT", "ST", "UT"))
_DATES: Final = frozenset(("DA", "DT", "TM"))
_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_NO_LOOK: Final = frozenset(("OB", "OW", "OF", "OD", "OL", "OV"))

_ICC_PROFILE: Final = Tag(0x00282000)
_CHARACTER_SET: Final = Tag(0x00080005)
_DOCUMENT_TITLE: Final = Tag(0x00420010)
# What the table leaves out: a medium's name, what is encrypted or signed, words about a table.
_ALSO_REMOVED: Final = frozenset((0x00880130, 0x04000500, 0x4FFE0001, 0x00283003))
_SCHEMES: Final = frozenset(
    (0x00080120, 0x0008010E)
)  # a code as a URN, where a scheme is published
_CODES: Final = frozenset((0x00080100, 0x00080102, 0x00080103, 0x00080119, 0x0008010D))
_CODE_VALUES: Final = (Tag(0x00080100), Tag(0x00080119))
_CODE_MEANING: Final = Tag(0x00080104)
_DEVICE: Final = frozenset(
    ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "TransducerData", "SequenceName")
)
_PATIENT_ID, _PATIENT_NAME = Tag(0x00100020), Tag(0x00100010)
_ISSUER_GROUPS: Final = (0x0000, 0x0002, 0x0004, 0x0006)  # not part of a stored object


@dataclass(slots=True)
class Patient:
    """A patient by the name that the outside world may know.

    Attributes:
        pseudonym: stands for the patient's identifier and name.
        offset: how far the dates move.
        known: what must not turn up in any text.
    """

    pseudonym: str
    offset: Offset
    known: Known = field(default_factory=Known)


@dataclass(slots=True)
class Cleaner:
    """Cleans data sets of one patient.

    Attributes:
        options: what is kept.
        key: the secret of the run.
        patient: whose data sets they are.
        scrubber: cleans text.
        counts: attribute and what was done to it, how often.
    """

    options: Options
    key: Key
    patient: Patient
    scrubber: Scrubber
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _signs: str = ""  # the character set of the data set around

    def clean(self, dataset: Dataset, *, within: Action = Action.KEEP) -> None:
        """Clean a data set and all that is nested in it.

        Args:
            dataset: is changed in place; elements that are kept are not even decoded.
            within: what is done to the sequence around it: CLEAN and DUMMY go down.
        """
        signs = self._signs
        if _CHARACTER_SET in dataset:
            self._signs = "\\".join(str(v) for v in _many(dataset[_CHARACTER_SET].value))
        moved = self._moved_dates(dataset)
        creators = _private_creators(dataset)
        for tag in list(dataset.keys()):
            raw = dataset.get_item(tag)
            if tag.is_private:
                self._private(dataset, tag, creators)
            elif tag.element == 0 or tag.group in _ISSUER_GROUPS:
                self._remove(dataset, tag, "removed")
            elif not _is_standard(tag) and row_of(tag) is None:
                self._remove(dataset, tag, "removed, unknown")
            else:
                self._public(dataset, tag, _vr(raw, tag), within, moved)
        self._bare_overlays(dataset)
        self._signs = signs

    def _public(
        self, dataset: Dataset, tag: BaseTag, vr: str, within: Action, moved: dict[int, Any]
    ) -> None:
        action = self._action(tag, vr, within)
        if action in (Action.KEEP, Action.CLEAN) and tag not in _PIXELS and vr != "SQ":
            if not fitting.is_kind(tag, vr):
                self._remove(dataset, tag, "removed, not of its kind")
                return
            if not fitting.is_value(dataset.get_item(tag) or dataset[tag], vr):
                self._set(dataset, tag, vr, "", "emptied, no value of its kind")
                return
        if vr == "SQ" or (vr == "UN" and dataset[tag].VR == "SQ"):
            self._sequence(dataset, tag, action)
        elif action is Action.REMOVE:
            self._remove(dataset, tag, "removed")
        elif action is Action.EMPTY:
            self._set(dataset, tag, vr, None, "emptied")
        elif action is Action.DUMMY:
            self._set(dataset, tag, vr, dummy(vr), "replaced")
        elif action is Action.SHIFT:
            self._shift(dataset, tag, vr, moved)
        elif action is Action.REMAP:
            self._remap(dataset, tag, vr)
        elif vr == "UN":
            self._remove(dataset, tag, "removed, unknown")
        elif tag == _ICC_PROFILE:
            self._colours(dataset, tag, vr)
        elif vr == "AS" and re.fullmatch(r"(09\d|[1-9]\d\d)Y", str(dataset[tag].value).strip()):
            self._set(dataset, tag, vr, "090Y", "replaced, above 89 years")
        elif vr in _TEXT:
            phrase, prose = _is_phrase(dataset, tag, vr), _is_prose(dataset, tag, vr)
            prose = prose or (tag in _CODE_VALUES and _is_local(dataset))
            clean = action is Action.CLEAN
            technical = coded.TECHNICAL.fullmatch(keyword_for_tag(tag)) is not None
            short = (phrase and not technical) or (
                clean and (vr in ("LO", "SH") or tag == _DOCUMENT_TITLE)
            )
            self._text(dataset, tag, vr, thorough=clean or prose or phrase, short=short)
        elif vr in _NO_LOOK and row_of(tag) is None and tag not in _PIXELS:
            self._bytes(dataset, tag)

    def _colours(self, dataset: Dataset, tag: BaseTag, vr: str) -> None:
        """A colour profile without its texts; none where it is damaged."""
        new = icc.without_text(bytes(dataset[tag].value or b""))
        if not new:
            self._remove(dataset, tag, "removed, damaged")
        elif new != dataset[tag].value:
            self._set(dataset, tag, vr, new, "cleaned")

    def _action(self, tag: BaseTag, vr: str, within: Action) -> Action:
        if tag in (_PATIENT_ID, _PATIENT_NAME):
            return Action.KEEP if within is Action.KEEP else Action.DUMMY
        row = row_of(tag)
        if row is not None:
            action = action_of(row, self.options)
            loses = action in (Action.DUMMY, Action.EMPTY)
            if within is Action.CLEAN and loses and vr in _FREE_TEXT:
                return Action.CLEAN
            if action is Action.SHIFT and vr not in _DATES:
                return Action.REMOVE
            if action is Action.CLEAN and vr in _NO_LOOK:
                return Action.REMOVE  # an overlay or a curve can hold a drawn name
        else:
            action = self._unlisted(tag, vr)
        if within is Action.DUMMY and action in (Action.KEEP, Action.CLEAN) and vr in _TEXT:
            return Action.KEEP if vr == "CS" else Action.DUMMY
        if within is Action.CLEAN and action is Action.KEEP and vr in _FREE_TEXT:
            return Action.CLEAN
        return action

    def _unlisted(self, tag: BaseTag, vr: str) -> Action:
        """What is done to an attribute that the table does not list: its kind decides."""
        if tag in _ALSO_REMOVED or (vr == "UR" and tag not in _SCHEMES):
            return Action.REMOVE
        if tag == _DOCUMENT_TITLE:
            return Action.CLEAN if self.options.descriptors else Action.EMPTY
        if re.search("BirthDate|BirthTime|DeathDate", keyword_for_tag(tag)):
            return Action.EMPTY  # in the patient's own calendar, as text
        if vr in _DATES and self.options.dates != "keep":
            return Action.SHIFT if self.options.dates == "shift" else Action.DUMMY
        if vr == "PN":
            return Action.EMPTY
        if vr == "UI" and not self.options.uids:
            return Action.KEEP if uids.names_a_class(keyword_for_tag(tag)) else Action.REMAP
        return Action.KEEP

    def _sequence(self, dataset: Dataset, tag: BaseTag, action: Action) -> None:
        if action is Action.REMOVE:
            self._remove(dataset, tag, "removed")
            return
        if action is Action.EMPTY:
            self._set(dataset, tag, "SQ", [], "emptied")
            return
        if action is Action.DUMMY and keyword_for_tag(tag) == "ContentSequence":
            self._set(dataset, tag, "SQ", [_no_content()], "replaced")
            return
        within = action if action in (Action.CLEAN, Action.DUMMY) else Action.KEEP
        for item in dataset[tag].value or ():
            self.clean(item, within=within)
        if within is Action.DUMMY:
            self._count(tag, "replaced")

    # the kinds of values

    def _remove(self, dataset: Dataset, tag: BaseTag, how: str) -> None:
        del dataset[tag]
        self._count(tag, how)

    def _set(self, dataset: Dataset, tag: BaseTag, vr: str, value: Any, how: str) -> None:
        if value in (None, "") and vr in _TEXT | _DATES | {"AS", "UI", "IS", "DS"}:
            value = ""
        dataset[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)
        self._count(tag, how)

    def _remap(self, dataset: Dataset, tag: BaseTag, vr: str) -> None:
        if vr != "UI":  # the table remaps what is nested in it
            return
        old = _many(dataset[tag].value)
        new = [uids.replaced(str(uid), self.key) for uid in old]
        if new != old:
            self._set(dataset, tag, "UI", new if len(new) > 1 else "".join(new), "remapped")

    def _moved_dates(self, dataset: Dataset) -> dict[int, Any]:
        """New values of the dates and times here, told from the old ones all at once."""
        if self.options.dates != "shift":
            return {}
        old = {
            tag: [str(v) for v in _many(dataset[tag].value)]
            for tag in list(dataset.keys())
            if not tag.is_private and _vr(dataset.get_item(tag), tag) in _DATES
        }
        by_keyword = {keyword_for_tag(tag): values for tag, values in old.items()}
        return {
            tag: self._moved(dictionary_VR(tag), keyword_for_tag(tag), values, by_keyword)
            for tag, values in old.items()
            if _is_standard(tag)
        }

    def _moved(
        self, vr: str, keyword: str, values: list[str], others: dict[str, list[str]]
    ) -> list[str] | None:
        offset = self.patient.offset
        if vr == "DA":
            times = others.get(keyword.replace("Date", "Time"), [])
            padded = times + [""] * (len(values) - len(times))
            new = [offset.date(v, t) for v, t in zip(values, padded, strict=False)]
        else:
            new = [(offset.time if vr == "TM" else offset.datetime)(v) for v in values]
        return None if None in new else [v for v in new if v is not None]

    def _shift(self, dataset: Dataset, tag: BaseTag, vr: str, moved: dict[int, Any]) -> None:
        if not _many(dataset[tag].value):
            return
        values = moved.get(tag)
        if not values:
            self._set(dataset, tag, vr, "", "emptied, unreadable date")
        else:
            self._set(dataset, tag, vr, values if len(values) > 1 else values[0], "shifted")

    def _text(
        self, dataset: Dataset, tag: BaseTag, vr: str, *, thorough: bool, short: bool
    ) -> None:
        """Clean a text that stays; an element that holds nothing of anybody is not touched."""
        if tag in (_PATIENT_ID, _PATIENT_NAME):
            self._set(dataset, tag, vr, self.patient.pseudonym, "replaced")
            return
        old = [str(v) for v in _many(dataset[tag].value)]
        search: Callable[[str], str] = self.scrubber.clean if thorough else self.scrubber.known_only
        new = [search(text) for text in old]
        if vr == "UR":  # of a code, as all others are removed
            if not all(coded.is_published_url(text) for text in old):
                self._remove(dataset, tag, "removed, an address")
            return
        if vr == "CS":
            new = [text if coded.is_term(text) else str(dummy("CS")) for text in new]
            if new != old:
                self._set(dataset, tag, vr, new if len(new) > 1 else new[0], "replaced, no term")
            return
        if thorough:
            new = [
                descriptors.clean(text)
                if short or (vr in _LONG_TEXT and descriptors.is_short(text))
                else text
                for text in new
            ]
        if any(self._is_garbled(text) for text in old):
            self._set(dataset, tag, vr, dummy(vr), "replaced, in signs that it does not declare")
            return
        if new == old:
            return
        if vr not in _FREE_TEXT:
            self._set(dataset, tag, vr, dummy(vr), "replaced, held an identity")
            return
        new = [text[: LONGEST.get(vr, len(text))] for text in new]
        self._set(dataset, tag, vr, new if len(new) > 1 else new[0], "cleaned")

    def _is_garbled(self, text: str) -> bool:
        """Whether a text is in signs other than the data set declares, so that no rule can read it.

        Devices write Chinese in GB 18030 or UTF-8 and declare Latin, or nothing.
        """
        if text.isascii() or self._signs not in ("", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100"):
            return False
        if self._signs != "ISO_IR 100":
            return True
        for encoding in ("utf-8", "gb18030"):
            with contextlib.suppress(UnicodeError):
                meant = text.encode("latin-1").decode(encoding)
                return self.scrubber.clean(meant) != meant
        return False

    def _bytes(self, dataset: Dataset, tag: BaseTag) -> None:
        """Remove bytes that no image needs, or in which words are written."""
        value = dataset[tag].value
        data = value if isinstance(value, bytes) else b""
        if value and not coded.holds_numbers(tag, data):
            self._remove(dataset, tag, "removed, bytes")

    # private elements and overlays

    def _private(
        self, dataset: Dataset, tag: BaseTag, creators: dict[tuple[int, int], str]
    ) -> None:
        if self.options.safe_private and self._is_safe(dataset, tag, creators):
            return
        del dataset[tag]
        self.counts["private attributes", "removed"] += 1

    def _is_safe(
        self, dataset: Dataset, tag: BaseTag, creators: dict[tuple[int, int], str]
    ) -> bool:
        safe = safe_private()
        if tag.is_private_creator:
            name = creators.get((tag.group, tag.element), "")
            return any(group == tag.group and creator == name for group, creator, _ in safe)
        creator = creators.get((tag.group, tag.element >> 8), "")
        if (tag.group, creator, tag.element & 0xFF) not in safe:
            return False
        element = dataset[tag]
        if element.VR == "SQ":
            return False
        data = element.value
        text = data.decode("latin-1") if isinstance(data, bytes) else str(data)
        words = element.VR in _FREE_TEXT or element.VR == "UN"
        return (self.scrubber.clean if words else self.scrubber.known_only)(text) == text

    def _bare_overlays(self, dataset: Dataset) -> None:
        """Remove what is left of an overlay or curve whose data went."""
        for tag in list(dataset.keys()):
            repeating = tag.group >> 8 in (0x50, 0x60) and not tag.is_private
            if repeating and Tag(tag.group, 0x3000) not in dataset:
                self._remove(dataset, tag, "removed")

    def _count(self, tag: BaseTag, how: str) -> None:
        if tag in _PIXELS:
            return
        row = row_of(tag)
        name = row.name if row is not None else keyword_for_tag(tag)
        self.counts[f"({tag.group:04X},{tag.element:04X}) {name}".strip(), how] += 1


def _is_prose(dataset: Dataset, tag: BaseTag, vr: str) -> bool:
    """Whether an attribute that the table does not list is one in which people write sentences."""
    if vr not in _LONG_TEXT or row_of(tag) is not None:
        return False
    return not uids.names_a_class(keyword_for_tag(tag)) or _is_local(dataset)


def _is_phrase(dataset: Dataset, tag: BaseTag, vr: str) -> bool:
    """Whether an attribute that the table does not list has a few words that somebody chose.

    Those of a device and of a published coding scheme are nobody's.
    """
    if vr not in ("LO", "SH", "UC") or row_of(tag) is not None or tag in _CODES:
        return False
    if tag == _CODE_MEANING:
        return _is_local(dataset)
    return keyword_for_tag(tag) not in _DEVICE


def _is_local(dataset: Dataset) -> bool:
    """Whether the codes of a data set are of a scheme that nobody publishes."""
    return not coded.is_published(str(dataset.get("CodingSchemeDesignator") or ""))


def is_free_text(vr: str) -> bool:
    """Whether people write what they like in attributes of a VR."""
    return vr in _FREE_TEXT


def _is_standard(tag: BaseTag) -> bool:
    return dictionary_has_tag(tag) or repeater_has_tag(tag)


def _vr(raw: Any, tag: BaseTag) -> str:
    """The VR of an element without decoding it."""
    vr = raw.VR if isinstance(raw, RawDataElement | DataElement) else None
    if vr in (None, "UN") and _is_standard(tag):
        vr = dictionary_VR(tag)
    return (vr or "UN")[:2]


def _many(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


def _private_creators(dataset: Dataset) -> dict[tuple[int, int], str]:
    return {
        (tag.group, tag.element): str(dataset[tag].value).strip()
        for tag in list(dataset.keys())
        if tag.is_private_creator
    }


def _no_content() -> Dataset:
    """The one content item of a structured report whose content was removed."""
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121106", "DCM", "Comment"
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "TEXT"
    item.ConceptNameCodeSequence = [name]
    item.TextValue = str(dummy("UT"))
    return item
