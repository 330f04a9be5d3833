"""The words of a FHIR R4 DiagnosticReport."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from html.parser import HTMLParser
from typing import Any, Final

from osler.io.input_file import InputFile
from osler.io.text_reading import checked, text_item
from osler.io.text_sections import sections
from osler.record import Origin, Text

_LINES: Final = {"p", "div", "br", "tr", "li", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5"}


def report(file: InputFile, resource: Mapping[str, Any], origin: Origin) -> Text | None:
    """The presented form in plain text, else the narrative, and the conclusion; None for no words.

    A presented form of another kind, such as a PDF, is passed over with the flag
    ``presented-form-not-read``.

    Args:
        file: the file, for messages.
        resource: the DiagnosticReport.
        origin: of the file.

    Raises:
        TooLargeError: the text is too long for a report.
    """
    pieces: list[str] = []
    flags: list[str] = []
    said = str(resource.get("language") or "").partition("-")[0].lower()
    for form in resource.get("presentedForm") or []:
        words = _attachment(form) if isinstance(form, dict) else None
        if words is None:
            flags.append("presented-form-not-read")
        else:
            pieces.append(words)
            said = said or str(form.get("language") or "").partition("-")[0].lower()
    narrative = resource.get("text")
    if not pieces and isinstance(narrative, dict) and isinstance(narrative.get("div"), str):
        words = _xhtml(narrative["div"])
        pieces += [words] if words else []
    known = sections("\n".join(pieces))
    conclusion = resource.get("conclusion")
    if isinstance(conclusion, str) and conclusion.strip():
        if not any(conclusion.strip() in piece for piece in pieces):
            pieces.append(conclusion.strip())
        known.setdefault("impression", conclusion.strip())
    if not pieces:
        return None
    return text_item(
        checked(file, "\n".join(pieces)),
        origin,
        known=known,
        said_language=said,
        flags=tuple(dict.fromkeys(flags)),
        acquired=_moment(resource),
    )


def _attachment(form: Mapping[str, Any]) -> str | None:
    kind, data = str(form.get("contentType") or ""), form.get("data")
    if not isinstance(data, str) or not kind.startswith(("text/plain", "text/html")):
        return None
    try:
        words = base64.b64decode(data, validate=False).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return (_xhtml(words) if kind.startswith("text/html") else words) or None


class _Words(HTMLParser):
    """Collects what a reader of a page would see; nothing of it is run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        if tag in _LINES:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._hidden = max(0, self._hidden - 1)
        self.pieces.append("\n" if tag in _LINES else " ")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(re.sub(r"\s+", " ", data))


def _xhtml(words: str) -> str:
    parser = _Words()
    parser.feed(words)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def _moment(resource: Mapping[str, Any]) -> datetime | None:
    stated = resource.get("effectiveDateTime") or resource.get("issued")
    try:
        return datetime.fromisoformat(stated) if isinstance(stated, str) else None
    except ValueError:
        return None
