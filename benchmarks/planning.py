"""What training takes at its peak, measured against what a plan expects.

    python benchmarks/planning.py [--batch 2]

Each size runs in a process of its own: ``dynunet`` (or ``dynunet-2d``) as planned for the patch, a
forward and a backward pass with deep supervision and a step of AdamW in float32 with a running
average of the weights, on a processor with one thread. The peak is that of resident memory, above
what the process held after it had trained a tiny network, its libraries loaded.
"""

import argparse
import copy
import json
import subprocess
import sys
from pathlib import Path

SIZES = ((32, 32, 32), (40, 56, 40), (64, 64, 64), (16, 80, 80), (128, 128), (256, 256), (384, 384))


def peak(patch: tuple[int, ...], batch: int) -> dict[str, float]:
    import torch

    from osler.tasks.planning import planned_widths, topology, training_memory

    torch.set_num_threads(1)
    train(tuple(16 for _ in patch), batch, 4)
    before = _status("VmRSS")
    train(patch, batch, 32)
    measured = _status("VmHWM") - before
    shape = topology(patch, [1.0] * len(patch))
    widths = planned_widths(shape, 32)
    expected = training_memory(patch, batch, shape, widths, channels=1, labels=3)
    return {"measured": measured / 1e9, "expected": expected / 1e9}


def train(patch: tuple[int, ...], batch: int, width: int) -> None:
    """Two steps."""
    import torch

    from osler.models import create
    from osler.tasks.planning import planned_widths, topology

    shape = topology(patch, [1.0] * len(patch))
    net = create(
        "dynunet" if len(patch) == 3 else "dynunet-2d",
        weights="random",
        channels=1,
        labels=3,
        widths=planned_widths(shape, width),
        kernels=shape.kernels,
        strides=shape.strides,
    ).train()
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters())
    image = torch.randn(batch, 1, *patch)
    for _ in range(2):
        loss = torch.zeros(())
        for scores in net(image):
            truth = torch.zeros(batch, *scores.shape[2:], dtype=torch.long)
            loss = loss + torch.nn.functional.cross_entropy(scores, truth)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        for one, other in zip(average.parameters(), net.parameters(), strict=True):
            one.data.lerp_(other.data, 0.01)


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--one", type=int, nargs="+")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(peak(tuple(arguments.one), arguments.batch)))
        return
    print("| patch | batch | measured GB | expected GB | expected / measured |")
    print("|---|---|---|---|---|")
    for patch in SIZES:
        sides = [str(n) for n in patch]
        command = [sys.executable, __file__, "--batch", str(arguments.batch), "--one", *sides]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        ratio = found["expected"] / found["measured"]
        print(
            f"| {' x '.join(sides)} | {arguments.batch} | {found['measured']:.2f} "
            f"| {found['expected']:.2f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
