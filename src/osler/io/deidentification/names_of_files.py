"""Names of copies: keyed hashes of folder and file, with the ending that fits the content."""

from pathlib import PurePosixPath

from osler.io.deidentification.key import Key


def place(relative: str, ending: str, key: Key) -> tuple[str, str]:
    """Folder and file name of a copy that has no identifiers of its own.

    Files of one folder stay together.

    Args:
        relative: the original, below the source folder.
        ending: with its dot.
        key: the secret of the run.
    """
    path = PurePosixPath(relative.replace("\\", "/"))
    folder = "F" + key.name("folder", str(path.parent), length=10)
    return folder, "N" + key.name("file", str(path), length=12) + ending
