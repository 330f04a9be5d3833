"""A second look from farther away: some labels are told by more than a pixel's neighbourhood."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.unet import UNet

_SURE = 1e-6  # probabilities stay this far from 0 and 1, so that their logits are finite


class SecondLook(nn.Module):
    """Joins a network's probabilities with those it gives at half the resolution.

    Prediction at several scales with one network (Chen et al. 2016, "Attention to scale", CVPR,
    with fixed weights): a field of confluent exudates is seen as one only from farther away,
    which costs a quarter of the first look; a microaneurysm is gone at that distance, so each
    label has its own share.

    Args:
        net: the network.
        shares: for each of its labels the weight of the second look, from 0 to 1; at 0 the label
            is as the network says it.
    """

    shares: Tensor

    def __init__(self, net: UNet, shares: Sequence[float]) -> None:
        super().__init__()
        if len(shares) != net.labels:
            raise ValueError(f"{len(shares)} shares for {net.labels} labels")
        self.net = net
        values = torch.tensor(list(shares), dtype=torch.float32).reshape(1, -1, 1, 1)
        self.register_buffer("shares", values, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4, H, W)``, 0 to 1, sides multiples of 32, to logits ``(B, L, H, W)``."""
        return self.look_again(x, self.net(x))

    def look_again(self, x: Tensor, logits: Tensor) -> Tensor:
        """What the network said of ``x``, joined with what it says from twice as far away."""
        small = functional.avg_pool2d(x, 2)
        height, width = small.shape[-2], small.shape[-1]
        # sides of the half canvas are multiples of 16; the network needs multiples of 32
        small = functional.pad(small, (0, (-width) % 32, 0, (-height) % 32))
        far = functional.interpolate(
            self.net(small), scale_factor=2.0, mode="bilinear", align_corners=False
        )[..., : x.shape[-2], : x.shape[-1]]
        mean = (1 - self.shares) * logits.sigmoid() + self.shares * far.sigmoid()
        return torch.where(self.shares > 0, mean.clamp(_SURE, 1 - _SURE).logit(), logits)
