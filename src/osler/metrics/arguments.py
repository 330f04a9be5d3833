"""What every metric asks of its arrays, in one place, so that all refuse alike."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError


def binary(values: ArrayLike, *, name: str) -> NDArray[np.bool_]:
    """A boolean array out of booleans, or of numbers that are all 0 or 1.

    Raises:
        InputError: another value occurs.
    """
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "iuf" or not np.isin(array, (0, 1)).all():
        raise InputError(f"'{name}' has {array.dtype} values other than 0 and 1; give booleans")
    return array.astype(np.bool_)


def finite(values: ArrayLike, *, name: str) -> NDArray[Any]:
    """A real array as it is.

    Raises:
        InputError: it is not real, or holds NaN or an infinity.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise InputError(f"'{name}' has {array.dtype} values; give real numbers")
    # a sum would overflow in float16; the extremes carry NaN and infinities as well
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise InputError(f"'{name}' holds NaN or infinite values; leave those cases out")
    return array


def probabilities(values: ArrayLike, *, name: str) -> NDArray[np.float64]:
    """A ``float64`` array of values from 0 to 1.

    Raises:
        InputError: a value lies outside, or is NaN.
    """
    array = finite(values, name=name).astype(np.float64)
    if array.size and (array.min() < 0 or array.max() > 1):
        raise InputError(
            f"'{name}' has values from {array.min():.4g} to {array.max():.4g}; expected 0 to 1 "
            "(apply the sigmoid or softmax first)"
        )
    return array


def distributions(values: ArrayLike, *, name: str) -> NDArray[np.float64]:
    """A ``float64`` array ``(N, K)`` whose rows sum to 1 (within 1e-3).

    Raises:
        InputError: it has another shape, K < 2, or a row does not sum to 1.
    """
    array = probabilities(values, name=name)
    if array.ndim != 2 or array.shape[1] < 2:
        raise InputError(f"'{name}' has shape {array.shape}; expected (N, K) with K from 2")
    if array.size and np.abs(array.sum(axis=1) - 1).max() > 1e-3:
        raise InputError(f"'{name}' has rows that do not sum to 1; apply the softmax first")
    return array


def classes(values: ArrayLike, *, count: int, name: str) -> NDArray[np.int64]:
    """An integer array of class indices from 0 to ``count - 1``, ``(N,)``.

    Raises:
        InputError: another value or shape.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"'{name}' has shape {array.shape}; expected (N,)")
    if array.dtype.kind not in "iub" and not (array.size == 0 and array.dtype.kind == "f"):
        raise InputError(f"'{name}' has {array.dtype} values; give class indices as integers")
    if array.size and (array.min() < 0 or array.max() >= count):
        raise InputError(
            f"'{name}' has classes {array.min()} to {array.max()}; expected 0 to {count - 1}"
        )
    return array.astype(np.int64)


def same_shape(**arrays: NDArray[Any]) -> None:
    """Refuse arrays of different shapes.

    Raises:
        InputError: they differ; the message names them.
    """
    if len({array.shape for array in arrays.values()}) > 1:
        said = ", ".join(f"'{name}' {array.shape}" for name, array in arrays.items())
        raise InputError(f"shapes differ: {said}")


def same_length(**arrays: NDArray[Any]) -> int:
    """The length of the first axis, which all must share.

    Raises:
        InputError: they differ; the message names them.
    """
    if len({len(array) for array in arrays.values()}) > 1:
        said = ", ".join(f"'{name}' {array.shape}" for name, array in arrays.items())
        raise InputError(f"lengths differ: {said}")
    return len(next(iter(arrays.values())))
