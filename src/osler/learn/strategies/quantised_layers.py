"""Layers that compute as an 8-bit graph will: weights and activations on a grid of whole numbers.

While such a layer learns it rounds, and gradients pass through the rounding as though it were not
there (Bengio, Léonard & Courville 2013, arXiv:1308.3432). Exported, it is `QuantizeLinear` and
`DequantizeLinear` around a plain convolution, which runtimes compute in whole numbers.

`torch.ao.quantization` is announced to be deleted and has no export to ONNX; these layers need
nothing but `torch.onnx.ops.symbolic`.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

LEVELS = 255  # steps of an 8-bit activation


class _Rounded(torch.autograd.Function):
    """The nearest whole number, whose gradient is that of the number itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        del ctx
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        del ctx
        return grad


def rounded(x: Tensor) -> Tensor:
    """The nearest whole numbers, halves to the even one; the gradient passes straight through."""
    out: Tensor = _Rounded.apply(x)  # type: ignore[no-untyped-call]
    return out


class Grid(nn.Module):
    r"""Activations on 256 steps between two bounds, one grid for a whole tensor.

    :math:`\hat{x} = s\,(\mathrm{clip}(\lfloor x/s\rceil + z, 0, 255) - z)` with the step :math:`s`
    and the whole number :math:`z` at which 0 lies (Jacob et al. 2018, "Quantization and training of
    neural networks for efficient integer-arithmetic-only inference", CVPR, section 2.1). The step
    learns with the weights (Esser et al. 2020, "Learned step size quantization", ICLR).
    """

    zero: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.zeros(()))
        self.register_buffer("zero", torch.zeros(()))

    def bound(self, low: float, high: float) -> None:
        """Span a range, which is widened to hold 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = max((high - low) / LEVELS, 1e-8)
        with torch.no_grad():
            self.log_step.fill_(step).log_()
            self.zero.fill_(round(-low / step))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, to the same."""
        step = self.log_step.float().exp()
        if torch.compiler.is_exporting():
            return _graph_grid(x, step, self.zero.to(torch.uint8))
        whole = rounded(x.float() / step) + self.zero
        return (whole.clamp(0, LEVELS) - self.zero) * step


def _graph_grid(x: Tensor, step: Tensor, zero: Tensor) -> Tensor:
    whole = torch.onnx.ops.symbolic(
        "QuantizeLinear", (x, step, zero), dtype=torch.uint8, shape=x.shape
    )
    return torch.onnx.ops.symbolic(
        "DequantizeLinear", (whole, step, zero), dtype=torch.float32, shape=x.shape
    )


class Quantised(nn.Module):
    """A convolution or linear layer on a grid: a scale for each output channel.

    Args:
        layer: whose weights it takes.
        bits: of weights, with sign. Seven leave room for the sum of two products in 16 bits, which
            processors without VNNI need to compute what the graph says.
    """

    def __init__(self, layer: nn.Module, *, bits: int) -> None:
        super().__init__()
        assert isinstance(layer, _ConvNd | nn.Linear)
        self.layer, self.most = layer, 2 ** (bits - 1) - 1
        self.taken, self.given = Grid(), Grid()

    def scales(self) -> Tensor:
        """``(C_out,)``: the step of the weights of each channel."""
        weight = self.layer.weight.float()
        return weight.abs().flatten(1).amax(dim=1).clamp(min=1e-8) / self.most

    def forward(self, x: Tensor) -> Tensor:
        """What the layer takes, to what it gives."""
        weight = self.layer.weight.float()
        across = (-1, *[1] * (weight.ndim - 1))
        scales = self.scales().detach()
        weight = rounded(weight / scales.reshape(across)) * scales.reshape(across)
        with torch.autocast(x.device.type, enabled=False):
            return self.given(self._computed(self.taken(x), weight, self.layer.bias))

    def _computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            return functional.linear(x, weight, bias)
        out: Tensor = self.layer._conv_forward(x, weight, bias)  # type: ignore[operator]
        return out


class Whole(nn.Module):
    """A quantised layer with its weights as whole numbers, as it is exported.

    Args:
        layer: that has learnt.
    """

    weight: Tensor
    bias: Tensor
    scales: Tensor
    bias_scales: Tensor

    def __init__(self, layer: Quantised) -> None:
        super().__init__()
        weight = layer.layer.weight.detach().float()
        scales = layer.scales().detach()
        self.across = (-1, *[1] * (weight.ndim - 1))
        self.computed = layer._computed
        self.taken, self.given = layer.taken, layer.given
        bias_scales = scales * layer.taken.log_step.detach().exp()
        bias = layer.layer.bias
        values = torch.zeros(len(scales)) if bias is None else bias.detach().float()
        most = 2.0**31 - 129  # the greatest that float32 holds below 2 ** 31
        whole = (values / bias_scales).round().clamp(-most, most)
        self.register_buffer("weight", (weight / scales.reshape(self.across)).round().char())
        self.register_buffer("bias", whole.to(torch.int32))
        self.register_buffer("scales", scales)
        self.register_buffer("bias_scales", bias_scales)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer takes, to what it gives."""
        if torch.compiler.is_exporting():
            weight, bias = (
                torch.onnx.ops.symbolic(
                    "DequantizeLinear", (whole, scale), attrs={"axis": 0}, dtype=torch.float32,
                    shape=whole.shape,
                )
                for whole, scale in ((self.weight, self.scales), (self.bias, self.bias_scales))
            )  # fmt: skip
        else:
            weight = self.weight.float() * self.scales.reshape(self.across)
            bias = self.bias.float() * self.bias_scales
        return self.given(self.computed(self.taken(x), weight, bias))


def layers_of(net: nn.Module) -> list[str]:
    """The names of the layers that can be quantised: convolutions and linear layers.

    Those that a module only lends its weights from (attention in one call) are not among them, nor
    are transposed convolutions.
    """
    lent = {
        id(inner)
        for module in net.modules()
        if isinstance(module, nn.MultiheadAttention)
        for inner in module.modules()
    }
    return [
        name
        for name, module in net.named_modules()
        if name
        and isinstance(module, _ConvNd | nn.Linear)
        and not isinstance(module, _ConvTransposeNd)
        and getattr(module, "padding_mode", "zeros") == "zeros"
        and id(module) not in lent
    ]


def order_of_calls(net: nn.Module, inputs: list[Tensor]) -> list[tuple[str, int, int]]:
    """Each convolution and batch normalisation that runs: its name, what it takes and gives.

    Tensors are told apart by their identity within the one call.
    """
    calls: list[tuple[str, int, int]] = []
    alive: list[Tensor] = []  # or an identity might be given twice

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], said: Tensor) -> None:
            del module
            alive.extend((args[0], said))
            calls.append((name, id(args[0]), id(said)))

        return hook

    handles = [
        module.register_forward_hook(keep(name))
        for name, module in net.named_modules()
        if isinstance(module, _ConvNd | nn.Linear | _BatchNorm)
    ]
    mode = net.training
    try:
        net.eval()
        with torch.no_grad():
            net(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        net.train(mode)
    return calls


def fold_normalisation(net: nn.Module, inputs: list[Tensor]) -> int:
    """Put each batch normalisation that follows a convolution into its weights; how many.

    In evaluation both are one linear map: ``w * g / sqrt(v + e)`` and
    ``(b - m) * g / sqrt(v + e) + beta`` (Jacob et al. 2018, section 3.2).

    Args:
        net: changed in place, left as it was where a layer is used twice.
        inputs: of one batch.
    """
    calls = order_of_calls(net, inputs)
    times: dict[str, int] = {}
    for name, _, _ in calls:
        times[name] = times.get(name, 0) + 1
    folded = 0
    for (name, _, out), (after, into, _) in pairwise(calls):
        conv, norm = net.get_submodule(name), net.get_submodule(after)
        if out != into or times[name] > 1 or times[after] > 1 or not isinstance(norm, _BatchNorm):
            continue
        if not isinstance(conv, _ConvNd) or isinstance(conv, _ConvTransposeNd):
            continue
        if norm.running_mean is None or norm.running_var is None:
            continue
        with torch.no_grad():
            gain = (norm.running_var + norm.eps).rsqrt()
            if norm.weight is not None:
                gain = gain * norm.weight
            bias = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
            shift = (bias - norm.running_mean) * gain
            if norm.bias is not None:
                shift = shift + norm.bias
            conv.weight.mul_(gain.reshape(-1, *[1] * (conv.weight.ndim - 1)))
            conv.bias = nn.Parameter(shift.detach().clone())
        net.set_submodule(after, nn.Identity())
        folded += 1
    return folded


def quantised_of(net: nn.Module) -> Iterator[tuple[str, Quantised]]:
    """The quantised layers by name."""
    for name, module in list(net.named_modules()):
        if isinstance(module, Quantised):
            yield name, module
