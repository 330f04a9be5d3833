"""Text in pixels."""

from osler.io.deidentification.dicom_file import Cleaned
from osler.io.deidentification.options import Options
from osler.io.input_file import InputFile


def clean(cleaned: Cleaned, file: InputFile, options: Options) -> None:
    """Look."""
