"""The denoiser of latent diffusion, from MONAI: which noise is in a noisy code.

``osler.models.diffusion_sampling.sample`` draws with it.

Sources: Ho et al. 2020, "Denoising diffusion probabilistic models", NeurIPS; Rombach et al. 2022,
"High-resolution image synthesis with latent diffusion models", CVPR.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes


class Denoiser(nn.Module):
    """MONAI's ``DiffusionModelUNet``.

    Args:
        dims: 2 for pictures, 3 for volumes.
        channels: of the code.
        widths: of the levels.
        blocks: residual blocks a level.
        attention: whether each level has attention.
        head_channels: width of a head of attention, a level or of all.
        groups: of the group norms.
        context: width of the conditions that attention looks at; None looks at none.
        classes: number of classes that condition it; None has none.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        channels: int = 3,
        widths: Sequence[int] = (128, 256, 512),
        blocks: Sequence[int] | int = 2,
        attention: Sequence[bool] = (False, True, True),
        head_channels: Sequence[int] | int = 64,
        groups: int = 32,
        context: int | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

        self.channels, self.dims = channels, dims
        self.net: Any = DiffusionModelUNet(
            spatial_dims=dims,
            in_channels=channels,
            out_channels=channels,
            channels=tuple(widths),
            num_res_blocks=blocks if isinstance(blocks, int) else tuple(blocks),
            attention_levels=tuple(attention),
            num_head_channels=(
                head_channels if isinstance(head_channels, int) else tuple(head_channels)
            ),
            norm_num_groups=groups,
            with_conditioning=context is not None,
            cross_attention_dim=context,
            num_class_embeds=classes,
        )
        for name, module in self.net.named_modules():
            # MONAI starts these at zero, and then nothing before them learns from the first step
            if name.endswith(("out.2.conv", ".conv2.conv", ".proj_out.conv")):
                nn.init.normal_(module.weight, std=1e-3)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        context: Tensor | None = None,
        classes: Tensor | None = None,
    ) -> Tensor:
        """The noise in a noisy code.

        Args:
            x: ``(B, C, [D,] H, W)``.
            time: ``(B,)``, the step of the noise, 0 to the number of steps less one.
            context: ``(B, N, context)``, what it is conditioned on.
            classes: ``(B,)``, the class it is conditioned on.
        """
        return self.net(x, time, context=context, class_labels=classes)


def denoiser_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes (in our names) tell; heads and groups cannot be seen."""
    first = shapes.get("net.conv_in.conv.weight")
    if first is None:
        return {}
    widths: dict[int, int] = {}
    blocks: dict[int, int] = {}
    attention: set[int] = set()
    context: int | None = None
    for name, shape in shapes.items():
        found = re.match(r"net\.down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", name)
        if not found:
            continue
        level = int(found[1])
        if found[2] == "attentions":
            attention.add(level)
        elif found[4] == "conv1.conv.weight":
            widths[level] = shape[0]
            blocks[level] = max(blocks.get(level, 0), int(found[3]) + 1)
        if found[4].endswith("attn2.to_k.weight"):
            context = shape[1]
    levels = sorted(widths)
    classes = shapes.get("net.class_embedding.weight")
    return {
        "dims": len(first) - 2,
        "channels": first[1],
        "widths": [widths[level] for level in levels],
        "blocks": [blocks[level] for level in levels],
        "attention": [level in attention for level in levels],
        "context": context,
        "classes": None if classes is None else classes[0],
    }


LAYOUTS = (
    Layout(
        "MONAI and MONAI Generative",
        ("latent-diffusion",),
        marks=(r"^conv_in\.conv\.weight", r"^time_embed\.0\.", r"^down_blocks\.0\.resnets\.0\."),
        rename=(
            # MONAI Generative wrapped neither attention nor the convolution after enlarging
            (r"((?:attentions\.\d+|middle_block\.attention))\.to_([qkv])\.", r"\1.attn.to_\2."),
            (r"((?:attentions\.\d+|middle_block\.attention))\.proj_attn\.", r"\1.attn.out_proj."),
            (r"\.to_out\.0\.", ".out_proj."),
            (r"\.upsampler\.conv\.conv\.", ".upsampler.postconv.conv."),
            (r"^", "net."),
        ),
        options=denoiser_options,
    ),
)

SIZES = {"latent-diffusion": [(8, 12)]}


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """A noisy code and its step."""
    generator = torch.Generator().manual_seed(0)
    sides = size or (16,) * options.get("dims", 2)
    code = torch.randn(batch, options.get("channels", 3), *sides, generator=generator)
    inputs = {"x": code, "time": torch.arange(batch) * 100 + 10}
    if options.get("context"):
        inputs["context"] = torch.randn(batch, 2, options["context"], generator=generator)
    return inputs
