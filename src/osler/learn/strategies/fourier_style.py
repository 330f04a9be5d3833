"""Fourier domain adaptation: the low frequencies of other images."""

from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from osler.learn.strategies.restyling import Restyling, StyleSettings
from osler.learn.strategies.styles import fourier_style


class FourierSettings(StyleSettings):
    """The keys of Fourier domain adaptation.

    Attributes:
        by, chance: see `StyleSettings`.
        share: of the frequencies, on either side of nought, whose amplitudes are taken; ``beta``
            of the paper, which has 0.01 to 0.09.
        vary: draw the share of each batch from 0 to this one.
    """

    share: float = Field(default=0.02, ge=0, le=0.5)
    vary: bool = False


class FourierStyle(Restyling):
    """Each labelled image with the amplitudes of low frequencies of one from elsewhere."""

    name: ClassVar[str] = "fourier-style"
    title: ClassVar[str] = "Fourier domain adaptation"
    source: ClassVar[str] = (
        "Yang & Soatto 2020, FDA: Fourier Domain Adaptation for Semantic Segmentation, CVPR"
    )
    Settings: ClassVar[type[FourierSettings]] = FourierSettings

    def change(self, images: Tensor, styles: Tensor, rng: np.random.Generator) -> Tensor:
        share = self.settings.share * (float(rng.random()) if self.settings.vary else 1.0)
        return fourier_style(images, styles, share)
