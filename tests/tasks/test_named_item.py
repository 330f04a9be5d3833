"""An item of a case by its name, or the only one of its kind."""

import numpy as np
import pytest

from osler.errors import InputError
from osler.record import Case, Image, Signal
from osler.tasks.named_item import named_item


def test_by_name_or_as_the_only_one_of_its_kind():
    a, b = (Image(name, np.zeros((1, 2, 2), np.uint8)) for name in ("a", "b"))
    ecg = Signal("ecg", np.zeros((1, 5), np.float32), rate=5.0, channels=("I",), units=("mV",))
    case = Case("c", items={"a": a, "b": b, "ecg": ecg})
    assert named_item(case, "b", Image) is b
    assert named_item(case, "another", Signal) is ecg
    with pytest.raises(InputError, match="'c' lacks the image 'd'; its images: 'a', 'b'"):
        named_item(case, "d", Image)
    flair = Case("f", items={"t1": a}, absent=frozenset({"flair"}))
    with pytest.raises(InputError, match="lacks the image 'flair'; its images: 'a'"):
        named_item(flair, "flair", Image)
    assert named_item(flair, "mr", Image) is a
    with pytest.raises(InputError, match="lacks the signal 'x'; its signals: none"):
        named_item(Case("e", items={"a": a}), "x", Signal)
