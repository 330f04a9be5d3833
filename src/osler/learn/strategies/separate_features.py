"""Features of sites kept apart from those that all share, of which alone the answer is made."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from osler.errors import RecipeError
from osler.learn.strategies.adversarial import (
    Adversarial,
    AdversarialSettings,
    domain_classifier,
    reversed_gradient,
)
from osler.learn.strategies.strategy import Context, Settings, Wrapped


class SeparateSettings(AdversarialSettings):
    """The keys of separate features.

    Attributes:
        by, weight, hidden, rise, layer: see `AdversarialSettings`.
        private: share of the features before the head that are a site's own.
        apart: weight of the loss that keeps the two kinds orthogonal.
    """

    private: float = Field(default=0.25, gt=0, lt=1)
    apart: float = Field(default=0.1, ge=0, le=100)


def overlap(shared: Tensor, private: Tensor) -> Tensor:
    """How far two kinds of features ``(B, S)`` and ``(B, P)`` say the same, 0 to 1.

    The mean squared correlation, over the batch, of each of the one kind with each of the other:
    the squared Frobenius norm of Bousmalis 2016, equation 5, of features that are centred and of
    one length, so that it does not shrink with them.
    """
    one, other = (
        functional.normalize(part.float() - part.float().mean(0), dim=0, eps=1e-6)
        for part in (shared, private)
    )
    return (one.T @ other).square().mean()


class SeparateFeatures(Adversarial):
    """Some features tell the sites and the rest cannot; the head reads the rest alone."""

    name: ClassVar[str] = "separate-features"
    title: ClassVar[str] = "Features of sites kept apart"
    source: ClassVar[str] = "Bousmalis et al. 2016, Domain Separation Networks, NeurIPS"
    Settings: ClassVar[type[Settings]] = SeparateSettings
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "training": "its stages take the task's own loss, of which the domains are no part.",
        "adversarial": "it hides the domains from all features; keep one of them.",
        "tuning": "the head must learn to do without the features of a site.",
    })  # fmt: skip

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        """The network, whose head leaves out the private features, and two classifiers."""
        whole = super().prepared(net, context)
        assert isinstance(whole, Wrapped)
        first = whole.beside["domains"][0]  # type: ignore[index]
        self._width = int(first.in_features)
        self._shared = self._width - max(1, round(self.settings.private * self._width))
        head = net.get_submodule(self._layer)
        plain = isinstance(head, nn.Linear) or (isinstance(head, _ConvNd) and head.groups == 1)
        if not plain or self._shared < 1:
            raise RecipeError(
                f"separate-features needs a head that reads two features at least; "
                f"'{self._layer}' reads {self._width}"
            )
        hidden, domains = self.settings.hidden, len(context.record["domains"])
        whole.beside["domains"] = domain_classifier(self._shared, hidden, domains)
        own = domain_classifier(self._width - self._shared, hidden, domains)
        whole.beside["own"] = own
        context.record["shared"] = self._shared
        context.record["private"] = self._width - self._shared
        self._leave_out(head)
        return whole

    def _leave_out(self, head: nn.Module) -> None:
        """The head's weights of private features are nought, now and after each step."""
        weight: Tensor = head.weight  # type: ignore[assignment]
        with torch.no_grad():
            part = weight[self._shared :] if _transposed(head) else weight[:, self._shared :]
            part.zero_()

    def stepped(self, net: nn.Module, step: int) -> None:
        self._leave_out(self.whole(net).net.get_submodule(self._layer))

    def domain_loss(
        self, whole: Wrapped, features: Tensor, domains: Tensor, weight: float
    ) -> Tensor:
        """Hides the domains in the shared features, shows them in the others, parts the two."""
        shared, private = features[:, : self._shared], features[:, self._shared :]
        hidden = whole.beside["domains"](reversed_gradient(shared, weight))
        shown = whole.beside["own"](private)
        parts = [functional.cross_entropy(one.float(), domains) for one in (hidden, shown)]
        return torch.stack(parts).sum() + float(self.settings.apart) * overlap(shared, private)


def _transposed(head: nn.Module) -> bool:
    """Whether the first axis of its weights is that of what it reads."""
    return isinstance(head, _ConvNd) and head.transposed
