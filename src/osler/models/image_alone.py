"""A network of several inputs or outputs as one of an image alone, with one answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class ImageAlone(nn.Module):
    """The other inputs stay as they are; of the answers one is given."""

    def __init__(
        self,
        net: nn.Module,
        *,
        image: str,
        order: Sequence[str],
        others: Mapping[str, NDArray[Any]],
        answer: Callable[[Any], Any],
    ) -> None:
        """Hold what does not change.

        Args:
            net: takes its inputs in an order.
            image: name of the input that is asked about.
            order: names of all inputs.
            others: the other inputs by name, without the axis of cases.
            answer: picks the answer from what the network gives.
        """
        super().__init__()
        self.net, self.image, self.order, self.answer = net, image, tuple(order), answer
        self.others = {
            name: torch.from_numpy(np.ascontiguousarray(one, np.float32))
            for name, one in others.items()
        }

    def forward(self, x: torch.Tensor) -> Any:
        """The answer to images ``(N, C, [D,] H, W)``."""
        given: Mapping[str, torch.Tensor] = {
            self.image: x,
            **{name: one.expand(len(x), *one.shape) for name, one in self.others.items()},
        }
        return self.answer(self.net(*(given[name] for name in self.order)))
