"""Plain text as a PDF document of A4 pages, in Helvetica, which every reader has [1].

1. ISO 32000-1:2008, 7.5 (file structure) and 9.6.2.2 (standard 14 fonts).
"""

import textwrap

from osler.errors import OutputError

_LINES, _COLUMNS = 60, 90
_SIZE, _LEADING = 10, 12.5


def typeset(text: str) -> bytes:
    """Set a text; long lines are broken at words, a form feed starts a page.

    Raises:
        OutputError: a letter is not of the Western European set (Windows-1252).
    """
    lines: list[str] = []
    for line in text.expandtabs(4).replace("\f", "\n\f").splitlines() or [""]:
        fits = textwrap.wrap(line, _COLUMNS, drop_whitespace=False, replace_whitespace=False)
        lines += fits or [""]
    pages = [lines[n : n + _LINES] for n in range(0, len(lines), _LINES)]
    return _file([_stream(page) for page in pages])


def _stream(lines: list[str]) -> bytes:
    shown = b"".join(b"(%s) Tj T*\n" % _escaped(line) for line in lines)
    return b"BT /F1 %d Tf %.1f TL 50 790 Td\n%sET" % (_SIZE, _LEADING, shown)


def _escaped(line: str) -> bytes:
    try:
        content = "".join(c for c in line if c.isprintable()).encode("cp1252")
    except UnicodeEncodeError as error:
        raise OutputError(
            f"the text has a letter (U+{ord(line[error.start]):04X}) that the fonts of every PDF "
            "reader lack; give a PDF file made with a font that has it"
        ) from None
    return content.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file(streams: list[bytes]) -> bytes:
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
    kids = b" ".join(b"%d 0 R" % (4 + 2 * n) for n in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(streams)),
        font,
    ]
    for n, stream in enumerate(streams):
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>>>>>" % (5 + 2 * n)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)
