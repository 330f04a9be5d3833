"""Adaptive batch normalisation: the statistics of the cases that test."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from osler.learn.normalisation import settle
from osler.learn.strategies.at_test_time import AtTestTime, batches_of, normalisations
from osler.learn.strategies.strategy import Context, Role, Settings
from osler.tasks.task import Sample


class StatisticsSettings(Settings):
    """The keys of adaptive batch normalisation.

    Attributes:
        prior: how many of the cases that test the statistics of training weigh as much as; ``N`` of
            Schneider 2020. 0 keeps nothing of them.
    """

    prior: float = Field(default=0.0, ge=0)


def mixed(
    before: tuple[Any, Any], after: tuple[Any, Any], share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of which ``share`` is of before (Schneider 2020, equation 3)."""
    return (
        share * before[0] + (1 - share) * after[0],
        share * before[1] + (1 - share) * after[1],
    )


class AdaptiveStatistics(AtTestTime):
    """Counts the statistics of batch normalisation anew over the cases that test."""

    name: ClassVar[str] = "test-time-statistics"
    title: ClassVar[str] = "Adaptive batch normalisation at test time"
    role: ClassVar[Role] = "afterwards"
    source: ClassVar[str] = (
        "Li et al. 2018, Adaptive Batch Normalization for practical domain adaptation, Pattern "
        "Recognition; Schneider et al. 2020, Improving robustness against common corruptions by "
        "covariate shift adaptation, NeurIPS"
    )
    Settings: ClassVar[type[Settings]] = StatisticsSettings
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")

    def adapted(self, net: nn.Module, samples: Sequence[Sample], context: Context) -> nn.Module:
        """The network with the statistics of the cases, of which the truth is not seen."""
        if not samples:
            return net
        layers = normalisations(net)
        kept = [(one.running_mean.clone(), one.running_var.clone()) for one in layers]  # type: ignore[union-attr]
        device = next(net.parameters()).device
        shown = list(batches_of(samples, context, device))
        settle(net, lambda net, number: net(*shown[number]), batches=len(shown))
        share = self.settings.prior / (self.settings.prior + len(samples))
        for layer, before in zip(layers, kept, strict=True):
            mean, variance = mixed(before, (layer.running_mean, layer.running_var), share)
            layer.running_mean, layer.running_var = mean, variance
        context.record["cases"] = len(samples)
        return net
