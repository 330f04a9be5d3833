"""An Office file that can go out: its parts, written without dates and without properties."""

import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

EMPTY_CORE: Final = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<cp:coreProperties xmlns:cp='
    '"http://schemas.openxmlformats.org/package/2006/metadata/core-properties"/>'
)


@dataclass(slots=True)
class Package:
    """A document or a workbook without people.

    Attributes:
        parts: name to content.
        counts: what was done to what, how often.
        notes: what a person should know.
    """

    parts: dict[str, bytes] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the archive; its members have no dates."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name, data in self.parts.items():
                target.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
