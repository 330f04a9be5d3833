"""An index on disk as a tool: words or a case to what is like them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osler.errors import InputError
from osler.record import Case


def search_of(folder: str | Path) -> "Search":
    """How to look in an index that ``osler index`` made.

    Raises:
        InputError: there is none, or it is damaged.
    """
    from osler.language.index import Index

    return Search(Index.open(folder), Path(folder))


class Search:
    """Looks in one index; called with words or a case, and a count.

    Args:
        index: opened.
        folder: where it lies.
    """

    def __init__(self, index: Any, folder: Path) -> None:
        self._index, self._folder = index, folder

    def __call__(self, query: str | Case, count: int) -> Sequence[Mapping[str, Any]]:
        """The nearest entries, the nearest first; of a case, those of other patients.

        Raises:
            InputError: the index cannot be asked so.
        """
        from osler.batch import retrieving
        from osler.errors import OslerError

        try:
            found = retrieving.search(
                query, self._folder, k=count, how="text" if isinstance(query, str) else None,
                others=not isinstance(query, str), index=self._index,
            )  # fmt: skip
        except OslerError as error:
            raise InputError(str(error)) from error
        said = retrieving.as_json(found, self._index)
        doubts = {"known": said["known"], "likeness": said["likeness"]}
        return [{**doubts, **hit} for hit in said["nearest"]]
