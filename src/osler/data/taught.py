"""Which pictures a bundle has seen: digests of the files that taught and tuned it.

They lie in the bundle as ``taught.json``, so that whoever judges it can tell, in any cohort and
whatever the cases are called there, which cases it must not be judged on. A digest tells nothing of
a picture to those who do not have the very file.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from osler.data.cohort import Row
from osler.data.leaks import file_digests
from osler.errors import BundleError

FILE: Final = "taught.json"
_LENGTH: Final = 32  # hexadecimal digits of SHA-256 that are kept: 128 bits
ROLES: Final = ("teach", "tune")


def taught_record(parts: Mapping[str, Sequence[Row]]) -> bytes:
    """The content of ``taught.json``.

    Args:
        parts: the cases that ``teach`` and those that ``tune``.

    Raises:
        InputError: a file cannot be read.
    """
    found: dict[str, list[tuple[str, str]]] = {}  # column to (role, digest)
    for role in ROLES:
        for row in parts.get(role, ()):
            for name, digest in file_digests(row).items():
                found.setdefault(name, []).append((role, digest[:_LENGTH]))
    # a column of one file, such as an atlas, is in cases that are judged too
    columns = [one for one in found.values() if len(one) == 1 or len({d for _, d in one}) > 1]
    content: dict[str, Any] = {"schema_version": 1}
    content |= {
        role: sorted({d for column in columns for said, d in column if said == role})
        for role in ROLES
    }
    return (json.dumps(content, indent=0) + "\n").encode()


def join_records(records: Sequence[bytes]) -> bytes:
    """One ``taught.json`` of several: what taught one of them taught the whole."""
    found: dict[str, str] = {}
    for record in records:
        for digest, role in read_taught(record, name="").items():
            if found.get(digest) != ROLES[0]:
                found[digest] = role
    content: dict[str, Any] = {"schema_version": 1}
    content |= {role: sorted(d for d, said in found.items() if said == role) for role in ROLES}
    return (json.dumps(content, indent=0) + "\n").encode()


def read_taught(content: bytes, *, name: str) -> dict[str, str]:
    """Digest to role, from ``taught.json``.

    Raises:
        BundleError: it is not as it was written.
    """
    try:
        record = json.loads(content)
        if record["schema_version"] != 1:
            raise BundleError(f"bundle '{name}': {FILE} is of a later version; update osler")
        return {str(digest): role for role in reversed(ROLES) for digest in record[role]}
    except (ValueError, LookupError, TypeError) as error:
        raise BundleError(f"bundle '{name}': {FILE} is damaged; get the bundle again") from error


def role_of(row: Row, taught: Mapping[str, str]) -> str | None:
    """``"teach"`` or ``"tune"`` where a file of the case did so, else None.

    Raises:
        InputError: a file cannot be read.
    """
    if not taught:
        return None
    found = {taught.get(digest[:_LENGTH]) for digest in file_digests(row).values()}
    return next((role for role in ROLES if role in found), None)
