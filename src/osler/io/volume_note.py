"""What an image says that a volume format has no field for, as a remark that we read back.

It stands where the format keeps what programs add: a key/value pair of NRRD, a further field of
MetaImage, a comment extension of NIfTI. Other programs pass over it.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from osler.io.volume_values import is_colour
from osler.record import Image

KEY: Final = "osler"
_LONGEST: Final = 1 << 16
SYNTHETIC: Final = "synthetic"
"""The flag of an image that nobody measured, which goes wherever the image goes."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a remark says.

    Attributes:
        plane: the volume of one slice was an image ``(C, H, W)``: only so has it a place in the
            patient, or an axis of time.
        channels: a name for each.
        synthetic: nobody measured it.
    """

    plane: bool = False
    channels: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Those of the image that was written."""
        return (SYNTHETIC,) if self.synthetic else ()


def note_of(image: Image, *, plane: bool) -> str:
    """The remark for an image; empty where there is nothing to say."""
    said: dict[str, Any] = {"plane": True} if plane else {}
    if image.channels and not is_colour(image):
        said["channels"] = list(image.channels)
    if SYNTHETIC in image.flags:
        said[SYNTHETIC] = True
    return json.dumps(said) if said else ""


def read_note(text: str | None) -> Note:
    """What a remark says; what is no remark of ours says nothing."""
    if not text or len(text) > _LONGEST:
        return Note()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return Note()
    if not isinstance(said, dict):
        return Note()
    names = said.get("channels")
    sound = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return Note(
        said.get("plane") is True,
        tuple(names) if sound and names else (),
        said.get(SYNTHETIC) is True,
    )
