"""The bundles that ship with Osler, and how one is found by name or path."""

import difflib
from functools import cache
from pathlib import Path

from osler.bundles.card import CARD_FILE
from osler.bundles.integrity import read_card, verify
from osler.bundles.session import Bundle
from osler.errors import BundleError

SHIPPED = Path(__file__).parent / "shipped"


def names() -> tuple[str, ...]:
    """The names of the bundles that ship, sorted."""
    return tuple(sorted(card.parent.name for card in SHIPPED.glob(f"*/{CARD_FILE}")))


def load(name_or_path: str | Path) -> Bundle:
    """Open a bundle, all of whose files are checked first.

    A shipped bundle is opened once in a process, so that its session stays warm; its files are
    not looked at again. A ``str`` with a slash, and any ``Path``, is a path.

    Args:
        name_or_path: a name out of `names`, or the folder of a bundle.

    Raises:
        BundleError: there is no such bundle (the message has the nearest name), or it is
            damaged, unsafe or of a later version.
    """
    if isinstance(name_or_path, str) and name_or_path in names():
        return _shipped(name_or_path)
    folder = Path(name_or_path)
    try:
        there, a_folder = folder.exists(), folder.is_dir()
    except OSError as error:
        shown = str(folder)[:80]
        raise BundleError(f"{shown}: cannot be looked at ({error.strerror})") from error
    if not there:
        raise BundleError(_unknown(str(name_or_path)))
    if not a_folder:
        raise BundleError(f"{folder}: a file; give the bundle's folder, which holds {CARD_FILE}")
    return _opened(folder)


@cache
def _shipped(name: str) -> Bundle:
    bundle = _opened(SHIPPED / name)
    if bundle.card.name != name:
        raise BundleError(
            f"{bundle.folder}: the card says '{bundle.card.name}'; name the folder the same"
        )
    return bundle


def _opened(folder: Path) -> Bundle:
    card = read_card(folder)
    verify(folder, card)
    return Bundle(card, folder)


def _unknown(asked: str) -> str:
    known = names()
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    listed = ", ".join(f"'{name}'" for name in known) or "none"
    return f"no bundle or folder is called '{asked}'{hint} Shipped bundles: {listed}"
