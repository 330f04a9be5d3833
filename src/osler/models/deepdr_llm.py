"""DeepDR-LLM's language module: a Llama whose queries and values have two adapters each.

Beside the low-rank update stands a small network in series, so a layer gives
``y + M2 relu(M1 y) + (alpha / r) B A dropout(x)`` with ``y = W x``. The serial part has the usual
start of linear layers, so an untrained adapter changes what the base says; that is how it is
described, and ``serial_start="zero"`` starts as the base instead.

Source: Li et al. 2024, "Integrated image-based deep learning and language models for primary
diabetes care", Nature Medicine, doi:10.1038/s41591-024-03139-8.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models import generative

TEMPLATE = "[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{instruction}\n{input} [/INST]"
"""How a question is put to the language module."""


class AdaptedLinear(nn.Module):
    """A frozen linear layer with a low-rank update beside it and a small network after it.

    Args:
        base: the layer.
        rank: of both adapters.
        alpha: the update is multiplied by ``alpha / rank``.
        dropout: share of the update's inputs dropped in training.
        serial_start: ``linear`` as the paper's code starts it, or ``zero``.
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int = 64,
        alpha: float = 128.0,
        dropout: float = 0.05,
        serial_start: Literal["linear", "zero"] = "linear",
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_a = nn.Linear(base.in_features, rank, bias=False)
        self.lora_b = nn.Linear(rank, base.out_features, bias=False)
        self.serial_down = nn.Linear(base.out_features, rank, bias=False)
        self.serial_up = nn.Linear(rank, base.out_features, bias=False)
        self.dropout, self.scale = nn.Dropout(dropout), alpha / rank
        nn.init.zeros_(self.lora_b.weight)
        if serial_start == "zero":
            nn.init.zeros_(self.serial_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``."""
        y = self.base(x)
        serial = self.serial_up(functional.relu(self.serial_down(y)))
        return y + serial + self.scale * self.lora_b(self.lora_a(self.dropout(x)))


def deepdr_llm(
    *,
    rank: int = 64,
    alpha: float = 128.0,
    dropout: float = 0.05,
    serial_start: Literal["linear", "zero"] = "linear",
    targets: tuple[str, ...] = ("q_proj", "v_proj"),
    **options: Any,
) -> nn.Module:
    """A Llama with both adapters, of which alone the adapters learn.

    Args:
        rank: as in ``AdaptedLinear``.
        alpha: as there.
        dropout: as there.
        serial_start: as there.
        targets: ends of the names of the layers that get them.
        options: of ``generative.llama``.
    """
    net = generative.llama(**options)
    net.requires_grad_(False)
    return adapt(net, targets, rank=rank, alpha=alpha, dropout=dropout, serial_start=serial_start)


def adapt(net: nn.Module, targets: tuple[str, ...], **options: Any) -> nn.Module:
    """Put adapters on all linear layers whose names end so.

    Raises:
        RecipeError: there is none.
    """
    found = [
        name
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in targets
    ]
    if not found:
        raise RecipeError(f"no linear layer is called {' or '.join(targets)}")
    for name in found:
        parent, _, last = name.rpartition(".")
        owner = net.get_submodule(parent)
        setattr(owner, last, AdaptedLinear(getattr(owner, last), **options))
    return net


def prompt(
    finding: Mapping[str, object], *, instruction: str, system: str = "", **patient: object
) -> str:
    """What the language module is asked: the patient, then what the image module found.

    Args:
        finding: such as ``{"Fundus Image Quality": "Gradable", "DR Grade": 2}``, in order.
        instruction: what is wanted.
        system: who is asked.
        patient: such as ``Age=47``, named before the findings.
    """
    said = "; ".join(f"{name}: {value}" for name, value in {**patient, **finding}.items())
    return TEMPLATE.format(system=system, instruction=instruction, input="{" + said + "}")


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """A few words."""
    del name
    return generative.example("llama", options, batch, size)


def answer_loss(logits: Tensor, ids: Tensor, asked: Tensor) -> Tensor:
    """Cross-entropy of the next word over the answer alone; words of the question do not count.

    Args:
        logits: ``(B, T, V)``.
        ids: ``(B, T)``.
        asked: ``(B, T)``, True where a word is part of the question or padding.
    """
    wanted = torch.where(asked, torch.full_like(ids, -100), ids)[:, 1:]
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), wanted.flatten())
