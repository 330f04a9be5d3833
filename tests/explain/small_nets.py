"""Small networks of the catalogue, one a family, and a picture or volume for each."""

import torch

from osler import models

SMALL = {
    "resnet": ("resnet-18", {"widths": [8, 8, 16, 24], "stem": 8, "num_classes": 3}, (3, 96, 128)),
    "densenet": (
        "densenet-121",
        {"channels": 1, "num_classes": 3, "start": 8, "growth": 4, "blocks": [2, 2, 2, 2]},
        (1, 96, 96),
    ),
    "densenet-3d": (
        "densenet-121",
        {"channels": 1, "num_classes": 3, "start": 8, "growth": 4, "blocks": [2, 2], "dims": 3},
        (1, 32, 40, 48),
    ),
    "unet": ("monai-unet", {"channels": 1, "labels": 3, "widths": [4, 8, 16]}, (1, 32, 48)),
    "unet-3d": (
        "monai-unet-3d",
        {"channels": 1, "labels": 3, "widths": [4, 8, 16]},
        (1, 16, 24, 32),
    ),
    "vit": (
        "vit-base",
        {"image_size": 48, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3,
         "num_classes": 3},
        (3, 48, 48),
    ),
    "swin": (
        "swin-tiny",
        {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3], "window": 4, "image_size": 64,
         "num_classes": 3},
        (3, 64, 64),
    ),
}  # fmt: skip


def small(name: str, *, seed: int = 0) -> tuple[torch.nn.Module, torch.Tensor]:
    """A network in eval mode with random weights, and an input ``(1, C, [D,] H, W)``."""
    system, options, shape = SMALL[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = models.create(system, weights="random", **options)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                # an untrained norm would let random weights vanish or explode
                module.momentum = None
        x = torch.randn(1, *shape)
        net.train()
        with torch.no_grad():
            net(torch.cat([x, torch.randn(3, *shape)]))
    return net.eval(), x
