"""Activation checkpointing: less memory for more computing, and the same gradients."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from osler.errors import RecipeError
from osler.learn.blocks import blocks_of


@contextmanager
def recomputed(net: nn.Module, *, wanted: bool = True) -> Iterator[None]:
    """While it lasts, each block of the network keeps only its input for the backward pass.

    What lies between is computed again when its gradients are due (Chen et al. 2016, "Training
    Deep Nets with Sublinear Memory Cost", arXiv:1604.06174), with the same dropout; the running
    statistics of batch normalisation are moved once only. Nothing changes in evaluation.

    Args:
        net: the network; its blocks are found by `osler.learn.blocks.blocks_of`.
        wanted: False does nothing.

    Raises:
        RecipeError: the network has no blocks.
    """
    blocks = blocks_of(net) if wanted else {}
    if wanted and not blocks:
        raise RecipeError(
            "learner.checkpointing is true and the network has no blocks (members of nn.Sequential "
            "or nn.ModuleList that hold several layers), so nothing would be saved; write false"
        )
    before = {name: block.__dict__.get("forward") for name, block in blocks.items()}
    for block in blocks.values():
        block.forward = _recomputing(block, block.forward)
    try:
        yield
    finally:
        for name, block in blocks.items():
            del block.forward  # the class's own is back
            if (own := before[name]) is not None:
                block.forward = own


def _recomputing(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not block.training:
            return forward(*args, **kwargs)
        return checkpoint(
            forward, *args, use_reentrant=False,
            context_fn=lambda: (nullcontext(), _statistics_stay(block)), **kwargs,
        )  # fmt: skip

    return run


@contextmanager
def _statistics_stay(block: nn.Module) -> Iterator[None]:
    """Batch normalisation by the batch, its running statistics left as they are.

    With a momentum of 0 they are multiplied by one; switching them off would save other tensors.
    """
    with ExitStack() as back:
        for module in block.modules():
            if isinstance(module, _NormBase) and module.track_running_stats:
                back.callback(setattr, module, "momentum", module.momentum)
                module.momentum = 0.0
                if module.num_batches_tracked is not None:
                    back.callback(
                        module.num_batches_tracked.copy_, module.num_batches_tracked.clone()
                    )
        yield
