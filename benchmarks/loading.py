"""Cases a second: our lazy iteration beside MONAI's and TorchIO's loaders, on one data set.

    python benchmarks/loading.py [FOLDER] [--cases N]      an nnU-Net folder; hippocampus by default

Needs ``pip install monai torchio`` beside Osler's extra ``train``; what is missing is left out. All
read the same pairs of image and label map into arrays of memory, in one process after the other.
Quote ratios of one run, not cases a second of two.
"""

import argparse
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from osler.data.cache import Cache
from osler.data.cohort import Cohort, data_folder, read_cohort
from osler.data.importing import import_cohort
from osler.record import Mask

ROUNDS = 3


def pairs_of(folder: Path) -> list[dict[str, str]]:
    labels = sorted((folder / "labelsTr").iterdir())
    return [
        {
            "image": str(folder / "imagesTr" / label.name.replace(".nii.gz", "_0000.nii.gz")),
            "label": str(label),
        }
        for label in labels
    ]


def osler_ways(folder: Path, scratch: Path, count: int) -> Iterable[tuple[str, Callable[[], int]]]:
    import_cohort(folder, scratch / "cohort.csv")
    cohort = read_cohort(scratch / "cohort.csv")
    cohort = Cohort(cohort.path, cohort.root, cohort.rows[:count])

    def through(threads: int) -> Callable[[], int]:
        def run() -> int:
            count = 0
            for case in cohort.cases(pixels=True, threads=threads):
                count += bool(case.image("mri").array.size and len(list(case.of(Mask))) == 2)
            return count

        return run

    for threads in (0, 2, 4):
        yield (
            f"osler, {threads} threads" if threads else "osler, one after the other",
            through(threads),
        )
    cache = Cache(scratch / "cache")

    def kept() -> int:
        count = 0
        for row in cohort.rows:
            image = row.items["mri"]
            label = cohort.root / row.labels["anterior"].partition("#")[0]

            def make(image: Path = image, label: Path = label) -> dict[str, np.ndarray]:
                from osler.data.opening import map_image

                return {"image": map_image(image).array, "label": map_image(label).array}

            found = cache.arrays(make, name="pair", version=1, inputs=[image, label])
            count += bool(found["image"].size and found["label"].size)
        return count

    yield "osler, cache on disk", kept
    held = list(cohort.cases(pixels=True))
    yield "osler, a list in memory", lambda: sum(bool(c.image("mri").array.size) for c in held)


def monai_ways(pairs: list[dict[str, str]]) -> Iterable[tuple[str, Callable[[], int]]]:
    from monai.data import CacheDataset, DataLoader, Dataset
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

    def steps() -> Compose:
        return Compose([LoadImaged(["image", "label"]), EnsureChannelFirstd(["image", "label"])])

    def through(data: object, workers: int) -> Callable[[], int]:
        loader = DataLoader(data, batch_size=1, num_workers=workers)
        return lambda: sum(bool(batch["image"].numel()) for batch in loader)

    lazy = Dataset(pairs, steps())
    yield "MONAI Dataset, DataLoader", through(lazy, 0)
    yield "MONAI Dataset, DataLoader, 2 workers", through(lazy, 2)
    cached = CacheDataset(pairs, steps(), progress=False)
    yield "MONAI CacheDataset, DataLoader (in memory)", through(cached, 0)


def torchio_ways(pairs: list[dict[str, str]]) -> Iterable[tuple[str, Callable[[], int]]]:
    import torchio as tio

    def subjects() -> list[object]:
        return [
            tio.Subject(image=tio.ScalarImage(p["image"]), label=tio.LabelMap(p["label"]))
            for p in pairs
        ]

    def loaded(workers: int) -> Callable[[], int]:
        def run() -> int:
            loader = tio.SubjectsLoader(
                tio.SubjectsDataset(subjects()), batch_size=1, num_workers=workers
            )
            return sum(bool(batch["image"]["data"].numel()) for batch in loader)

        return run

    yield "TorchIO SubjectsDataset, SubjectsLoader", loaded(0)
    yield "TorchIO SubjectsDataset, SubjectsLoader, 2 workers", loaded(2)

    def queued() -> int:
        queue = tio.Queue(
            tio.SubjectsDataset(subjects()), max_length=40, samples_per_volume=1,
            sampler=tio.UniformSampler(24), num_workers=2, shuffle_subjects=False,
        )  # fmt: skip
        loader = tio.SubjectsLoader(queue, batch_size=1, num_workers=0)
        return sum(bool(batch["image"]["data"].numel()) for batch in loader)

    yield "TorchIO Queue (patches of 24), 2 workers", queued


def cpu() -> float:
    """Seconds of processor that this process and its finished children have taken."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measured(run: Callable[[], int], count: int) -> tuple[float, float]:
    """Seconds and seconds of processor of one round."""
    gc.collect()
    begun, used = time.perf_counter(), cpu()
    assert run() == count
    return time.perf_counter() - begun, cpu() - used


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--cases", type=int, default=120)
    asked = parser.parse_args()
    folder = asked.folder or data_folder() / "hippocampus"
    pairs = pairs_of(folder)[: asked.cases]
    for pair in pairs:  # the disk is read once before, for all alike
        for path in pair.values():
            Path(path).read_bytes()
    with suppress(ImportError):
        import torch

        torch.set_num_threads(1)  # its threads wait for each other where others work too
    with tempfile.TemporaryDirectory() as scratch:
        ways: dict[str, Callable[[], int]] = {}
        for some in (
            lambda: osler_ways(folder, Path(scratch), len(pairs)),
            lambda: monai_ways(pairs),
            lambda: torchio_ways(pairs),
        ):
            try:
                ways |= dict(some())
            except ImportError as error:
                print(f"left out: {error}", file=sys.stderr)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        # round by round, so that what else runs on the machine falls on all alike; the first one
        # imports, and fills what is filled
        for turn in range(ROUNDS + 1):
            for name, run in ways.items():
                took = measured(run, len(pairs))
                print(f"round {turn}: {name}: {took[0]:.1f} s", file=sys.stderr, flush=True)
                if turn:
                    times[name].append(took)
    medians = {name: np.median(found, axis=0) / len(pairs) for name, found in times.items()}
    base = medians["osler, one after the other"]
    print(f"{len(pairs)} pairs of {folder.name}, median of {ROUNDS} rounds\n")
    print("| way | cases/s | to osler, one after the other | processor, ms a case |")
    print("|---|---|---|---|")
    for name, (wall, used) in medians.items():
        print(f"| {name} | {1 / wall:.0f} | {base[0] / wall:.2f} | {1000 * used:.1f} |")
