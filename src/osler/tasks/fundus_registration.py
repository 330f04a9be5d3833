"""Two photographs of one retina: another day, another angle, another camera.

The retina is a curved surface, of which each photograph is a flat view; between two of them a
second-order polynomial holds to a pixel [1]_. It is found in three steps: corners described by
SIFT are matched and a similarity is drawn from them (RANSAC [2]_); an affine map and then the
polynomial are fitted to what agrees; vessel lines are brought onto each other by iterating over
closest points [3]_. Whether the vessels then lie on each other, beyond what chance would give, is
the answer to whether the two could be registered at all.

References:
    .. [1] Can et al., "A feature-based, robust, hierarchical algorithm for registering pairs of
       images of the curved human retina", IEEE TPAMI 24:347-364, 2002.
    .. [2] Fischler & Bolles, "Random sample consensus", CACM 24:381-395, 1981.
    .. [3] Stewart, Tsai & Roysam, "The dual-bootstrap iterative closest point algorithm with
       application to retinal image registration", IEEE TMI 22:1379-1394, 2003.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from osler.record import Image, Source, Transform
from osler.tasks.canvas import Canvas
from osler.tasks.fundus_marks import DIAMETER, Marks, marks_of
from osler.tasks.registration import Registration

_VERSION: Final = "1"
_RATIO: Final = 0.9  # of the best to the second best match
_TRIALS: Final = 4000
_SIMILAR: Final = 9.0  # canvas pixels: how far a curved retina may be from a similarity
_SCALES: Final = (0.5, 2.0)  # of two fields of view
_FEWEST: Final = 10  # matches that agree
_FOR_QUADRATIC: Final = 24
_GATES: Final = ((10.0, 4), (6.0, 4), (3.5, 6))  # canvas pixels, rounds: closest points
_ON_LINE: Final = 1.5  # canvas pixels: a vessel lies on a vessel
_LEAST_LINES: Final = 120  # places on lines that both photographs show
_LEAST_AGREEMENT: Final = 0.4  # beyond chance
_CURVED: Final = (0, 1, 1, 2, 2, 2)  # the order of each term of the polynomial


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A polynomial of second order from one canvas to another.

    Attributes:
        terms: ``(6, 2)``: 1, h, w, h², hw, w² (in half diameters from the middle) to ``(h, w)``
            in canvas pixels.
    """

    terms: NDArray[np.float64]

    def __call__(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(N, 2)`` canvas pixels to ``(N, 2)`` canvas pixels of the other."""
        return np.asarray(_powers(places) @ self.terms)


def register_fundus(
    fixed: Image,
    moving: Image,
    *,
    marks: tuple[Marks, Marks] | None = None,
    seed: int = 0,
) -> Registration:
    """Register two photographs of one eye.

    Args:
        fixed: colour photograph of the retina, 8 bits.
        moving: another one of the same eye.
        marks: of the two (`marks_of`), where they are at hand.
        seed: of the trials.

    Returns:
        The transform, in pixels, with the figures ``"inliers"`` (matched corners that agree),
        ``"vessels-on-vessels"`` (share of the fixed vessel lines within the common field that
        come to lie on moving ones), ``"vessels-by-chance"`` (the same after small shifts) and
        ``"common-field"``. Or no transform and the reason: the two are of different eyes by what
        they state, or nothing shows that they are of one.

    Raises:
        InputError: one is no colour photograph of 8 bits.
    """
    if fixed.laterality and moving.laterality and fixed.laterality != moving.laterality:
        return Registration(None, "one is of the right eye and one of the left: they are no pair")
    one, other = marks or (marks_of(fixed), marks_of(moving))
    rng = np.random.default_rng(seed)
    pairs = matched(one, other)
    figures: dict[str, float] = {"matches": float(len(pairs[0]))}
    surface, inliers = _from_corners(*pairs, rng)
    figures["inliers"] = float(inliers)
    if surface is None:
        return Registration(None, "too few marks of the two agree on one place", figures)
    surface = _onto_lines(surface, one, other)
    figures |= _checked(surface, one, other, rng)
    reason = _doubt(surface, figures)
    if reason:
        return Registration(None, reason, figures)
    return Registration(_transform(surface, fixed, moving, one.canvas, other.canvas), "", figures)


def matched(one: Marks, other: Marks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners ``(M, 2)`` of the first and their likeliest partners in the second."""
    if min(len(one.corners), len(other.corners)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    # the root of each histogram: differences of small counts tell as much as those of large ones
    left, right = (
        np.sqrt(d / np.maximum(d.sum(axis=1, keepdims=True), 1.0))
        for d in (one.descriptions.astype(np.float32), other.descriptions.astype(np.float32))
    )
    alike = left @ right.T
    best = alike.argmax(axis=1)
    rows = np.arange(len(alike))
    top = alike[rows, best]
    rest = alike.copy()
    rest[rows, best] = -np.inf
    second = rest.max(axis=1)
    # unit vectors: squared distance is 2 - 2 * similarity
    clear = (1.0 - top) < _RATIO**2 * (1.0 - second)
    mutual = alike.argmax(axis=0)[best] == rows
    kept = clear & mutual
    return one.corners[kept], other.corners[best[kept]]


def _from_corners(
    one: NDArray[np.float64], other: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Surface | None, int]:
    """The map that most matches agree on, and how many they are."""
    if len(one) < _FEWEST:
        return None, 0
    p, q = one @ (1, 1j), other @ (1, 1j)  # a similarity is q = a p + b
    first = rng.integers(0, len(p), _TRIALS)
    second = (first + rng.integers(1, len(p), _TRIALS)) % len(p)
    apart = np.abs(p[first] - p[second]) > DIAMETER / 20
    first, second = first[apart], second[apart]
    if not len(first):
        return None, 0
    a = (q[first] - q[second]) / (p[first] - p[second])
    b = q[first] - a * p[first]
    fits = np.abs(a[:, None] * p + b[:, None] - q) < _SIMILAR
    votes = np.where((np.abs(a) >= _SCALES[0]) & (np.abs(a) <= _SCALES[1]), fits.sum(axis=1), 0)
    agreed = fits[int(votes.argmax())]
    if agreed.sum() < _FEWEST // 2:
        return None, int(agreed.sum())
    surface = None
    for order, gate in ((1, _SIMILAR), (1, 7.0), (2, 6.0), (2, 5.0), (2, 4.0)):
        if agreed.sum() < _FEWEST // 2:
            return None, int(agreed.sum())
        curved = 2 if order == 2 and agreed.sum() >= _FOR_QUADRATIC else 1
        surface = _fitted(one[agreed], other[agreed], order=curved)
        agreed = np.linalg.norm(surface(one) - other, axis=1) < gate
    count = int(agreed.sum())
    return (surface if count >= _FEWEST // 2 else None), count


def _powers(places: NDArray[np.float64]) -> NDArray[np.float64]:
    h, w = (places / (DIAMETER / 2) - 1.0).T
    return np.stack([np.ones_like(h), h, w, h * h, h * w, w * w], axis=1)


def _damped(count: int, order: int) -> NDArray[np.float64]:
    """Rows that keep curvature small where few places speak for it, and none for a flat map."""
    weight = np.where(np.array(_CURVED) == 2, 1e-2 if order == 2 else 1e6, 0.0)
    return np.diag(np.sqrt(weight * max(count, 1) / 100))


def _fitted(one: NDArray[np.float64], other: NDArray[np.float64], *, order: int) -> Surface:
    left = np.concatenate([_powers(one), _damped(len(one), order)])
    right = np.concatenate([other, np.zeros((6, 2))])
    return Surface(np.linalg.lstsq(left, right, rcond=None)[0])


def _onto_lines(surface: Surface, one: Marks, other: Marks) -> Surface:
    """Bring the vessel lines onto each other: each place to the line that lies closest."""
    from scipy.spatial import cKDTree

    if min(len(one.lines), len(other.lines)) < _LEAST_LINES:
        return surface
    tree = cKDTree(other.lines)
    powers = _powers(one.lines)
    for gate, rounds in _GATES:
        for _ in range(rounds):
            placed = surface(one.lines)
            far, partner = (np.asarray(x) for x in tree.query(placed, distance_upper_bound=gate))
            near = np.isfinite(far)
            near[near] = _parallel(surface, one, other, near, partner[near])
            if near.sum() < _LEAST_LINES // 2:
                return surface
            normal, goal = other.normals[partner[near]], other.lines[partner[near]]
            rest = ((placed[near] - goal) * normal).sum(axis=1)
            # Tukey's weights: what lies far off is another vessel
            weight = np.clip(1 - (rest / gate) ** 2, 0, None)  # the root of it, squared by the fit
            rows = powers[near]
            left = np.concatenate([rows * normal[:, :1], rows * normal[:, 1:]], axis=1)
            damping = np.kron(np.eye(2), _damped(int(near.sum()), 2))
            left = np.concatenate([left * weight[:, None], damping])
            right = np.concatenate([(goal * normal).sum(axis=1) * weight, np.zeros(12)])
            terms = np.linalg.lstsq(left, right, rcond=None)[0]
            surface = Surface(terms.reshape(2, 6).T)
    return surface


def _parallel(
    surface: Surface,
    one: Marks,
    other: Marks,
    near: NDArray[np.bool_],
    partner: NDArray[np.intp],
) -> NDArray[np.bool_]:
    """Whether a line and its partner run the same way, within about 30 degrees."""
    places = one.lines[near]
    along = one.normals[near][:, ::-1] * (1, -1)
    led = surface(places + along) - surface(places - along)
    led /= np.maximum(np.linalg.norm(led, axis=1, keepdims=True), 1e-9)
    return np.asarray(np.abs((led * other.normals[partner]).sum(axis=1)) < 0.5)


def _checked(
    surface: Surface, one: Marks, other: Marks, rng: np.random.Generator
) -> dict[str, float]:
    """How far the vessels of the two agree, and how far they would by chance."""
    from scipy.spatial import cKDTree

    field = np.stack(np.nonzero(one.inside), axis=1)[::37].astype(np.float64)
    common = _within(surface(field), other)
    figures = {"common-field": float(common.mean()) if len(field) else 0.0}
    placed = surface(one.lines) if len(one.lines) else np.zeros((0, 2))
    placed = placed[_within(placed, other)]
    if len(placed) < _LEAST_LINES or len(other.lines) < _LEAST_LINES:
        return figures | {"vessels-on-vessels": 0.0, "vessels-by-chance": 0.0}
    tree = cKDTree(other.lines)

    def on_line(places: NDArray[np.float64]) -> float:
        return float((np.asarray(tree.query(places)[0]) <= _ON_LINE).mean())

    turns = rng.uniform(0, 2 * np.pi, 12)
    shifts = rng.uniform(12, 30, 12)[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    figures["vessels-on-vessels"] = on_line(placed)
    figures["vessels-by-chance"] = float(np.mean([on_line(placed + shift) for shift in shifts]))
    return figures


def _within(places: NDArray[np.float64], other: Marks) -> NDArray[np.bool_]:
    at = np.rint(places).astype(int)
    inside = np.asarray(((at >= 0) & (at < other.inside.shape)).all(axis=1))
    inside[inside] = other.inside[at[inside, 0], at[inside, 1]]
    return inside


def _doubt(surface: Surface, figures: dict[str, float]) -> str:
    """Why the two cannot be said to be registered; empty where they can."""
    chance = figures["vessels-by-chance"]
    agreement = (figures["vessels-on-vessels"] - chance) / max(1 - chance, 1e-9)
    figures["agreement"] = agreement
    linear = surface.terms[1:3] / (DIAMETER / 2)
    size = np.sqrt(abs(np.linalg.det(linear)))
    if np.linalg.det(linear) <= 0 or not _SCALES[0] <= size <= _SCALES[1]:
        return "the map that was found is not one between two views of a retina"
    if agreement < _LEAST_AGREEMENT:
        return "the vessels of the two do not come to lie on each other"
    return ""


def _transform(
    surface: Surface, fixed: Image, moving: Image, one: Canvas, other: Canvas
) -> Transform:
    """From canvases to photographs: an affine part for the matrix, the curvature beside it."""
    to_canvas, to_photo = _affine(one), np.linalg.inv(_affine(other))
    index = np.indices(fixed.shape, dtype=np.float64).reshape(2, -1)
    places = (to_canvas[:2, :2] @ index + to_canvas[:2, 2:]).T
    centre = np.array(one.to_canvas(one.field.centre))
    flat = _tangent(surface, centre)
    matrix = to_photo @ flat @ to_canvas
    rest = np.empty_like(index, dtype=np.float32)
    step = 1_000_000
    for start in range(0, len(places), step):
        part = places[start : start + step]
        curved = surface(part) - part @ flat[:2, :2].T - flat[:2, 2]
        rest[:, start : start + step] = to_photo[:2, :2] @ curved.T
    return Transform(
        id=f"{fixed.name}-to-{moving.name}", name="Registration (fundus)",
        source=Source("algorithm", "osler.tasks.fundus_registration", _VERSION),
        item=fixed.name, target=moving.name, laterality=fixed.laterality or moving.laterality,
        matrix=matrix, displacement=rest.reshape(2, *fixed.shape), unit="[pix_i]",
    )  # fmt: skip


def _affine(canvas: Canvas) -> NDArray[np.float64]:
    """``(3, 3)`` from photograph to canvas indices."""
    origin = np.array(canvas.to_canvas((0.0, 0.0)))
    out = np.eye(3)
    out[:2, 2] = origin
    out[0, 0] = canvas.to_canvas((1.0, 0.0))[0] - origin[0]
    out[1, 1] = canvas.to_canvas((0.0, 1.0))[1] - origin[1]
    return out


def _tangent(surface: Surface, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(3, 3)``: the surface's linear part about a place."""
    half = DIAMETER / 2
    h, w = centre / half - 1.0
    slopes = np.array([[0, 1, 0, 2 * h, w, 0], [0, 0, 1, 0, h, 2 * w]]) @ surface.terms / half
    out = np.eye(3)
    out[:2, :2] = slopes.T
    out[:2, 2] = surface(centre[None])[0] - slopes.T @ centre
    return out
