"""Whether a finding is there: negation, doubt, history, family, and which side.

The rules of NegEx and ConText (numbered in ``assertion_words``) on one sentence at a time, with
what reports in Chinese need: a list goes on at ``、`` and ends at ``，``.
"""

from bisect import bisect, bisect_left
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, Final, Literal, NamedTuple

from osler.language.assertion_words import OPENINGS, TERMINATORS, TRIGGERS, VERBS, Status, Trigger
from osler.language.terms import Found, Phrases, Token, plain

Side = Literal["R", "L", "B"]

_HARD: Final = frozenset(";；")
_COMMAS: Final = frozenset(",")
_HAN_COMMAS: Final = frozenset("，")
_BRACKETS: Final = frozenset("()（）[]【】")
_FRAMES: Final = frozenset(":：")
_ANY_COMMA: Final = _COMMAS | _HAN_COMMAS
_CUTS: Final = _HARD | _ANY_COMMA | _BRACKETS | _FRAMES
_QUIET: Final = _BRACKETS | _COMMAS
_COORDINATES: Final = frozenset(("and", "及", "和"))
_MARKS: Final = _HARD | _COMMAS | _HAN_COMMAS | frozenset(".。、")
_AND: Final = frozenset(plain(w)[0] for w in ("and", "or", "nor", "及", "和", "或", "与"))
_RANK: Final[tuple[Status, ...]] = ("absent", "hypothetical", "family", "possible", "history")
_VERBS: Final = frozenset(p for v in VERBS for p in plain(v))
_OPENINGS: Final = frozenset(p for v in OPENINGS for p in plain(v))


_NEAREST: Final = 12  # triggers on each side of a finding that are looked at
_LONGEST_LIST: Final = 40  # commas


@cache
def _forward() -> Phrases[Trigger]:
    return Phrases((p, t) for p, t in TRIGGERS if t.direction != "backward" or t.status is None)


@cache
def _backward() -> Phrases[Trigger]:
    return Phrases((p, t) for p, t in TRIGGERS if t.direction != "forward" or t.status is None)


@cache
def _terminators() -> Phrases[bool]:
    return Phrases((phrase, True) for phrase in TERMINATORS)


_SIDES: Final[tuple[tuple[Side, bool, tuple[str, ...]], ...]] = (
    # side, whether it says an eye, phrases
    ("R", True, ("od", "right eye", "right fundus", "right retina", "右眼", "右 eye", "o.d.")),
    ("L", True, ("os", "left eye", "left fundus", "left retina", "左眼", "o.s.")),
    ("B", True, ("ou", "both eyes", "either eye", "each eye", "双眼", "两眼", "左右眼", "o.u.",
                 "right and left eye", "both fundi", "fundi of both eyes")),
    ("R", False, ("right", "right sided", "右", "右侧")),
    ("L", False, ("left", "left sided", "左", "左侧")),
    ("B", False, ("both", "bilateral", "bilaterally", "双侧", "两侧", "双", "两", "左右",
                  "right and left", "left and right", "either side", "both sides")),
)  # fmt: skip


@cache
def _sides() -> Phrases[tuple[Side, bool]]:
    return Phrases((phrase, (side, eye)) for side, eye, phrases in _SIDES for phrase in phrases)


class Judged(NamedTuple):
    """What a sentence says of a finding."""

    status: Status
    side: Side | None


class Frame(NamedTuple):
    """The eye that a heading such as ``OD:`` puts the sentences after it under."""

    side: Side | None = None


_NO_FRAME: Final = Frame()


class _Cue(NamedTuple):
    first: int
    last: int
    trigger: Trigger


def judge(
    said: Sequence[Token], findings: Sequence[Found[Any]], *, frame: Frame = _NO_FRAME
) -> tuple[list[Judged], Frame]:
    """Status and side of each finding of one sentence.

    Args:
        said: the sentence's tokens.
        findings: where its findings stand, in order.
        frame: the eye that a heading before it names.

    Returns:
        One answer a finding, and the frame for the next sentence.
    """
    if not findings:
        return [], _frame_after(said, frame)
    seen = _Seen(said, findings)
    sides, frame = _sides_of(said, findings, frame)
    statuses = [_status(seen, one) for one in findings]
    return [Judged(s, side) for s, side in zip(statuses, sides, strict=True)], frame


class _Seen:
    """A sentence with its triggers, and counts up to each token of what ends their reach."""

    def __init__(self, said: Sequence[Token], findings: Sequence[Found[Any]]) -> None:
        self.said = said
        taken = bytearray(len(said))
        for found in findings:
            taken[found.first : found.last] = b"\1" * (found.last - found.first)
        ends = bytearray(token.word in _HARD for token in said)
        for end in _terminators().find(said):
            if not any(taken[end.first : end.last]):
                ends[end.first] = 1
        self.taken = list(accumulate(taken, initial=0))
        self.ends = list(accumulate(ends, initial=0))
        self.hard = list(accumulate((t.word in _HARD for t in said), initial=0))
        self.commas = [i for i, t in enumerate(said) if t.word in _ANY_COMMA]
        self.cues = _cues(said, self.taken)
        self.firsts = [c.first for c in self.cues]

    def near(self, found: Found[Any]) -> Sequence[_Cue]:
        """The triggers next to a finding."""
        middle = bisect(self.firsts, found.first)
        return self.cues[max(middle - _NEAREST, 0) : middle + _NEAREST]


def _frame_after(said: Sequence[Token], frame: Frame) -> Frame:
    """The frame after a sentence that names no finding: the last heading that is a side."""
    heading = None
    for found in _sides().find(said):
        if found.last < len(said) and said[found.last].word in _FRAMES:
            alone = found.first == 0 or said[found.first - 1].word in _CUTS
            heading = found.value[0] if found.value[1] or alone else heading
    return Frame(heading) if heading else frame


def _cues(said: Sequence[Token], taken: Sequence[int]) -> list[_Cue]:
    """Triggers in order; pseudo-triggers have been taken out, and what they overlap.

    Args:
        said: the sentence.
        taken: how many tokens of findings there are before each.
    """
    lists = [
        # "left eye: no cataract" is no "cataract: no"
        [f for f in find if said[f.first].word not in _FRAMES or _ended(said, f.last)]
        for find in (_forward().find(said), _backward().find(said))
    ]
    # length of the longest phrase, and of the longest pseudo-trigger, over each token
    longest, pseudo = [0] * len(said), [0] * len(said)
    for found in (f for one in lists for f in one):
        size = found.last - found.first
        for i in range(found.first, found.last):
            longest[i] = max(longest[i], size)
            if found.value.status is None:
                pseudo[i] = max(pseudo[i], size)
    cues = []
    for first, last, trigger in (f for one in lists for f in one):
        size = last - first
        if (
            trigger.status is None
            or taken[last] > taken[first]
            or max(pseudo[first:last]) > size
            # a longer phrase says what it is; a shorter one within it says nothing
            or min(longest[first:last]) > size
        ):
            continue
        cues.append(_Cue(first, last, trigger))
    return sorted(cues, key=lambda c: c.first)


def _ended(said: Sequence[Token], at: int) -> bool:
    return at >= len(said) or said[at].word in _MARKS


def _status(seen: _Seen, found: Found[Any]) -> Status:
    reached = {c.trigger.status for c in seen.near(found) if _reaches(seen, c, found)}
    return next((status for status in _RANK if status in reached), "present")


def _reaches(seen: _Seen, cue: _Cue, found: Found[Any]) -> bool:
    kind = cue.trigger
    if cue.last <= found.first and kind.direction != "backward":
        first, last = cue.last, found.first
    elif cue.first >= found.last and kind.direction != "forward":
        first, last = found.last, cue.first
    else:
        return False
    # other findings of a list do not count
    if last - first - (seen.taken[last] - seen.taken[first]) > kind.reach:
        return False
    # a relative "has" what follows
    ends = seen.hard if kind.status == "family" else seen.ends
    if ends[last] > ends[first]:
        return False
    if first == cue.last:
        return _list_goes_on(seen, cue, found)
    return not _between(seen.commas, first, last)


def _between(places: Sequence[int], first: int, last: int) -> Sequence[int]:
    """Those of some places, in order, that lie in a stretch."""
    return places[bisect_left(places, first) : bisect_left(places, last)]


def _list_goes_on(seen: _Seen, cue: _Cue, found: Found[Any]) -> bool:
    """Whether a trigger that looks forward gets over the commas before a finding."""
    said, kind = seen.said, cue.trigger
    commas = _between(seen.commas, cue.last, found.first)
    if not commas:
        # "no fever and has a cough": a new statement within one part
        return not any(
            said[i].word in _AND and i + 1 < len(said) and said[i + 1].word in _VERBS
            for i in range(cue.last, found.first)
        )
    if len(commas) > _LONGEST_LIST or (not kind.lists and kind.reach < 10):
        return False
    if not kind.lists and any(said[i].word in _HAN_COMMAS for i in commas):
        return False
    return all(_item(seen, cue, found, comma) for comma in commas)


def _item(seen: _Seen, cue: _Cue, found: Found[Any], comma: int) -> bool:
    """Whether what stands after a comma goes on with the list that a trigger opened."""
    said, status = seen.said, cue.trigger.status
    after = bisect(seen.commas, comma)
    stop = seen.commas[after] if after < len(seen.commas) else len(said)
    part = range(comma + 1, stop)
    if any(said[i].word in _VERBS for i in part):
        return False
    first = next((said[i].word for i in part if said[i].word not in _AND), "")
    last_item = any(said[i].word in ("or", "nor") for i in range(comma, _stop(seen, comma)))
    if first in _OPENINGS and not last_item:
        return False
    if status in ("history", "possible") and not last_item:
        return False
    return not any(
        c.first in part
        and c.last <= found.first
        and c.trigger.direction != "backward"
        and c.trigger.status != status
        for c in seen.near(found)
    )


def _stop(seen: _Seen, place: int) -> int:
    """Where the reach of a list ends at the latest."""
    return min(place + 80, len(seen.said))


def _segments(
    said: Sequence[Token],
    findings: Sequence[Found[Any]],
    sides: Sequence[Found[tuple[Side, bool]]],
) -> list[range]:
    """Parts of a sentence that a side holds for."""
    cuts = [0]
    in_finding = {i for f in findings for i in range(f.first, f.last)}
    ends = {found.first for found in _terminators().find(said)}
    at = [s.first for s in sides]
    finding_at = [f.first for f in findings]
    for i, (word, *_) in enumerate(said):
        if i in in_finding:
            continue
        if word in _CUTS:
            cuts += [i, i + 1]
            continue
        # both halves have a finding and a side of their own
        halves = word in _COORDINATES and all(
            places and places[-1] > i and _between(places, cuts[-1], i)
            for places in (at, finding_at)
        )
        if halves or word == "without" or (i in ends and word.isascii()):
            cuts.append(i)
    cuts.append(len(said))
    return [range(a, b) for a, b in pairwise(cuts) if b > a]


def _sides_of(
    said: Sequence[Token], findings: Sequence[Found[Any]], frame: Frame
) -> tuple[list[Side | None], Frame]:
    sides = list(_sides().find(said))
    out: list[Side | None] = [None] * len(findings)
    held, lasting = frame.side, frame
    waiting: list[int] = []  # findings without a side, for a remark right after them
    side_at, finding_at = [s.first for s in sides], [f.first for f in findings]
    for segment in _segments(said, findings, sides):
        own = sides[bisect_left(side_at, segment.start) : bisect_left(side_at, segment.stop)]
        inside = range(
            bisect_left(finding_at, segment.start), bisect_left(finding_at, segment.stop)
        )
        eyes = [s for s in own if s.value[1]]
        if own and not inside:
            side: Side = own[0].value[0] if len({s.value[0] for s in own}) == 1 else "B"
            heading = segment.stop < len(said) and said[segment.stop].word in _FRAMES
            if heading and (eyes or len(segment) <= 2):
                held, lasting = side, Frame(side)
            elif waiting and _remark(segment, own):
                for k in waiting:
                    out[k] = side
            elif eyes:
                held = side
        at = [s.first for s in own]
        for k in inside:
            here = bisect(at, findings[k].first)
            beside = own[max(here - 1, 0) : here + 1]
            nearest = min(beside, key=lambda s: _gap(s, findings[k]), default=None)
            out[k] = nearest.value[0] if nearest else held
        if inside and eyes and eyes[0].first <= finding_at[inside[0]]:
            held = [s for s in eyes if s.first <= finding_at[inside[0]]][-1].value[0]
        if inside:
            waiting = [k for k in inside if out[k] is None]
        elif not own and any(said[i].word not in _QUIET for i in segment):
            waiting = []
        if said[segment.start].word in _HARD and not eyes:
            held = lasting.side
    return out, lasting


def _remark(segment: range, own: Sequence[Found[tuple[Side, bool]]]) -> bool:
    """Whether a part says a side and next to nothing else: ``(left)``, ``both eyes``, ``OU``."""
    covered = sum(s.last - s.first for s in own)
    return len(segment) - covered <= 1


def _gap(side: Found[tuple[Side, bool]], finding: Found[Any]) -> int:
    if side.first >= finding.last:
        return side.first - finding.last
    if side.last <= finding.first:
        # a side usually stands before what it is about, except after "in the"
        return finding.first - side.last
    return 0
