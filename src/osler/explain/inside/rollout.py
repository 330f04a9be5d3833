r"""Attention rollout: what the tokens of a transformer look at, followed through all its blocks.

With :math:`A_l` the attention of block :math:`l`, its heads averaged, and the shortcut beside it
taken for half of what passes [1]_,

.. math:: R = \hat A_L \cdots \hat A_1, \qquad \hat A_l = \tfrac{1}{2} (A_l + I)

The row of the class token, or the mean of the rows of all patches where the network answers by
their mean, is the map. It is one map for all labels: attention says where the network looked, not
what for.

References:
    .. [1] Abnar & Zuidema, "Quantifying attention flow in transformers", ACL 2020, section 3.
"""

from typing import TYPE_CHECKING, Any

from osler.errors import RecipeError
from osler.explain.inside.places import Place, Target, find_place

if TYPE_CHECKING:
    from torch import Tensor, nn

_OFF = 1e-3  # greatest difference of attention done again from the module's own output


def attention_rollout(net: "nn.Module", x: "Tensor", target: Target) -> "tuple[Tensor, Place]":
    """Where the answer of a vision transformer looks.

    The attention of each block is computed again from its queries and keys, and what comes of it
    is compared with what the block gave, so that a block of another kind cannot be misread.

    Args:
        net: a transformer with global attention, in eval mode.
        x: ``(1, C, [D,] H, W)``.
        target: what is asked; it decides only which token the answer is read from.

    Returns:
        ``(*grid)``, at least 0, and the place of the tokens.

    Raises:
        RecipeError: the network has no attention, or one within windows, as Swin has.
    """
    import torch

    kept: list[Tensor] = []
    hooks = []

    def keep(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        given = output[0] if isinstance(output, tuple) else output
        weights, again = _attend(module, inputs[0])
        if again.shape != given.shape or float((again - given).abs().amax()) > _OFF * max(
            1.0, float(given.abs().amax())
        ):
            raise RecipeError(
                f"the attention of {type(module).__name__} is not plain; use grad-cam, "
                "integrated-gradients or occlusion"
            )
        kept.append(weights.mean(dim=1)[0])

    modules = [module for module in net.modules() if _is_attention(module)]
    if not modules:
        raise RecipeError(
            f"{type(net).__name__} has no global attention to follow (one within windows, as "
            "Swin's, does not lead from token to token through the whole network); use grad-cam, "
            "integrated-gradients or occlusion"
        )
    place = _tokens_of(net, x, target)
    try:
        hooks = [module.register_forward_hook(keep) for module in modules]
        with torch.no_grad():
            net(x)
    finally:
        for hook in hooks:
            hook.remove()
    count = kept[0].shape[-1]
    if any(one.shape[-1] != count for one in kept):
        raise RecipeError("the attentions have different tokens and cannot be followed")
    rolled = torch.eye(count, dtype=kept[0].dtype, device=kept[0].device)
    for one in kept:
        rolled = (one + torch.eye(count, dtype=one.dtype, device=one.device)) / 2 @ rolled
    prefix = place.prefix or 0
    rows = rolled[:1] if prefix and _by_token(net, x, target, place) else rolled[prefix:]
    return rows.mean(dim=0)[prefix:].reshape(place.grid), place


def _is_attention(module: Any) -> bool:
    return (
        hasattr(module, "qkv")
        and _heads(module) is not None
        and not hasattr(module, "relative_position_bias_table")
        and _out(module) is not None
    )


def _heads(module: Any) -> int | None:
    heads = getattr(module, "heads", None) or getattr(module, "num_heads", None)
    return heads if isinstance(heads, int) else None


def _out(module: Any) -> Any:
    return getattr(module, "proj", None) or getattr(module, "out_proj", None)


def _attend(module: Any, x: "Tensor") -> "tuple[Tensor, Tensor]":
    """``(B, N, D)`` to the weights ``(B, heads, N, N)`` and the output."""
    b, n, _ = x.shape
    heads = _heads(module)
    assert heads is not None
    q, k, v = module.qkv(x).reshape(b, n, 3, heads, -1).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
    return weights, _out(module)((weights @ v).transpose(1, 2).reshape(b, n, -1))


def _tokens_of(net: "nn.Module", x: "Tensor", target: Target) -> Place:
    place = find_place(net, x, target)
    if place.prefix is None:
        raise RecipeError(
            f"the answer of {type(net).__name__} comes of a convolutional map ('{place.name}'); "
            "use grad-cam"
        )
    return place


def _by_token(net: "nn.Module", x: "Tensor", target: Target, place: Place) -> bool:
    """Whether the last tokens of the patches have no say, so that the class token answers."""
    import torch

    from osler.explain.inside.places import look

    with torch.enable_grad():
        answer, seen = look(net, x)
        last = [one for one in seen if one.place.prefix == place.prefix][-1]
        slope = torch.autograd.grad(target(answer).sum(), last.value, allow_unused=True)[0]
    return slope is not None and not bool(last.place.as_map(slope).abs().amax() > 0)
