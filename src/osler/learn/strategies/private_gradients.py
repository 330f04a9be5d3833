"""The gradient of each case by itself, shortened and blurred, and what that protects.

The per-case gradients, the layers that have none and the accountants are Opacus' (Yousefpour et al.
2021, "Opacus: User-Friendly Differential Privacy Library in PyTorch", arXiv:2109.12298).
"""

import hashlib
import math
import os
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from osler.errors import MissingExtraError, RecipeError

Accountant = Literal["rdp", "prv"]
CaseLosses = Callable[[nn.Module], Sequence[Tensor]]
"""The losses of the cases of a batch, each of which depends on its own case alone."""

_ORDERS = [1.1, 1.25, 1.5, 1.75, *range(2, 64), 80, 128, 256, 512, 1024]
_MOST = 4096.0  # noise beyond which no epsilon is looked for


def need_opacus() -> None:
    """Say what is lacking where Opacus is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import opacus  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "opacus", extra="privacy", purpose="learn with differential privacy"
        ) from error


def seeded_key(seed: int) -> bytes:
    """The key of a seed, which everyone can make: for tests."""
    return hashlib.sha256(f"seed {seed}".encode()).digest()


def kept_key(path: Path, *, resume: bool) -> bytes:
    """The key of a run, made by the system and readable by its owner only.

    Args:
        path: where it lies.
        resume: whether one that lies there is gone on with.
    """
    if path.exists() and resume:
        return path.read_bytes()
    key = secrets.token_bytes(32)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    return key


def clipped(gradients: Sequence[Tensor], most: float) -> tuple[list[Tensor], Tensor]:
    """Gradients of cases, each shortened to a length: ``g * min(1, C / ||g||)``.

    Abadi et al. 2016, "Deep Learning with Differential Privacy", CCS, algorithm 1. The length is
    over all parameters together.

    Args:
        gradients: ``(B, ...)`` of each parameter.
        most: ``C``.

    Returns:
        the shortened ones, and the lengths ``(B,)`` before.
    """
    lengths = torch.stack([one.flatten(1).norm(dim=1) for one in gradients]).norm(dim=0)
    factors = (most / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)).clamp(max=1.0)
    return [
        one * factors.reshape(-1, *[1] * (one.ndim - 1)).to(one.dtype) for one in gradients
    ], lengths  # fmt: skip


def blurred(
    parts: Sequence[Tensor], *, most: float, noise: float, expected: float,
    generator: torch.Generator,
) -> list[Tensor]:  # fmt: skip
    """The sum of shortened gradients with noise, over the expected number of cases.

    ``(sum_i g_i + N(0, (noise * C)^2)) / expected`` (Abadi et al. 2016, algorithm 1).

    Args:
        parts: sums ``(...)`` of each parameter.
        most: ``C``.
        noise: its multiple that is the standard deviation.
        expected: cases of a batch on average; the true number is itself a secret.
        generator: on the processor.
    """
    return [
        (part + noise * most * torch.randn(part.shape, generator=generator).to(part)) / expected
        for part in parts
    ]


def case_gradients(net: nn.Module, losses: CaseLosses, *, one_by_one: bool) -> tuple[
    list[Tensor], float
]:  # fmt: skip
    """The gradient of each case's loss ``(B, ...)`` for each parameter that learns, and their mean.

    Args:
        net: in training mode; its own gradients stay as they are.
        losses: of a batch.
        one_by_one: by a backward pass for each case instead of Opacus' hooks.
    """
    learning = [p for p in net.parameters() if p.requires_grad]
    if one_by_one:
        each = list(losses(net))
        rows = [
            torch.autograd.grad(one, learning, retain_graph=place + 1 < len(each),
                                allow_unused=True)
            for place, one in enumerate(each)
        ]  # fmt: skip
        found = [
            torch.stack([
                torch.zeros_like(p) if row[i] is None else row[i] for row in rows
            ])
            for i, p in enumerate(learning)
        ]  # fmt: skip
        return found, float(torch.stack([one.detach() for one in each]).mean())
    from opacus.grad_sample import GradSampleHooks

    before = [p.grad for p in learning]
    for p in learning:
        p.grad = None
    hooks = GradSampleHooks(net, loss_reduction="sum", strict=False)
    try:
        with warnings.catch_warnings():  # inputs that need no gradient are as they should be
            warnings.filterwarnings("ignore", message=".*[Ff]ull backward hook.*")
            each = list(losses(net))
            total = torch.stack(list(each)).sum()
            total.backward()
        found = []
        for p in learning:
            sample = p.grad_sample
            if isinstance(sample, list):  # a layer that ran more than once
                sample = torch.stack(sample).sum(dim=0)
            found.append(
                torch.zeros(len(each), *p.shape, device=p.device) if sample is None
                else sample.detach()
            )  # fmt: skip
    finally:
        hooks.cleanup()
        for module in net.modules():
            module.__dict__.pop("activations", None)
            module.__dict__.pop("max_batch_len", None)
        for p, grad in zip(learning, before, strict=True):
            p.grad = grad
    return found, float(total.detach()) / len(each)


def untreatable(net: nn.Module) -> list[str]:
    """Layers that have no gradient of a case of its own: their names and kinds.

    Batch normalisation mixes the cases of a batch, unless its statistics rest; running statistics
    say something of every case without noise; some layers have no rule in Opacus.
    """
    from opacus.validators import ModuleValidator

    net.train()
    out = []
    for name, module in net.named_modules():
        learns = any(p.requires_grad for p in module.parameters(recurse=False))
        check = ModuleValidator.VALIDATORS.get(type(module))
        rests = not module.training
        if (
            (isinstance(module, _BatchNorm) and not rests)
            or (not isinstance(module, _BatchNorm) and check is not None and check(module))
            or (learns and any(True for _ in module.buffers(recurse=False)) and not rests)
        ):
            out.append(f"{name} ({type(module).__name__})")
    return out


def with_group_normalisation(net: nn.Module) -> int:
    """Put group normalisation in the place of every batch normalisation; gives their number.

    Groups of 16 channels (Wu and He 2018, "Group Normalization", ECCV, table 3), or of as many as
    divide them; scales and offsets stay.
    """
    found = [
        (name, module) for name, module in net.named_modules() if isinstance(module, _BatchNorm)
    ]
    for name, module in found:
        channels = module.num_features
        groups = max(n for n in range(1, max(1, channels // 16) + 1) if channels % n == 0)
        new = nn.GroupNorm(groups, channels, eps=module.eps, affine=module.affine)
        if module.affine:
            new.weight, new.bias = module.weight, module.bias
        parent, _, last = name.rpartition(".")
        setattr(net.get_submodule(parent), last, new.to(next(net.parameters()).device))
    return len(found)


@lru_cache(maxsize=256)
def spent(*, noise: float, rate: float, steps: int, delta: float, accountant: Accountant) -> float:
    """The epsilon of so many steps.

    ``rdp``: Renyi differential privacy of the subsampled Gaussian mechanism (Mironov et al. 2019,
    arXiv:1908.10530); ``prv``: numerical composition of privacy random variables (Gopi et al. 2021,
    NeurIPS), which is tighter and an upper bound too.

    Args:
        noise: multiple of the clipping length.
        rate: by which each patient is drawn into a batch.
        steps: batches.
        delta: of (epsilon, delta).
        accountant: which bound.
    """
    if accountant == "rdp":
        from opacus.accountants.analysis import rdp

        with warnings.catch_warnings():  # at an end of the orders the bound is looser, not wrong
            warnings.simplefilter("ignore")
            renyi = rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=_ORDERS)
            found, _ = rdp.get_privacy_spent(orders=_ORDERS, rdp=renyi, delta=delta)
        return float(found)
    from opacus.accountants import PRVAccountant

    made = PRVAccountant()
    made.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(made.get_epsilon(delta=delta, eps_error=0.01))


def noise_for(
    epsilon: float, *, rate: float, steps: int, delta: float, accountant: Accountant,
    where: str = "strategies.differential-privacy", less: str = "learner.steps or learner.batch",
) -> float:  # fmt: skip
    """The least noise (to a hundredth part) whose steps spend no more than an epsilon.

    Args:
        epsilon: that may be spent.
        rate: as in `spent`.
        steps: as in `spent`.
        delta: as in `spent`.
        accountant: as in `spent`.
        where: the keys of it, for the message.
        less: what to lower where no noise is enough, for the message.

    Raises:
        RecipeError: no noise within reason does.
    """

    def enough(noise: float) -> bool:
        return spent(noise=noise, rate=rate, steps=steps, delta=delta, accountant=accountant) <= (
            epsilon
        )

    low, high = 0.25, 0.5
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST:
            raise RecipeError(
                f"{where}.epsilon: {epsilon} cannot be kept over {steps} draws of which each takes "
                f"whom it hides at a rate of {rate:.3g}; lower {less}, or allow a greater epsilon"
            )
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sliced(arrays: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    """One case of a batch, with its batch axis."""
    return {name: value[place : place + 1] for name, value in arrays.items()}
