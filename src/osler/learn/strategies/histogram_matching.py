"""Histogram matching: the grey levels of other images."""

from typing import ClassVar

import numpy as np
from torch import Tensor

from osler.learn.strategies.restyling import Restyling, StyleSettings
from osler.learn.strategies.styles import match_histograms


class HistogramMatching(Restyling):
    """Each labelled image with the histogram, channel by channel, of one from elsewhere."""

    name: ClassVar[str] = "histogram-matching"
    title: ClassVar[str] = "Histogram matching"
    source: ClassVar[str] = (
        "Nyul & Udupa 1999, On standardizing the MR image intensity scale, Magn Reson Med; "
        "Gonzalez & Woods, Digital Image Processing, section 3.3"
    )
    Settings: ClassVar[type[StyleSettings]] = StyleSettings

    def change(self, images: Tensor, styles: Tensor, rng: np.random.Generator) -> Tensor:
        return match_histograms(images, styles)
