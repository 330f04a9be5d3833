"""Seconds and memory of one photograph through the whole reading, models warm.

    python benchmarks/reading.py [PHOTO]     a photograph of 2144 × 1424 by default

Run it on a quiet machine; quote ratios of one run, not seconds of two machines.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np

import osler

PHOTO = Path(__file__).parent.parent / "examples" / "idrid-lesions-22.jpg"
RUNS = 5

if __name__ == "__main__":
    photo = Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTO
    begun = time.perf_counter()
    osler.read(photo)
    first = time.perf_counter() - begun
    seconds, steps = [], {}
    for _ in range(RUNS):
        begun = time.perf_counter()
        case = osler.read(photo)
        seconds.append(time.perf_counter() - begun)
        for event in case.history:
            steps.setdefault(f"{event.step} ({event.by})", []).append(event.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{photo.name}: {'x'.join(str(s) for s in case.image('photo').shape[::-1])} pixels")
    print("| what | seconds (median of 5; least to most) |\n|---|---|")
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(f"| whole reading, warm | {np.median(seconds):.2f} ({spread}) |")
    print(f"| whole reading, first (models loaded) | {first:.2f} |")
    for step, values in steps.items():
        print(f"| {step} | {np.median(values):.2f} |")
    print(f"\npeak memory {peak:.2f} GB")
