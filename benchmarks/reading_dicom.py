"""Reading DICOM against the readers that one would take instead, in one run.

    python benchmarks/reading_dicom.py                      all of it, 200 slices, 10,000 files
    python benchmarks/reading_dicom.py series --count 100   one part: series, open, cine, sort

Every measurement is a process of its own that does its work twice and measures the second time
(wall and CPU seconds, and the peak of its memory); ratios of one run are comparable. Series are
made of the CT in ``$OSLER_DATA`` (``ct-example/dicom``), in each transfer syntax, and the values
that each reader gives must add up to the same. MONAI is measured where it is installed.
``--folder`` keeps what was made for another run. Needs the extra ``dev``.
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
    array = case.image("ct").array
    stop(array.sum(dtype=np.int64))


def simpleitk_series(folder: Path) -> None:
    import SimpleITK

    start()
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    stop(SimpleITK.GetArrayViewFromImage(image).sum(dtype=np.int64))


def pydicom_series(folder: Path) -> None:
    start()
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    volume = np.stack([ds.pixel_array for ds in slices]).astype(np.int32)
    volume = volume * int(slices[0].RescaleSlope) + int(slices[0].RescaleIntercept)
    stop(volume.sum(dtype=np.int64))


def monai_series(folder: Path) -> None:
    from monai.transforms import LoadImage

    start()
    image = LoadImage(reader="PydicomReader", image_only=True)(folder)
    stop(np.asarray(image).sum(dtype=np.float64))


def osler_open(folder: Path) -> None:
    from osler import io

    start()
    image = io.load(folder).image("ct")
    stop(image.shape[0] * image.spacing[0])


def pydicom_open(folder: Path) -> None:
    start()
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    first, last = (float(slices[k].ImagePositionPatient[2]) for k in (0, -1))
    stop(len(slices) * (last - first) / (len(slices) - 1))


def simpleitk_open(folder: Path) -> None:
    import SimpleITK

    start()
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reader.SetLoadPrivateTags(False)
    image = reader.Execute()  # it opens nothing without the pixels
    stop(image.GetSize()[2] * image.GetSpacing()[2])


def osler_cine(path: Path) -> None:
    from osler import io

    start()
    (image,) = io.load(path).items.values()
    stop(image.array.shape[1])


def pydicom_cine(path: Path) -> None:
    start()
    stop(pydicom.pixels.pixel_array(path).shape[0])


def simpleitk_cine(path: Path) -> None:
    import SimpleITK

    start()
    image = SimpleITK.ReadImage(str(path))
    stop(SimpleITK.GetArrayViewFromImage(image).shape[0])


def osler_sort(folder: Path) -> None:
    from osler import io

    start()
    stop(len(io.sort(folder)))


def pydicom_sort(folder: Path) -> None:
    start()
    studies: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        study = studies.setdefault((ds.PatientID, ds.StudyInstanceUID), {})
        study.setdefault(ds.SeriesInstanceUID, []).append(path)
    stop(len(studies))


RUNS = {
    f.__name__: f
    for f in (
        *(osler_series, simpleitk_series, pydicom_series, monai_series),
        *(osler_open, pydicom_open, simpleitk_open),
        *(osler_cine, pydicom_cine, simpleitk_cine, osler_sort, pydicom_sort),
    )
}
_began = [0.0, 0.0]
_done = [0.0, 0.0, 0.0]


def peak() -> float:
    """Megabytes that this program held at most; ru_maxrss would include its parent's peak."""
    status = Path("/proc/self/status")
    if not status.exists():  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def start() -> None:
    _began[:] = [time.perf_counter(), time.process_time()]


def stop(result: float) -> None:
    """End of the measurement; the result is what all readers must agree on."""
    _done[:] = [time.perf_counter(), time.process_time(), float(result)]


Figure = tuple[float, float, float, float]


def measured(name: str, target: Path) -> Figure | None:
    """Wall seconds, CPU seconds, megabytes and result of a run; None where it cannot do it."""
    done = subprocess.run(
        [sys.executable, __file__, "--run", name, str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return None
    wall, cpu, memory, result = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, memory, result


def median(rounds: list[Figure | None]) -> Figure | None:
    """Of each figure by itself; None where a round failed."""
    whole = [figures for figures in rounds if figures is not None]
    if len(whole) < len(rounds):
        return None
    wall, cpu, memory, result = np.median(whole, axis=0)
    return float(wall), float(cpu), float(memory), float(result)


def row(what: str, target: Path, runs: list[str], rounds: int = 1) -> None:
    """One line of a table: each run, then how many times slower than the first the others are.

    More rounds than one go through all readers in turn, so that other work meets each of them.
    """
    taken = [[measured(run, target) for run in runs] for _ in range(rounds)]
    figures = [median(list(column)) for column in zip(*taken, strict=True)]
    cells = ["–" if f is None else f"{f[0]:.2f} / {f[1]:.2f} s, {f[2]:.0f} MB" for f in figures]
    first = figures[0]
    assert first is not None
    for run, figure in zip(runs, figures, strict=True):
        if figure is not None and abs(figure[3] - first[3]) > 1e-6 * abs(first[3]):
            print(f"{run} gives {figure[3]}, {runs[0]} {first[3]}", file=sys.stderr)
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


def make_long(folder: Path, count: int) -> None:
    """A CT of many slices, whose headers are those of a scanner and whose pixels are few."""
    folder.mkdir()
    ds = pydicom.dcmread(sorted((data_folder() / "ct-example/dicom").iterdir())[0])
    ds.decompress(generate_instance_uid=False)
    x, y, z = ds.ImagePositionPatient
    ds.Rows = ds.Columns = 64
    ds.PixelData = bytes(2 * 64 * 64)
    for index in range(count):
        ds.SOPInstanceUID = generate_uid()
        ds.InstanceNumber, ds.ImagePositionPatient = index + 1, [x, y, z + index]
        ds.save_as(folder / f"{index:04}.dcm")


def make(folder: Path, parts: list[str], count: int) -> None:
    """Whatever the parts need and is not there."""
    if "series" in parts:
        for kind in SYNTAXES:
            if not (folder / kind).exists():
                make_series(folder / kind, kind, count or 200)
    if "open" in parts and not (folder / "long").exists():
        make_long(folder / "long", count or 1000)
    if "cine" in parts and not (folder / "cine.dcm").exists():
        make_cine(folder / "cine.dcm", count or 200)
    if "sort" in parts and not (folder / "many").exists():
        make_many(folder / "many", count or 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["series", "open", "cine", "sort"])
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1, help="of which the median is given")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--make", action="store_true", help="only make the files")
    parser.add_argument("--run", nargs=2)
    given = parser.parse_args()
    if given.run:
        for _ in range(2):
            RUNS[given.run[0]](Path(given.run[1]))
        wall, cpu = (after - before for before, after in zip(_began, _done, strict=False))
        print(json.dumps([wall, cpu, peak(), _done[2]]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(exist_ok=True)
        make(folder, given.parts, given.count)
        if given.make:
            return
        if "series" in given.parts:
            print("| series | Osler | SimpleITK | pydicom | MONAI | times slower, wall / CPU |")
            print("|---|---|---|---|---|---|")
            for kind in SYNTAXES:
                readers = ("osler", "simpleitk", "pydicom", "monai")
                names = [f"{reader}_series" for reader in readers]
                row(kind, folder / kind, names, given.rounds)
        if "open" in given.parts:
            print("\n| open | Osler | pydicom | SimpleITK | times slower, wall / CPU |")
            print("|---|---|---|---|---|")
            opened = ["osler_open", "pydicom_open", "simpleitk_open"]
            row("headers", folder / "long", opened, given.rounds)
        if "cine" in given.parts:
            print("\n| cine | Osler | pydicom | SimpleITK | times slower, wall / CPU |")
            print("|---|---|---|---|---|")
            runs = ["osler_cine", "pydicom_cine", "simpleitk_cine"]
            row("YBR JPEG 600 x 800", folder / "cine.dcm", runs, given.rounds)
        if "sort" in given.parts:
            print("\n| sort | Osler | pydicom | times slower, wall / CPU |\n|---|---|---|---|")
            row("small files", folder / "many", ["osler_sort", "pydicom_sort"], given.rounds)


if __name__ == "__main__":
    main()
