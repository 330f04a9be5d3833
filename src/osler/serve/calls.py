"""What the tools of the server do: a case is read, measured, asked about, and reported on."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from osler.errors import InputError, OslerError
from osler.language.asking import ask as answered
from osler.language.engine import clean
from osler.language.facts import bounded
from osler.language.tools import MOST_GIVEN, Search, Toolbox
from osler.record import Case, Passage
from osler.serve.workplace import Workplace

LIMITS: Final = "Research software, not for diagnosis: every finding is preliminary."


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one workplace, by their names.

    Attributes:
        place: what may be read and written.
        search: an index to look in, where the user named one.
    """

    place: Workplace
    search: Search | None = None

    def do(self, name: str, arguments: Mapping[str, Any]) -> str | bytes:
        """One call.

        Args:
            name: of one of the methods below.
            arguments: as they were checked.

        Raises:
            OslerError: it cannot be done; the sentence says why.
        """
        if name not in NAMES:
            raise InputError("there is no such call")
        said: str | bytes = getattr(self, name)(**arguments)
        return said

    def read(self, path: str) -> str:
        """Findings, items and a handle of a file or folder."""
        handle, tools = self._box(path)
        facts = tools.call("list_findings", {"count": 40}).values
        items = tools.call("list_items").values["items"]
        kept = [f for f in facts["facts"] if f["kind"] != "measurement"]
        return _said(
            {"case": handle, "items": items, "facts": kept, "all": facts["all"], "note": LIMITS}
        )

    def tool(
        self, case: str, tool: str, arguments: Mapping[str, Any], earlier: str | None = None
    ) -> str:
        """One of the tools over a case."""
        handle, tools = self._box(case, earlier)
        given = tools.call(tool, {k: v for k, v in arguments.items() if v is not None})
        return _said({"case": handle, **given.values, "evidence": list(given.evidence)})

    def ask(self, case: str, question: str, earlier: str | None = None) -> str:
        """The answer to a question, by rule."""
        handle, tools = self._box(case, earlier)
        tools.search = None  # whose answers name files; the search of agents names handles
        answer, _ = answered(question, tools)
        document = answer.as_document()
        document.pop("calls")
        return _said({"case": handle, **document})

    def report(self, case: str, write: bool) -> str:
        """The sentences of a case with their evidence; written where that is asked for."""
        handle, tools = self._box(case)
        said = [
            {"section": one.section, "text": bounded(one.text, most=500),
             "evidence": [bounded(e) for e in one.evidence[:8]], "flags": list(one.flags[:8])}
            for one in list(tools.case.of(Passage))[:60]
        ]  # fmt: skip
        if not said:
            said = [{"section": "findings", "text": f.words, "evidence": [f.id],
                     "flags": list(f.flags)} for f in tools.facts[:40]]  # fmt: skip
        document: dict[str, Any] = {"case": handle, "sentences": said, "note": LIMITS}
        if write:
            document["written"] = self.place.written(handle)
        return _said(document)

    def look(self, words: str, count: int) -> str:
        """What in the index is like some words."""
        tools = Toolbox(Case("none"), search=self.search, identity=self.place.identity)
        found = tools.call("search", {"words": words, "count": count}).values
        return _said({**found, "found": [_hit(hit, self.place) for hit in found["found"]]})

    def crop(self, case: str, of: str | None, box: list[int] | None, margin: float) -> bytes:
        """A piece of an image, as PNG."""
        _, tools = self._box(case)
        asked = {"of": of, "box": box, "margin": margin}
        given = tools.call("crop", {k: v for k, v in asked.items() if v is not None})
        return _png(given.image)

    def _box(self, case: str, earlier: str | None = None) -> tuple[str, Toolbox]:
        place = self.place
        from osler.batch.case_opening import follow

        handle, opened = place.opened(case)
        then = place.opened(earlier)[1] if earlier else None
        tools = Toolbox(
            opened, earlier=then, search=self.search, language=place.language,
            identity=place.identity, follow=partial(follow, language=place.language),
        )  # fmt: skip
        return handle, tools


def calls_of(
    roots: Sequence[Path],
    *,
    out: Path | None = None,
    identity: bool = False,
    language: str = "en",
    index: Path | None = None,
) -> Calls:
    """The calls of a workplace that is made here.

    Args:
        roots: as of `Workplace`.
        out: likewise.
        identity: likewise.
        language: likewise.
        index: an index to look in.

    Raises:
        InputError: a folder is not there, or the index cannot be read.
    """
    search = None
    if index is not None:
        from osler.batch.case_searching import search_of

        search = search_of(index)
    return Calls(Workplace(roots, out=out, identity=identity, language=language), search)


NAMES: Final = ("read", "tool", "ask", "report", "look", "crop")
"""What may be called."""


def _hit(hit: dict[str, Any], place: Workplace) -> dict[str, Any]:
    """What was found in an index: its handle where it may be read, and no names of patients."""
    kept = dict(hit) if place.identity else {
        k: v for k, v in hit.items() if k in ("rank", "score", "kind", "known", "likeness")
    }  # fmt: skip
    try:
        kept["case"] = place.known(str(hit.get("file", "")))[0]
    except OslerError:
        kept["case"] = None
    return kept


def _said(values: dict[str, Any]) -> str:
    """Values as JSON that is never too long: lists lose their ends, and that is said."""
    text = clean(json.dumps(values, ensure_ascii=False, default=str))
    while len(text) > MOST_GIVEN:
        lists = [v for v in values.values() if isinstance(v, list) and len(v) > 1]
        if not lists:
            return json.dumps({"error": "the answer is too long; ask for less"})
        longest = max(lists, key=lambda one: len(json.dumps(one, ensure_ascii=False, default=str)))
        del longest[len(longest) // 2 :]
        values["cut"] = True
        text = clean(json.dumps(values, ensure_ascii=False, default=str))
    return text


def _png(image: Any) -> bytes:
    from PIL import Image as Picture

    out = io.BytesIO()
    Picture.fromarray(image.transpose(1, 2, 0)).save(out, "PNG")
    return out.getvalue()
