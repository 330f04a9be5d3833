"""The vessels of a mask as a graph: smooth centrelines between nodes, with the calibre along them.

A segment is the centreline between two nodes (ends, branchings) or between the borders of a
region. Its points are the skeleton's pixels moved by a Gaussian along the path, by up to half a
pixel to the middle between the vessel's borders, and by the Gaussian again, which takes the
staircase out of lengths and directions. A free end is cut back by half a calibre: there the
skeleton turns to a corner.

The diameter at a point is the length of the normal through it inside the mask, to where the
bilinearly interpolated mask crosses one half, so it is not tied to whole pixels. Points nearer to
a branching than the radius of the largest circle inside the vessel there have no diameter: the
normal leaves through the other branch.

Sources:
    1. Ortin Vela et al., Nature Communications 15, 2024: segments, arc and chord, diameters along
       the normal of a smooth centreline, bifurcations between vessels of the same type.
    2. Bankhead et al., "Fast retinal vessel detection and measurement using wavelets and edge
       location refinement", PLoS ONE 7, 2012: the profile along the normal.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.retina.paths import (
    directions,
    median_each,
    smooth_paths,
    smooth_values,
    step_lengths,
    sum_each,
)
from osler.retina.pruning import pruned
from osler.retina.skeleton import Chains, thin, trace
from osler.retina.zones import BoolArray, FloatArray, box_of

IntArray = NDArray[np.int64]

SMOOTHING = 2.0  # pixels along the path, twice; the staircase has a period of a few pixels
_PAD = 3  # zeros round the mask, so that a step of one pixel never leaves the grid
_RAYS = 16


@dataclass(frozen=True, slots=True, eq=False)
class VesselGraph:
    """Vessel segments and the nodes between them.

    All points are ``(h, w)`` in pixels of the mask's grid.

    Attributes:
        points: ``(N, 2)`` centreline points, segment after segment.
        starts: ``(S + 1,)`` where each segment begins in ``points``.
        diameters: ``(N,)`` pixels; NaN where it is not measured.
        ends: ``(S, 2)`` node at the first and last point, -1 where a region or a ring ends it.
        nodes: ``(M, 2)`` node positions.
        radii: ``(M,)`` radius of the largest circle inside the mask round each node, pixels.
        degrees: ``(M,)`` how many segments meet at each node.
    """

    points: FloatArray
    starts: IntArray
    diameters: FloatArray
    ends: IntArray
    nodes: FloatArray
    radii: FloatArray
    degrees: IntArray

    def __len__(self) -> int:
        """How many segments there are."""
        return int(self.starts.size - 1)

    @property
    def segment_of(self) -> IntArray:
        """``(N,)`` the segment that each point belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def arcs(self) -> FloatArray:
        """``(S,)`` length along each segment, pixels."""
        return sum_each(step_lengths(self.points, self.starts), self.starts)

    @property
    def chords(self) -> FloatArray:
        """``(S,)`` straight distance between the ends of each segment, pixels."""
        step = self.points[self.starts[1:] - 1] - self.points[self.starts[:-1]]
        out: FloatArray = np.hypot(step[:, 0], step[:, 1])
        return out

    @property
    def calibres(self) -> FloatArray:
        """``(S,)`` median diameter of each segment, pixels; NaN where none was measured."""
        return median_each(self.diameters, self.starts)

    def within(self, region: BoolArray) -> "VesselGraph":
        """The parts of the segments that lie in a region, cut at its border.

        Args:
            region: ``(H, W)``.
        """
        return replace(
            self._cut(_look_up(region, self.points)),
            degrees=np.where(_look_up(region, self.nodes), self.degrees, 0),
        )

    def apart(self) -> "VesselGraph":
        """The segments without what lies inside a branching.

        There a path runs across the other vessel to its middle, which says nothing about the
        course of its own.
        """
        return self._cut(~np.isnan(self.diameters))

    def _cut(self, keep: BoolArray) -> "VesselGraph":
        """Every run of two or more kept points as a segment of its own."""
        index = np.flatnonzero(keep)
        of = self.segment_of
        segment = of[index]
        fresh = np.ones(index.size, dtype=bool)
        fresh[1:] = (np.diff(index) != 1) | (np.diff(segment) != 0)
        run = np.cumsum(fresh) - 1
        lengths = np.bincount(run) if run.size else np.zeros(0, dtype=np.int64)
        index = index[lengths[run] >= 2]
        lengths = lengths[lengths >= 2]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        first, last = index[starts[:-1]], index[starts[1:] - 1]
        ends = np.stack(
            [
                np.where(first == self.starts[:-1][of[first]], self.ends[of[first], 0], -1),
                np.where(last == self.starts[1:][of[last]] - 1, self.ends[of[last], 1], -1),
            ],
            axis=1,
        )
        return replace(
            self,
            points=self.points[index],
            starts=starts,
            diameters=self.diameters[index],
            ends=ends,
        )

    def centrelines(self, shape: tuple[int, int]) -> BoolArray:
        """``(H, W)`` the pixels under the centreline points."""
        out = np.zeros(shape, dtype=bool)
        at = np.clip(np.rint(self.points).astype(np.int64), 0, np.array(shape) - 1)
        out[at[:, 0], at[:, 1]] = True
        return out

    def branchings(self) -> FloatArray:
        """``(B, 2)`` where the vessel divides: nodes at which three or more segments meet.

        Branchings joined by a segment shorter than the vessel is wide are one: thinning parts
        what is one place. [1] merges those within a fixed 7.5 pixels instead, which holds for one
        camera only.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = self.nodes.shape[0]
        a, b = self.ends[:, 0], self.ends[:, 1]
        joined = (a >= 0) & (b >= 0)
        joined &= (self.degrees[a] >= 3) & (self.degrees[b] >= 3) if count else joined
        a, b, arcs = a[joined], b[joined], self.arcs[joined]
        short = arcs < self.radii[a] + self.radii[b]
        a, b = a[short], b[short]
        links = coo_array((np.ones(a.size, np.int8), (a, b)), shape=(count, count))
        groups, label = connected_components(links, directed=False) if count else (0, a)
        # each joining segment used up one end at both of its nodes
        left = np.bincount(
            label, weights=np.where(self.degrees >= 3, self.degrees, 0), minlength=groups
        )
        left -= 2 * np.bincount(label[a], minlength=groups)
        members = np.flatnonzero((self.degrees >= 3) & (left[label] >= 3))
        sizes = np.bincount(label[members], minlength=groups)
        used = np.flatnonzero(sizes)
        return np.stack(
            [
                np.bincount(label[members], self.nodes[members, i], minlength=groups)[used]
                / sizes[used]
                for i in (0, 1)
            ],
            axis=1,
        )


def vessel_graph(mask: BoolArray, *, smoothing: float = SMOOTHING) -> VesselGraph:
    """The graph of a vessel mask, spurs removed (``pruning.py`` says what a spur is).

    Args:
        mask: ``(H, W)``, the native grid.
        smoothing: standard deviation of the Gaussian along the path, pixels.

    Raises:
        InputError: the mask is not two-dimensional, or ``smoothing`` is not above 0.
    """
    if not smoothing > 0:
        raise InputError(f"smoothing is {smoothing}; expected a number of pixels above 0")
    box = box_of(mask)
    corner = (0, 0) if box is None else (box[0].start - _PAD, box[1].start - _PAD)
    padded = np.pad(mask if box is None else mask[box], _PAD).astype(np.uint8)
    width = padded.shape[1]
    chains = trace(thin(padded > 0), width=width, size=padded.size)
    sites = _sites(chains, width)
    radii = _inner_radii(padded, sites)
    chains = pruned(chains, radii)
    raw = np.stack(np.divmod(chains.pixels, width), axis=1).astype(np.float64)
    ring = chains.ends[:, 0] < 0
    points = smooth_paths(raw, chains.starts, sigma=smoothing, ring=ring)
    diameters, shift = _profiles(padded, points, chains, sites, radii)
    degrees = np.bincount(chains.ends[chains.ends >= 0], minlength=chains.nodes)
    keep = ~_hooks(points, chains, degrees, diameters)
    starts = np.concatenate([[0], np.cumsum(keep)])[chains.starts]
    points, diameters = (points + shift)[keep], diameters[keep]
    return VesselGraph(
        points=smooth_paths(points, starts, sigma=smoothing, ring=ring) + corner,
        starts=starts,
        diameters=smooth_values(diameters, starts, sigma=smoothing),
        ends=chains.ends,
        nodes=sites + corner,
        radii=radii,
        degrees=degrees,
    )


def _hooks(
    points: FloatArray, chains: Chains, degrees: IntArray, diameters: FloatArray
) -> BoolArray:
    """``(N,)`` points within half a calibre of a free end, where the skeleton turns to a corner.

    Segments shorter than three calibres are left whole.
    """
    starts = chains.starts
    calibre = np.nan_to_num(median_each(diameters, starts))
    long = sum_each(step_lengths(points, starts), starts) >= 3.0 * calibre
    segment = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    out = np.zeros(points.shape[0], dtype=bool)
    for side, tip in ((0, starts[:-1]), (1, starts[1:] - 1)):
        node = chains.ends[:, side]
        cut = long & (node >= 0)
        cut[cut] = degrees[node[cut]] == 1
        near = np.flatnonzero(cut[segment])
        away = np.hypot(*(points[near] - points[tip[segment[near]]]).T)
        out[near[away < calibre[segment[near]] / 2]] = True
    # a path that comes back to its own end could lose points in its middle: it keeps them all
    breaks = np.diff(out.astype(np.int8), prepend=0) != 0
    pieces = np.bincount(segment[breaks], minlength=starts.size - 1)
    kept = np.bincount(segment[~out], minlength=starts.size - 1)
    out[((pieces > 3) | (kept < 2))[segment]] = False
    return out


def _sites(chains: Chains, width: int) -> FloatArray:
    """``(M, 2)`` mean position of each node's pixels."""
    sizes = np.bincount(chains.node_of, minlength=chains.nodes)
    rows, columns = np.divmod(chains.node_pixels, width)
    return np.stack(
        [np.bincount(chains.node_of, x, minlength=chains.nodes) / sizes for x in (rows, columns)],
        axis=1,
    )


def _inner_radii(padded: NDArray[np.uint8], sites: FloatArray) -> FloatArray:
    """``(M,)`` shortest way out of the mask from each site, over 16 directions, pixels."""
    angles = np.arange(_RAYS) * (2 * np.pi / _RAYS)
    rays = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    origins = np.repeat(sites, _RAYS, axis=0)
    ways = way_out(padded, origins, np.tile(rays, (sites.shape[0], 1)), together=_RAYS)
    out: FloatArray = ways.reshape(-1, _RAYS).min(axis=1)
    return out


def _profiles(
    padded: NDArray[np.uint8],
    points: FloatArray,
    chains: Chains,
    sites: FloatArray,
    radii: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Follow the normal at each point to either border of the vessel.

    Returns:
        ``(N,)`` diameters, NaN within a branching; and ``(N, 2)`` the way from each point to the
        middle between the borders, zero where there is no diameter.
    """
    tangent = directions(points, chains.starts)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    ahead, back = way_out(padded, points, normal), way_out(padded, points, -normal)
    width = ahead + back
    width[(width <= 0) | ~tangent.any(axis=1)] = np.nan
    segment = np.repeat(np.arange(chains.starts.size - 1), np.diff(chains.starts))
    degree = np.bincount(chains.ends[chains.ends >= 0], minlength=chains.nodes)
    for side in (0, 1):
        node = chains.ends[segment, side]
        near = np.flatnonzero((node >= 0) & (degree[node] >= 3)) if sites.size else node[:0]
        away = np.hypot(*(points[near] - sites[node[near]]).T)
        width[near[away < radii[node[near]]]] = np.nan
    # more than half a pixel is no rounding of the skeleton but a place without one middle
    middle = np.where(np.isnan(width), 0.0, np.clip((ahead - back) / 2, -0.5, 0.5))
    return width, middle[:, None] * normal


def way_out(
    padded: NDArray[np.uint8], origins: FloatArray, directions: FloatArray, *, together: int = 1
) -> FloatArray:
    """How far one can go before the bilinearly interpolated mask falls below one half.

    Args:
        padded: ``(H, W)`` mask of 0 and 1 with at least two rows and columns of zeros round it.
        origins: ``(N, 2)`` inside the mask, pixels.
        directions: ``(N, 2)`` unit vectors; a zero vector gets 0.
        together: so many rays in a row stop as soon as one of them is out.

    Returns:
        ``(N,)`` pixels; 0 for an origin outside the mask, infinite for a ray that another stopped.
    """
    flat, width = padded.ravel(), padded.shape[1]
    h, w = origins[:, 0], origins[:, 1]
    before = _bilinear(flat, width, h, w)
    inside = (before >= 0.5) & directions.any(axis=1)
    out = np.where(inside, np.inf, 0.0)
    alive = np.flatnonzero(inside)
    h, w, before = h[alive], w[alive], before[alive]
    dh, dw = directions[alive, 0], directions[alive, 1]
    stopped = np.zeros(-(-out.size // together), dtype=bool)
    gone = 0
    while alive.size:
        h, w = h + dh, w + dw
        value = _bilinear(flat, width, h, w)
        left = value < 0.5
        # the interpolated mask is curved within a pixel: halve the step in which it was left
        half = _bilinear(flat, width, h[left] - dh[left] / 2, w[left] - dw[left] / 2)
        sooner = half < 0.5
        high = np.where(sooner, before[left], half)
        low = np.where(sooner, half, value[left])
        out[alive[left]] = gone + np.where(sooner, 0.0, 0.5) + (high - 0.5) / (high - low) / 2
        gone += 1
        if together > 1:
            stopped[alive[left] // together] = True
            stay = ~stopped[alive // together]
        else:
            stay = ~left
        alive, h, w, before = alive[stay], h[stay], w[stay], value[stay]
        dh, dw = dh[stay], dw[stay]
    return out


def _bilinear(flat: NDArray[np.uint8], width: int, h: FloatArray, w: FloatArray) -> FloatArray:
    """Interpolate a flattened grid at points inside it."""
    top, left = np.floor(h).astype(np.int64), np.floor(w).astype(np.int64)
    down, right = h - top, w - left
    at = top * width + left
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    lower = flat[at + width] * (1 - right) + flat[at + width + 1] * right
    out: FloatArray = upper * (1 - down) + lower * down
    return out


def _look_up(region: BoolArray, points: FloatArray) -> BoolArray:
    """``(N,)`` whether the pixel under each point is in the region."""
    at = np.rint(points).astype(np.int64)
    at = np.clip(at, 0, np.array(region.shape) - 1)
    out: BoolArray = region[at[:, 0], at[:, 1]]
    return out
