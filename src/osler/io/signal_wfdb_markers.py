"""Annotations of WFDB records (``.atr``, ``.qrs`` and their like), in and out.

Source: annot(5) of the WFDB Applications Guide, PhysioNet.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import UnreadableError
from osler.io.input_file import InputFile
from osler.record import Markers, Source

ANNOTATORS: Final = re.compile(
    r"atr|ecg|ari|man|qrsc?|st[abc-]?|aha|apn|pu\d?|pwave|q[12]c|cbg?|xyz"
    r"|[gswxp]qrs[hls]?|mit|wabp|wrr|ann|event|rhythm|beat|pp|al|hypn|resp",
    re.IGNORECASE,
)
"""Extensions that annotators usually have."""

_BY_PERSON: Final = {"atr", "ari", "man", "q1c", "q2c", "qrsc", "apn"}

_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63

SYMBOLS: Final[dict[int, tuple[str, str]]] = {
    1: ("N", "normal beat"),
    2: ("L", "left bundle branch block beat"),
    3: ("R", "right bundle branch block beat"),
    4: ("a", "aberrated atrial premature beat"),
    5: ("V", "premature ventricular contraction"),
    6: ("F", "fusion of ventricular and normal beat"),
    7: ("J", "nodal (junctional) premature beat"),
    8: ("A", "atrial premature contraction"),
    9: ("S", "premature or ectopic supraventricular beat"),
    10: ("E", "ventricular escape beat"),
    11: ("j", "nodal (junctional) escape beat"),
    12: ("/", "paced beat"),
    13: ("Q", "unclassifiable beat"),
    14: ("~", "change of signal quality"),
    16: ("|", "isolated QRS-like artefact"),
    18: ("s", "ST change"),
    19: ("T", "T-wave change"),
    20: ("*", "systole"),
    21: ("D", "diastole"),
    22: ('"', "comment"),
    23: ("=", "measurement"),
    24: ("p", "P-wave peak"),
    25: ("B", "left or right bundle branch block"),
    26: ("^", "non-conducted pacer spike"),
    27: ("t", "T-wave peak"),
    28: ("+", "rhythm change"),
    29: ("u", "U-wave peak"),
    30: ("?", "learning"),
    31: ("!", "ventricular flutter wave"),
    32: ("[", "start of ventricular flutter or fibrillation"),
    33: ("]", "end of ventricular flutter or fibrillation"),
    34: ("e", "atrial escape beat"),
    35: ("n", "supraventricular escape beat"),
    36: ("@", "link to external data"),
    37: ("x", "non-conducted P wave"),
    38: ("f", "fusion of paced and normal beat"),
    39: ("(", "waveform onset"),
    40: (")", "waveform end"),
    41: ("r", "R-on-T premature ventricular contraction"),
}
"""Code to symbol and meaning."""

_CODES: Final[dict[str, int]] = {symbol: code for code, (symbol, _) in SYMBOLS.items()}
_RESOLUTION = re.compile(r"## time resolution: (\d+\.?\d*)")
_CUSTOM = re.compile(r"(\d+) (\S+) (.+)")


@dataclass(slots=True)
class _Annotations:
    samples: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    channels: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_markers(file: InputFile, *, id: str, item: str, rate: float, source: str) -> Markers:
    """Read a file of annotations.

    Args:
        file: the opened file.
        id: of the finding.
        item: the signal that it is about.
        rate: of its sample numbers (Hz), where the file states none.
        source: the annotator's name, which is the file's extension.

    Raises:
        UnreadableError: the file is cut or no annotation file.
    """
    file.stream.seek(0)
    found = _parse(file, file.stream.read())
    custom, stated = _definitions(found)
    rate = stated or rate
    keep = [i for i, code in enumerate(found.codes) if code and not _is_definition(found, i)]
    known = {**SYMBOLS, **custom}
    symbols = [known.get(found.codes[i], (f"[{found.codes[i]}]", "")) for i in keep]
    notes = tuple(found.notes[i] for i in keep)
    person = source.casefold() in _BY_PERSON
    return Markers(
        id=id,
        name=f"Annotations '{source}'",
        source=Source("person" if person else "algorithm", "annotator" if person else source),
        item=item,
        times=np.array([found.samples[i] for i in keep], np.float64) / rate,
        labels=tuple(symbol for symbol, _ in symbols),
        channels=tuple(found.channels[i] for i in keep),
        notes=notes if any(notes) else (),
        meanings={symbol: meaning for symbol, meaning in symbols if meaning},
    )


def _parse(file: InputFile, data: bytes) -> _Annotations:
    if len(data) % 2 or len(data) < 2:
        raise _cut(file)
    words = [word for (word,) in struct.iter_unpack("<H", data)]
    found = _Annotations()
    at, sample, channel = 0, 0, 0
    while at < len(words):
        code, value = words[at] >> 10, words[at] & 0x3FF
        at += 1
        if code == 0 and value == 0:
            return found  # the end that the format asks for
        if code == _SKIP:
            if at + 2 > len(words):
                raise _cut(file)
            skip = (words[at] << 16) | words[at + 1]
            sample += skip - (1 << 32) if skip & 0x80000000 else skip
            at += 2
        elif code == _CHN:
            channel = value & 0xFF
            if found.channels:
                found.channels[-1] = channel
        elif code == _AUX:
            length = value & 0xFF
            note = data[2 * at : 2 * at + length]
            if len(note) < length:
                raise _cut(file)
            at += (length + 1) // 2
            if found.notes:
                found.notes[-1] = note.rstrip(b"\0").decode("utf-8", "replace")
        elif code not in (_NUM, _SUB):
            sample += value
            found.samples.append(sample)
            found.codes.append(code)
            found.channels.append(channel)
            found.notes.append("")
    raise _cut(file)


def _is_definition(found: _Annotations, at: int) -> bool:
    """Notes at sample 0 that begin with ``##``, and the lines between them, define symbols."""
    if found.samples[at] != 0 or found.codes[at] != _CODES['"']:
        return False
    return found.notes[at].startswith("##") or bool(_CUSTOM.fullmatch(found.notes[at]))


def _definitions(found: _Annotations) -> tuple[dict[int, tuple[str, str]], float | None]:
    custom: dict[int, tuple[str, str]] = {}
    rate = None
    for i in range(len(found.samples)):
        if _is_definition(found, i):
            if match := _RESOLUTION.match(found.notes[i]):
                rate = float(match[1]) or None
            elif match := _CUSTOM.fullmatch(found.notes[i]):
                custom[int(match[1])] = (match[2], match[3])
    return custom, rate


def pack_markers(markers: Markers, *, rate: float) -> bytes:
    """The bytes of an annotation file.

    Args:
        markers: labels that are no symbol of the format become comments with the label as note.
        rate: of the record (Hz).
    """
    order = np.argsort(markers.times, kind="stable")
    samples: NDArray[np.int64] = np.round(markers.times[order] * rate).astype(np.int64)
    out = bytearray()
    last, channel = 0, 0
    for i, sample in zip(order, samples, strict=True):
        note = markers.notes[i] if markers.notes else ""
        label = markers.labels[i]
        code = _CODES.get(label)
        if code is None:
            code, note = _CODES['"'], f"{label} {note}".strip()
        step = int(sample) - last
        if not 0 <= step < 1024:
            out += struct.pack("<HHH", _SKIP << 10, (step >> 16) & 0xFFFF, step & 0xFFFF)
            step = 0
        out += struct.pack("<H", code << 10 | step)
        at = max(markers.channels[i], 0) if markers.channels else 0
        if at != channel:
            out += struct.pack("<H", _CHN << 10 | (at & 0xFF))
            channel = at
        if note:
            raw = note.encode()[:255]
            out += struct.pack("<H", _AUX << 10 | len(raw)) + raw + b"\0" * (len(raw) % 2)
        last = int(sample)
    return bytes(out + b"\0\0")


def meanings() -> Mapping[str, str]:
    """Symbol to words, for all that the format knows."""
    return dict(SYMBOLS.values())


def _cut(file: InputFile) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' is named as WFDB annotations but does not end as they do; it is incomplete "
        "or of another kind: copy it again, or move it out of the record's folder"
    )
