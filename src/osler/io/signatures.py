"""What a file is, by its first bytes: names and extensions are not believed.

Sources: the signatures are those of ITU-T T.81 B.1.1.3 (JPEG), PNG 3rd ed. 5.2, TIFF 6.0
section 2 and the BigTIFF note (TIFF), the BITMAPINFOHEADER family (BMP), DICOM PS3.10 7.1, and
nifti1.h and nifti2.h (NIfTI).
"""

import re
import struct
import zlib

HEAD_BYTES = 2048
"""How many bytes from the start of a file the functions here want to see."""

EXTENSIONS = {
    "jpeg": {"jpg", "jpeg", "jpe", "jfif", "mpo"},
    "png": {"png", "apng"},
    "tiff": {"tif", "tiff", "btf"},
    "bmp": {"bmp", "dib"},
    "dicom": {"dcm", "dicom", "dic", "ima"},
    "nifti": {"nii", "hdr"},
    "nrrd": {"nrrd", "nhdr"},
    "metaimage": {"mha", "mhd"},
}
"""Format to the extensions it usually has; used for hints, never for decisions."""

UNKNOWN = "of no known format"

_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)
_DICOMDIR_CLASS = b"1.2.840.10008.1.3.10"


def is_jpeg(head: bytes) -> bool:
    """Whether the bytes start a JPEG (DCT) stream."""
    return head.startswith(b"\xff\xd8\xff")


def is_png(head: bytes) -> bool:
    """Whether the bytes start a PNG."""
    return head.startswith(b"\x89PNG\r\n\x1a\n")


def is_tiff(head: bytes) -> bool:
    """Whether the bytes start a TIFF or BigTIFF of either byte order."""
    return head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def is_bmp(head: bytes) -> bool:
    """Whether the bytes start a BMP; text that begins with "BM" does not."""
    if not head.startswith(b"BM") or len(head) < 18:
        return False
    return struct.unpack_from("<I", head, 14)[0] in _BMP_HEADERS


def is_dicom(head: bytes) -> bool:
    """Whether the bytes start a DICOM file, with the preamble of PS3.10 or without it."""
    return head[128:132] == b"DICM" or is_dicom_without_preamble(head)


def is_dicom_without_preamble(head: bytes) -> bool:
    """Whether the bytes start with a little-endian data element of group 0002 or 0008."""
    if len(head) < 8:
        return False
    group, element, length = struct.unpack_from("<HHI", head)
    explicit = head[4:6] in _VRS
    if group == 2:
        # file meta information, whose first element is always explicit
        return explicit and element <= 1
    # an explicit VR stands where an implicit length would be; a first value is short and even
    return group == 8 and element <= 0x23 and (explicit or (length <= 64 and length % 2 == 0))


def is_dicomdir(head: bytes) -> bool:
    """Whether the bytes start a DICOMDIR, the index of a DICOM medium, which holds no image."""
    return is_dicom(head) and _DICOMDIR_CLASS in head


def is_nifti(head: bytes) -> bool:
    """Whether the bytes start a NIfTI header of either version and byte order, plain or gzipped.

    An Analyze 7.5 header counts as one, so that its reader can say what is missing in it.
    """
    if head.startswith(b"\x1f\x8b"):
        head = _inflated(head, 348)
    if len(head) < 348:
        return False
    sizes = {struct.unpack_from(order, head)[0] for order in ("<i", ">i")}
    if 540 in sizes:
        return head[4:8] in (b"n+2\0", b"ni2\0")
    dimensions = (struct.unpack_from(order, head, 40)[0] for order in ("<h", ">h"))
    analyze = any(1 <= n <= 7 for n in dimensions) and head[344:346] != b"n+"
    return 348 in sizes and (head[344:348] in (b"n+1\0", b"ni1\0") or analyze)


def is_nrrd(head: bytes) -> bool:
    """Whether the bytes start an NRRD header, attached or detached."""
    return head.startswith(b"NRRD000")


def is_metaimage(head: bytes) -> bool:
    """Whether the bytes start a MetaImage header: text with its two sizes near the start."""
    start = head.lstrip()
    if not start.startswith(
        (b"ObjectType", b"NDims", b"ObjectSubType", b"Comment", b"ID", b"Name")
    ):
        return False
    return all(re.search(rb"(?m)^\s*%s\s*=" % name, head) for name in (b"NDims", b"DimSize"))


def _inflated(head: bytes, size: int) -> bytes:
    """The first ``size`` bytes of a gzip stream, or what there is of them."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, size)
    except zlib.error:
        return b""


_NOT_READ: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (4, b"ftyp", "a HEIF, AVIF or MP4 file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive or office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x80\x04", "a Python pickle"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE compound file"),
)
_TEXTS: tuple[tuple[bytes, str], ...] = (
    (b"{\\rtf", "an RTF document"),
    (b"<!doctype html", "a web page (HTML)"),
    (b"<html", "a web page (HTML)"),
)
_WAYS_OUT: tuple[tuple[str, str], ...] = (
    ("image", "save it as PNG or TIFF"),
    ("a HEIF", "save a picture as PNG or TIFF, and a film as single frames"),
    ("archive", "unpack it and open what is inside"),
    ("a NumPy array", "make an Image of it in Python, with its scale, or save it as NIfTI"),
    ("a Python pickle", "it can run code when it is opened, so it never is"),
    ("an RTF document", "save it as .docx or PDF"),
    ("an OLE compound", "if it is an Excel workbook of before 2007, name it .xls"),
    ("a web page", "save its text as .txt or PDF, and its tables as .csv or .xlsx"),
)


def describe(head: bytes) -> str:
    """What the first bytes of a file that is not read look like, as it fits after "is"."""
    for offset, magic, words in _NOT_READ:
        if head[offset : offset + len(magic)] == magic:
            return words
    return "text" if _is_text(head) else UNKNOWN


def markup(head: bytes) -> str:
    """What kind of marked-up text it is; empty for any other."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((words for magic, words in _TEXTS if start.startswith(magic)), "")


def way_out(words: str) -> str:
    """How to bring what is called so to a format that is read; empty where that is unknown."""
    return next((way for part, way in _WAYS_OUT if part in words), "")


def _is_text(head: bytes) -> bool:
    if not head or b"\0" in head:
        return False
    text = head.decode("utf-8", "replace")
    readable = sum(c.isprintable() or c in "\r\n\t" for c in text) - text.count("�")
    return readable >= 0.9 * len(text)
