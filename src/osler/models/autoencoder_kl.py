"""The autoencoder of latent diffusion, from MONAI: a picture or volume to a small code and back.

Sources: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models",
CVPR; Pinaya et al. 2022, "Brain imaging generation with latent diffusion models", DGM4MICCAI.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes


class Coded(NamedTuple):
    """What the autoencoder gives: the picture again, and mean and deviation of its code."""

    picture: Tensor
    mean: Tensor
    deviation: Tensor


class Autoencoder(nn.Module):
    """MONAI's ``AutoencoderKL``.

    Args:
        dims: 2 for pictures, 3 for volumes.
        channels: of the input.
        widths: of the levels; between two of them the sides are halved.
        blocks: residual blocks a level.
        attention: whether each level has attention.
        latent: channels of the code.
        groups: of the group norms.
        middle: attention between two residual blocks at the deepest level.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        channels: int = 1,
        widths: Sequence[int] = (64, 128, 128),
        blocks: Sequence[int] | int = 2,
        attention: Sequence[bool] = (False, False, False),
        latent: int = 3,
        groups: int = 32,
        middle: bool = True,
    ) -> None:
        super().__init__()
        from monai.networks.nets.autoencoderkl import AutoencoderKL

        self.net: Any = AutoencoderKL(
            spatial_dims=dims,
            in_channels=channels,
            out_channels=channels,
            channels=tuple(widths),
            num_res_blocks=blocks if isinstance(blocks, int) else tuple(blocks),
            attention_levels=tuple(attention),
            latent_channels=latent,
            norm_num_groups=groups,
            with_encoder_nonlocal_attn=middle,
            with_decoder_nonlocal_attn=middle,
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, [D,] H, W)`` to mean and standard deviation of its code."""
        mean, deviation = self.net.encode(x)
        return mean, deviation

    def decode(self, code: Tensor) -> Tensor:
        """``(B, latent, [d,] h, w)`` to a picture or volume."""
        return self.net.decode(code)

    def features(self, x: Tensor) -> Tensor:
        """The mean code as ``(B, latent)``, over all positions."""
        return self.encode(x)[0].flatten(2).mean(2)

    def forward(self, x: Tensor) -> Coded:
        """``(B, C, [D,] H, W)`` to ``Coded``; the code is drawn in training, its mean else."""
        mean, deviation = self.encode(x)
        code = mean + deviation * torch.randn_like(deviation) if self.training else mean
        return Coded(self.decode(code), mean, deviation)


def _kinds(shapes: Shapes) -> list[tuple[str, int]]:
    """What each block of the encoder is, and its width."""
    out = []
    for number in range(len(shapes)):
        start = f"net.encoder.blocks.{number}."
        if f"{start}conv1.conv.weight" in shapes:
            out.append(("residual", shapes[f"{start}conv1.conv.weight"][0]))
        elif f"{start}attn.to_q.weight" in shapes:
            out.append(("attention", shapes[f"{start}attn.to_q.weight"][0]))
        elif f"{start}conv.conv.weight" in shapes:
            out.append(("halve", shapes[f"{start}conv.conv.weight"][0]))
        elif f"{start}conv.weight" in shapes:
            out.append(("convolve", shapes[f"{start}conv.weight"][0]))
        elif f"{start}weight" not in shapes:
            break
    return out


def autoencoder_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes (in our names) tell; groups of norms cannot be seen."""
    first = shapes.get("net.encoder.blocks.0.conv.weight")
    kinds = _kinds(shapes)
    if first is None or len(kinds) < 3:
        return {}
    # the last is the convolution to the code; before it may stand the middle
    between = [kind for kind, _ in kinds[1:-1]]
    middle = between[-3:] == ["residual", "attention", "residual"]
    inner = kinds[1 : -4 if middle else -1]
    levels: list[list[tuple[str, int]]] = [[]]
    for one in inner:
        if one[0] == "halve":
            levels.append([])
        else:
            levels[-1].append(one)
    if not all(levels):
        return {}
    return {
        "dims": len(first) - 2,
        "channels": first[1],
        "widths": [level[0][1] for level in levels],
        "blocks": [sum(kind == "residual" for kind, _ in level) for level in levels],
        "attention": [any(kind == "attention" for kind, _ in level) for level in levels],
        "latent": kinds[-1][1],
        "middle": middle,
    }


LAYOUTS = (
    Layout(
        "MONAI and MONAI Generative",
        ("autoencoder-kl",),
        marks=(r"^encoder\.blocks\.0\.conv\.weight", r"^quant_conv_mu\.conv\."),
        drop=(r"^loss\.", r"^perceptual_loss\."),
        rename=(
            # MONAI Generative wrapped neither attention nor the convolution after enlarging
            (r"(\.blocks\.\d+)\.to_([qkv])\.", r"\1.attn.to_\2."),
            (r"(\.blocks\.\d+)\.proj_attn\.", r"\1.attn.out_proj."),
            (r"^(decoder\.blocks\.\d+)\.conv\.conv\.", r"\1.postconv.conv."),
            (r"^", "net."),
        ),
        options=autoencoder_options,
    ),
)

SIZES = {"autoencoder-kl": [(16, 24)]}
