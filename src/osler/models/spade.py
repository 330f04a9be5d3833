"""SPADE: draw a picture of a map of labels, and judge whether a picture was drawn.

Source: Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization", CVPR.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Drawn(NamedTuple):
    """A picture, and mean and logarithm of the variance of its style where one was given."""

    picture: Tensor
    mean: Tensor | None
    log_variance: Tensor | None


class Spade(nn.Module):
    """MONAI's SPADE: a decoder whose norms look at the labels, and an encoder of style.

    Args:
        dims: 2 for pictures, 3 for volumes.
        channels: of the picture.
        labels: of the map, one channel each.
        image_size: side of pictures; the style enters by a linear layer, so it is fixed.
        widths: of the encoder's levels; the decoder has them in reverse.
        style: length of the style.
        hidden: width within each norm.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        channels: int = 1,
        labels: int = 4,
        image_size: int = 256,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        style: int = 256,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        from monai.networks.nets.spade_network import SPADEDecoder, SPADEEncoder

        sides = [image_size] * dims
        self.style = style
        self.encoder: Any = SPADEEncoder(
            spatial_dims=dims,
            in_channels=channels,
            z_dim=style,
            channels=list(widths),
            input_shape=sides,
        )
        self.decoder: Any = SPADEDecoder(
            spatial_dims=dims,
            out_channels=channels,
            label_nc=labels,
            input_shape=sides,
            channels=list(widths)[::-1],
            z_dim=style,
            is_vae=True,
            spade_intermediate_channels=hidden,
            last_act=None,
        )

    def forward(
        self, labels: Tensor, picture: Tensor | None = None, noise: Tensor | None = None
    ) -> Drawn:
        """Draw a picture.

        Args:
            labels: ``(B, labels, H, W)``, 1 where a label is.
            picture: ``(B, C, H, W)`` whose style is taken.
            noise: ``(B, style)``, the style where no picture is given; none is the mean style.
        """
        mean = log_variance = None
        if picture is not None:
            mean, log_variance = self.encoder(picture)
            code = mean
            if self.training:
                code = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        elif noise is not None:
            code = noise
        else:
            code = labels.new_zeros(len(labels), self.style)
        return Drawn(self.decoder(labels, code), mean, log_variance)


class PatchDiscriminator(nn.Module):
    """Discriminators of patches at several scales, each of MONAI.

    Args:
        dims: 2 for pictures, 3 for volumes.
        channels: of what is judged: the picture, and the labels where it sees them too.
        width: after the first convolution.
        layers: halvings and widenings.
        scales: how many discriminators; each sees half the resolution of the one before.
        norm: ``instance`` or ``batch``.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        channels: int = 3,
        width: int = 64,
        layers: int = 3,
        scales: int = 2,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        from monai.networks.nets.patchgan_discriminator import PatchDiscriminator as Built

        self.dims = dims
        self.scales = nn.ModuleList(
            Built(
                spatial_dims=dims,
                channels=width,
                in_channels=channels,
                num_layers_d=layers,
                norm=norm,
            )
            for _ in range(scales)
        )

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """``(B, C, [D,] H, W)`` to scores of patches and all features, of each scale.

        The scores are not squashed: for the hinge or the least-squares loss.
        """
        halve = functional.avg_pool2d if self.dims == 2 else functional.avg_pool3d
        scores, features = [], []
        for number, net in enumerate(self.scales):
            if number:
                x = halve(x, 3, 2, 1, count_include_pad=False)
            *inner, last = net(x)
            scores.append(last)
            features.append(inner)
        return scores, features


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """A map of labels and a picture, or a picture to be judged."""
    generator = torch.Generator().manual_seed(0)
    sides = size or (options.get("image_size", 64),) * options.get("dims", 2)
    picture = torch.randn(batch, options.get("channels", 1), *sides, generator=generator)
    if name == "patch-discriminator":
        return {"x": picture}
    count = options.get("labels", 4)
    labels = torch.randint(count, (batch, *sides), generator=generator)
    return {
        "labels": functional.one_hot(labels, count).movedim(-1, 1).float(),
        "picture": picture,
    }
