"""Opening what a URL names, by what answers there."""

from typing import TYPE_CHECKING, Any

from osler.errors import InputError
from osler.io.web_address import address_of, need_network
from osler.record import Case

if TYPE_CHECKING:
    from osler.io.sorting import Cases

_OF_STUDIES = ("allow_tilt", "allow_irregular", "split_by")


def load_url(url: str, *, max_pixels: int, at_once: bool = True, **options: Any) -> "Case | Cases":
    """Open what a URL names.

    Args:
        url: as in ``web_address``.
        max_pixels: refuse an image of more pixels.
        at_once: as in ``reading.load``, for files.
        options: fields of ``Access``, and those of the readers.

    Raises:
        InputError: it cannot be had or read; the message says why, without the URL's query.
        MissingExtraError: the extra ``network`` is not installed.
    """
    address = address_of(url)
    need_network()
    from osler.io.web_session import Access

    access = Access.taken_from(options)
    if address.kind == "dicomweb":
        from osler.io.web_study import load_dicomweb

        _refuse_unknown(options, (*_OF_STUDIES, *Access.__slots__))
        return load_dicomweb(address, access=access, max_pixels=max_pixels, **options)
    if address.kind == "fhir":
        from osler.io.web_fhir import load_fhir

        _refuse_unknown(options, Access.__slots__)
        return load_fhir(address, access=access, max_pixels=max_pixels)
    from osler.io.web_files import load_remote

    return load_remote(address, access=access, max_pixels=max_pixels, at_once=at_once, **options)


def _refuse_unknown(options: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in options:
        if name not in _OF_STUDIES or name not in known:
            raise InputError(f"this URL takes no option '{name}'; it takes: {', '.join(known)}")
