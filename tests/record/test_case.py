"""What a case says about the files that it could not take in."""

from osler.record import Case


def test_what_was_left_out_starts_empty_and_is_the_case_s_own() -> None:
    first, second = Case("a"), Case("b")
    first.left_out.append(("scan.dcm", "it is damaged"))
    assert second.left_out == []
    assert first.left_out == [("scan.dcm", "it is damaged")]
