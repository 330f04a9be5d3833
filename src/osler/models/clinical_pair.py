"""A picture's encoder beside a BERT that reads clinical text, each projected into one space.

FLAIR, KeepFIT, RetiZero and MedCLIP are this network with other encoders of pictures; the BERT of
all of them began as Bio_ClinicalBERT (Alsentzer et al. 2019, "Publicly available clinical BERT
embeddings", Clinical NLP).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import InputError, RecipeError
from osler.models.attention_heads import heads_for
from osler.models.checkpoints.layout import Shapes
from osler.models.checkpoints.shapes import agreed, commonest, count, known
from osler.models.zero_shot import ImageText

TEXT_OPTIONS = (
    "text", "text_dim", "text_depth", "text_heads", "text_hidden", "vocabulary", "positions",
)  # fmt: skip

TEXT_NAMES = (
    (r"^text_model\.model\.", "text."),
    (r"^text_model\.projection_head_text\.projection\.", "text_projection."),
    (r"^text_model\.projection_head\.", "text_projection."),
)
"""Published names of the text's encoder, and ours."""

NOT_NEEDED = (r"\.embeddings\.position_ids$",)
"""Numbers that older releases of transformers wrote beside the weights."""


UNUSED = (r"^text\.pooler\.",)
"""Our names that a checkpoint need not bring: what no embedding is made of."""


class ClinicalPair(ImageText):
    """Pictures and clinical texts in one space.

    A network says by ``features`` what its encoder of pictures gives.

    Args:
        vision: encoder of pictures, kept under this name.
        features: numbers that it gives.
        proj_dim: width of the space.
        unit_features: scale what both encoders give to length 1 before projection, too.
        pool_padding: average what BERT says at padding, too, as the official code does. Then
            the embedding of a text depends on the longest text beside it. Without it, only
            tokens are averaged, and each text has one embedding.
        image_size: side of the pictures that the weights were made for, pixels.
        longest: number of tokens after which a text is cut.
        text: whether there is an encoder of texts; some checkpoints hold pictures' alone.
        text_dim: width of BERT.
        text_depth: its blocks.
        text_heads: of its attention; None is one for each 64 of its width, as in every published
            BERT.
        text_hidden: width within its MLP.
        vocabulary: number of its tokens.
        positions: number of its position embeddings.
    """

    def __init__(
        self,
        vision: nn.Module,
        features: int,
        *,
        proj_dim: int = 512,
        unit_features: bool = True,
        pool_padding: bool = False,
        image_size: int = 512,
        longest: int = 77,
        text: bool = True,
        text_dim: int = 768,
        text_depth: int = 12,
        text_heads: int | None = None,
        text_hidden: int = 3072,
        vocabulary: int = 28996,
        positions: int = 512,
    ) -> None:
        super().__init__()
        self.image_size, self.longest = image_size, min(longest, positions)
        self.unit_features, self.pool_padding = unit_features, pool_padding
        self.vision = vision
        self.vision_projection = nn.Linear(features, proj_dim, bias=False)
        self.text, self.text_projection = None, None
        if text:
            self.text = bert(text_dim, text_depth, text_heads, text_hidden, vocabulary, positions)
            self.text_projection = nn.Linear(text_dim, proj_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_image(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)``, preprocessed, to ``(B, D)`` of length 1."""
        return functional.normalize(self.projected(image), dim=1)

    def projected(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D)`` before it is scaled to length 1."""
        seen = self.features(image)
        if self.unit_features:
            seen = functional.normalize(seen, dim=1)
        return self.vision_projection(seen)

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(P, T)`` each to ``(P, D)`` of length 1."""
        said = self.pooled_text(input_ids, attention_mask)
        if self.unit_features:
            said = functional.normalize(said, dim=1)
        assert self.text_projection is not None
        return functional.normalize(self.text_projection(said), dim=1)

    def pooled_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(P, T)`` each to the mean over tokens and over three layers, ``(P, text_dim)``."""
        first, second, last = self.text_layers(input_ids, attention_mask)
        said = (first + second + last) / 3
        if self.pool_padding:
            return said.mean(dim=1)
        weight = attention_mask[:, :, None].to(said.dtype)
        return (said * weight).sum(dim=1) / weight.sum(dim=1)

    def text_layers(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """What BERT says after its first, second and last block, ``(P, T, text_dim)`` each."""
        if self.text is None:
            raise InputError("this network was built without an encoder of texts")
        # as numbers to add, which transformers takes as they are; from zeros and ones it would ask
        # whether there is padding at all, and a graph cannot hold the answer
        least = torch.finfo(self.logit_scale.dtype).min
        hidden = (1 - attention_mask[:, None, None, :].to(self.logit_scale.dtype)) * least
        states = self.text(
            input_ids=input_ids, attention_mask=hidden, output_hidden_states=True
        ).hidden_states
        return states[1], states[2], states[-1]


def bert(
    dim: int,
    depth: int,
    heads: int | None,
    hidden: int,
    vocabulary: int,
    positions: int,
    *,
    pooler: bool = True,
) -> nn.Module:
    """A BERT of transformers at random weights."""
    from transformers import BertConfig, BertModel

    if depth < 2:
        raise RecipeError(f"what two blocks of BERT say is averaged; this one has {depth}")
    heads = heads_for(dim, "text_heads", told=heads)
    net: nn.Module = BertModel(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=dim,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=hidden,
            max_position_embeddings=positions,
        ),
        add_pooling_layer=pooler,
    )
    return net


def text_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of the tensors (in our names) tell of the text's encoder and the space."""
    seen = commonest(shapes, r"^vision_projection\.weight$", 0)
    if not any(name.startswith("text.") for name in shapes):
        return {**known(proj_dim=seen), "text": False}
    layer = r"^text\.encoder\.layer\.\d+\."
    return known(
        proj_dim=agreed(
            seen,
            commonest(shapes, r"^text_projection\.weight$", 0),
            commonest(shapes, r"^attention\.W_.\.weight$", 0),
        ),
        text_dim=commonest(shapes, r"^text\..*LayerNorm\.", 0),
        text_depth=count(shapes, r"^text\.encoder\.layer\.(\d+)\."),
        text_hidden=commonest(shapes, layer + r"intermediate\.dense\.", 0),
        vocabulary=commonest(shapes, r"^text\.embeddings\.word_embeddings\.weight$", 0),
        positions=commonest(shapes, r"^text\.embeddings\.position_embeddings\.weight$", 0),
    )


def of_vision(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of the picture's encoder, under its own names."""
    start = "vision."
    return {k.removeprefix(start): v for k, v in shapes.items() if k.startswith(start)}


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Pictures and three texts for each of them, the last of them shorter."""
    generator = torch.Generator().manual_seed(0)
    side = options.get("image_size", 224)
    ids = torch.randint(5, options.get("vocabulary", 28996), (batch, 3, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[:, 2, 5:] = 0
    return {
        "image": torch.rand(batch, 3, *(size or (side, side)), generator=generator),
        "input_ids": ids * mask,
        "attention_mask": mask,
    }
