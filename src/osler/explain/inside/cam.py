r"""Class activation maps: which positions of a layer speak for an answer, and how strongly.

With :math:`A_k` the maps of a layer (of :math:`Z` positions), :math:`S` the score and
:math:`g_k = \partial S / \partial A_k`, each is :math:`L = \mathrm{ReLU}(\sum_k w_k \odot A_k)`:

- Grad-CAM [1]_: :math:`w_k = \frac{1}{Z} \sum_p g_k(p)`;
- Grad-CAM++ [2]_: :math:`w_k = \sum_p \alpha_k(p)\, \mathrm{ReLU}(g_k(p))` with
  :math:`\alpha_k = g_k^2 / (2 g_k^2 + \sum_q A_k(q)\, g_k^3)` (0 where the divisor is 0), which
  takes :math:`e^S` for the score, as its authors do;
- Layer-CAM [3]_: :math:`w_k(p) = \mathrm{ReLU}(g_k(p))`, one weight a position, sharp at early
  layers too;
- Score-CAM [4]_: no gradient: :math:`w = \mathrm{softmax}_k\bigl( S(x \odot N(A_k)) - S(0)
  \bigr)`, with :math:`N` the map enlarged to the picture and scaled to 0 to 1; a constant map is
  left out. It runs the network once for each :math:`k`.

In two and three dimensions alike; tokens of a transformer are maps, their class token and
registers set aside.

References:
    .. [1] Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
       localization", ICCV 2017, equations 1 and 2.
    .. [2] Chattopadhyay et al., "Grad-CAM++: generalized gradient-based visual explanations for
       deep convolutional networks", WACV 2018, equations 10, 12 and 19.
    .. [3] Jiang et al., "LayerCAM: exploring hierarchical class activation maps for localization",
       IEEE TIP 30, 2021, equations 4 to 6.
    .. [4] Wang et al., "Score-CAM: score-weighted visual explanations for convolutional neural
       networks", CVPR workshops 2020, algorithm 1.
"""

from typing import TYPE_CHECKING, Literal, get_args

from osler.errors import RecipeError
from osler.explain.inside.places import Place, Target, find_place, look

if TYPE_CHECKING:
    from torch import Tensor, nn

Kind = Literal["grad-cam", "grad-cam++", "layer-cam", "score-cam"]


def class_activation(
    net: "nn.Module",
    x: "Tensor",
    target: Target,
    *,
    kind: Kind = "grad-cam",
    layer: str | None = None,
    batch: int = 8,
) -> "tuple[Tensor, Place]":
    """A class activation map.

    Args:
        net: in eval mode.
        x: ``(1, C, [D,] H, W)``.
        target: what is asked.
        kind: one of the definitions above.
        layer: name of a module; None finds one (`find_place`).
        batch: pictures at a time, for Score-CAM.

    Returns:
        ``(*grid)``, at least 0, and where it was made. `enlarge` brings it to the picture.

    Raises:
        RecipeError: there is no such kind or layer.
    """
    import torch

    if kind not in get_args(Kind):
        raise RecipeError(f"'{kind}' is not one of {', '.join(get_args(Kind))}")
    place = find_place(net, x, target, layer=layer)
    if kind == "score-cam":
        return _score_cam(net, x, target, place, batch), place
    with torch.enable_grad():
        answer, seen = look(net, x, names=[place.name])
        last = seen[-1]
        slope = torch.autograd.grad(target(answer).sum(), last.value)[0]
    maps, slopes = place.as_map(last.value.detach())[0], place.as_map(slope)[0]
    axes = tuple(range(1, maps.ndim))
    if kind == "grad-cam":
        weights = slopes.mean(dim=axes, keepdim=True)
    elif kind == "grad-cam++":
        divisor = 2 * slopes**2 + maps.sum(dim=axes, keepdim=True) * slopes**3
        alpha = torch.where(divisor != 0, slopes**2 / divisor, torch.zeros_like(divisor))
        weights = (alpha * slopes.relu()).sum(dim=axes, keepdim=True)
    else:
        weights = slopes.relu()
    return (weights * maps).sum(dim=0).relu(), place


def _score_cam(net: "nn.Module", x: "Tensor", target: Target, place: Place, batch: int) -> "Tensor":
    import torch

    with torch.no_grad():
        _, seen = look(net, x, names=[place.name])
        maps = place.as_map(seen[-1].value)[0]
        flat = maps.flatten(1)
        low, high = flat.amin(dim=1), flat.amax(dim=1)
        kept = torch.nonzero(high > low).flatten()
        if not len(kept):
            return torch.zeros(place.grid)
        nothing = target(net(torch.zeros_like(x)))
        gains = []
        for some in torch.split(kept, batch):
            masks = enlarge(maps[some], tuple(x.shape[2:]))
            ends = masks.flatten(1)
            least = ends.amin(dim=1).reshape(-1, *[1] * (masks.ndim - 1))
            most = ends.amax(dim=1).reshape(-1, *[1] * (masks.ndim - 1))
            masks = (masks - least) / (most - least).clamp(min=1e-12)
            gains.append(target(net(x * masks[:, None])) - nothing)
        weights = torch.cat(gains).softmax(dim=0).reshape(-1, *[1] * (maps.ndim - 1))
        return (weights * maps[kept]).sum(dim=0).relu()


def enlarge(maps: "Tensor", size: tuple[int, ...]) -> "Tensor":
    """``(K, *grid)`` to ``(K, *size)``, linear between the centres of the cells."""
    from torch.nn import functional

    mode = "trilinear" if len(size) == 3 else "bilinear"
    return functional.interpolate(maps[None], size=size, mode=mode, align_corners=False)[0]
