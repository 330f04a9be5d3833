"""A picture or a moving volume as a network of coordinates, fitted to what was measured of it.

The network takes a place (and a time) and gives a value. It is fitted to one object, not to a
cohort: to projections of a slice from few directions, or to the volumes of an organ at some of the
times of its movement; then it is asked at every pixel, or at the times that are missing.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from osler.learn.checkpoint import seed_random

Kind = Literal["fourier", "siren"]


@dataclass(frozen=True)
class FieldSettings:
    """What a field is made of and how long it is fitted.

    Attributes:
        kind: ``fourier``: random Fourier features and rectified layers (Tancik et al. 2020,
            "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional
            Domains", NeurIPS); ``siren``: sines all the way (Sitzmann et al. 2020, "Implicit Neural
            Representations with Periodic Activation Functions", NeurIPS).
        width: of a hidden layer.
        depth: hidden layers.
        features: Fourier features (``fourier``), half sines and half cosines.
        scales: standard deviation of their frequencies, in periods over the range of -1 to 1 of
            each coordinate, or for ``siren`` the factor of the first layer; one number holds for
            all coordinates. The greater, the finer the detail that is fitted, and the noise.
        period: the last coordinate is a time that comes back after this much of it; None for one
            that does not, or for a place.
        steps: of Adam.
        rate: of the first step; it falls to nothing as half a cosine.
        batch: values a step; None for all.
        smooth: weight of total variation, where projections are fitted.
    """

    kind: Kind = "fourier"
    width: int = 128
    depth: int = 3
    features: int = 256
    scales: float | tuple[float, ...] = 3.0
    period: float | None = None
    steps: int = 400
    rate: float = 2e-3
    batch: int | None = None
    smooth: float = 0.0


class Field(nn.Module):
    """Coordinates ``(N, D)`` from -1 to 1 to values ``(N,)``.

    Args:
        axes: D, the time with them.
        settings: of the field.
    """

    frequencies: Tensor

    def __init__(self, axes: int, settings: FieldSettings) -> None:
        super().__init__()
        self.period = settings.period
        axes += settings.period is not None  # a time on a circle has two coordinates
        scales = np.broadcast_to(np.asarray(settings.scales, float), (axes,)).copy()
        self.kind = settings.kind
        factor = torch.tensor(scales, dtype=torch.float32)
        if self.kind == "fourier":
            drawn = torch.randn(settings.features // 2, axes) * factor
            self.register_buffer("frequencies", math.pi * drawn)
            inputs = 2 * (settings.features // 2)
        else:
            self.register_buffer("frequencies", factor)
            inputs = axes
        sizes = [inputs, *[settings.width] * settings.depth]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(settings.width, 1)
        if self.kind == "siren":
            self._begin_siren()

    def _begin_siren(self) -> None:
        """Sitzmann et al. 2020, section 3.2, with 30 in the layers after the first."""
        for place, layer in enumerate([*self.hidden, self.last]):
            assert isinstance(layer, nn.Linear)
            bound = 1 / layer.in_features
            if place:
                bound = math.sqrt(6 / layer.in_features) / 30
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Values at coordinates."""
        x = coordinates
        if self.period is not None:
            turn = 2 * math.pi * x[:, -1:] / self.period
            x = torch.cat([x[:, :-1], turn.cos(), turn.sin()], dim=1)
        if self.kind == "fourier":
            angles = x @ self.frequencies.T
            x = torch.cat([angles.sin(), angles.cos()], dim=1)
            for layer in self.hidden:
                x = torch.relu(layer(x))
        else:
            x = x * self.frequencies
            for place, layer in enumerate(self.hidden):
                x = torch.sin(layer(x) if not place else 30 * layer(x))
        out: Tensor = self.last(x)[:, 0]
        return out


def grid(shape: Sequence[int]) -> NDArray[np.float32]:
    """The coordinates ``(N, D)`` of all places of a grid, centres of cells, from -1 to 1."""
    axes = [(2 * np.arange(size) + 1) / size - 1 for size in shape]
    return (
        np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        .reshape(-1, len(axes))
        .astype(np.float32)
    )


def fit_samples(
    coordinates: NDArray[np.floating], values: NDArray[np.floating], settings: FieldSettings, *,
    seed: int = 1,
) -> Field:  # fmt: skip
    """A field fitted to values at coordinates, by the mean square.

    Args:
        coordinates: ``(N, D)`` from -1 to 1; a time in the unit of ``settings.period``.
        values: ``(N,)``.
        settings: of the field.
        seed: of weights, frequencies and batches.
    """
    where = torch.from_numpy(np.asarray(coordinates, np.float32))
    what = torch.from_numpy(np.asarray(values, np.float32).reshape(-1))
    rng = np.random.default_rng(seed)
    count = len(what)

    def loss(field: Field) -> Tensor:
        if settings.batch is None or settings.batch >= count:
            return _square(field(where) - what)
        chosen = torch.from_numpy(rng.integers(0, count, settings.batch))
        return _square(field(where[chosen]) - what[chosen])

    return _fitted(where.shape[1], loss, settings, seed, float(what.mean()))


def reconstruct(
    sinogram: NDArray[np.floating], angles: Sequence[float], settings: FieldSettings, *,
    seed: int = 1,
) -> NDArray[np.float32]:  # fmt: skip
    """A slice ``(n, n)`` of parallel-beam projections, as a field whose projections fit them.

    The field is asked at every pixel of the circle, and what it says is projected as the slice was
    (as Shen et al. 2022, "NeRP: Implicit Neural Representation Learning with Prior Embedding for
    Sparsely Sampled Image Reconstruction", IEEE TNNLS, without its prior).

    Args:
        sinogram: ``(n, views)`` as `skimage.transform.radon` gives it with ``circle=True``.
        angles: of the views, degrees.
        settings: of the field.
        seed: of weights and frequencies.

    Raises:
        ValueError: there are not as many angles as views.
    """
    size, views = sinogram.shape
    if views != len(angles):
        raise ValueError(f"{views} projections and {len(angles)} angles")
    inside = circle(size)
    matrix = projector(size, angles)[:, inside.reshape(-1)].tocsr()
    system, adjoint = _as_tensor(matrix), _as_tensor(matrix.T.tocsr())
    measured: Tensor = torch.from_numpy(np.asarray(sinogram, np.float32).T.reshape(-1))
    where = torch.from_numpy(grid((size, size))[inside.reshape(-1)])
    scale = float(measured.square().mean())
    mean = float(measured.sum()) / float(matrix.sum())
    pairs = _neighbours(inside)
    project: Any = _Project.apply

    def loss(field: Field) -> Tensor:
        said = field(where)
        projected: Tensor = project(said, system, adjoint)
        value = _square(projected - measured) / scale
        if settings.smooth:
            value = value + settings.smooth * (said[pairs[0]] - said[pairs[1]]).abs().mean()
        return value

    field = _fitted(2, loss, settings, seed, mean)
    out = np.zeros((size, size), np.float32)
    with torch.no_grad():
        out[inside] = field(where).numpy()
    return out


def _square(away: Tensor) -> Tensor:
    return away.square().mean()


def _as_tensor(matrix: sparse.csr_matrix) -> Tensor:
    with warnings.catch_warnings():  # torch calls its sparse tensors young
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr), torch.from_numpy(matrix.indices),
            torch.from_numpy(matrix.data.astype(np.float32)), matrix.shape,
        )  # fmt: skip


class _Project(torch.autograd.Function):
    """A sparse product whose gradient is the product with the adjoint, which is kept ready."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, *args: Tensor) -> Tensor:
        values, system, adjoint = args
        ctx.save_for_backward(adjoint)
        return system @ values

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *grads: Tensor
    ) -> tuple[Tensor, None, None]:
        (adjoint,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return adjoint @ grads[0].contiguous(), None, None


def projector(size: int, angles: Sequence[float]) -> sparse.csr_matrix:
    """The matrix ``(views * n, n * n)`` that takes a slice to its projections.

    Row ``v * n + s`` sums the slice along the ray ``s`` of view ``v``, at steps of a pixel, between
    pixels by bilinear interpolation, as `skimage.transform.radon` does.

    Args:
        size: n.
        angles: degrees.
    """
    centre = size // 2
    s, t = np.meshgrid(np.arange(size) - centre, np.arange(size) - centre, indexing="ij")
    rows, columns, weights = [], [], []
    for view, angle in enumerate(np.deg2rad(np.asarray(angles, float))):
        w = np.cos(angle) * s + np.sin(angle) * t + centre
        h = -np.sin(angle) * s + np.cos(angle) * t + centre
        h0, w0 = np.floor(h).astype(int), np.floor(w).astype(int)
        for dh in (0, 1):
            for dw in (0, 1):
                hh, ww = h0 + dh, w0 + dw
                weight = (1 - np.abs(h - hh)) * (1 - np.abs(w - ww))
                there = (hh >= 0) & (hh < size) & (ww >= 0) & (ww < size) & (weight > 0)
                rows.append((view * size + s + centre)[there])
                columns.append((hh * size + ww)[there])
                weights.append(weight[there])
    shape = (len(angles) * size, size * size)
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=shape)


def circle(size: int) -> NDArray[np.bool_]:
    """The pixels within the inscribed circle, outside of which a slice is taken to be 0."""
    place = np.arange(size) - size // 2
    return np.asarray(place[:, None] ** 2 + place[None, :] ** 2 <= (size // 2) ** 2)


def _neighbours(inside: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Pairs of pixels of the circle that lie side by side, by their numbers in it."""
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(int(inside.sum()))
    first = np.concatenate([number[:-1].reshape(-1), number[:, :-1].reshape(-1)])
    second = np.concatenate([number[1:].reshape(-1), number[:, 1:].reshape(-1)])
    both = (first >= 0) & (second >= 0)
    return torch.from_numpy(first[both]), torch.from_numpy(second[both])


def _fitted(
    axes: int, loss: Callable[[Field], Tensor], settings: FieldSettings, seed: int, mean: float
) -> Field:
    random = torch.get_rng_state()
    seed_random(seed)
    field = Field(axes, settings)
    torch.set_rng_state(random)
    nn.init.constant_(field.last.bias, mean)
    optimiser = torch.optim.Adam(field.parameters(), lr=settings.rate)
    for step in range(settings.steps):
        fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * fall
        optimiser.zero_grad(set_to_none=True)
        loss(field).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return field.eval()


def ask(
    field: Field, coordinates: NDArray[np.floating], *, at_once: int = 65536
) -> NDArray[np.float32]:
    """Values ``(N,)`` of a field at coordinates ``(N, D)``."""
    where = torch.from_numpy(np.asarray(coordinates, np.float32))
    with torch.no_grad():
        return np.concatenate([field(part).numpy() for part in torch.split(where, at_once)])
