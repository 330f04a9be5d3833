"""Two visits that are brought onto each other: what a comparison of lesions says is told."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from asked_case import asked_case

from osler.errors import InputError
from osler.language.asking import ask
from osler.language.tools import Toolbox
from osler.record import Measurement, Passage, Source

BY = Source("algorithm", "test", "1")
WORDS = "Haemorrhages: 3 are new, 1 is gone and 5 stayed."


def joined(then, now):
    """Adds what registering two photographs adds."""
    now.add(Measurement(id="change.new.haemorrhages", name="New", source=BY, value=3.0, unit="1"))
    now.add(
        Passage(
            id="change-1", name="Statement", source=BY, text=WORDS, language="en",
            section="history", evidence=("change.new.haemorrhages",),
        )
    )  # fmt: skip


def visits(follow):
    then = asked_case(grade="0", haemorrhages=0, day=1)
    return Toolbox(asked_case(), then, follow=follow)


def test_lesions_that_were_followed_are_told_of_those_that_were_asked_about():
    tools = visits(joined)
    said, _ = ask("Have the haemorrhages changed?", tools)
    assert WORDS in said.text
    assert "change.new.haemorrhages" in said.evidence
    # the photographs are registered once
    again, _ = ask("Have the haemorrhages changed?", tools)
    assert again.text == said.text
    other, _ = ask("Has the cup to disc ratio changed?", tools)
    assert WORDS not in other.text or "cdr" not in other.text


def test_photographs_that_do_not_fit_are_told():
    def never(then, now):
        raise InputError("the photographs cannot be brought onto each other")

    said, _ = ask("What has changed?", visits(never))
    assert said.seen
    assert "Single lesions could not be followed: the photographs cannot" in said.text


@pytest.mark.parametrize("question", ["Have the haemorrhages changed?", "出血有变化吗？"])
def test_a_lesion_is_compared_though_many_findings_come_before_it(question):
    now, then = asked_case(), asked_case(grade="0", haemorrhages=0, day=1)
    for case in (now, then):
        kept = dict(case.findings)
        case.findings.clear()
        for number in range(100):
            case.add(Measurement(id=f"m{number}", name="m", source=BY, value=1.0, unit="1"))
        case.findings.update(kept)
    said, _ = ask(question, Toolbox(now, then, language="zh" if "出" in question else "en"))
    assert said.seen
    assert any("haemorrhages" in id for id in said.evidence)
