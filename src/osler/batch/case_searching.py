"""An index on disk as a tool: words to what is like them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osler.errors import InputError


def search_of(folder: str | Path) -> "Search":
    """How to look in an index that ``osler index`` made.

    Raises:
        InputError: there is none, or it is damaged.
    """
    from osler.language.index import Index

    return Search(Index.open(folder), Path(folder))


class Search:
    """Looks in one index; called with words and a count.

    Args:
        index: opened.
        folder: where it lies.
    """

    def __init__(self, index: Any, folder: Path) -> None:
        self._index, self._folder = index, folder

    def __call__(self, words: str, count: int) -> Sequence[Mapping[str, Any]]:
        """The nearest entries, the nearest first; none where nothing is like the words.

        Raises:
            InputError: the index cannot be asked in words.
        """
        from osler.batch import retrieving
        from osler.errors import OslerError

        try:
            found = retrieving.search(words, self._folder, k=count, how="text", index=self._index)
        except OslerError as error:
            raise InputError(str(error)) from error
        said = retrieving.as_json(found, self._index)
        doubts = {"known": said["known"], "likeness": said["likeness"]}
        return [{**doubts, **hit} for hit in said["nearest"]]
