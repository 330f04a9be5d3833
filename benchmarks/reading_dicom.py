"""Reading DICOM against the readers that one would take instead, in one run.

    python benchmarks/reading_dicom.py                      all of it, 200 slices, 10,000 files
    python benchmarks/reading_dicom.py series --count 100   one part: series, cine, sort

Every measurement is a process of its own that does its work twice and measures the second time
(wall and CPU seconds, and the peak of its memory); ratios of one run are comparable. Series are
made of the CT in ``$OSLER_DATA`` (``ct-example/dicom``), in each transfer syntax; MONAI is measured
where it is installed. Needs the extra ``dev``.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, generate_uid

from osler.data.cohort import data_folder

SYNTAXES = {
    "raw": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}
ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "JPEG lossless": imagecodecs.ljpeg_encode,
    "JPEG-LS": imagecodecs.jpegls_encode,
    "JPEG 2000": lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=0),
    "HTJ2K": lambda a: imagecodecs.htj2k_encode(a, reversible=True),
}


# --- what is measured, each in a process of its own -----------------------------------------


def osler_series(folder: Path) -> None:
    from osler import io

    start()
    case = io.load(folder)
    print(case.image("ct").array.sum())


def simpleitk_series(folder: Path) -> None:
    import SimpleITK

    start()
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    print(SimpleITK.GetArrayViewFromImage(image).sum())


def pydicom_series(folder: Path) -> None:
    start()
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    volume = np.stack([ds.pixel_array for ds in slices]).astype(np.int32)
    print((volume * int(slices[0].RescaleSlope) + int(slices[0].RescaleIntercept)).sum())


def monai_series(folder: Path) -> None:
    from monai.transforms import LoadImage

    start()
    print(LoadImage(reader="PydicomReader", image_only=True)(folder).sum())


def osler_cine(path: Path) -> None:
    from osler import io

    start()
    (image,) = io.load(path).items.values()
    print(image.array.shape)


def pydicom_cine(path: Path) -> None:
    start()
    print(pydicom.pixels.pixel_array(path).shape)


def simpleitk_cine(path: Path) -> None:
    import SimpleITK

    start()
    image = SimpleITK.ReadImage(str(path))
    print(SimpleITK.GetArrayViewFromImage(image).shape)


def osler_sort(folder: Path) -> None:
    from osler import io

    start()
    print(io.sort(folder))


def pydicom_sort(folder: Path) -> None:
    start()
    studies: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        study = studies.setdefault((ds.PatientID, ds.StudyInstanceUID), {})
        study.setdefault(ds.SeriesInstanceUID, []).append(path)
    print(len(studies))


RUNS = {
    f.__name__: f
    for f in (
        *(osler_series, simpleitk_series, pydicom_series, monai_series),
        *(osler_cine, pydicom_cine, simpleitk_cine, osler_sort, pydicom_sort),
    )
}
_began = [0.0, 0.0]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def start() -> None:
    _began[:] = [time.perf_counter(), time.process_time()]


def measured(name: str, target: Path) -> tuple[float, float, float] | None:
    """Wall seconds, CPU seconds and megabytes of a run, or None where it cannot do it."""
    done = subprocess.run(
        [sys.executable, __file__, "--run", name, str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return None
    wall, cpu, memory = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, memory


def row(what: str, target: Path, runs: list[str]) -> None:
    """One line of a table: each run, then how many times slower than the first the others are."""
    figures = [measured(run, target) for run in runs]
    cells = ["–" if f is None else f"{f[0]:.2f} / {f[1]:.2f} s, {f[2]:.0f} MB" for f in figures]
    first = figures[0]
    assert first is not None
    ratios = [
        "–" if f is None else f"{f[0] / first[0]:.1f} / {f[1] / first[1]:.1f}" for f in figures
    ]
    print(f"| {what} | " + " | ".join(cells) + " | " + ", ".join(ratios[1:]) + " |", flush=True)


# --- what it is measured on -----------------------------------------------------------------


def make_series(folder: Path, kind: str, count: int) -> None:
    folder.mkdir()
    sources = sorted((data_folder() / "ct-example/dicom").iterdir())
    frames = []
    for path in sources:
        ds = pydicom.dcmread(path)
        ds.decompress(generate_instance_uid=False)
        if kind in ENCODERS:
            frames.append(encapsulate([bytes(ENCODERS[kind](ds.pixel_array.astype(np.uint16)))]))
        elif kind == "RLE":
            compress(ds, RLELossless, generate_instance_uid=False)
            frames.append(ds.PixelData)
        else:
            frames.append(ds.PixelData)
    ds = pydicom.dcmread(sources[0])
    ds.decompress(generate_instance_uid=False)
    x, y, z = ds.ImagePositionPatient
    ds.file_meta.TransferSyntaxUID = UID(SYNTAXES[kind])
    for index in range(count):
        ds.SOPInstanceUID = generate_uid()
        ds.InstanceNumber, ds.ImagePositionPatient = index + 1, [x, y, z + 2 * index]
        ds.PixelData = frames[index % len(frames)]
        ds["PixelData"].VR = "OW" if kind == "raw" else "OB"
        ds.save_as(folder / f"{index:04}.dcm")


def make_cine(path: Path, count: int) -> None:
    ds = pydicom.dcmread(pydicom.data.get_testdata_file("examples_ybr_color.dcm"))
    chance = np.random.default_rng(1)
    frames = []
    for index in range(20):
        base = np.add.outer(np.arange(600), np.arange(800)) // 6 + 3 * index
        pixels = np.stack([base, base // 2, 255 - base], axis=-1) + chance.integers(
            0, 12, (600, 800, 1)
        )
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        frames.append(bytes(imagecodecs.jpeg8_encode(pixels, 85, subsampling="422")))
    ds.Rows, ds.Columns, ds.NumberOfFrames = 600, 800, count
    ds.PixelData = encapsulate([frames[i % 20] for i in range(count)])
    ds.save_as(path)


def make_many(folder: Path, count: int) -> None:
    ds = pydicom.dcmread(pydicom.data.get_testdata_file("MR_small.dcm"))
    for index in range(count):
        if index % 100 == 0:
            ds.SeriesInstanceUID = generate_uid()
            (folder / f"{index:05}").mkdir(parents=True)
        if index % 1000 == 0:
            ds.StudyInstanceUID = generate_uid()
        ds.SOPInstanceUID = generate_uid()
        ds.save_as(folder / f"{index // 100 * 100:05}" / f"{index}.dcm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["series", "cine", "sort"])
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--run", nargs=2)
    given = parser.parse_args()
    if given.run:
        for _ in range(2):
            RUNS[given.run[0]](Path(given.run[1]))
        began, cpu = _began
        print(json.dumps([time.perf_counter() - began, time.process_time() - cpu, peak()]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "series" in given.parts:
            print("| series | Osler | SimpleITK | pydicom | MONAI | times slower, wall / CPU |")
            print("|---|---|---|---|---|---|")
            for kind in SYNTAXES:
                make_series(folder / kind, kind, given.count or 200)
                readers = ("osler", "simpleitk", "pydicom", "monai")
                row(kind, folder / kind, [f"{reader}_series" for reader in readers])
        if "cine" in given.parts:
            print("\n| cine | Osler | pydicom | SimpleITK | times slower, wall / CPU |")
            print("|---|---|---|---|---|")
            make_cine(folder / "cine.dcm", given.count or 200)
            runs = ["osler_cine", "pydicom_cine", "simpleitk_cine"]
            row("YBR JPEG 600 x 800", folder / "cine.dcm", runs)
        if "sort" in given.parts:
            print("\n| sort | Osler | pydicom | times slower, wall / CPU |\n|---|---|---|---|")
            make_many(folder / "many", given.count or 10_000)
            row("small files", folder / "many", ["osler_sort", "pydicom_sort"])


if __name__ == "__main__":
    main()
