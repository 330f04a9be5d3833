"""Copies of files that nobody's identity goes along with: DICOM, photographs, volumes, text.

``run`` of ``osler.batch.deidentify`` works through a folder; ``copy`` here does one file.
"""

from osler.io.deidentification.key import Key
from osler.io.deidentification.options import Options

__all__ = ["Key", "Options"]
