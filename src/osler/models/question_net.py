"""A small network that answers a question about a picture with one of its known answers.

The picture's features are weighed by the question (a product of the two, after Antol et al. 2015,
"VQA: visual question answering", ICCV, there a network with two ways that meet in a product), and
the question also speaks for itself. The question is a bag of words: which of the known words stand
in it. It is the small, honest end of the line: whatever a large model answers is compared with it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class QuestionNet(nn.Module):
    """Answers of a picture and the words of a question.

    Args:
        words: known words.
        num_classes: known answers; 0 gives features.
        backbone: network of the list that gives features ``(B, C)`` of a picture.
        backbone_options: what it is built with.
        embed_dim: width at which picture and question meet.
        dropout: share of the meeting's values dropped in training.
    """

    def __init__(
        self,
        *,
        words: int = 256,
        num_classes: int = 0,
        backbone: str = "mobilenet-v3-small",
        backbone_options: Mapping[str, Any] | None = None,
        embed_dim: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        from osler.models.creating import create

        self.backbone = create(
            backbone, weights="random", **{**(backbone_options or {}), "num_classes": 0}
        )
        near = next(self.backbone.parameters())
        with torch.no_grad():  # it says how wide its features are
            seen = self.backbone.eval()(torch.zeros(1, 3, 64, 64, device=near.device))
        self.see = nn.Linear(seen.shape[1], embed_dim)
        self.ask = nn.Sequential(nn.Linear(words, embed_dim), nn.GELU())
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * embed_dim, num_classes) if num_classes else nn.Identity()

    def features(self, x: Tensor, words: Tensor) -> Tensor:
        """``(B, 3, H, W)`` and ``(B, words)`` of 0 and 1 to ``(B, 2 embed_dim)``."""
        asked = self.ask(words / words.sum(dim=1, keepdim=True).clamp(min=1).sqrt())
        seen = torch.tanh(self.see(self.backbone(x)))
        return torch.cat([seen * asked, asked], dim=1)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """The same to scores ``(B, num_classes)``, or to features."""
        out: Tensor = self.head(self.drop(self.features(x, words)))
        return out


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """A picture and a question's words."""
    generator = torch.Generator().manual_seed(0)
    words = torch.rand(batch, int(options["words"]), generator=generator) < 0.1
    return {
        "x": torch.rand(batch, 3, *(size or (64, 64)), generator=generator),
        "words": words.float(),
    }
