"""BERT by numpy: a folder with safetensors becomes an encoder of texts, without torch.

Attention over one text at a time [1]_, in the layout in which ``transformers`` writes it. What it
says agrees with torch's to six digits; a test compares them.

References:
    .. [1] Devlin et al., "BERT", NAACL 2019.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, MissingExtraError, UnreadableError
from osler.models.text_encoder import (
    Pooling,
    TextEncoder,
    Vectors,
    digest_of,
    unit,
    windows,
)

Array = NDArray[np.float32]

WEIGHTS: Final = "model.safetensors"
_MOST_TOKENS: Final = 4096  # in one batch of texts of like length
_ACTS: Final = ("gelu", "relu")


def is_plain_bert(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a folder is a BERT that this file computes."""
    return (
        config.get("model_type") == "bert"
        and (folder / WEIGHTS).is_file()
        and config.get("hidden_act", "gelu") in _ACTS
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
    )


class BertEncoder(TextEncoder):
    """A BERT in a folder.

    Args:
        folder: with ``config.json``, ``model.safetensors`` and a tokenizer.
        config: what ``config.json`` says.
        name: how the user named it.
        languages: it was made for.
        pooling: how its tokens become one vector.
        longest: tokens that are read at once.

    Raises:
        MissingExtraError: ``tokenizers`` or ``safetensors`` is not installed.
        UnreadableError: the weights are damaged, or not those of the configuration.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        name: str,
        languages: tuple[str, ...],
        pooling: Pooling,
        longest: int,
    ) -> None:
        self.name, self.languages = name, languages
        self._pooling, self._longest = pooling, longest
        self._tokenizer, tokens = _tokenizer(folder)
        self._unknown = self._tokenizer.token_to_id("[UNK]")
        self._weights = _weights(folder / WEIGHTS)
        try:
            self._heads = int(config["num_attention_heads"])
            self._layers = int(config["num_hidden_layers"])
            self._epsilon = float(config.get("layer_norm_eps", 1e-12))
            self.dim = int(config["hidden_size"])
            self._check()
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableError(
                f"'{folder}' is damaged: its weights and config.json do not agree ({error})"
            ) from error
        self._act = _relu if config.get("hidden_act") == "relu" else _gelu
        self.version = digest_of(folder / WEIGHTS, tokens) + f"-{pooling}"

    def understood(self, text: str) -> float:  # noqa: D102
        ids = self._ids(text)
        return float(np.mean([one != self._unknown for one in ids])) if ids else 0.0

    def _encode(self, texts: list[str]) -> Vectors:
        first, last = self._ends()
        pieces = [
            (number, [first, *window, last])
            for number, text in enumerate(texts)
            for window in windows(self._ids(text), self._longest)
        ]
        out: NDArray[np.float64] = np.zeros((len(texts), self.dim))
        # texts of one length go together, so that nothing is padded
        pieces.sort(key=lambda piece: len(piece[1]))
        start = 0
        while start < len(pieces):
            length = len(pieces[start][1])
            end = start
            while (
                end < len(pieces)
                and len(pieces[end][1]) == length
                and (end - start + 1) * length <= max(_MOST_TOKENS, length)
            ):
                end += 1
            said = self._pooled(np.array([ids for _, ids in pieces[start:end]]))
            for (number, _), vector in zip(pieces[start:end], said, strict=True):
                out[number] += vector / np.linalg.norm(vector)
            start = end
        return unit(out)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if ids and max(ids) >= len(self._weights["embeddings.word_embeddings.weight"]):
            raise UnreadableError("the tokenizer has more words than the network")
        return ids

    def _ends(self) -> tuple[int, int]:
        first, last = (self._tokenizer.token_to_id(one) for one in ("[CLS]", "[SEP]"))
        if first is None or last is None:
            raise UnreadableError("the tokenizer has no [CLS] and [SEP]; it is none of a BERT")
        return first, last

    def _pooled(self, ids: NDArray[np.int64]) -> Array:
        """``(B, T)`` tokens of equal length to ``(B, D)``."""
        states = self._states(ids)
        return states[:, 0] if self._pooling == "cls" else states.mean(axis=1)

    def _states(self, ids: NDArray[np.int64]) -> Array:
        weights, dim = self._weights, self.dim
        batch, length = ids.shape
        x = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][:length]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._normed(x, "embeddings.LayerNorm").reshape(-1, dim)
        size = dim // self._heads
        for number in range(self._layers):
            where = f"encoder.layer.{number}"
            q, k, v = (
                self._linear(x, f"{where}.attention.self.{one}")
                .reshape(batch, length, self._heads, size)
                .transpose(0, 2, 1, 3)
                for one in ("query", "key", "value")
            )
            scores: Array = q @ k.transpose(0, 1, 3, 2) / np.float32(size**0.5)
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            mixed: Array = (scores @ v).transpose(0, 2, 1, 3).reshape(-1, dim)
            seen = self._linear(mixed, f"{where}.attention.output.dense")
            x = self._normed(x + seen, f"{where}.attention.output.LayerNorm")
            wide = self._act(self._linear(x, f"{where}.intermediate.dense"))
            wide = self._linear(wide, f"{where}.output.dense")
            x = self._normed(x + wide, f"{where}.output.LayerNorm")
        states: Array = x.reshape(batch, length, dim)
        return states

    def _linear(self, x: Array, where: str) -> Array:
        out: Array = x @ self._weights[f"{where}.weight"].T + self._weights[f"{where}.bias"]
        return out

    def _normed(self, x: Array, where: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        out: Array = (
            centred / deviation * self._weights[f"{where}.weight"] + self._weights[f"{where}.bias"]
        )
        return out

    def _check(self) -> None:
        """Every weight is there in the shape that the configuration says."""
        dim = self.dim
        words = self._weights["embeddings.word_embeddings.weight"]
        positions = self._weights["embeddings.position_embeddings.weight"]
        if words.shape[1:] != (dim,) or positions.shape[1:] != (dim,) or dim % self._heads:
            raise ValueError("the embeddings have another size")
        if len(positions) < self._longest:
            raise ValueError(f"{len(positions)} positions for {self._longest} tokens")
        wide = self._weights["encoder.layer.0.intermediate.dense.weight"].shape[0]
        for number in range(self._layers):
            where = f"encoder.layer.{number}"
            square = [f"attention.self.{one}" for one in ("query", "key", "value")]
            for name, shape in (
                *((one, (dim, dim)) for one in (*square, "attention.output.dense")),
                ("intermediate.dense", (wide, dim)),
                ("output.dense", (dim, wide)),
            ):
                if self._weights[f"{where}.{name}.weight"].shape != shape:
                    raise ValueError(f"{where}.{name} is not {shape}")


def _gelu(x: Array) -> Array:
    from scipy.special import erf

    out: Array = x * np.float32(0.5) * (1 + erf(x * np.float32(0.5**0.5)))
    return out


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _tokenizer(folder: Path) -> tuple[Any, Path]:
    """The tokenizer in a folder, and its file."""
    try:
        from tokenizers import Tokenizer
        from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
    except ImportError as error:
        raise MissingExtraError("tokenizers", extra="text", purpose="encode texts") from error
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            said = Tokenizer.from_file(str(path))
            said.no_truncation()
            said.no_padding()
            return said, path
        path = folder / "vocab.txt"
        lower = _lower(folder)
        return BertWordPieceTokenizer(str(path), lowercase=lower), path
    except Exception as error:  # tokenizers raises bare Exceptions
        raise UnreadableError(
            f"the folder '{folder}' holds no tokenizer that can be read (tokenizer.json or "
            "vocab.txt)"
        ) from error


def _lower(folder: Path) -> bool:
    from osler.models.text_encoder import _json

    path = folder / "tokenizer_config.json"
    return bool(_json(path).get("do_lower_case", True)) if path.is_file() else True


def _weights(path: Path) -> dict[str, Array]:
    """The tensors in single precision, by their names without a prefix ``bert.``."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError("safetensors", extra="text", purpose="encode texts") from error
    out: dict[str, Array] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                short = name.removeprefix("bert.")
                if short.startswith(("embeddings.", "encoder.")) and "position_ids" not in short:
                    values = file.get_tensor(name)
                    if not np.issubdtype(values.dtype, np.floating):
                        raise UnreadableError(f"'{path}': '{name}' is {values.dtype}")
                    out[_renamed(short)] = values.astype(np.float32, copy=False)
    except (SafetensorError, OSError, TypeError) as error:
        raise UnreadableError(f"'{path}' is damaged, or of a type that is not read") from error
    if not out:
        raise InputError(f"'{path}' holds no weights of a BERT")
    return out


def _renamed(name: str) -> str:
    """Older checkpoints call scale and shift gamma and beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )
