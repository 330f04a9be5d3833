"""The same picture twice: exactly, or again after resizing, recompression, other light, a turn.

Small pictures are made comparable by local contrast normalisation, which takes light away and
leaves structure. A 64-bit hash, the signs of 8 × 8 middle frequencies of their cosine transform
[1], proposes pairs within a Hamming distance of 12, the other picture in all eight turns and
mirrors; the correlation of the normalised pictures decides, and once more without the black frame
and its edge, which pictures of one camera share. Hashes are compared all with all, in
blocks of 64-bit words: unlike an index of parts of them, this misses none.

On 467 photographs of IDRiD the rule finds the 49 known pairs and one that nobody had listed (see
docs/cohorts.md), and among 400 of ODIR none.

[1] Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2;
here of middle instead of low frequencies, since medical pictures of one kind share the low ones.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from osler.data.scanning import SIDE, Scan

RADIUS: Final = 12
"""Bits of 64 that the hashes of one picture may differ in; unlike pictures differ in about 32."""

ALIKE: Final = 0.75
"""Correlation from which two images are said to show the same."""

WITHIN: Final = 0.5
"""Correlation that must be left without the black frame; unlike pictures reach about 0.35."""

SAME: Final = 0.95
"""Correlation from which they are said to be the same picture."""

TURNS: Final = (
    "as it is", "turned by 90°", "turned by 180°", "turned by 270°",
    "mirrored", "mirrored and turned by 90°", "mirrored and turned by 180°",
    "mirrored and turned by 270°",
)  # fmt: skip
_BLOCK = 1024
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that show the same.

    Attributes:
        first: number of the one among the scans.
        second: number of the other, larger.
        kind: ``"exact"`` for equal pixels, ``"same"`` or ``"alike"`` by the correlation.
        correlation: of the normalised small pictures, -1 to 1.
        turn: what makes the second look as the first.
    """

    first: int
    second: int
    kind: str
    correlation: float
    turn: str = TURNS[0]


def find_duplicates(scans: Sequence[Scan]) -> list[Pair]:
    """Every pair of images that show the same, exact ones first.

    Images that could not be opened are left out; of flat ones only exact copies are told. Of more
    than two equal images each is paired with the first.
    """
    pairs = list(_exact(scans))
    again = {pair.second for pair in pairs}
    numbers = [k for k, s in enumerate(scans) if not s.error and not s.flat and k not in again]
    if numbers:
        thumbs = np.stack([scans[k].thumb for k in numbers])
        near = sorted(_near(thumbs), key=lambda found: -found[2])
        for i, j, correlation, turn in near:
            kind = "same" if correlation >= SAME else "alike"
            pairs.append(Pair(numbers[i], numbers[j], kind, correlation, TURNS[turn]))
    return pairs


def _exact(scans: Iterable[Scan]) -> Iterator[Pair]:
    first: dict[str, int] = {}
    for k, one in enumerate(scans):
        if one.error:
            continue
        if one.digest in first:
            yield Pair(first[one.digest], k, "exact", 1.0)
        else:
            first[one.digest] = k


def turned(thumbs: NDArray[T], turn: int) -> NDArray[T]:
    """``(N, side, side)`` in one of the eight positions of a square."""
    flipped = thumbs[:, :, ::-1] if turn >= 4 else thumbs
    out: NDArray[T] = np.rot90(flipped, turn % 4, axes=(1, 2))
    return out


def normalised(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Structure without light: ``(N, side, side)``, each with mean 0 and norm 1.

    Each pixel less its surroundings (Gaussian, 1 pixel), over their spread (2 pixels) plus one of
    256 levels, which keeps the noise of empty areas small.
    """
    from scipy import ndimage

    out = np.empty(thumbs.shape, np.float32)
    for k, thumb in enumerate(thumbs):
        detail = thumb.astype(np.float32)
        detail = detail - ndimage.gaussian_filter(detail, 1)
        detail /= np.sqrt(ndimage.gaussian_filter(detail**2, 2)) + 1
        detail -= detail.mean()
        out[k] = detail / max(float(np.linalg.norm(detail)), 1e-6)
    return out


def hashes(pictures: NDArray[np.float32]) -> NDArray[np.uint64]:
    """``(N,)``: signs of the middle frequencies, 4 to 11 along each axis."""
    from scipy import fft

    waves = fft.dctn(pictures, axes=(1, 2))[:, 4:12, 4:12].reshape(len(pictures), 64) > 0
    packed: NDArray[np.uint64] = np.packbits(waves, axis=1).view(np.uint64)[:, 0]
    return packed


def _near(thumbs: NDArray[np.uint8]) -> Iterator[tuple[int, int, float, int]]:
    """First, second, correlation and turn of the pairs that show the same."""
    pictures = normalised(thumbs)
    flat = pictures.reshape(len(pictures), SIDE * SIDE)
    plain = hashes(pictures)
    inside = within_frame(thumbs)
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for turn in range(len(TURNS)):
        other = turned(pictures, turn)
        words = plain if turn == 0 else hashes(other)
        for i, j in candidates(plain, words):
            correlation = float(flat[i] @ other[j].reshape(-1))
            if correlation < ALIKE or correlation <= best.get((i, j), (0.0, 0))[0]:
                continue
            common = inside[i] & turned(inside[j : j + 1], turn)[0]
            if _correlation(pictures[i][common], other[j][common]) >= WITHIN:
                best[i, j] = (correlation, turn)
    for (i, j), (correlation, turn) in best.items():
        yield i, j, correlation, turn


def within_frame(thumbs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """``(N, side, side)``: what is no black frame, nor within three pixels of one."""
    from scipy import ndimage

    bright = thumbs > 10
    kept = [ndimage.binary_erosion(one, iterations=3, border_value=1) for one in bright]
    return np.stack(kept)


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    if one.size < SIDE:  # nearly all is black: the whole decides
        return 1.0
    one, other = one - one.mean(), other - other.mean()
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms > 1e-9 else 0.0


def candidates(
    one: NDArray[np.uint64], other: NDArray[np.uint64], radius: int = RADIUS
) -> Iterator[tuple[int, int]]:
    """Pairs ``i < j`` where ``one[i]`` and ``other[j]`` differ in at most ``radius`` bits."""
    for start in range(0, len(one), _BLOCK):
        block = one[start : start + _BLOCK, None]
        bits = np.bitwise_count(block ^ other[None, start:])
        for i, j in np.argwhere(bits <= radius):
            if i < j:
                yield start + int(i), start + int(j)


def groups(pairs: Iterable[Pair]) -> list[tuple[int, ...]]:
    """Numbers of the images that show the same, one group a picture."""
    above: dict[int, int] = {}

    def find(k: int) -> int:
        while above.setdefault(k, k) != k:
            k = above[k]
        return k

    for pair in pairs:
        above[find(pair.second)] = find(pair.first)
    found: dict[int, list[int]] = {}
    for k in sorted(above):
        found.setdefault(find(k), []).append(k)
    return sorted(tuple(members) for members in found.values())
