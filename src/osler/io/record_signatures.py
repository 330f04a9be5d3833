"""What a signal, table, text or matrix is, by its first bytes.

Text without a signature is told by the extension of its name; see ``READERS``.
"""

import re
import zlib


def is_edf(head: bytes) -> bool:
    """Whether the bytes start an EDF or BDF recording: its first fields are fixed in place."""
    if len(head) < 256:
        return False
    version = head[:8]
    numbers = (head[184:192], head[236:244], head[252:256])
    return version in (b"0       ", b"\xffBIOSEMI") and all(
        re.fullmatch(rb"-?\d+ *", number) for number in numbers
    )


def is_parquet(head: bytes) -> bool:
    """Whether the bytes start a Parquet file."""
    return head.startswith(b"PAR1")


def is_zip(head: bytes) -> bool:
    """Whether the bytes start a ZIP archive, such as a Word or Excel document."""
    return head.startswith(b"PK\x03\x04")


def is_compound(head: bytes) -> bool:
    """Whether the bytes start an OLE compound file, such as an Office document of before 2007."""
    return head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


def is_plain_text(head: bytes) -> bool:
    """Whether the bytes can be text: a byte order mark of UTF-16, or no zero byte."""
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" not in head


def is_pdf(head: bytes) -> bool:
    """Whether the bytes start a PDF document."""
    return head.startswith(b"%PDF-")


def is_fhir(head: bytes) -> bool:
    """Whether the bytes start a FHIR resource: an object that names its type, or its XML."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        root = re.search(rb"<[A-Za-z][^<>]*>", start)
        return (
            root is not None and re.search(rb"""["']http://hl7.org/fhir["']""", root[0]) is not None
        )
    return start.startswith(b"{") and re.search(rb'"resourceType"\s*:\s*"', head) is not None


def is_hl7(head: bytes) -> bool:
    """Whether the bytes start a message, batch or file of HL7 version 2: its five delimiters."""
    start = head.removeprefix(b"\xef\xbb\xbf")
    return re.match(rb"[\x0b\s]*(?:FHS|BHS|MSH)(?:([!-/:-@[-`{-~])(?!\1)){5}", start) is not None


def is_xml(head: bytes) -> bool:
    """Whether the bytes start an XML document."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith((b"<?xml", b"<ClinicalDocument"))


def is_gct(head: bytes) -> bool:
    """Whether the bytes start a GCT matrix."""
    return re.match(rb"#1\.[23][\t ]*\r?\n", head) is not None


def is_hdf5(head: bytes) -> bool:
    """Whether the bytes start an HDF5 file."""
    return head.startswith(b"\x89HDF\r\n\x1a\n")


def is_vcf(head: bytes) -> bool:
    """Whether the bytes start a VCF, plain or (b)gzipped."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 64)
        except zlib.error:
            return False
    return head.startswith(b"##fileformat=VCF")
