"""The tokenizer of a network, found on this machine and read without running anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from osler.errors import InputError, MissingExtraError, UnreadableError

Family = Literal["bert", "clip"]
_PARTS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
_FILES: dict[str, str] = {"bert": "vocab.txt", "clip": "vocab.json and merges.txt"}


def find_tokenizer(places: Sequence[Path], *, family: Family, name: str) -> Path:
    """The first folder that holds a tokenizer: one of ``places`` or a folder ``tokenizer*`` in it.

    Args:
        places: folders, in the order in which they are looked at.
        family: of the tokenizer, which says what its files are called.
        name: of the network, for the error.

    Raises:
        InputError: none does; the message names the files and where they may lie.
    """
    for place in places:
        for folder in (place, *sorted(place.glob("tokenizer*"))):
            if folder.is_dir() and _holds_one(folder):
                return folder
    looked = ", ".join(f"'{place}'" for place in places) or "no folder, for no checkpoint was read"
    raise InputError(
        f"'{name}' reads texts with a tokenizer, and none is here: put tokenizer.json (or "
        f"{_FILES[family]}) beside the checkpoint, or in a folder 'tokenizer' beside it, or name "
        f"its folder (--tokenizer, or net.tokenizer_folder). Looked in: {looked}"
    )


def _holds_one(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")) or (
        (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    )


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of the tokenizer in a folder."""
    return [folder / name for name in _PARTS if (folder / name).is_file()]


def read_tokenizer(folder: Path, *, family: Family) -> Any:
    """The tokenizer in a folder, of transformers.

    Args:
        folder: from ``find_tokenizer``.
        family: what it is where no ``tokenizer_config.json`` says so.

    Raises:
        UnreadableError: its files are damaged.
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer, BertTokenizer, CLIPTokenizer
    except ImportError as error:
        raise MissingExtraError("transformers", extra="train", purpose="read texts") from error
    kinds: dict[str, Any] = {"bert": BertTokenizer, "clip": CLIPTokenizer}
    says = (folder / "tokenizer_config.json").is_file()
    problem: Exception | None = None
    for kind in (AutoTokenizer, kinds[family]) if says else (kinds[family],):
        try:
            return kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exceptions
            problem = error
    raise UnreadableError(f"the tokenizer in '{folder}' is damaged or incomplete") from problem


def tokens(tokenizer: Any, texts: Sequence[str], *, longest: int) -> tuple[Tensor, Tensor]:
    """Numbers of the parts of words, padded to the longest text.

    Args:
        tokenizer: from ``read_tokenizer``.
        texts: sentences.
        longest: number of tokens after which a text is cut.

    Returns:
        ``input_ids`` and ``attention_mask``, both ``(P, T)``, whole numbers.
    """
    said = tokenizer(list(texts), padding=True, truncation=True, max_length=longest)
    return torch.tensor(said["input_ids"]), torch.tensor(said["attention_mask"])
