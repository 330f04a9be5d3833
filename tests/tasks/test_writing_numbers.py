"""Numbers that prompt and text share become others, the same in both; all else stays."""

import re

import numpy as np

from osler.tasks.writing_numbers import with_other_numbers

PROMPT = "cdr.vertical 0.42; count 53; grade 3; zone 17; p > 0.99; distance 0.420 DD"
TEXT = "The ratio is 0.42. 53 were found, 53 in all; grade 3 at 90 %, probability > 0.99."


def test_shared_numbers_are_others_in_both():
    prompt, text = with_other_numbers(PROMPT, TEXT, np.random.default_rng(0))
    ratio = re.search(r"vertical (0\.\d\d);", prompt)[1]
    count = re.search(r"count (\d\d);", prompt)[1]
    assert (ratio, count) != ("0.42", "53")
    assert text.startswith(f"The ratio is {ratio}. {count} were found, {count} in all; grade 3 at")
    # what only one of them has stays, and so do single digits and longer numbers
    assert "grade 3; zone 17;" in prompt
    assert prompt.endswith("0.420 DD")
    assert "at 90 %" in text


def test_lengths_stay_and_nothing_shared_changes_nothing():
    for seed in range(20):
        prompt, text = with_other_numbers(PROMPT, TEXT, np.random.default_rng(seed))
        assert (len(prompt), len(text)) == (len(PROMPT), len(TEXT))
        assert re.sub(r"\d", "0", prompt) == re.sub(r"\d", "0", PROMPT)
    assert with_other_numbers("a 12", "b 13", np.random.default_rng(0)) == ("a 12", "b 13")
