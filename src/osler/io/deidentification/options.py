"""What is kept and what is cleaned: the options of DICOM PS3.15, annex E.3."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Dates = Literal["remove", "shift", "keep"]
Pixels = Literal["all", "likely", "rules"]


@dataclass(frozen=True, slots=True)
class Options:
    """What is kept of a file, and how hard its pixels are looked at.

    Attributes:
        dates: ``"remove"`` (Basic Profile), ``"shift"`` by an offset of each patient's own, or
            ``"keep"``.
        device: keep what names the device (Retain Device Identity).
        institution: keep what names the institution (Retain Institution Identity).
        patient: keep sex, age, size, weight and the like (Retain Patient Characteristics).
        uids: keep unique identifiers (Retain UIDs).
        safe_private: keep the private attributes that PS3.15 lists as safe.
        descriptors: keep descriptions and comments, cleaned (Clean Descriptors).
        structured: keep the content of structured reports, cleaned (Clean Structured Content).
        graphics: keep graphic annotations, cleaned (Clean Graphics); overlays and curves go.
        pixels: where text is searched in pixels: ``"all"`` images, those that are ``"likely"`` to
            have any (all but original CT, MR and PET slices), or by device ``"rules"`` only.
        markers: leave side and view markers ("L", "PA") in the pixels.
    """

    dates: Dates = "remove"
    device: bool = False
    institution: bool = False
    patient: bool = False
    uids: bool = False
    safe_private: bool = False
    descriptors: bool = False
    structured: bool = False
    graphics: bool = False
    pixels: Pixels = "all"
    markers: bool = True

    def codes(self) -> Iterator[tuple[str, str]]:
        """Code and meaning of the profile and each option, from context group 7050 [1].

        1. DICOM PS3.16, CID 7050 (De-identification Method).
        """
        yield "113100", "Basic Application Confidentiality Profile"
        chosen = (
            (self.pixels != "rules", "113101", "Clean Pixel Data Option"),
            (self.graphics, "113103", "Clean Graphics Option"),
            (self.structured, "113104", "Clean Structured Content Option"),
            (self.descriptors, "113105", "Clean Descriptors Option"),
            (
                self.dates == "keep",
                "113106",
                "Retain Longitudinal Temporal Information Full Dates Option",
            ),
            (
                self.dates == "shift",
                "113107",
                "Retain Longitudinal Temporal Information Modified Dates Option",
            ),
            (self.patient, "113108", "Retain Patient Characteristics Option"),
            (self.device, "113109", "Retain Device Identity Option"),
            (self.uids, "113110", "Retain UIDs Option"),
            (self.safe_private, "113111", "Retain Safe Private Option"),
            (self.institution, "113112", "Retain Institution Identity Option"),
        )
        yield from ((code, meaning) for wanted, code, meaning in chosen if wanted)
