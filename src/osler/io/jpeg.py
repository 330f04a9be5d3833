"""The segments of a JPEG file [1]: which may be kept in a DICOM object, and which must not be.

1. ITU-T T.81 (JPEG), annex B; T.871 (JFIF); Adobe Technical Note 5116, section 18.
"""

_START, _END, _SCAN, _FRAME = 0xD8, 0xD9, 0xDA, 0xC0
_OTHER_FRAMES = frozenset({0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_JFIF, _ADOBE, _COMMENT = 0xE0, 0xEE, 0xFE


def strip(content: bytes) -> tuple[bytes, str] | None:
    """A baseline JPEG without its metadata, and its DICOM photometric interpretation.

    Application segments, comments and what follows the image go: they can hold names, places and
    serial numbers. JFIF and Adobe segments stay, since they say what the components are.

    Returns:
        None for what is not one whole baseline JPEG of 8 bits with 1 or 3 components.
    """
    if content[:2] != bytes((0xFF, _START)):
        return None
    kept, at = [content[:2]], 2
    adobe, photometric = -1, ""
    while at + 2 <= len(content):
        marker = content[at + 1]
        if content[at] != 0xFF:
            return None
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _END:
            kept.append(content[at : at + 2])
            return (b"".join(kept), photometric) if photometric else None
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker < _FRAME or marker in _OTHER_FRAMES or 0xD0 <= marker <= _START or end < at + 4:
            return None
        segment = content[at:end]
        if marker == _ADOBE and segment[4:9] == b"Adobe" and len(segment) > 15:
            adobe = segment[15]
        if marker == _FRAME:
            photometric = _photometric(segment, adobe)
        if marker == _SCAN:
            end = _after_scan(content, end)
            segment = content[at:end]
        if not (_JFIF <= marker <= 0xEF or marker == _COMMENT) or marker in (_JFIF, _ADOBE):
            kept.append(segment)
        at = end
    return None


def _after_scan(content: bytes, at: int) -> int:
    """Where the entropy-coded data that starts here ends: at a marker that is not a restart."""
    while True:
        at = content.find(b"\xff", at)
        if at < 0 or at + 1 >= len(content):
            return len(content)
        following = content[at + 1]
        if following not in (0x00, 0xFF) and not 0xD0 <= following <= 0xD7:
            return at
        at += 1 if following == 0xFF else 2


def _photometric(frame: bytes, adobe: int) -> str:
    """What the components of a frame header are, as libjpeg decides it; empty for other kinds."""
    if len(frame) < 13 or frame[4] != 8:
        return ""
    components = [frame[10 + 3 * i : 13 + 3 * i] for i in range(frame[9])]
    if len(components) == 1:
        return "MONOCHROME2"
    if len(components) != 3 or len(frame) < 19:
        return ""
    if adobe == 0 or (adobe < 0 and bytes(c[0] for c in components) == b"RGB"):
        return ""  # not allowed in a baseline stream: PS3.5, table 8.2.1-1
    # PS3.5 8.2.1: in JPEG this names the colour space, however the stream was subsampled
    return "YBR_FULL_422"
