"""How far to believe what is said to be new between two photographs.

    python benchmarks/change.py --lesions FOLDER --fold N [--most N] [--faint P] [--out FILE.json]

No repeated photographs are at hand, so one is made: of each photograph of IDRiD's lesions that the
lesion bundle in ``FOLDER`` did not learn from (its recipe with ``hold: N`` and ``finish: 0``; the
one that ships has learnt from all of them in its last steps), half of the microaneurysms and small
haemorrhages that a person drew are painted over by what surrounds them, and the result is
photographed again: turned, shifted, bent, in another light, a little out of focus, with noise. It
is the earlier photograph; the original is the later one, in which the painted-over lesions are new
and nothing else is. Intervals are by photograph. Needs the data folder (``$OSLER_DATA``).
"""

import argparse
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from registration import KINDS, seen_again
from scipy import ndimage
from skimage.restoration import inpaint_biharmonic

from osler import bundles
from osler.bundles import catalogue
from osler.data.cohort import data_folder, read_cohort
from osler.errors import InputError
from osler.io import load
from osler.metrics import Summary, summarise
from osler.record import Case, Image, Mask, Measurement
from osler.retina import interpret
from osler.retina.change import FAINT, compare

COHORT = Path(__file__).parent.parent / "recipes" / "cohorts" / "lesions.csv"
KIND = {"MA": "microaneurysms", "HE": "haemorrhages"}
MOST_PIXELS = 1500
Bool = NDArray[np.bool_]


def drawn(stem: str, kind: str, shape: tuple[int, ...]) -> Bool:
    """What a person drew; nothing where there is no file."""
    path = data_folder() / "idrid-lesions" / "masks" / kind / f"{stem}.png"
    if not path.exists():
        return np.zeros(shape, bool)
    return np.asarray(load(path).image("photo").array.max(axis=0) > 0)


def half_of(mask: Bool, rng: np.random.Generator) -> Bool:
    """Half of the lesions that are small enough to be painted over."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    small = np.flatnonzero(np.bincount(labels.ravel(), minlength=count + 1)[1:] <= MOST_PIXELS)
    chosen = rng.permutation(small + 1)[: (len(small) + 1) // 2]
    return np.isin(labels, chosen)


def painted(photo: NDArray[np.uint8], mask: Bool) -> NDArray[np.uint8]:
    """The photograph ``(C, H, W)`` with the pixels of a mask filled in from around them."""
    wide = ndimage.binary_dilation(mask, iterations=3)
    labels, _ = ndimage.label(wide)
    out = photo.copy()
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        rows, columns = (slice(max(0, s.start - 12), s.stop + 12) for s in place)
        hole = labels[rows, columns] == number
        part = np.moveaxis(out[:, rows, columns], 0, -1) / 255
        filled = inpaint_biharmonic(part, hole, channel_axis=-1)
        out[:, rows, columns] = np.rint(255 * np.clip(np.moveaxis(filled, -1, 0), 0, 1))
    return out


def judged(stem: str, number: int, faint: float) -> dict[str, dict[str, float]] | None:
    """Counts of one photograph; None where the two could not be brought onto each other."""
    rng = np.random.default_rng((3, number))
    path = data_folder() / "idrid-lesions" / "images" / f"{stem}.jpg"
    photo = load(path).image("photo")
    removed = {name: half_of(drawn(stem, kind, photo.shape), rng) for kind, name in KIND.items()}
    both = np.logical_or.reduce(list(removed.values()))
    flat = Image("photo", painted(photo.array, both), modality="OP")
    second, _, _ = seen_again(flat, KINDS["another day"], rng)
    second.name = "photo"
    before = interpret(Case("before", items={"photo": second}))
    after = interpret(Case("after", items={"photo": Image("photo", photo.array, modality="OP")}))
    try:
        compare(before, after, faint=faint)
    except InputError as error:
        print(f"{stem}: {error}")
        return None
    return {name: counts(after, name, mask) for name, mask in removed.items()}


def counts(after: Case, kind: str, removed: Bool) -> dict[str, float]:
    """What was said of lesions that are new in truth, and of all others."""
    mask, new = after.get(kind, Mask), after.get(f"new-{kind}", Mask)
    assert mask is not None
    labels, count = ndimage.label(mask.mask, np.ones((3, 3)))
    index = np.arange(1, count + 1)
    truly = np.asarray(ndimage.maximum(removed, labels, index)) > 0 if count else np.zeros(0, bool)
    called = np.zeros(count, bool)
    if new is not None and count:
        called = np.asarray(ndimage.maximum(new.mask, labels, index)) > 0

    def number(what: str) -> float:
        found = after.get(f"change.{what}.{kind}", Measurement)
        return float(found.value or 0) if found else 0.0

    return {
        "painted over": float(ndimage.label(removed, np.ones((3, 3)))[1]),
        "of these marked later": float(truly.sum()),
        "of those called new": float((truly & called).sum()),
        "others marked": float((~truly).sum()),
        "others called new": float((~truly & called).sum()),
        "called gone": number("gone"),
        "in both": number("stayed"),
        "unsure": number("unsure"),
    }  # fmt: skip


def span(told: Summary) -> str:
    """A mean with its interval."""
    return f"{told.mean.value:.2f} ({told.mean.low:.2f} to {told.mean.high:.2f})"


def main() -> None:
    """Print a row a kind of lesion."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lesions", type=Path, required=True, help="folder of a lesion bundle")
    parser.add_argument("--fold", type=int, required=True, help="that it did not learn from")
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--faint", type=float, default=FAINT)
    said = parser.parse_args()
    rows = [row for row in read_cohort(COHORT).rows if row.fold == said.fold]
    stems = [row.case_id.removeprefix("lesions-") for row in rows][: said.most]
    unseen, shipped = bundles.load(said.lesions), catalogue._shipped

    def opened(name: str) -> bundles.Bundle:
        return unseen if name == "retina-lesions" else shipped(name)

    with patch.object(catalogue, "_shipped", opened):
        found = {stem: judged(stem, number, said.faint) for number, stem in enumerate(stems)}
    kept = {stem: row for stem, row in found.items() if row is not None}
    print(f"{len(kept)} of {len(found)} pairs were brought onto each other")
    for name in KIND.values():
        total = {key: sum(row[name][key] for row in kept.values()) for key in
                 next(iter(kept.values()))[name]}  # fmt: skip
        print(f"{name}: " + ", ".join(f"{key} {value:.0f}" for key, value in total.items()))
        for top, below in (
            ("of those called new", "of these marked later"), ("others called new", "others marked")
        ):  # fmt: skip
            shares = [r[name][top] / r[name][below] for r in kept.values() if r[name][below]]
            told = summarise(shares, seed=1)
            print(f"  {top}, mean over photographs: {span(told)}")
    if said.out:
        said.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
