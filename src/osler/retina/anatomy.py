"""Step 3: optic disc, cup and fovea, and which eye it is."""

import math

import numpy as np
from numpy.typing import NDArray

from osler import __version__
from osler.bundles import Bundle
from osler.record import Case, Label, Mask, Point, Source, vocab
from osler.retina.predict import Prediction, half

_FOUND = 0.5  # a structure counts as seen from this peak probability on
_NEAR, _FAR = 1.2, 4.5  # disc diameters between disc and fovea that an eye can have
_SIDE = Source("algorithm", "osler.retina.anatomy", __version__)


def describe_anatomy(case: Case, bundle: Bundle, said: Prediction, *, item: str = "photo") -> None:
    """Add ``disc``, ``cup``, ``fovea`` and ``laterality`` to the case, as far as they are seen.

    A disc that is not found is a mask without pixels and the flag ``disc-not-found``; a fovea
    that is not found is absent.
    """
    source = Source("bundle", bundle.card.name, bundle.card.version)
    assert said.probability is not None
    maps = dict(zip(said.labels, said.probability, strict=True))
    disc = largest_part(said.masks["optic disc"])
    seen = disc.any() and float(maps["optic disc"][disc].max()) >= _FOUND
    case.add(
        Mask(
            id="disc",
            name="Optic disc",
            source=source,
            code=vocab.OPTIC_DISC,
            item=item,
            evidence=("field",),
            mask=disc if seen else np.zeros_like(disc),
            probabilities=half(maps["optic disc"]),
            flags=() if seen else ("disc-not-found",),
        )
    )
    if seen:
        case.add(
            Mask(
                id="cup",
                name="Optic cup",
                source=source,
                code=vocab.OPTIC_CUP,
                item=item,
                evidence=("disc",),
                mask=largest_part(said.masks["optic cup"] & disc),
                probabilities=half(maps["optic cup"]),
                flags=("pseudo-label",),
            )
        )
    _add_fovea(case, source, maps["fovea"], disc if seen else None, item)
    _add_side(case, item)


def _add_fovea(
    case: Case,
    source: Source,
    values: NDArray[np.float32],
    disc: NDArray[np.bool_] | None,
    item: str,
) -> None:
    peak = float(values.max())
    if peak < _FOUND:
        return
    h, w = centroid(largest_part(values >= 0.5 * peak, at=values), weights=values)
    flags = ["pseudo-label"]
    if disc is not None:
        ch, cw = centroid(disc)
        distance = math.hypot(h - ch, w - cw) / (2 * math.sqrt(disc.sum() / math.pi))
        if not _NEAR <= distance <= _FAR:
            flags.append("fovea-implausible")
    case.add(
        Point(
            id="fovea",
            name="Fovea",
            source=source,
            code=vocab.FOVEA,
            item=item,
            evidence=("field",),
            probability=min(1.0, peak),
            position=(round(h, 1), round(w, 1)),
            flags=tuple(flags),
        )
    )


def _add_side(case: Case, item: str) -> None:
    """The disc lies on the nasal side of the fovea: to the right of it in a right eye.

    Photographs are taken as showing the eye from in front, upright and not mirrored. What the
    file states is kept, and a contradiction is flagged.
    """
    stated = case.image(item).laterality
    disc, fovea = case.get("disc", Mask), case.get("fovea", Point)
    right = None
    evidence: tuple[str, ...] = ()
    if disc is not None and disc.mask.any() and fovea is not None:
        diameter = 2 * math.sqrt(disc.mask.sum() / math.pi)
        offset = (centroid(disc.mask)[1] - fovea.position[1]) / diameter
        sure = (fovea.probability or 0.0) * (0.5 if "fovea-implausible" in fovea.flags else 1.0)
        # about 2.5 disc diameters apart: nearly certain; side by side: a coin
        right = 0.5 + 0.5 * math.tanh(1.5 * offset) * sure
        evidence = ("disc", "fovea")
    if stated is None and right is None:
        return
    flags: tuple[str, ...] = ()
    if stated is not None:
        seen = None if right is None else ("R" if right >= 0.5 else "L")
        if seen is not None and seen != stated and abs((right or 0.5) - 0.5) > 0.3:
            flags = ("laterality-conflict",)
        right = 1.0 if stated == "R" else 0.0
        source = Source("algorithm", "stated in the file", "")
    else:
        source = _SIDE
        flags = ("uncertain",) if abs((right or 0.5) - 0.5) < 0.3 else ()
    assert right is not None
    case.add(
        Label(
            id="laterality",
            name="Eye",
            source=source,
            code=vocab.LATERALITY,
            item=item,
            evidence=evidence,
            value="R" if right >= 0.5 else "L",
            probability=max(right, 1 - right),
            probabilities={"R": right, "L": 1 - right},
            meanings={"R": "right eye", "L": "left eye"},
            flags=flags,
        )
    )


def largest_part(
    mask: NDArray[np.bool_], *, at: NDArray[np.float32] | None = None
) -> NDArray[np.bool_]:
    """The largest connected part of a mask; with ``at``, the part that holds its greatest value."""
    from scipy import ndimage

    if not mask.any():
        return mask
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    labels, _ = ndimage.label(mask[window])
    if at is not None:
        chosen = int(labels.ravel()[np.argmax(np.where(labels > 0, at[window], -1))])
    else:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        chosen = int(sizes.argmax())
    out = np.zeros_like(mask)
    out[window] = ndimage.binary_fill_holes(labels == chosen)
    return out


def centroid(
    mask: NDArray[np.bool_], *, weights: NDArray[np.float32] | None = None
) -> tuple[float, float]:
    """Mean index ``(h, w)`` of a mask's pixels, weighted where weights are given."""
    h, w = np.nonzero(mask)
    weight = None if weights is None else weights[h, w]
    return float(np.average(h, weights=weight)), float(np.average(w, weights=weight))
