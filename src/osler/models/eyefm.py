"""EyeFM's vision module: one encoder for photographs, wide-field pictures, OCT and angiograms.

Source: Wu et al. 2025, "An eyecare foundation model for clinical assistance: a randomized
controlled trial", Nature Medicine, doi:10.1038/s41591-025-03900-7.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.multimae import MultiVit, at_size
from osler.models.multimae_pretraining import MultiMae


def eyefm(**options: Any) -> MultiVit:
    """EyeFM's encoder and classifier; options of ``MultiVit``."""
    return MultiVit(**options)


def eyefm_pretraining(**options: Any) -> MultiMae:
    """EyeFM's pretraining network; options of ``MultiMae``."""
    return MultiMae(**options)


_FINE_TUNED = "eyefm-vit-large"
_PRETRAINING = "eyefm-vit-large-pretraining"

SIZES = {name: [(32, 48), (48, 32)] for name in (_FINE_TUNED, _PRETRAINING)}


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Pictures of all kinds, with noise where pretraining hides some of their patches."""
    h, w = size or (options["image_size"],) * 2
    draw = torch.Generator().manual_seed(0)
    domains = options["domains"]
    out = {one: torch.rand(batch, 3, h, w, generator=draw) for one in domains}
    if name == _PRETRAINING:
        tokens = len(domains) * (h // options["patch_size"]) * (w // options["patch_size"])
        out["noise"] = torch.rand(1, tokens, generator=draw).expand(batch, -1).contiguous()
    return out


def _options(shapes: Shapes) -> dict[str, Any]:
    domains = [
        n.split(".")[1] for n in shapes if re.match(r"input_adapters\.[^.]+\.proj\.weight", n)
    ]
    if not domains:
        return {}
    dim, channels, patch, _ = shapes[f"input_adapters.{domains[0]}.proj.weight"]
    out: dict[str, Any] = {
        "domains": domains,
        "embed_dim": dim,
        "channels": channels,
        "patch_size": patch,
        "depth": 1
        + max((int(n.split(".")[1]) for n in shapes if n.startswith("encoder.")), default=0),
    }
    positions = shapes.get(f"input_adapters.{domains[0]}.pos_emb")
    if positions is not None and positions[2] == positions[3]:
        out["image_size"] = positions[3] * patch
    if "encoder.0.mlp.fc2.weight" in shapes:
        out["mlp_ratio"] = shapes["encoder.0.mlp.fc2.weight"][1] / dim
    if "output_adapters.cls.head.weight" in shapes:
        out["num_classes"] = shapes["output_adapters.cls.head.weight"][0]
    return out


def _pretraining_options(shapes: Shapes) -> dict[str, Any]:
    out = _options(shapes)
    out.pop("num_classes", None)
    own = [
        n for n in shapes if n.startswith("output_adapters.") and n.endswith(".decoder.q.weight")
    ]
    if own:
        out["decoder_dim"] = shapes[own[0]][0]
        prefix = own[0].removesuffix("decoder.q.weight") + "decoder_transformer."
        blocks = [int(n.removeprefix(prefix).split(".")[0]) for n in shapes if n.startswith(prefix)]
        out["decoder_depth"] = 1 + max(blocks, default=-1)
    return out


def _refit(positions: Tensor, due: torch.Size) -> Tensor | None:
    fits = positions.ndim == 4 and positions.shape[:2] == due[:2]
    return at_size(positions, due[2:]) if fits else None


_MARKS = (r"^global_tokens$", r"^input_adapters\.[^.]+\.proj\.weight", r"^encoder\.0\.attn\.qkv")
_GRIDS = ((r"\.pos_emb$", _refit),)

LAYOUTS = (
    Layout(
        "MultiMAE, pretrained",
        (_PRETRAINING,),
        marks=(*_MARKS, r"^output_adapters\.[^.]+\.decoder\.q\.weight"),
        heads=(r"^output_adapters\.",),
        options=_pretraining_options,
        refits=_GRIDS,
    ),
    Layout(
        "MultiMAE, pretrained",
        (_FINE_TUNED,),
        marks=(*_MARKS, r"^output_adapters\.[^.]+\.decoder\.q\.weight"),
        drop=(r"^output_adapters\.",),
        heads=(r"^output_adapters\.",),
        options=_options,
        refits=_GRIDS,
        borrowed=True,
    ),
    Layout(
        "MultiMAE, fine-tuned",
        (_FINE_TUNED,),
        marks=_MARKS,
        without=(r"^output_adapters\.[^.]+\.decoder\.q\.weight",),
        heads=(r"^output_adapters\.",),
        options=_options,
        refits=_GRIDS,
    ),
)
