import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from osler.errors import InputError
from osler.metrics import frechet_distance, manifold_precision_recall, memorisation_test


def sets(seed: int, *counts: int, size: int = 4) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(0.3 * n, 1 + 0.2 * n, (c, size)) for n, c in enumerate(counts)]


@pytest.mark.parametrize("counts", [(40, 30), (3, 5), (40, 3)])
def test_frechet_is_that_of_the_matrix_root(counts: tuple[int, int]) -> None:
    one, other = sets(0, *counts)
    a, b = np.cov(one.T), np.cov(other.T)
    if min(counts) > 4:
        trace = float(np.trace(sqrtm(a @ b)).real)
    else:  # singular: the roots of the eigenvalues of the product
        trace = float(np.sqrt(np.clip(np.linalg.eigvals(a @ b).real, 0, None)).sum())
    gap = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum()
    wanted = gap + np.trace(a) + np.trace(b) - 2 * trace
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, one + np.array([3, 0, 0, 4])) == pytest.approx(25)


def slow_covered(points: np.ndarray, members: np.ndarray, k: int) -> float:
    reach = []
    for n, one in enumerate(members):
        reach.append(sorted(math.dist(one, m) for i, m in enumerate(members) if i != n)[k - 1])
    inside = [
        any(math.dist(p, m) <= r for m, r in zip(members, reach, strict=True)) for p in points
    ]
    return sum(inside) / len(points)


@pytest.mark.parametrize("k", [1, 3])
def test_manifolds_are_those_of_all_pairs(k: int) -> None:
    real, generated = sets(1, 25, 30)
    precision, recall = manifold_precision_recall(real, generated, neighbours=k)
    assert precision == slow_covered(generated, real, k)
    assert recall == slow_covered(real, generated, k)
    assert 0 < precision < 1
    far = manifold_precision_recall(real, real + 100, neighbours=k)
    assert far == (0, 0)
    # one mode of two: all looks real, half is covered
    two = np.concatenate([real, real + 100])
    assert manifold_precision_recall(two, real, neighbours=k) == (1, 0.5)


def test_copies_are_found_and_others_are_not() -> None:
    training, held_out, fresh = np.random.default_rng(2).normal(size=(3, 200, 5))
    honest = memorisation_test(training, held_out, fresh)
    assert honest.p > 0.01
    assert honest.copies < 0.06
    copied = np.concatenate([fresh[:100], training[:100] + 1e-3])
    caught = memorisation_test(training, held_out, copied)
    assert caught.p < 1e-6
    assert caught.copies == pytest.approx(0.5, abs=0.05)
    assert caught.index[100:].tolist() == list(range(100))
    for point, distance in zip(copied, caught.nearest, strict=True):
        assert distance == pytest.approx(min(math.dist(point, known) for known in training))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match="2 rows or more"):
        frechet_distance(np.zeros((1, 2)), np.zeros((3, 2)))
    with pytest.raises(InputError, match="expected"):
        memorisation_test(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(InputError, match="'neighbours'"):
        manifold_precision_recall([[0.0]], [[0.0]], neighbours=0)
