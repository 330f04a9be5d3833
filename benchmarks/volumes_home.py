"""Bring the scores of 25 classes home from a resampled to a native grid: Osler and torch.

    python benchmarks/volumes_home.py [--classes 25] [--source 256] [--target 320] [--whole 192]

Random logits on a cube become labels on a finer cube, by Osler and by torch class by class with a
running maximum; and, on a pair of cubes of the same proportion (``--whole``, 0 leaves it out), by
interpolating all of them at once too, which takes 5.5 GB with ``--whole 256``. Each way runs in a
process of its own, on the same logits, and all labels must be equal. The memory is the peak of the
process above what it held once the logits were read.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

OSLER, EACH, ALL = "Osler", "torch, class by class", "torch, all at once"


def by_osler(logits: np.ndarray, target: int) -> Callable[[], np.ndarray]:
    from osler.tasks.native_grid import native_labels
    from osler.tasks.sampling import same_extent

    def run() -> np.ndarray:
        source = logits.shape[1:]
        return native_labels(logits, same_extent(source, (target, target, target)))

    return run


def by_torch(logits: np.ndarray, target: int, *, together: bool) -> Callable[[], np.ndarray]:
    import torch

    held = torch.from_numpy(logits)[None]

    def home(part: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(
            part, size=(target, target, target), mode="trilinear", align_corners=False
        )[0]

    def run() -> np.ndarray:
        with torch.no_grad():
            if together:
                return home(held).argmax(dim=0).to(torch.uint8).numpy()
            best = home(held[:, :1])[0]
            labels = torch.zeros(best.shape, dtype=torch.uint8)
            for n in range(1, held.shape[1]):
                value = home(held[:, n : n + 1])[0]
                labels.masked_fill_(value > best, n)
                torch.maximum(best, value, out=best)
            return labels.numpy()

    return run


def resident(what: str) -> int:
    """Memory of this process in bytes: ``VmRSS`` now, ``VmHWM`` at its peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024


def once(way: str, path: str, target: int) -> None:
    """One measurement, printed as JSON."""
    logits = np.load(path)
    run = by_osler(logits, target) if way == OSLER else None
    run = run or by_torch(logits, target, together=way == ALL)
    before = resident("VmRSS")
    # what a process says of its peak (ru_maxrss) includes its parent's: forget it first
    Path("/proc/self/clear_refs").write_text("5")
    wall, cpu = time.perf_counter(), time.process_time()
    labels = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    above = (resident("VmHWM") - before) / 1e6
    digest = hashlib.sha256(np.ascontiguousarray(labels)).hexdigest()
    print(json.dumps({"wall": wall, "cpu": cpu, "above": above, "digest": digest}))


def compare(ways: tuple[str, ...], classes: int, source: int, target: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "logits.npy"))
        rng = np.random.default_rng(0)
        shape = (classes, source, source, source)
        held = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for volume in held:
            volume[...] = rng.standard_normal(volume.shape, np.float32)
        held.flush()
        del held
        runs: dict[str, list[dict]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way in ways:
                command = [sys.executable, __file__, "--once", way, path, "--target", str(target)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs[way].append(json.loads(done.stdout))
    if len({run["digest"] for each in runs.values() for run in each}) > 1:
        raise SystemExit("the ways disagree on some voxel")
    best = {way: min(each, key=lambda run: run["cpu"]) for way, each in runs.items()}
    ours = best[OSLER]
    print(f"{classes} classes, {source}^3 to {target}^3, labels equal in every voxel")
    print(f"{'':24}{'wall':>9}{'CPU':>9}{'above the logits':>19}{'CPU to Osler':>15}")
    for way, run in best.items():
        ratio = run["cpu"] / ours["cpu"]
        print(f"{way:24}{run['wall']:8.1f}s{run['cpu']:8.1f}s{run['above']:16.0f} MB{ratio:15.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("classes", 25), ("source", 256), ("target", 320), ("whole", 192), ("repeats", 1)
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--once", nargs=2, metavar=("WAY", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        once(*options.once, options.target)
        return
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}")
    if options.whole != options.source:
        compare((OSLER, EACH), options.classes, options.source, options.target, options.repeats)
    if options.whole:
        target = options.whole * options.target // options.source
        compare((OSLER, EACH, ALL), options.classes, options.whole, target, options.repeats)


if __name__ == "__main__":
    main()
