"""What an OCT file is, by its first bytes."""


def is_vol(head: bytes) -> bool:
    """Whether the bytes start a Heidelberg ``.vol`` file."""
    return head.startswith(b"HSF-OCT-")


def is_e2e(head: bytes) -> bool:
    """Whether the bytes start a Heidelberg ``.e2e`` file, of one volume or several."""
    return head.startswith((b"CMDb\0", b"E2EMultipleVolumeFile"))


def is_topcon(head: bytes) -> bool:
    """Whether the bytes start a Topcon ``.fda`` or ``.fds`` file."""
    return head.startswith((b"FOCTFDA", b"FOCTFDS", b"FOCTFAA"))


def is_heyex_xml(head: bytes) -> bool:
    """Whether the bytes start a Heidelberg XML export."""
    return b"<HEDX" in head and head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")
