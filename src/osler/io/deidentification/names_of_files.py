"""Names of copies: keyed hashes of folder and file, with the ending that fits the content."""

import re
from pathlib import PurePosixPath

from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known


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


def names_in(relative: str) -> Known:
    """Whom the names of a file and of its folders may be about.

    Capitalised words that are neither English nor medical, names in Chinese characters, and long
    numbers.
    """
    from osler.io.deidentification import capitals, text_rules_en, text_rules_zh

    known = Known()
    path = PurePosixPath(relative.replace("\\", "/"))
    for part in (*path.parent.parts, path.name.partition(".")[0]):
        for word in re.findall(r"[^\W\d_]+", part):
            if text_rules_zh.is_name(word) or (
                len(word) > 3
                and word[0].isupper()
                and word.isascii()
                and not capitals.is_word(word, text_rules_en.not_names())
            ):
                known.names.add(word)
        for number in re.findall(r"(?<!\d)\d{6,}(?!\d)", part):
            known.add_id(number)
    return known
