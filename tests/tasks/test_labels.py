"""Labels are what persons said; ids are made of names."""

import pytest

from osler.errors import InputError
from osler.record import Case, Label, Source
from osler.tasks.labels import identifier, label_of, needed_label


def test_only_a_person_is_believed():
    case = Case("a")
    case.add(Label(id="x", name="grade", source=Source("bundle", "b"), value="3"))
    assert label_of(case, "grade") is None
    case.add(Label(id="y", name="grade", source=Source("person", "reader"), value="1"))
    assert label_of(case, "grade") == needed_label(case, "grade") == "1"


def test_a_label_that_is_needed_is_named_with_those_there_are():
    case = Case("a")
    with pytest.raises(InputError, match="case 'a' has no label 'age'; its labels: none"):
        needed_label(case, "age")


@pytest.mark.parametrize(
    ("name", "id"), [("Hard exudate", "hard-exudate"), ("T1/T2", "t1-t2"), ("??", "finding")]
)
def test_ids_of_names(name, id):
    assert identifier(name) == id
