"""How a text becomes an array by a network that was taught language: a vector of its meaning.

The encoder is frozen: its vector, of length 1, stands in place of counted words.
MiniLM is found in its package; a BERT out of a folder goes into the bundle with its tokenizer, so
that the bundle answers anywhere. A BERT is computed by numpy, other networks need torch.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, RecipeError
from osler.tasks.fusion_settings import Fused, FusedText
from osler.tasks.fusion_text import LONGEST

if TYPE_CHECKING:
    from osler.models.text_encoder import TextEncoder

FOLDER: Final = "texts"
"""Of a bundle: the encoders of its texts, each under the input's name."""

_BY_NAME: Final = ("minilm", "words")
_TAKEN: Final = frozenset({".json", ".txt", ".safetensors"})
_LEAST: Final = 0.5  # of a text's words: below, it is little more than its length
_SHOWN: Final = 200  # teaching texts by which the encoder's understanding is judged
_folders: dict[str, str] = {}
"""An encoder's version to the folder in which it was last found."""


@lru_cache(maxsize=4)
def _open(said: str) -> "TextEncoder":
    from osler.models.bert_folder import bert_folder
    from osler.models.text_encoder import open_text_encoder

    return open_text_encoder(said if said in _BY_NAME else str(bert_folder(said)))


def _encoder(wanted: FusedText) -> "TextEncoder":
    """The encoder of an input, which must be the one that it was taught with.

    Raises:
        InputError: its weights are others.
    """
    encoder = _open(_folders.get(wanted.version, wanted.encoder or ""))
    if wanted.version and encoder.version != wanted.version:
        raise InputError(
            f"the text encoder '{wanted.encoder}' has other weights ({encoder.version}) than those "
            f"that taught this model ({wanted.version})"
        )
    return encoder


def planned_sentences(name: str, wanted: FusedText, texts: Sequence[str]) -> FusedText:
    """The input with its encoder's version and width.

    Raises:
        RecipeError: there is no such encoder, or it does not know the words of the texts.
    """
    encoder = _encoder(wanted)
    known = [encoder.understood(text) for text in texts[:_SHOWN] if text.strip()]
    if known and float(np.mean(known)) < _LEAST:
        raise RecipeError(
            f"settings.inputs.{name}: the encoder '{wanted.encoder}' knows only "
            f"{np.mean(known):.0%} of the words of the teaching texts; name the folder of a BERT "
            "of their language, or leave encoder out, which counts words"
        )
    if wanted.encoder not in _BY_NAME:
        from osler.models.bert_folder import bert_folder

        _folders[encoder.version] = str(bert_folder(wanted.encoder or ""))
    return wanted.model_copy(update={"version": encoder.version, "dim": encoder.dim})


def encoded_sentences(text: str, wanted: FusedText, *, case: str) -> NDArray[np.float32] | None:
    """``(D,)``; None where a text says nothing.

    Raises:
        InputError: the encoder does not know the words of the text, or is not the one that taught.
    """
    from osler.models.text_encoder import clean

    said = clean(text[:LONGEST])
    if not said:
        return None
    encoder = _encoder(wanted)
    if encoder.understood(said) < _LEAST:
        raise InputError(
            f"case '{case}': the encoder '{wanted.encoder}' knows less than half of the words of "
            f"'{wanted.named}', which is in another language than it was taught; leave it out"
        )
    return _vector(encoder, said).copy()


@lru_cache(maxsize=4096)
def _vector(encoder: "TextEncoder", said: str) -> NDArray[np.float32]:
    return np.asarray(encoder.encode([said])[0], np.float32)


def text_files(inputs: Mapping[str, Fused] | None) -> dict[str, bytes]:
    """The files of encoders out of folders, for a bundle.

    Raises:
        RecipeError: weights are no safetensors.
    """
    out: dict[str, bytes] = {}
    for name, wanted in (inputs or {}).items():
        if not isinstance(wanted, FusedText) or wanted.encoder in (None, *_BY_NAME):
            continue
        folder = Path(_folders[wanted.version])
        files = [one for one in folder.iterdir() if one.suffix in _TAKEN and one.is_file()]
        if not any(one.suffix == ".safetensors" for one in files):
            raise RecipeError(
                f"settings.inputs.{name}: '{folder.name}' has no model.safetensors, and a bundle "
                "holds no pickles; save its weights as safetensors"
            )
        pooling = folder / "1_Pooling" / "config.json"
        files += [pooling] if pooling.is_file() else []
        for one in files:
            path = PurePosixPath(FOLDER, name, *one.relative_to(folder).parts)
            out[str(path)] = one.read_bytes()
    return out


def open_texts(inputs: Mapping[str, Fused] | None, bundle: Any) -> None:
    """Take note of the encoders that lie in a bundle."""
    for name, wanted in (inputs or {}).items():
        if isinstance(wanted, FusedText) and f"{FOLDER}/{name}/config.json" in bundle.card.files:
            _folders[wanted.version] = str(Path(bundle.folder) / FOLDER / name)
