"""Time of the vessel graph and all biomarkers, beside PVBM and skan in the same run.

    python benchmarks/biomarkers.py --data FOLDER [--peers PYTHON] [--name 01_h] [--repeat 3]

FOLDER is that of the real photographs (``hrf/`` and ``disc-cup-pseudo/`` are read). PYTHON is an
interpreter of another environment in which pvbm and skan are installed, so that their dependencies
stay out of ours:

    python -m venv peers && peers/bin/pip install --no-deps pvbm skan
    peers/bin/pip install numpy scipy scikit-image pillow numba pandas networkx toolz tqdm

Prints rows of a markdown table: CPU seconds and wall seconds, best of the repeats.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HEAD = "| what | pixels | CPU s | wall s | ratio to ours |\n|---|---|---|---|---|"


def timed(work: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Best CPU and wall seconds."""
    times = []
    for _ in range(repeat):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(t[0] for t in times), min(t[1] for t in times)


def masks(folder: Path, name: str, scale: int) -> dict[str, np.ndarray]:
    """The graded masks of one HRF photograph, enlarged without new detail."""
    from PIL import Image

    def read(path: Path) -> Image.Image:
        return Image.open(path).convert("RGB")

    kinds = read(folder / "hrf" / "artery_vein" / f"{name}.png").split()
    disc = read(folder / "disc-cup-pseudo" / "disc" / "hrf" / f"{name}.png").split()[0]
    layers = {
        "vessels": read(folder / "hrf" / "vessels" / f"{name}.png").split()[0],
        "field": read(folder / "hrf" / "fov" / f"{name}.png").split()[0],
        "artery": kinds[0],
        "vein": kinds[2],
        "disc": disc,
        "cup": read(folder / "disc-cup-pseudo" / "cup" / "hrf" / f"{name}.png").split()[0],
    }
    out = {}
    for id, layer in layers.items():
        grey = layer.point(lambda v: 255 * (v > 0))
        size = (grey.width * scale, grey.height * scale)
        out[id] = np.asarray(grey.resize(size, Image.Resampling.BICUBIC)) > 127
    return out


def case_of(layers: dict[str, np.ndarray]) -> object:
    """A case with these masks, and a fovea where eyes have it."""
    from osler.record import Case, Image, Mask, Point, Source

    grader = Source("person", "grader")
    case = Case(id="benchmark")
    shape = layers["disc"].shape
    photo = np.zeros((3, *shape), np.uint8)
    case.items["photo"] = Image(name="photo", array=photo, modality="OP")
    for id, mask in layers.items():
        case.add(Mask(id=id, name=id, source=grader, mask=mask))
    h, w = np.nonzero(layers["disc"])
    size = 2 * np.sqrt(h.size / np.pi)
    side = 1 if w.mean() < shape[1] / 2 else -1
    at = (float(h.mean() + 0.3 * size), float(w.mean() + side * 2.5 * size))
    case.add(Point(id="fovea", name="Fovea", source=grader, position=at))
    return case


def ours(layers: dict[str, np.ndarray], repeat: int) -> dict[str, tuple[float, float]]:
    """Osler: one graph, and every measurement of a case (three graphs)."""
    from osler.retina.biomarkers import measure
    from osler.retina.graph import vessel_graph

    vessel_graph(layers["vessels"][:200, :200])  # the first call imports scipy and skimage
    cases = iter([case_of(layers) for _ in range(repeat)])
    return {
        "Osler, graph with diameters of all vessels": timed(
            lambda: vessel_graph(layers["vessels"]), repeat
        ),
        "Osler, all measurements (arteries, veins, all vessels)": timed(
            lambda: measure(next(cases)), repeat
        ),
    }


def peer(kind: str, layers: dict[str, np.ndarray], repeat: int) -> dict[str, tuple[float, float]]:
    """One peer; runs in its own interpreter."""
    from skimage.morphology import skeletonize

    mask = layers["vessels"]
    h, w = np.nonzero(layers["disc"])
    centre, radius = (int(w.mean()), int(h.mean())), int(np.sqrt(h.size / np.pi))
    if kind == "skan":
        import skan

        def graph(part: np.ndarray) -> object:
            return skan.summarize(skan.Skeleton(skeletonize(part)), separator="-")

        graph(mask[300:700, 300:700])  # compiles
        return {"skan, graph without diameters of all vessels": timed(lambda: graph(mask), repeat)}
    sys.setrecursionlimit(1_000_000)  # it follows vessels recursively
    from PVBM.CentralRetinalAnalysis import CREVBMs
    from PVBM.FractalAnalysis import MultifractalVBMs
    from PVBM.GeometryAnalysis import GeometricalVBMs

    number = mask.astype(float)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    away = np.hypot(rows - centre[1], columns - centre[0]) / radius
    vein = layers["vein"] & (away >= 2) & (away < 3)

    def geometry() -> None:
        GeometricalVBMs().compute_geomVBMs(
            number * (away >= 1), skeletonize(mask) * (away >= 1), *centre, radius
        )

    def equivalents() -> None:
        CREVBMs().compute_central_retinal_equivalents(
            vein.astype(float), skeletonize(vein) * 1, *centre, radius, artery=False
        )

    return {
        "PVBM, geometry of all vessels": timed(geometry, 1),
        "PVBM, fractal dimensions of all vessels": timed(
            lambda: MultifractalVBMs(n_rotations=25).compute_multifractals(number), 1
        ),
        "PVBM, CRVE": timed(equivalents, 1),
    }


def peers(
    python: str, kind: str, layers: dict[str, np.ndarray], repeat: int
) -> dict[str, tuple[float, float]] | str:
    """Run a peer in its interpreter: its times, or one line that says why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "masks.npz"
        np.savez(path, **layers)
        command = [python, __file__, "--peer", kind, "--masks", str(path), "--repeat", str(repeat)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{kind} did not run: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    times: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--name", default="01_h")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer", choices=("skan", "pvbm"), help=argparse.SUPPRESS)
    parser.add_argument("--masks", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peer:
        with np.load(asked.masks) as file:
            print(json.dumps(peer(asked.peer, dict(file), asked.repeat)))
        return
    if asked.data is None:
        parser.error("--data is needed: the folder of the real photographs")
    print(HEAD)
    notes = []
    # PVBM takes minutes on the large mask: it runs on the small one only
    for scale, kinds in ((2, ("skan",)), (1, ("skan", "pvbm"))):
        layers = masks(asked.data, asked.name, scale)
        size = "{1}×{0}".format(*layers["vessels"].shape)
        rows = ours(layers, asked.repeat)
        whole = rows["Osler, all measurements (arteries, veins, all vessels)"][0]
        for kind in kinds:
            found = (
                peers(asked.peers, kind, layers, asked.repeat)
                if asked.peers
                else f"{kind} did not run: name an interpreter that has it with --peers"
            )
            if isinstance(found, str):
                notes.append(found)
            else:
                rows.update(found)
        for what, (cpu, wall) in rows.items():
            print(f"| {what} | {size} | {cpu:.2f} | {wall:.2f} | {cpu / whole:.2f} |", flush=True)
    print(*dict.fromkeys(notes), sep="\n")


if __name__ == "__main__":
    main()
