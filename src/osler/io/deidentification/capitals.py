"""Capitalised words that no list knows as English or as medicine: most likely somebody's name.

Where a person's name stands with nothing beside it that tells what it is, only this is left.
"""

import gzip
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from osler.io.deidentification import latin
from osler.io.deidentification.free_text import Passage

_U, _L = latin.UPPER, latin.LOWER
_WORD: Final = re.compile(
    rf"(?<![^\W_])(?:(?:al|el|ad|as|ash|an|ar)-)?[{_U}](?:['’][{_U}][{_L}]+|[{_L}]{{2,}})(?:[-'’][{_U}]?[{_L}]+)*(?![^\W_])"
)
_MORE: Final = re.compile(rf"(?:[ \t]+[{_U}]\.)?[ \t]+[{_U}][{_L}]{{2,}}(?![^\W_])")
_STARTS: Final = re.compile(r"(?:^|[.!?:;\n•*-]|\d[.)])[ \t\"'(]*\Z")
_INITIAL: Final = re.compile(r"(?:^|[^\w.])[A-Z]\.[ \t]?\Z")  # no end of a sentence
_NAMES_ONLY: Final = re.compile(r"[ \t]*(?:[A-Z][\w.'’-]*[ \t,]*){1,4}\Z")
_SOMEBODY_DOES: Final = re.compile(
    r"[ \t]+(?:[A-Z][a-z]+[ \t]+)?(?:is|was|has|had|denies|denied|reports?|reported|presents|"
    r"presented|complains|states|stated|underwent|takes|lives|works|came|called|said|told|feels|"
    r"describes|returns|returned|attended|attends|agreed|agrees|asked|suffers|smokes|drinks|rang|"
    r"phoned|telephoned|wants|wishes|wished|thinks|believes|complained|brought|refused|declined|"
    r"accepted|requested|consented|who|will|would|can|could|did|does|may|must|should|loves|likes|"
    r"writes|wrote|moved|fell|woke|went|goes|saw|sees|met|gave|gives|got|gets|needs|needed|received|"
    r"visited|visits|arrived|left|drove|drives|explained|confirmed|remains|appeared|seems|looked)\b"
)
# Endings that medicine makes words with, and hardly any name has.
_MEDICAL: Final = re.compile(
    r"(?:itis|osis|oma|omas|emia|aemia|uria|algia|pathy|ectomy|ostomy|otomy|plasty|scopy|graphy|gram|"
    r"grams|genic|genous|trophy|plasia|plegia|paresis|megaly|ectasia|ectasis|lysis|pnea|pnoea|"
    r"rrhage|rrhagic|rrhea|stenosis|sclerosis|thorax|cardia|cardial|dermal|itic|otic|atic|oid|"
    r"mycin|cillin|azole|olol|pril|sartan|statin|mab|nib|vir|azepam|caine|dipine|parin|"
    r"tion|tions|sion|sions|ment|ness|ity|ance|ence|ular|ally|ably|ible|able|ical|ious|ous|"
    r"less|ful|ward|wards|wise|ivity|ography)\Z"
)
_INFLECTED: Final = ("s", "es", "ed", "d", "ing", "ly", "er", "al", "y")


def _alone(text: str, match: re.Match[str]) -> bool:
    """Whether a word stands on a line of two to four capitalised words: a letterhead, a signature.

    A word that is alone on its line may as well be a heading or a drug.
    """
    start = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    line = text[start : end if end >= 0 else len(text)].strip()
    line = line.partition(",")[0] if re.search(r"\d", line) else line
    return len(line.split()) > 1 and _NAMES_ONLY.match(line) is not None


@cache
def _english() -> frozenset[str]:
    path = Path(__file__).with_name("english_words.txt.gz")
    return frozenset(gzip.decompress(path.read_bytes()).decode("ascii").split("\n"))


def is_word(word: str, medical: frozenset[str]) -> bool:
    """Whether a word is one of English or of medicine, whatever its case and ending."""
    word = re.sub(r"['’]s?\Z", "", word).casefold()
    if "-" in word:
        return all(is_word(part, medical) for part in word.split("-") if len(part) > 2)
    if word in _english() or word in medical or _MEDICAL.search(word):
        return True
    for ending in _INFLECTED:
        stem = word[: -len(ending)]
        if word.endswith(ending) and len(stem) > 2:
            doubled = stem[:-1] if stem[-1:] == stem[-2:-1] else stem
            if any(form in _english() or form in medical for form in (stem, stem + "e", doubled)):
                return True
    return False


def somebody_does(text: str, at: int) -> bool:
    """Whether a word follows that says what a person did."""
    return _SOMEBODY_DOES.match(text, at) is not None


def may_be_word(text: str, match: re.Match[str]) -> bool:
    """Whether a surname is as likely a word: at a start, with nobody who does a thing."""
    if re.sub(r"['’]s?\Z", "", match[0]).casefold() not in _english():
        return False
    before = text[max(0, match.start() - 8) : match.start()]
    starts = _STARTS.search(before) and not _INITIAL.search(before)
    return bool(starts) and not (
        somebody_does(text, match.end()) or _alone(text, match) or _MORE.match(text, match.end())
    )


def find(
    text: str,
    *,
    medical: frozenset[str],
    eponym: re.Pattern[str],
    nobody: Callable[[str, re.Match[str]], bool],
) -> Iterator[Passage]:
    """Capitalised words that are none, with the capitalised word that follows.

    At the start of a sentence, where every word has a capital, only those that then do something as
    people do.

    Args:
        text: the text.
        medical: words of medicine, in lower case.
        eponym: what follows a name that stands for a disease, a sign or a device.
        nobody: whether a word is such a name, or a product, where it stands.
    """
    for match in _WORD.finditer(text):
        if is_word(match[0], medical) or eponym.match(text, match.end()) or nobody(text, match):
            continue
        before = text[max(0, match.start() - 8) : match.start()]
        starts = _STARTS.search(before) and not _INITIAL.search(before)
        if starts and not (_SOMEBODY_DOES.match(text, match.end()) or _alone(text, match)):
            continue
        more = _MORE.match(text, match.end())
        end = more.end() if more and not is_word(more[0].split()[-1], medical) else match.end()
        yield Passage(match.start(), end, "NAME")
