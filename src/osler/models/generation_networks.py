"""The networks of generation as one module each, so that one loop trains them and one graph runs.

Beside what draws stands a small reader of pictures that learns to tell the condition. Its features
are the space in which pictures are compared, and they travel in the bundle's graph.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES = 32


class Reader(nn.Module):
    """Tells the condition of a picture, by 32 features.

    Args:
        channels: of the picture.
        told: length of what it tells.
    """

    def __init__(self, channels: int, told: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        before = channels
        for width in (16, FEATURES, FEATURES):
            parts += [
                nn.Conv2d(before, width, 3, stride=2, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.SiLU(),
            ]
            before = width
        self.body = nn.Sequential(*parts)
        self.head = nn.Linear(FEATURES, told)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, H, W)`` to features ``(B, 32)`` and what it tells ``(B, told)``."""
        features = self.body(picture).mean(dim=(2, 3))
        return features, self.head(features)


class DiffusionNet(nn.Module):
    """A denoiser of pictures or of their codes, and a reader.

    Args:
        denoiser: says noise or velocity, conditioned on a class.
        reader: of pictures.
        code: autoencoder of pictures; None draws pixels.
    """

    def __init__(self, denoiser: nn.Module, reader: Reader, code: Any = None) -> None:
        super().__init__()
        self.denoiser, self.reader, self.code = denoiser, reader, code
        # codes are drawn with a variance of about 1; its root is learnt as a running mean
        self.spread = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(
        self, noisy: Tensor, time: Tensor, condition: Tensor, picture: Tensor
    ) -> tuple[Tensor, ...]:
        """What the denoiser says, the reader's features of the picture, and the decoded code.

        Args:
            noisy: ``(B, C, H, W)``, or a code.
            time: ``(B, 1)``.
            condition: ``(B, L)``, 1 for the class.
            picture: ``(B, C, H, W)``, -1 to 1.
        """
        classes = condition.argmax(dim=1)
        said = self.denoiser(noisy, time[:, 0].round().long(), classes=classes)
        features, told = self.reader(picture)
        if self.code is None:
            return said, features, told
        return said, features, told, self.code.decode(noisy * self.spread)

    def loss_of_code(
        self, noise: Tensor, time: Tensor, kept: Tensor, condition: Tensor, picture: Tensor, *,
        velocity: bool, weight: float,
    ) -> Tensor:  # fmt: skip
        """Of the autoencoder and of the denoiser on its codes, which do not follow the denoiser."""
        mean, deviation = self.code.encode(picture)
        drawn = mean + deviation * torch.randn_like(deviation)
        again = (self.code.decode(drawn) - picture).abs().mean()
        towards = 0.5 * (mean**2 + deviation**2 - 2 * deviation.clamp(min=1e-6).log() - 1).mean()
        with torch.no_grad():
            if self.training:
                self.spread.lerp_(mean.detach().std().clamp(min=1e-3), 0.05)
            code = mean.detach() / self.spread
            root, rest = kept.sqrt().view(-1, 1, 1, 1), (1 - kept).sqrt().view(-1, 1, 1, 1)
            wanted = root * noise - rest * code if velocity else noise
        said = self.denoiser(root * code + rest * noise, time, classes=condition.argmax(dim=1))
        out: Tensor = functional.mse_loss(said, wanted) + again + weight * towards
        return out


class AdversarialNet(nn.Module):
    """A generator, what judges it, and a reader.

    Both sides learn in one step of one optimiser: the generator's loss passes through the judge
    with its weights held still, the judge's through pictures that are held still (simultaneous
    gradient descent, hinge loss).

    Args:
        generator: ``spade``: draws from a map and a style.
        judge: ``patch-discriminator``: sees the picture with the map.
        reader: of pictures.
    """

    def __init__(self, generator: nn.Module, judge: nn.Module, reader: Reader) -> None:
        super().__init__()
        self.generator, self.judge, self.reader = generator, judge, reader

    def forward(self, noise: Tensor, condition: Tensor, picture: Tensor) -> tuple[Tensor, ...]:
        """The picture drawn (-1 to 1), and the reader's features of the one given.

        Args:
            noise: ``(B, style)``.
            condition: ``(B, L, H, W)``, 1 where a label is.
            picture: ``(B, C, H, W)``, -1 to 1.
        """
        made = torch.tanh(self.generator(condition, noise=noise).picture)
        features, told = self.reader(picture)
        return made, features, told

    def losses(self, noise: Tensor, condition: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Of the generator and of the judge."""
        made = torch.tanh(self.generator(condition, noise=noise).picture)
        still = {name: one.detach() for name, one in self.judge.named_parameters()}
        state: Mapping[str, Tensor] = {**still, **dict(self.judge.named_buffers())}
        scores, seen = torch.func.functional_call(
            self.judge, dict(state), (torch.cat([made, condition], dim=1),)
        )
        _, real = self.judge(torch.cat([picture, condition], dim=1))
        alike = [
            (a - b.detach()).abs().mean()
            for one, other in zip(seen, real, strict=True)
            for a, b in zip(one, other, strict=True)
        ]
        fool = torch.stack([-one.mean() for one in scores]).mean() + 2 * torch.stack(alike).mean()
        kept, _ = self.judge(torch.cat([picture, condition], dim=1))
        away, _ = self.judge(torch.cat([made.detach(), condition], dim=1))
        tell = torch.stack([
            functional.relu(1 - yes).mean() + functional.relu(1 + no).mean()
            for yes, no in zip(kept, away, strict=True)
        ]).mean()  # fmt: skip
        return fool, tell
