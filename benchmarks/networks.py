"""Seconds and memory of each network of the list, at its published size.

    python benchmarks/networks.py                    all that fit, into docs/benchmarks/networks.csv
    python benchmarks/networks.py NAME ...           these, and keep the others' rows
    python benchmarks/networks.py NAME@64,64,64      at a smaller input, which the row states
    python benchmarks/networks.py --modes NAME ...   float32, bfloat16 and torch.compile in one run

Each network runs in a process of its own, at random weights, one sample, single precision, one
thread; seconds are the median processor time of three forwards after one that is not counted (which
other work on the machine changes little), and memory is the greatest resident size of the process.
What is too large for that (see the limits below) is left out.
"""

import csv
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

CSV = Path(__file__).resolve().parents[1] / "docs/benchmarks/networks.csv"
COLUMNS = ("network", "seconds", "megabytes", "input")
MOST_SECONDS, MOST_PARAMETERS, MOST_GFLOPS = 400, 4e9, 1000  # 4e9 parameters take 16 GB


def once(name: str, size: tuple[int, ...] | None = None) -> tuple[float, float]:
    import torch

    from osler import models
    from osler.models.trying import example

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = models.create(name, weights="random")
    inputs = example(name, batch=1, published=True, size=size)
    times = []
    with torch.inference_mode():
        for _ in range(4):
            start = time.process_time()
            net(**inputs)
            times.append(time.process_time() - start)
    return statistics.median(times[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def modes(name: str) -> None:
    """Float32, bfloat16 and compiled, turn by turn in one process."""
    import torch

    from osler import models
    from osler.models.trying import example, first_tensor

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = models.create(name, weights="random")
    inputs = example(name, batch=1, published=True)
    compiled = torch.compile(net)

    def plain() -> torch.Tensor:
        return first_tensor(net(**inputs))

    def half() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return first_tensor(net(**inputs))

    def built() -> torch.Tensor:
        return first_tensor(compiled(**inputs))

    ways = {"float32": plain, "bfloat16": half, "compiled": built}
    times: dict[str, list[float]] = {way: [] for way in ways}
    with torch.inference_mode():
        said = {way: run().float() for way, run in ways.items()}
        for _ in range(5):
            for way, run in ways.items():
                start = time.process_time()
                run()
                times[way].append(time.process_time() - start)
    first = statistics.median(times["float32"])
    scale = said["float32"].abs().max()
    for way, several in times.items():
        apart = float((said[way] - said["float32"]).abs().max() / scale)
        print(
            f"{name} {way}: {first / statistics.median(several):.2f} times, differs by {apart:.2g}"
        )


def main(names: list[str]) -> None:
    from osler import models

    if names[:1] == ["--modes"]:
        for name in names[1:]:
            modes(name)
        return
    rows: dict[str, dict[str, str]] = {}
    if CSV.is_file():
        with CSV.open(newline="") as stream:
            rows = {row["network"]: row for row in csv.DictReader(stream)}
    sizes = {name: size for name, _, size in (one.partition("@") for one in names)}
    for card in models.list():
        if names and card.name not in sizes:
            continue
        smaller = sizes.get(card.name, "")
        large = (card.parameters or 0) > MOST_PARAMETERS or (card.gflops or 0) > MOST_GFLOPS
        if large and not smaller:
            print(f"{card.name}: left out, {card.parameters} parameters, {card.gflops} GMAC")
            continue
        command = [sys.executable, __file__, "--once", card.name, *filter(None, [smaller])]
        try:
            said = subprocess.run(
                command, capture_output=True, text=True, timeout=MOST_SECONDS, check=True
            ).stdout.split()
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            print(f"{card.name}: left out ({type(error).__name__})")
            continue
        seconds, megabytes = float(said[-2]), float(said[-1])
        print(f"{card.name}: {seconds:.2f} s, {megabytes:.0f} MB")
        rows[card.name] = {
            "network": card.name,
            "seconds": f"{seconds:.2f}",
            "megabytes": f"{megabytes:.0f}",
            "input": smaller.replace(",", " x "),
        }
        keep(rows)


def keep(rows: dict[str, dict[str, str]]) -> None:
    """Written after each network, so that a run may be ended at any time."""
    with CSV.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        said_size = tuple(int(one) for one in sys.argv[3].split(",")) if sys.argv[3:] else None
        print(*once(sys.argv[2], said_size))
    else:
        main(sys.argv[1:])
