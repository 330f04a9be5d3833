"""Write and read back a DICOM Segmentation of 50 segments x 300 slices: Osler and highdicom.

    python benchmarks/segmentations.py [--slices 300] [--segments 50] [--side 256] [--repeats 3]

Both are given the same label volume and the headers of the same series, write a binary
segmentation, read it back and count the voxels of every segment. Each runs in a process of its
own; what is said is the median, and the ratio to highdicom in the same run. highdicom is asked in
its two ways: for all segments apart, and, where they do not overlap, for one label volume.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

WAYS = ("osler", "highdicom, apart", "highdicom, one label volume")


def labels_of(slices: int, segments: int, side: int) -> np.ndarray:
    """Balls on a lattice, as organs lie: each in some of the slices."""
    out = np.zeros((slices, side, side), np.uint8)
    rng = np.random.default_rng(0)
    centres = rng.random((segments, 3)) * (slices, side, side)
    radius = 0.16 * side
    squeeze = side / slices
    grid = np.ogrid[:slices, :side, :side]
    for n, centre in enumerate(centres, 1):
        d, h, w = (axis - c for axis, c in zip(grid, centre, strict=True))
        out[(d * squeeze) ** 2 + h**2 + w**2 < radius**2] = n
    return out


def series_of(slices: int, side: int) -> list:
    import pydicom
    from pydicom.uid import CTImageStorage, generate_uid

    out = []
    shared = {
        k: generate_uid() for k in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    }
    for plane in range(slices):
        ds = pydicom.Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        for keyword, uid in shared.items():
            setattr(ds, keyword, uid)
        ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "1", "A", "", ""
        ds.AccessionNumber, ds.StudyID, ds.StudyDate, ds.StudyTime = "", "1", "", ""
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 1, plane + 1
        ds.ReferringPhysicianName = ""
        ds.Rows = ds.Columns = side
        ds.ImagePositionPatient, ds.ImageOrientationPatient = (
            [0, 0, 1.5 * plane],
            [1, 0, 0, 0, 1, 0],
        )
        ds.PixelSpacing, ds.SliceThickness = [0.8, 0.8], 1.5
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        out.append(ds)
    return out


def by_osler(labels: np.ndarray, segments: int, path: Path) -> tuple[float, float, list[int]]:
    from osler.io import load
    from osler.io.dicom_header import as_json
    from osler.io.dicom_seg_out import write_segmentation
    from osler.record import Deferred, Image, Mask, Origin, Source

    slices, side, _ = labels.shape
    headers = series_of(slices, side)
    affine = np.array([[0, 0, 0.8, 0], [0, 0.8, 0, 0], [1.5, 0, 0, 0], [0, 0, 0, 1]], float)
    image = Image(
        "ct", Deferred((1, *labels.shape), labels.dtype, lambda: labels[None]), "CT", affine=affine,
        origin=Origin("ct", "", "dicom", as_json(headers[0])),
        header={"SOPInstanceUID": tuple(str(h.SOPInstanceUID) for h in headers)},
    )  # fmt: skip
    start = time.perf_counter()
    masks = [
        Mask(
            id=f"organ-{n}", name=f"Organ {n}", source=Source("algorithm", "balls", "1"),
            mask=Deferred(labels.shape, np.dtype(bool), lambda n=n: labels == n),
        )
        for n in range(1, segments + 1)
    ]  # fmt: skip
    write_segmentation(masks, image, path)
    written = time.perf_counter()
    counts = [int(np.count_nonzero(mask.mask)) for mask in load(path).of(Mask)]
    return written - start, time.perf_counter() - written, counts


def by_highdicom(
    labels: np.ndarray, segments: int, path: Path, *, apart: bool
) -> tuple[float, float, list[int]]:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    headers = series_of(*labels.shape[:2])
    start = time.perf_counter()
    algorithm = hd.AlgorithmIdentificationSequence("balls", codes.DCM.ArtificialIntelligence, "1")
    described = [
        hd.seg.SegmentDescription(
            n, f"Organ {n}", codes.SCT.Organ, codes.SCT.Organ, "AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for n in range(1, segments + 1)
    ]  # fmt: skip
    hd.seg.Segmentation(
        headers, labels, "BINARY", described, hd.UID(), 1, hd.UID(), 1, "M", "M", "1", "1"
    ).save_as(path)
    written = time.perf_counter()
    seg = hd.seg.segread(path)
    uids = [h.SOPInstanceUID for h in headers]
    found = seg.get_pixels_by_source_instance(
        uids, combine_segments=not apart, assert_missing_frames_are_empty=True
    )
    if apart:
        counts = [int(np.count_nonzero(found[..., n])) for n in range(segments)]
    else:
        counts = np.bincount(found.ravel(), minlength=segments + 1)[1:].tolist()
    return written - start, time.perf_counter() - written, counts


def peak() -> float:
    """Megabytes that this program held at most; ru_maxrss would include its parent's peak."""
    status = Path("/proc/self/status")
    if not status.exists():  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def once(way: str, folder: Path, segments: int) -> None:
    """One measurement, printed as JSON."""
    warnings.simplefilter("ignore")
    labels = np.load(folder / "labels.npy")
    path = folder / f"{WAYS.index(way)}.dcm"
    if way == "osler":
        write, read, counts = by_osler(labels, segments, path)
    else:
        write, read, counts = by_highdicom(labels, segments, path, apart="apart" in way)
    wanted = np.bincount(labels.ravel(), minlength=segments + 1)[1:].tolist()
    if counts != wanted:
        raise SystemExit(f"{way} gave back other voxels")
    print(json.dumps({"write": write, "read": read, "peak": peak(), "file": path.stat().st_size}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("slices", 300), ("segments", 50), ("side", 256), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--once", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        once(options.once[0], Path(options.once[1]), options.segments)
        return
    with tempfile.TemporaryDirectory() as folder:
        np.save(
            Path(folder, "labels.npy"), labels_of(options.slices, options.segments, options.side)
        )
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(options.repeats):
            for way in WAYS:
                command = [sys.executable, __file__, "--once", way, folder]
                command += ["--segments", str(options.segments)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[way].append(json.loads(done.stdout))
    medians = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for way, runs in found.items()
    }
    ours = medians["osler"]
    print(
        f"{options.segments} segments x {options.slices} slices of {options.side} x {options.side}"
    )
    print(f"{'':30}{'write':>9}{'read':>9}{'both':>9}{'peak':>11}")
    for way, one in medians.items():
        both = one["write"] + one["read"]
        print(f"{way:30}{one['write']:8.2f}s{one['read']:8.2f}s{both:8.2f}s{one['peak']:8.0f} MB")
    for way in WAYS[1:]:
        other = medians[way]
        time_ratio = (other["write"] + other["read"]) / (ours["write"] + ours["read"])
        less = other["peak"] / ours["peak"]
        print(f"against {way}: {time_ratio:.1f} times faster, {less:.1f} times less memory")


if __name__ == "__main__":
    main()
