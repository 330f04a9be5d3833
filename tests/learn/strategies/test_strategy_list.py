"""What every strategy of the list owes to its users."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from osler.learn.strategies.catalogue import STRATEGIES, find
from osler.learn.strategies.strategy import Strategy

DOCS = Path(__file__).resolve().parents[3] / "docs"
NAMES = [name for name, _ in STRATEGIES]


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_where_it_comes_from(name):
    kind = find(name)
    assert issubclass(kind, Strategy)
    assert kind.name == name
    assert kind.title
    assert any(year in kind.source for year in map(str, range(1960, 2030))), kind.source
    said = " ".join(str(one.__doc__) for one in kind.Settings.__mro__)
    for key in kind.Settings.model_fields:
        assert re.search(rf"\b{key}\b", said), f"{key} is not explained"
    with pytest.raises(ValidationError):
        kind.Settings.model_validate({"no_such_key": 1})


@pytest.mark.parametrize("name", NAMES)
def test_its_page_stands_in_the_table(name):
    table = (DOCS / "learning.md").read_text(encoding="utf-8")
    pages = [path for path in (DOCS / "learning").glob("*.md") if f"learning/{path.name}" in table]
    said = [path for path in pages if f"{name}:" in path.read_text(encoding="utf-8")]
    assert said, f"no page that the table leads to has the key {name}"


def test_every_page_is_in_the_table():
    table = (DOCS / "learning.md").read_text(encoding="utf-8")
    lost = [one.name for one in (DOCS / "learning").glob("*.md") if f"/{one.name}" not in table]
    assert not lost


@pytest.mark.parametrize("name", NAMES)
def test_what_it_refuses_exists_and_is_a_sentence(name):
    roles = {"tuning", "pretraining", "objective", "training", "afterwards"}
    runs = {"processes", "float16", "accumulate", "checkpointing"}
    for key, why in find(name).refuses.items():
        assert key in roles | runs | set(NAMES), key
        assert len(why.split()) > 4, why
