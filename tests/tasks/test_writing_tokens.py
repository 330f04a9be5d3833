"""Byte pairs: nothing is unknown, and the pairs are applied as the tokenizers library does it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.tasks.writing_tokens import END, FIRST_BYTE, Tokens, learn_merges, plain

TEXTS = [
    "the vertical cup-to-disc ratio is 0.42",
    "the ratio of the arteries is 0.68",
    "no haemorrhages were found in the retina",
    "未见出血。",
]


def slow_pairs(texts):
    """The commonest pair of neighbours of whole texts, by counting alone (words kept apart)."""
    import re

    from osler.tasks.writing_tokens import _PART

    counted = {}
    for text in texts:
        for part in re.findall(_PART, text):
            word = [FIRST_BYTE + one for one in part.encode()]
            for pair in itertools.pairwise(word):
                counted[pair] = counted.get(pair, 0) + 1
    return counted


def test_the_first_merge_is_the_commonest_pair():
    counted = slow_pairs(TEXTS)
    (first,) = learn_merges(TEXTS, 1)
    assert counted[first] == max(counted.values())
    assert learn_merges(TEXTS, 40) == learn_merges(list(reversed(TEXTS)), 40)


@given(st.text(max_size=60))
def test_any_text_comes_back(text):
    tokens = Tokens(learn_merges(TEXTS, 30))
    shown = plain(text)
    assert tokens.decode(tokens.encode(shown)) == plain(shown.encode(errors="replace").decode())


def test_merges_shorten_and_digits_stay_alone():
    tokens = Tokens(learn_merges(TEXTS, 60))
    plain_bytes = Tokens([])
    assert len(tokens.encode(TEXTS[0])) < 0.7 * len(plain_bytes.encode(TEXTS[0]))
    digits = [tokens.decode([n]) for n in tokens.encode("0.6842") if tokens.decode([n]).isdigit()]
    assert digits == ["0", "6", "8", "4", "2"]


def test_pairs_are_applied_as_the_tokenizers_library_does():
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers.models import BPE

    merges = learn_merges(TEXTS, 50)
    ours = Tokens(merges)
    # the library's tokens are strings: one made-up character a byte or merge
    spelt = {n: chr(0x4E00 + n) for n in range(FIRST_BYTE, FIRST_BYTE + 256)}
    vocabulary = {word: n for n, word in spelt.items()}
    pairs = []
    for number, (a, b) in enumerate(merges, FIRST_BYTE + 256):
        spelt[number] = spelt[a] + spelt[b]
        vocabulary[spelt[number]] = number
        pairs.append((spelt[a], spelt[b]))
    theirs = tokenizers.Tokenizer(BPE(vocab=vocabulary, merges=pairs))
    for word in ("the", " ratio", "haemorrhages", " thetheth", "出血", "retinae"):
        written = "".join(spelt[FIRST_BYTE + one] for one in word.encode())
        assert ours.encode(word) == theirs.encode(written).ids


def test_what_no_one_sees_is_taken_out():
    hidden = "no\u202e lesion\x00s\u200b\n\there\ud800"
    assert plain(hidden) == "no lesion s here"
    assert plain("Ｒ EYE", lower=True) == "r eye"
    assert len(plain("a" * 1_000_000)) == 100_000


def test_what_is_no_character_does_not_stop_it():
    tokens = Tokens([])
    assert tokens.decode([FIRST_BYTE + 0xFF, END, FIRST_BYTE + 65]) == "\ufffd"
