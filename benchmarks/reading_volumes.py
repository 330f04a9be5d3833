"""How long volumes take to open and to load, beside the libraries that people use today.

    python benchmarks/reading_volumes.py [--runs 5] [--slices 200]

All are measured in turn in one process, so that ratios are comparable; CPU seconds suffer less from
other work on the machine than wall seconds. MONAI is measured where it is installed. The volume is
a real CT (``ct-example`` of the data folder) repeated to 512 x 512, with noise so that it packs
no better than a real one.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(os.environ.get("OSLER_DATA") or Path(__file__).resolve().parents[2] / "shared/data")


def make(folder: Path, slices: int) -> list[Path]:
    """The same CT as ``.nii.gz``, ``.nii``, ``.nrrd`` and ``.mha``."""
    import nibabel
    import SimpleITK as sitk

    small: Any = nibabel.load(DATA / "ct-example/example_ct.nii.gz")
    real = np.asarray(small.dataobj).astype(np.int16)
    wanted = (512, 512, slices)
    repeats = [-(-n // m) for n, m in zip(wanted, real.shape, strict=True)]
    array = np.tile(real, repeats)[:512, :512, :slices]
    array = array + np.random.default_rng(0).integers(-8, 8, array.shape, np.int16)
    nii = nibabel.Nifti1Image(array, np.diag([-0.8, -0.8, 1.5, 1]))
    nii.header.set_xyzt_units("mm")
    # names of their own: SimpleITK reads ct.nii where ct.nii.gz is asked for and both are there
    paths = [folder / name for name in ("packed.nii.gz", "plain.nii", "ct.nrrd", "ct.mha")]
    nibabel.save(nii, paths[0])
    nibabel.save(nii, paths[1])
    image = sitk.ReadImage(str(paths[0]))
    for path in paths[2:]:
        sitk.WriteImage(image, str(path), True)
    return paths


def readers(path: Path) -> dict[str, Callable[[], Any]]:
    """Each library's shortest way to an array of all voxels."""
    import nibabel
    import nrrd
    import SimpleITK as sitk

    from osler import io

    def simpleitk() -> Any:
        return sitk.GetArrayViewFromImage(sitk.ReadImage(str(path)))

    ways: dict[str, Callable[[], Any]] = {
        "Osler": lambda: io.load(path).image("volume").array,
        "SimpleITK": simpleitk,
    }
    if ".nii" in path.name:
        ways["nibabel"] = lambda: np.array(nibabel.load(path).dataobj)
    if path.suffix == ".nrrd":
        ways["pynrrd"] = lambda: nrrd.read(str(path))[0]
    if importlib.util.find_spec("monai"):
        from monai.transforms import LoadImage

        load = LoadImage(image_only=True)
        if path.suffix != ".mha":  # its reader for it needs ITK
            ways["MONAI"] = lambda: load(path)
    return ways


def measure(ways: dict[str, Callable[[], Any]], runs: int) -> dict[str, tuple[float, float]]:
    """Median CPU and wall seconds of each, measured in turn."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            way()
            if run:  # the first of each imports and fills the disk's cache
                seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: (statistics.median(t[0] for t in times), statistics.median(t[1] for t in times))
        for name, times in seconds.items()
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--slices", type=int, default=200)
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    from osler import io

    with tempfile.TemporaryDirectory() as name:
        for path in make(Path(name), chosen.slices):
            result = measure(readers(path), chosen.runs)
            ours = result["Osler"][0]
            print(f"{path.name}, {path.stat().st_size / 1e6:.0f} MB")
            for library, (cpu, wall) in result.items():
                print(f"| {library} | {cpu:.2f} | {wall:.2f} | {cpu / ours:.1f} |")
            opening = measure({"open": partial(io.load, path)}, chosen.runs)["open"][1]
            print(f"opened without its voxels in {opening * 1e3:.1f} ms")
            if path.suffix == ".nii":
                image = io.load(path).image("volume")
                cut = (slice(90, 91), slice(100, 300), slice(100, 300))
                part = measure({"part": partial(image.region, *cut)}, chosen.runs)["part"][1]
                print(f"one part of 200 x 200 pixels in {part * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
