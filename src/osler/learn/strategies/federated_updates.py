"""The arithmetic of federated learning on named arrays: means, corrections, compression, masks.

Everything here is numpy, so that a site or a coordinator on another machine needs no torch for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Vector = NDArray[Any]

FIXED = 20
"""Binary digits after the point in what is summed under masks: a range of 2048, steps of 1e-6."""


def weighted_mean(states: Sequence[Mapping[str, NDArray[Any]]], sizes: Sequence[float]) -> Arrays:
    """The mean of networks by the number of their cases: ``w = sum_k n_k / n * w_k``.

    McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized
    Data" (FedAvg), AISTATS, algorithm 1. Running statistics are averaged like weights. What is
    counted in whole numbers (``num_batches_tracked``) is averaged and rounded half to even.

    Args:
        states: of the sites, of the same names and shapes.
        sizes: cases of each; others than those who answered have no part in the sum ``n``.
    """
    shares = np.asarray(sizes, np.float64) / np.sum(np.asarray(sizes, np.float64))
    out: Arrays = {}
    for name, first in states[0].items():
        mean = sum(
            share * np.asarray(state[name], np.float64)
            for share, state in zip(shares, states, strict=True)
        )
        out[name] = _as(np.asarray(mean), first.dtype)
    return out


def difference(new: Mapping[str, NDArray[Any]], old: Mapping[str, NDArray[Any]]) -> Arrays:
    """``new - old`` for each name of ``new``."""
    return {name: np.asarray(np.subtract(value, old[name])) for name, value in new.items()}


def moved(
    state: Mapping[str, NDArray[Any]], updates: Sequence[Mapping[str, NDArray[Any]]],
    sizes: Sequence[float], *, rate: float = 1.0,
) -> Arrays:  # fmt: skip
    """A network after the mean of updates: ``w + rate * sum_k n_k / n * (w_k - w)``.

    With a rate of 1 it is `weighted_mean` of the sites' networks. Names that no update holds stay.
    """
    shares = np.asarray(sizes, np.float64) / np.sum(np.asarray(sizes, np.float64))
    out: Arrays = dict(state)
    for name in updates[0]:
        step = sum(
            share * np.asarray(update[name], np.float64)
            for share, update in zip(shares, updates, strict=True)
        )
        value = np.asarray(state[name], np.float64) + rate * np.asarray(step)
        out[name] = _as(value, state[name].dtype)
    return out


def _as(value: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    return (value if dtype.kind == "f" else np.rint(value)).astype(dtype)


def proximal_gradient(weights: Vector, anchor: Vector, mu: float) -> Vector:
    """The gradient of ``mu / 2 * ||w - w_global||^2``: ``mu * (w - w_global)``.

    Li et al. 2020, "Federated Optimization in Heterogeneous Networks" (FedProx), MLSys, section 3.
    """
    return mu * (weights - anchor)


def new_control(own: Vector, common: Vector, start: Vector, end: Vector, rates: float) -> Vector:
    """A site's control variate after its steps: ``c_k - c + (w - w_k) / sum of rates``.

    Karimireddy et al. 2020, "SCAFFOLD", ICML, equation 4, option II, where all rates are the same
    and their sum is ``K * rate``.

    Args:
        own: ``c_k``.
        common: ``c`` of the coordinator.
        start: weights at the beginning of the round.
        end: weights after the site's steps.
        rates: the sum of the learning rates of those steps.
    """
    return own - common + (start - end) / rates


class Codec(Protocol):
    """A way to say a vector in fewer bytes."""

    def encode(self, vector: Vector) -> Arrays:
        """What is sent."""

    def decode(self, sent: Mapping[str, NDArray[Any]], size: int) -> Vector:
        """The vector that the receiver makes of it."""


class TopK:
    """The entries of the greatest size, with their places.

    Args:
        share: of the entries that are sent; at least one is.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def encode(self, vector: Vector) -> Arrays:
        """``places`` (int32, ascending) and ``values``."""
        count = max(1, int(self.share * vector.size))
        places = np.sort(np.argpartition(np.abs(vector), vector.size - count)[-count:])
        return {"places": places.astype(np.int32), "values": vector[places]}

    def decode(self, sent: Mapping[str, NDArray[Any]], size: int) -> Vector:
        """Zero but in those places."""
        values = sent["values"]
        out = np.zeros(size, values.dtype)
        out[sent["places"]] = values
        return out


class Quantised:
    """Whole numbers of few bits, evenly spaced between the least and the greatest of each block.

    With ``b`` bits there are ``2^b - 1`` values, symmetric about zero, and each block of 1,024
    entries has its own step (as in Seide et al. 2014, "1-bit stochastic gradient descent",
    Interspeech, who keep the error as `with_feedback` does).

    Args:
        bits: of each entry, 2 to 8.
    """

    BLOCK = 1024

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def encode(self, vector: Vector) -> Arrays:
        """``steps`` (float32, one a block) and ``packed`` (bytes)."""
        most = 2 ** (self.bits - 1) - 1
        blocks = _blocks(np.asarray(vector, np.float64), self.BLOCK)
        steps = (np.abs(blocks).max(axis=1) / most).astype(np.float32)
        safe = np.where(steps > 0, steps, 1).astype(np.float64)
        whole = np.clip(np.rint(blocks / safe[:, None]), -most, most) + most
        places = whole.astype(np.uint8).reshape(-1)[: vector.size]
        digits = np.unpackbits(places[:, None], axis=1)[:, -self.bits :]
        return {"steps": steps, "packed": np.packbits(digits)}

    def decode(self, sent: Mapping[str, NDArray[Any]], size: int) -> Vector:
        """The nearest multiples of each block's step."""
        most = 2 ** (self.bits - 1) - 1
        digits = np.unpackbits(np.asarray(sent["packed"], np.uint8), count=size * self.bits)
        weights = 2 ** np.arange(self.bits - 1, -1, -1)
        whole = digits.reshape(size, self.bits) @ weights - most
        steps = np.repeat(np.asarray(sent["steps"]), self.BLOCK)[:size]
        return np.asarray(whole * steps, np.float32)


def _blocks(vector: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    short = -len(vector) % length
    return np.pad(vector, (0, short)).reshape(-1, length)


def with_feedback(update: Vector, residual: Vector, codec: Codec) -> tuple[Arrays, Vector, Vector]:
    """Compress an update, and keep what was left out for the next time.

    ``p = g + e``, ``s = decode(encode(p))``, ``e' = p - s`` (Stich et al. 2018, "Sparsified SGD
    with Memory", NeurIPS, algorithm 1), so that all that is sent and the last residual are the sum
    of all updates.

    Args:
        update: ``g``.
        residual: ``e``, zero at first.
        codec: how it is compressed.

    Returns:
        what is sent, ``s`` and ``e'``.
    """
    whole = update + residual
    message = codec.encode(whole)
    sent = codec.decode(message, whole.size).astype(whole.dtype)
    return message, sent, whole - sent


Masks = Mapping[tuple[int, int], NDArray[np.integer]]
"""For each pair of sites, the smaller number first, the numbers that only they know."""


def masked(values: NDArray[np.integer], place: int, masks: Masks) -> NDArray[np.uint32]:
    """What a site sends, of which the coordinator learns nothing by itself.

    ``v_c + sum_{b > c} m_cb - sum_{a < c} m_ac`` modulo ``2^32``: in the sum over all sites every
    mask is added once and taken away once (Bonawitz et al. 2017, "Practical Secure Aggregation for
    Privacy-Preserving Machine Learning", CCS, section 4).

    Args:
        values: whole numbers.
        place: the site's number.
        masks: of all pairs that it is part of.
    """
    out = np.asarray(values).astype(np.int64)
    for (first, second), mask in masks.items():
        if place == first:
            out = out + mask.astype(np.int64)
        elif place == second:
            out = out - mask.astype(np.int64)
    return (out % 2**32).astype(np.uint32)


def unmasked_sum(sent: Sequence[NDArray[np.unsignedinteger]]) -> NDArray[np.int64]:
    """The sum of what all sites hold, of what they sent; between ``-2^31`` and ``2^31 - 1``."""
    total = np.sum([one.astype(np.uint64) for one in sent], axis=0) % 2**32
    signed = total.astype(np.int64)
    return np.asarray(np.where(signed >= 2**31, signed - 2**32, signed))


def pair_masks(
    places: Sequence[int], own: int, size: int, *, seed: Sequence[int]
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """The masks that a site shares with each of the others of a round.

    Args:
        places: numbers of all sites of the round.
        own: the site's number.
        size: of each mask.
        seed: that the pairs have agreed upon; the pair is added to it.
    """
    pairs = [(min(own, one), max(own, one)) for one in places if one != own]
    return {
        pair: np.random.default_rng((*seed, *pair)).integers(0, 2**32, size, np.int64)
        for pair in pairs
    }


def fixed_point(values: Vector) -> NDArray[np.int64]:
    """Whole numbers of ``2^-20``.

    Raises:
        ValueError: one is not finite, or so great that a sum could leave the range.
    """
    if not np.all(np.isfinite(values)) or (values.size and np.abs(values).max() >= 1024):
        raise ValueError("an entry of the update is not finite or greater than 1024")
    return np.asarray(np.rint(np.asarray(values, np.float64) * 2**FIXED), np.int64)


def from_fixed_point(values: NDArray[np.integer]) -> NDArray[np.float64]:
    """What `fixed_point` was made of, to half a step."""
    return np.asarray(np.asarray(values, np.float64) / 2**FIXED)


Method = Literal["fedavg", "fedprox", "fedbn", "scaffold"]
