"""How well known warps of real images are found again.

    python benchmarks/registration.py fundus [--most N]
    python benchmarks/registration.py mr

Each figure is a mean over photographs (patients) or warps with its 95 % interval, by bootstrap.
Landmarks never guide the registration. Rows are printed as Markdown.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from osler.data.cohort import data_folder
from osler.io import load
from osler.metrics import summarise
from osler.metrics.registration import target_registration_error
from osler.metrics.segmentation import dice
from osler.record import Image, Source, Transform
from osler.tasks.field import find_field
from osler.tasks.fundus_marks import marks_of
from osler.tasks.fundus_registration import register_fundus
from osler.tasks.registration import register
from osler.tasks.registration_warp import (
    folded_share,
    frame_of,
    inverted,
    moved_points,
    warped,
    warped_labels,
)

KNOWN = Source("algorithm", "known warp")
Way = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# how far a second photograph is from the first: degrees, part of the radius, scale, curvature
KINDS = {
    "another day": {"turn": 8.0, "shift": 0.15, "scale": 0.05, "curve": 0.02, "noise": 4.0},
    "another angle and camera": {
        "turn": 25.0, "shift": 0.6, "scale": 0.3, "curve": 0.04, "noise": 8.0,
    },
}  # fmt: skip


# photographs of the retina -----------------------------------------------------------------------


def seen_again(
    photo: Image, kind: dict[str, float], rng: np.random.Generator
) -> tuple[Image, Way, NDArray[np.bool_]]:
    """The photograph as a second one would show it, where its pixels were, and its field."""
    field = find_field(photo.array)
    centre, radius = np.array(field.centre), field.radius
    turn = np.radians(rng.uniform(-1, 1) * kind["turn"])
    away = rng.uniform(0, 2 * np.pi)
    shift = rng.uniform(0.3, 1) * kind["shift"] * np.array([np.sin(away), np.cos(away)])
    size = np.exp(rng.uniform(-1, 1) * kind["scale"])
    linear = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    curve = rng.uniform(-1, 1, (2, 3)) * kind["curve"]

    def way(places: NDArray[np.float64]) -> NDArray[np.float64]:
        x = (places - centre) / radius
        bent = np.stack([x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2], axis=1) @ curve.T
        return centre + radius * (x @ linear.T + bent + shift)

    index = np.indices(photo.shape).reshape(2, -1).T.astype(np.float64)
    at = way(index).T
    pixels = np.stack(
        [ndimage.map_coordinates(c.astype(np.float32), at, order=1) for c in photo.array]
    ).reshape(photo.array.shape)
    slope = ((index - centre) / radius @ rng.uniform(-0.3, 0.3, 2)).reshape(photo.shape)
    gain, gamma = rng.uniform(0.75, 1.15, (3, 1, 1)), rng.uniform(0.8, 1.25)
    pixels = 255 * np.clip(pixels / 255, 0, 1) ** gamma * gain * (1 + slope)
    pixels = ndimage.gaussian_filter(pixels, (0, rng.uniform(0, 1.2), rng.uniform(0, 1.2)))
    pixels = pixels + rng.normal(0, kind["noise"], pixels.shape)
    inside = (((index - centre) / radius) ** 2).sum(axis=1).reshape(photo.shape) <= 1
    pixels = np.where(inside, np.clip(pixels, 0, 255), 0)
    return replace(photo, name="second", array=pixels.astype(np.uint8)), way, inside


def branches(vessels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Places ``(N, 2)`` where three or more vessel segments meet, by a person's mask."""
    from skimage.morphology import skeletonize

    lines = skeletonize(vessels)
    neighbours = ndimage.convolve(lines.astype(int), np.ones((3, 3), int), mode="constant") - 1
    joined, count = ndimage.label(lines & (neighbours >= 3), np.ones((3, 3)))
    found = ndimage.center_of_mass(joined > 0, joined, np.arange(1, count + 1))
    return np.array(found).reshape(-1, 2)


def photographs(most: int) -> Iterator[tuple[str, Image, NDArray[np.bool_]]]:
    """CHASE and HRF, with the vessels that a person drew."""
    for folder in ("chase-db1", "hrf"):
        root = data_folder() / folder
        paths = sorted((root / "images").iterdir())
        for path in paths[:: max(1, len(paths) // most)][:most]:  # spread over the patients
            mask = load(root / "vessels" / f"{path.stem}.png").image("photo").array.max(axis=0) > 0
            patient = path.stem[:-1] if folder == "chase-db1" else path.stem
            yield f"{folder}/{patient}", load(path).image("photo"), mask


def fundus(most: int) -> None:
    rows: dict[str, list[dict[str, float | None]]] = {kind: [] for kind in KINDS}
    patients: list[str] = []
    for number, (patient, photo, vessels) in enumerate(photographs(most)):
        patients.append(patient)
        whole, points = marks_of(photo), branches(vessels)
        for kind, how in KINDS.items():
            second, way, inside = seen_again(photo, how, np.random.default_rng((1, number)))
            start = time.process_time()
            result = register_fundus(second, photo, marks=(marks_of(second), whole))
            seconds = time.process_time() - start
            row: dict[str, float | None] = {"seconds": seconds, "found": 0.0}
            if result.transform is not None:
                row |= judged(result.transform, second, photo, way, inside, vessels, points)
            rows[kind].append(row)
            print(f"# {patient} {kind}: {result.reason or row}", flush=True)
    for kind, done in rows.items():
        report(f"fundus, {kind}", done, patients)
    strangers()


def judged(
    found: Transform, second: Image, photo: Image, way: Way,
    inside: NDArray[np.bool_], vessels: NDArray[np.bool_], points: NDArray[np.float64],
) -> dict[str, float | None]:  # fmt: skip
    """TRE at branchings, in pixels of the photograph, and Dice of its vessels after the warp."""
    truth = np.zeros(second.shape, bool)
    index = np.indices(second.shape).reshape(2, -1).T.astype(np.float64)
    at = way(index)
    near = np.rint(at).astype(int)
    shown = ((near >= 0) & (near < photo.shape)).all(axis=1)
    truth.reshape(-1)[shown] = vessels[near[shown, 0], near[shown, 1]]
    truth &= inside
    brought = warped_labels(vessels, found, onto=second, moving=photo) & inside
    kept = []
    for point in points:
        guess = index[::211][np.argmin(((at[::211] - point) ** 2).sum(axis=1))]
        for _ in range(6):  # Newton
            here = way(guess[None])[0]
            slope = (way(guess + np.eye(2)) - here).T
            guess = guess - np.linalg.solve(slope, here - point)
        pixel = np.rint(guess).astype(int)
        if ((pixel >= 0) & (pixel < second.shape)).all() and inside[tuple(pixel)]:
            kept.append(guess)
    out: dict[str, float | None] = {"found": 1.0, "dice": dice(truth, brought)}
    if kept:
        places = np.array(kept)
        wrong = target_registration_error(
            way(places), moved_points(places, found, fixed=second, moving=photo)
        )
        out |= {"tre": float(wrong.mean()), "within 2 px": float((wrong <= 2).mean())}
    out["folding"] = folded_share(found, fixed=second, moving=photo, within=inside)
    return out


def strangers() -> None:
    """Pairs that are none: right and left eyes of a child, and photographs of other patients."""
    folder = data_folder() / "chase-db1" / "images"
    marks = {path.stem: (load(path).image("photo"), path) for path in sorted(folder.iterdir())}
    photos = {name: replace(photo, laterality=None) for name, (photo, _) in marks.items()}
    seen = {name: marks_of(photo) for name, photo in photos.items()}
    names = list(photos)
    both = other = taken_both = taken_other = 0
    for first in names:
        for second in names:
            if first >= second:
                continue
            result = register_fundus(
                photos[first], photos[second], marks=(seen[first], seen[second])
            )
            same = first[:-1] == second[:-1]
            both, other = both + same, other + (not same)
            taken_both += same and result.transform is not None
            taken_other += not same and result.transform is not None
    print(f"| right and left of one child | refused {both - taken_both} of {both} |")
    print(f"| two patients | refused {other - taken_other} of {other} |")


# co-registered MR --------------------------------------------------------------------------------


def series() -> dict[str, Image]:
    root = data_folder() / "brain-mr-dicom"
    names = {
        "T1": "26401-T1prereg-52906",
        "T2": "37830-T2reg-78532",
        "FLAIR": "36468-FLAIRreg-58706",
    }
    out = {}
    for name, folder in names.items():
        image = next(i for i in load(root / folder).items.values() if isinstance(i, Image))
        image.name = name
        out[name] = image
    return out


def motion(fixed: Image, rng: np.random.Generator, *, degrees: float, mm: float) -> Transform:
    """A turn about a random axis and a shift, in the patient."""
    affine = frame_of(fixed).affine
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.radians(rng.uniform(-1, 1) * degrees)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    middle = (affine @ np.array([*((np.array(fixed.shape) - 1) / 2), 1.0]))[:3]
    moved = np.eye(4)
    moved[:3, :3] = turn
    moved[:3, 3] = middle - turn @ middle + rng.uniform(-mm, mm, 3)
    matrix = np.linalg.solve(affine, moved @ affine)
    return Transform(
        id="known", name="Known", source=KNOWN, item=fixed.name, target="moving", matrix=matrix
    )


def bend(fixed: Image, rng: np.random.Generator, *, mm: float) -> Transform:
    """A smooth displacement: Gaussian noise of 30 mm, at most ``mm``; it folds nowhere."""
    sigma = 30.0 / np.array(fixed.spacing)
    field = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=fixed.shape), sigma, mode="wrap") for _ in "dhw"]
    )
    field *= mm / np.abs(field).max()
    return Transform(
        id="known", name="Known", source=KNOWN, item=fixed.name, target="moving",
        matrix=np.eye(4), displacement=field.astype(np.float32),
    )  # fmt: skip


def head(image: Image) -> NDArray[np.bool_]:
    """The head, by a threshold; its outline is the mask that is brought along."""
    values = ndimage.gaussian_filter(image.array[0].astype(np.float32), (0, 2, 2))
    part, count = ndimage.label(values > 0.15 * np.percentile(values, 98))
    sizes = ndimage.sum_labels(part > 0, part, np.arange(1, count + 1))
    return np.asarray(ndimage.binary_fill_holes(part == 1 + int(np.argmax(sizes))))


def ventricles(image: Image, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is brightest deep in the head on T2: fluid."""
    values = ndimage.gaussian_filter(image.array[0].astype(np.float32), (0, 1, 1))
    deep = ndimage.distance_transform_edt(inside, sampling=image.spacing) > 25
    return np.asarray(deep & (values > np.percentile(values[deep], 90)))


def mr(most: int) -> None:
    found = series()
    inside = head(found["T2"])
    fluid = ventricles(found["T2"], inside)
    points = np.argwhere(inside & (ndimage.distance_transform_edt(inside) > 3))
    points = points[np.random.default_rng(0).permutation(len(points))[:300]].astype(np.float64)
    for of, onto, kind, method in (
        ("T1", "T1", "rigid", "rigid"), ("T2", "T1", "rigid", "rigid"),
        ("FLAIR", "T1", "rigid", "rigid"),
        ("T1", "T1", "bend", "demons"), ("T1", "T1", "bend", "deformable"),
        ("T2", "T1", "bend", "deformable"),
    ):  # fmt: skip
        rows = []
        for number in range(most if kind == "rigid" else max(1, most // 2)):
            rng = np.random.default_rng((2, number))
            fixed, still = found[onto], found[of]
            # the other series lies as the fixed one does, so what moves it is known
            truth = (
                motion(fixed, rng, degrees=12, mm=12) if kind == "rigid" else bend(fixed, rng, mm=9)
            )
            back = inverted(truth, fixed=fixed, moving=still)
            moving = warped(still, back, onto=still, name="moving")
            mask = warped_labels(fluid, back, onto=still, moving=still)
            start = time.process_time()
            result = register(fixed, moving, method=method)  # type: ignore[arg-type]
            seconds = time.process_time() - start
            rows.append(mr_row(result.transform, truth, fixed, moving, points, fluid, mask, inside))
            rows[-1]["seconds"] = seconds
            flags = result.transform.flags if result.transform else result.reason
            print(f"# {of} onto {onto}, {kind}, {method}: {rows[-1]} {flags}", flush=True)
        report(f"{of} onto {onto}, {kind}, {method}", rows, [str(n) for n in range(len(rows))])


def mr_row(
    transform: Transform | None, truth: Transform, fixed: Image, moving: Image,
    points: NDArray[np.float64], fluid: NDArray[np.bool_], mask: NDArray[np.bool_],
    inside: NDArray[np.bool_],
) -> dict[str, float | None]:  # fmt: skip
    frame = frame_of(moving)
    goal = frame.places(moved_points(points, truth, fixed=fixed, moving=moving).T).T
    start = frame.places(points.T).T
    out: dict[str, float | None] = {
        "tre before": float(np.linalg.norm(goal - start, axis=1).mean())
    }
    if transform is None:
        return out | {"found": 0.0}
    got = frame.places(moved_points(points, transform, fixed=fixed, moving=moving).T).T
    brought = warped_labels(mask, transform, onto=fixed, moving=moving)
    return out | {
        "found": 1.0,
        "tre": float(target_registration_error(goal, got).mean()),
        "dice before": dice(fluid, mask),
        "dice": dice(fluid, brought),
        "folding": folded_share(transform, fixed=fixed, moving=moving, within=inside),
    }


def report(name: str, rows: list[dict[str, float | None]], patients: list[str]) -> None:
    cells = []
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(key) for row in rows]
        done = summarise(values, seed=1, groups=patients, replicates=2000).mean
        if done.value is not None and done.low is not None and done.high is not None:
            cells.append(f"{key} {done.value:.3g} ({done.low:.3g} to {done.high:.3g})")
    print(f"| {name} | {len(rows)} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("fundus", "mr"))
    parser.add_argument("--most", type=int, default=None, help="photographs a set, or warps")
    asked = parser.parse_args()
    if asked.part == "fundus":
        fundus(asked.most or 100)
    else:
        mr(asked.most or 6)


if __name__ == "__main__":
    main()
