"""What a person is shown of counts and names."""

import pytest

from osler.terminal import counted, one_line


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("case",), "0 cases"),
        (1, ("case",), "1 case"),
        (12345, ("file",), "12,345 files"),
        (1, ("study", "studies"), "1 study"),
        (2, ("study", "studies"), "2 studies"),
        (2, ("series", "series"), "2 series"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, words: tuple[str, ...], text: str) -> None:
    assert counted(count, *words) == text


def test_names_move_no_cursor() -> None:
    assert one_line("a\nb\x1b[2J\u202ec") == "a\\nb\\x1b[2J\\u202ec"
