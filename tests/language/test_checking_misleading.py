"""Sentences made to mislead, each beside true ones in like words: what falls, and what is told."""

import csv
from pathlib import Path

import pytest
from checked_case import checked_case

from osler.language.answers import Answer, cannot
from osler.language.asking_check import marked, refused
from osler.language.checking import check
from osler.language.drafting import draft
from osler.language.engine import Engine
from osler.language.facts import facts
from osler.language.questions import understood
from osler.language.tools import Toolbox

FILE = Path(__file__).parent / "files" / "misleading.csv"
ROWS = list(csv.DictReader(FILE.read_text("utf-8").splitlines()))


def _with_citations(row):
    text, marks = row["text"], ", ".join(row["cites"].split())
    end = text[-1] if text[-1] in ".。" else ""
    return f"{text.removesuffix(end)} [{marks}]{end}"


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in ROWS}))
def test_nothing_misleading_passes_in_silence_and_what_is_true_stands(kind):
    passed, fell, flagged = [], [], []
    for row in ROWS:
        if row["kind"] != kind:
            continue
        told = facts(checked_case(grade=row["grade"], side=row["side"]))
        report = check(_with_citations(row), told)
        if row["should"] == "falls":
            if report.passed:
                (flagged if report.unread else passed).append(row["text"])
        elif not report.passed or report.unread:
            fell.append((row["text"], [s.problems for s in report.sentences]))
    assert passed == []
    assert fell == []
    assert len(flagged) <= 16  # told, and not removed


def test_no_misleading_answer_of_an_engine_is_taken_in_silence():
    asked, no = understood("What was found?"), cannot("-", "-", "en")
    taken, refusals = [], 0
    for row in ROWS:
        tools = Toolbox(checked_case(grade=row["grade"], side=row["side"]))
        said = Answer(row["text"], row["language"], evidence=tuple(row["cites"].split()), by="x")
        why = refused(said, no, tools, [], asked)
        if row["should"] == "stands":
            refusals += bool(why)
        elif not why and "words-unread" not in marked(said, tools).flags:
            taken.append(row["text"])
    assert taken == []
    assert refusals <= 9  # of 76 that are true: bounds, other units, and glaucoma


class Said(Engine):
    """An engine that writes what it is told to."""

    name, sees_images = "said", False

    def __init__(self, text):
        self.text = text

    def _write(self, messages, images, limit, seed):
        return self.text


def test_a_draft_with_words_that_nobody_read_says_which():
    case = checked_case()
    said = "8 confluent haemorrhages were found [haemorrhages, lesion-count.haemorrhages]. "
    made = draft(case, Said(said + "No soft exudates [soft-exudates]."))
    assert made.flag == "words-unread"
    assert ["words-unread" in case[id].flags for id in ("draft-1", "draft-2")] == [True, False]
    assert "1 of them hold words that were not checked: confluent" in case["draft-check"].text
