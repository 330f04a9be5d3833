"""What a signal, table, text or matrix is, by its first bytes.

Text without a signature is told by the extension of its name; see ``READERS``.
"""

import re


def is_edf(head: bytes) -> bool:
    """Whether the bytes start an EDF or BDF recording: its first fields are fixed in place."""
    if len(head) < 256:
        return False
    version = head[:8]
    numbers = (head[184:192], head[236:244], head[252:256])
    return version in (b"0       ", b"\xffBIOSEMI") and all(
        re.fullmatch(rb"-?\d+ *", number) for number in numbers
    )
