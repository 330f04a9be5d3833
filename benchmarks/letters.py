"""Whether the rules for free text find people in letters, and leave medicine alone.

The letters under ``letters/`` were made up, and what names a person in them was marked, before the
rules were looked at: ``{name:...}``, ``{date:...}``, ``{id:...}``, ``{place:...}``, ``{age:...}``.
Every line is a text of its own. A passage is found if each of its words (each of its characters in
Chinese) goes, but for titles such as "Mr", and found in part if any does; a word that goes from
outside all passages was taken wrongly, unless it is a time of day.

    python benchmarks/letters.py [--show] [NAME ...]
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.known import Known

HERE = Path(__file__).parent / "letters"
_MARK = re.compile(r"\{(name|date|id|place|age):([^}]*)\}")
_WORD = re.compile(r"[一-鿿]|[^\W_一-鿿]+")
_TITLE = frozenset(
    ("dr", "mr", "mrs", "ms", "md", "pt", "sister", "professor", "nurse", "photographer", "judge")
)
_CHINESE_TITLE = re.compile(r"(?:医生|教授|主任|警官|阿姨)\Z")

Span = tuple[int, int, str]


def read(path: Path) -> list[tuple[str, list[Span]]]:
    """Each line of a file: its text, and what in it names a person."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        text, spans, at = "", [], 0
        for mark in _MARK.finditer(line):
            text += line[at : mark.start()]
            spans.append((len(text), len(text) + len(mark[2]), mark[1]))
            text += mark[2]
            at = mark.end()
        lines.append((text + line[at:], spans))
    return lines


def _telling(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Where the words of a passage stand that tell of somebody: a title alone tells nothing."""
    title = _CHINESE_TITLE.search(text, start, stop)
    end = title.start() if title else stop
    words = list(_WORD.finditer(text, start, end))
    telling = [m.span() for m in words if m[0].casefold() not in _TITLE]
    return telling or [m.span() for m in words]


def judge(path: Path, *, show: bool) -> None:
    """Print how many passages of a file go, and how many words besides."""
    scrubber = Scrubber(Known())
    all_of: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    part: Counter[str] = Counter()
    taken = rightly = innocent = 0
    for text, spans in read(path):
        gone = [False] * len(text)
        for passage in scrubber.passages(text):
            gone[passage.start : passage.end] = [True] * (passage.end - passage.start)
        times = [range(p.start, p.end) for p in scrubber.passages(text) if p.kind == "TIME"]
        marked = [False] * len(text)
        for start, stop, kind in spans:
            marked[start:stop] = [True] * (stop - start)
            words = _telling(text, start, stop)
            hits = [all(gone[a:b]) for a, b in words]
            all_of[kind] += 1
            whole[kind] += all(hits)
            part[kind] += any(hits)
            if show and not all(hits):
                print("MISSED", kind, repr(text[start:stop]), "in", text)
        for word in _WORD.finditer(text):
            if any(word.start() in time for time in times):
                continue
            went, ought = any(gone[slice(*word.span())]), marked[word.start()]
            taken += went
            rightly += went and ought
            innocent += not ought
            if show and went and not ought:
                print("TAKEN", repr(word[0]), "in", text)
    total = sum(all_of.values())
    found, partly = sum(whole.values()) / total, sum(part.values()) / total
    print(f"{path.stem}: {total} passages, {found:.3f} whole, {partly:.3f} at least in part")
    for kind in sorted(all_of):
        print(f"  {kind:6} {whole[kind]:3} of {all_of[kind]:3} whole, {part[kind]:3} in part")
    print(f"  of {taken} words that went {rightly / max(1, taken):.3f} rightly;", end=" ")
    print(f"{taken - rightly} of {innocent} others went")


def main() -> None:
    """Judge every file, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--show", action="store_true", help="each miss, and each word too many")
    given = parser.parse_args()
    for path in sorted(HERE.glob("*.txt")):
        if not given.names or path.stem in given.names:
            judge(path, show=given.show)


if __name__ == "__main__":
    main()
