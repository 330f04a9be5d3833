"""Plain text as a PDF document of A4 pages, in fonts that readers have or stand others in for.

Western letters are set in Helvetica, which every reader has [1]. Chinese, Japanese, Greek and
Cyrillic letters are set in STSong-Light and Korean in HYSMyeongJo-Medium, by the names and
encodings that the format itself knows [2], so that no font lies in the file; a reader shows them in
a font of its own. A map to Unicode goes along, so that what is taken out is what was put in.

1. ISO 32000-1:2008, 7.5 (file structure) and 9.6.2.2 (standard 14 fonts).
2. ISO 32000-1:2008, 9.7.5.2 (predefined CMaps) and 9.10.3 (ToUnicode CMaps).
"""

import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from osler.errors import OutputError

_LINES, _COLUMNS = 60, 90
_SIZE, _LEADING = 10, 12.5


@dataclass(frozen=True, slots=True)
class _Font:
    """A font that is named and not embedded.

    Attributes:
        name: in the page, such as ``"F2"``.
        base: of the font itself.
        encoding: the predefined CMap from UTF-16 to its glyphs.
        collection: its collection of glyphs.
        supplement: the number of this.
        codec: has the letters that the collection has.
    """

    name: str
    base: str
    encoding: str
    collection: str
    supplement: int
    codec: str


_SPACES: Final = "\u00a0\u3000"  # which Python does not call printable
_WESTERN: Final = "F1"
_FONTS: Final = (
    _Font("F2", "STSong-Light", "UniGB-UTF16-H", "GB1", 4, "gbk"),
    _Font("F3", "HYSMyeongJo-Medium", "UniKS-UTF16-H", "Korea1", 2, "euc_kr"),
)


def typeset(text: str) -> bytes:
    """Set a text; long lines are broken at words, a form feed starts a page.

    Raises:
        OutputError: none of the fonts has a letter of it.
    """
    lines: list[str] = []
    for line in text.expandtabs(4).replace("\f", "\n\f").splitlines() or [""]:
        lines += list(_broken(line)) or [""]
    pages = [lines[n : n + _LINES] for n in range(0, len(lines), _LINES)]
    used: dict[str, set[str]] = {font.name: set() for font in _FONTS}
    streams = [_stream(page, used) for page in pages]
    return _file(streams, used)


def _broken(line: str) -> Iterator[str]:
    """Parts of a line that fit: broken at spaces, and anywhere between wide letters."""
    if len(line) == sum(map(_width, line)):
        yield from textwrap.wrap(line, _COLUMNS, drop_whitespace=False, replace_whitespace=False)
        return
    part, width, gap = "", 0, 0  # ``gap``: how much of the part comes before its last break
    for letter in line:
        if width + _width(letter) > _COLUMNS:
            cut = gap or len(part)
            yield part[:cut]
            part = part[cut:]
            width, gap = sum(map(_width, part)), 0
        part, width = part + letter, width + _width(letter)
        if letter == " " or _width(letter) == 2:
            gap = len(part)
    yield part


def _width(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _stream(lines: list[str], used: dict[str, set[str]]) -> bytes:
    shown, font = [], _WESTERN
    for line in lines:
        for name, run in _runs("".join(c for c in line if c.isprintable() or c in _SPACES)):
            if name != font:
                shown.append(b"/%s %d Tf\n" % (name.encode(), _SIZE))
                font = name
            if name == _WESTERN:
                shown.append(b"(%s) Tj\n" % _escaped(run))
            else:
                used[name].update(run)
                shown.append(b"<%s> Tj\n" % run.encode("utf-16-be").hex().encode())
        shown.append(b"T*\n")
    start = b"BT /F1 %d Tf %.1f TL 50 790 Td\n" % (_SIZE, _LEADING)
    return start + b"".join(shown) + b"ET"


def _runs(line: str) -> Iterator[tuple[str, str]]:
    """Stretches of a line with the name of the font of each."""
    run, font = "", _WESTERN
    for letter in line:
        wanted = _font_of(letter)
        if run and wanted != font:
            yield font, run
            run = ""
        run, font = run + letter, wanted
    if run:
        yield font, run


def _font_of(letter: str) -> str:
    if _has("cp1252", letter):
        return _WESTERN
    for font in _FONTS:
        if _has(font.codec, letter):
            return font.name
    raise OutputError(
        f"the text has a letter (U+{ord(letter):04X}) that the fonts of every PDF reader lack; "
        "give a PDF file made with a font that has it"
    )


def _has(codec: str, letter: str) -> bool:
    try:
        letter.encode(codec)
    except UnicodeEncodeError:
        return False
    return letter <= "\uffff"


def _escaped(line: str) -> bytes:
    content = line.encode("cp1252")
    return content.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file(streams: list[bytes], used: dict[str, set[str]]) -> bytes:
    fonts = [font for font in _FONTS if used[font.name]]
    first = 4 + 4 * len(fonts)  # the number of the first page
    named = b"".join(b"/%s %d 0 R" % (f.name.encode(), 4 + 4 * n) for n, f in enumerate(fonts))
    kids = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(streams)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for font in fonts:
        objects += _font(font, used[font.name], number=len(objects) + 1)
    for stream in streams:
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R%s>>>>>>" % (len(objects) + 2, named)
        )
        objects.append(_content(stream))
    out = bytearray(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def _content(stream: bytes) -> bytes:
    return b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream)


def _font(font: _Font, letters: set[str], *, number: int) -> list[bytes]:
    """The four objects of a font: itself, its one descendant, a description, the map to Unicode."""
    base, encoding = font.base.encode(), font.encoding.encode()
    return [
        b"<</Type/Font/Subtype/Type0/BaseFont/%s-%s/Encoding/%s/DescendantFonts[%d 0 R]"
        b"/ToUnicode %d 0 R>>" % (base, encoding, encoding, number + 1, number + 3),
        b"<</Type/Font/Subtype/CIDFontType0/BaseFont/%s/CIDSystemInfo<</Registry(Adobe)"
        b"/Ordering(%s)/Supplement %d>>/DW 1000/FontDescriptor %d 0 R>>"
        % (base, font.collection.encode(), font.supplement, number + 2),
        b"<</Type/FontDescriptor/FontName/%s/Flags 6/FontBBox[-25 -254 1000 880]/ItalicAngle 0"
        b"/Ascent 880/Descent -120/CapHeight 880/StemV 93>>" % base,
        _content(_to_unicode(letters)),
    ]


def _to_unicode(letters: set[str]) -> bytes:
    """The map from the codes of letters, which are UTF-16, to Unicode: each to itself."""
    codes = sorted(letter.encode("utf-16-be").hex().encode() for letter in letters)
    out = [
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
        b"/CIDSystemInfo <</Registry(Adobe)/Ordering(UCS)/Supplement 0>> def",
        b"/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
        b"1 begincodespacerange <0000> <FFFF> endcodespacerange",
    ]
    for n in range(0, len(codes), 100):
        part = codes[n : n + 100]
        out.append(b"%d beginbfchar" % len(part))
        out += [b"<%s> <%s>" % (code, code) for code in part]
        out.append(b"endbfchar")
    out.append(b"endcmap CMapName currentdict /CMap defineresource pop end end")
    return b"\n".join(out)
