"""Other networks of ``transformers`` as text encoders: RoBERTa, DistilBERT, MPNet, XLM-R and so on.

Nothing is downloaded and no code of a folder is run.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import MissingExtraError, UnreadableError
from osler.models.text_encoder import (
    Pooling,
    TextEncoder,
    Vectors,
    digest_of,
    unit,
    windows,
)

_AT_ONCE: Final = 16


class TransformersEncoder(TextEncoder):
    """A network in a folder, by torch.

    Args:
        folder: with ``config.json``, weights and a tokenizer.
        name: how the user named it.
        languages: it was made for.
        pooling: how its tokens become one vector.
        longest: tokens that are read at once.

    Raises:
        MissingExtraError: transformers is not installed.
        UnreadableError: the folder is damaged, or no such network.
    """

    def __init__(
        self, folder: Path, *, name: str, languages: tuple[str, ...], pooling: Pooling, longest: int
    ) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging
        except ImportError as error:
            raise MissingExtraError(
                "transformers", extra="train", purpose=f"open the text encoder '{name}'"
            ) from error
        weights = [
            path
            for path in sorted(folder.iterdir())
            if path.suffix in (".safetensors", ".bin") and path.is_file()
        ]
        if not weights:
            raise UnreadableError(f"the folder '{folder}' holds no weights (model.safetensors)")
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._net: Any = AutoModel.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            ).eval()
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # whatever its files make it raise
            raise UnreadableError(
                f"the folder '{folder}' is no text encoder that transformers opens"
            ) from error
        finally:
            if shown:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        self.name, self.languages = name, languages
        self._pooling, self._longest = pooling, longest
        self.dim = int(self._net.config.hidden_size)
        self.version = digest_of(*weights) + f"-{pooling}"

    def understood(self, text: str) -> float:  # noqa: D102
        ids = self._ids(text)
        unknown = self._tokenizer.unk_token_id
        return float(np.mean([one != unknown for one in ids])) if ids else 0.0

    def _ids(self, text: str) -> list[int]:
        said = self._tokenizer(text, add_special_tokens=False, verbose=False)
        ids: list[int] = said["input_ids"]
        return ids

    def _encode(self, texts: list[str]) -> Vectors:
        import torch

        pieces = [
            (number, window)
            for number, text in enumerate(texts)
            for window in windows(self._ids(text), self._longest)
        ]
        out: NDArray[np.float64] = np.zeros((len(texts), self.dim))
        for start in range(0, len(pieces), _AT_ONCE):
            part = pieces[start : start + _AT_ONCE]
            with torch.inference_mode():
                batch = self._tokenizer.pad(
                    {"input_ids": [self._framed(window) for _, window in part]},
                    return_tensors="pt",
                )
                states = self._net(
                    input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
                ).last_hidden_state.float()
                seen = batch["attention_mask"][..., None].float()
                pooled = (
                    states[:, 0]
                    if self._pooling == "cls"
                    else (states * seen).sum(dim=1) / seen.sum(dim=1)
                )
            for (number, _), vector in zip(part, pooled.numpy().astype(np.float64), strict=True):
                out[number] += vector / np.linalg.norm(vector)
        return unit(out)

    def _framed(self, ids: list[int]) -> list[int]:
        tokenizer = self._tokenizer
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else []
        last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else []
        return [
            *([first] if isinstance(first, int) else []),
            *ids,
            *([last] if isinstance(last, int) else []),
        ]
