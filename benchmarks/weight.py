"""What Osler weighs and how soon it answers: a light install, ``import osler``, ``osler --help``.

Run with ``python benchmarks/weight.py`` from a clone. The install is made by pip into a fresh
environment without pip's cache, so that its time includes the download.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RUNS = 9


def seconds(*command: object) -> float:
    begun = time.perf_counter()
    subprocess.run([str(c) for c in command], check=True, capture_output=True, cwd="/")
    return time.perf_counter() - begun


def median_of_runs(*command: object) -> str:
    seconds(*command)  # the first run writes the byte code
    times = [seconds(*command) for _ in range(RUNS)]
    return f"{statistics.median(times):.2f} s (from {min(times):.2f} to {max(times):.2f})"


def megabytes(folder: Path) -> float:
    files = (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sum(p.stat().st_size for p in files) / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        seconds(sys.executable, "-m", "venv", folder)
        python = Path(folder) / "bin" / "python"
        pins = REPOSITORY / "constraints.txt"
        seconds(python, "-m", "pip", "install", "--no-cache-dir", "-c", pins, REPOSITORY)
        installed = time.perf_counter() - begun
        seconds(python, "-c", "import osler.cli, osler.io.reading, skimage, onnxruntime")
        on_disk = subprocess.run(
            ["du", "-sm", folder], check=True, capture_output=True, text=True
        ).stdout.split()[0]
        print(f"| light install, pip and venv included | {installed:.0f} s |")
        print(f"| on disk | {on_disk} MB ({megabytes(Path(folder)):.0f}e6 bytes in files) |")
        print(f"| `python -c 'import osler'` | {median_of_runs(python, '-c', 'import osler')} |")
        print(f"| `python -c pass` | {median_of_runs(python, '-c', 'pass')} |")
        print(f"| `osler --help` | {median_of_runs(python.with_name('osler'), '--help')} |")


if __name__ == "__main__":
    main()
