"""What recomputation, accumulation and bfloat16 cost and save in training, and a checkpoint.

    python benchmarks/training.py

Each line is a process of its own, on one core: seconds that the processor worked on a step (the
mean of two, after one that is not counted; other work on the machine does not count) and the
most memory above what the process held before its first step.
"""

import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORKS = {
    "dynunet, 2 volumes of 64³": ("dynunet", {"labels": 3}, (1, 64, 64, 64), 2),
    "unet, 4 pictures of 256²": ("unet", {"labels": 4}, (4, 256, 256), 4),
    "a ViT of 12 blocks and 384 channels, 4 pictures of 224²": (
        "retfound-vit-large",
        {"depth": 12, "embed_dim": 384, "num_heads": 6},
        (3, 224, 224),
        4,
    ),
}
WAYS = {
    "as it is": {},
    "checkpointing: true": {"checkpointing": True},
    "half the batch, accumulate: 2": {"accumulate": 2},
    "precision: bfloat16": {"precision": "bfloat16"},
}


def measure(network: str, way: str) -> dict[str, float]:
    """One network in one way, in this process."""
    import torch

    from osler import models
    from osler.learn.learner import Learner
    from osler.learn.loop import train

    torch.set_num_threads(1)
    name, options, shape, batch = NETWORKS[network]
    changes = {"precision": "float32", **WAYS[way]}
    torch.manual_seed(0)
    net = models.create(name, weights="random", **options)
    size = batch // changes.get("accumulate", 1)
    began: list[float] = []

    def loss(net, number, device):
        began.append(time.process_time())
        said = net(torch.rand(size, *shape))
        said = next(iter(said.values())) if isinstance(said, dict) else said
        said = said[0] if isinstance(said, (tuple, list)) else said
        return said.float().square().mean()

    learner = Learner(
        steps=4,
        batch=size,
        warmup=0,
        ema=0.0,
        optimiser="sgd",
        momentum=0.0,
        checkpoint_minutes=60,
        **changes,
    )
    held = _resident()
    with tempfile.TemporaryDirectory() as folder:
        train(net, loss=loss, validate=None, learner=learner, folder=Path(folder), resume=False)
    starts = began[:: changes.get("accumulate", 1)]
    steps = [b - a for a, b in itertools.pairwise(starts[1:])]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": statistics.fmean(steps), "megabytes": peak - held}


def _resident() -> float:
    """Megabytes that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def checkpoints() -> dict[str, float]:
    """Seconds to write a checkpoint with its way to the disk, and to read it."""
    import torch
    from torch import nn

    from osler.learn import checkpoint
    from osler.learn.learner import Learner
    from osler.learn.optimisers import make_optimiser
    from osler.learn.precision import Precision

    net = nn.Linear(2000, 1000)
    optimiser, _ = make_optimiser(net, Learner(steps=1))
    net(torch.rand(1, 2000)).sum().backward()
    optimiser.step()
    training = checkpoint.Training(
        net, nn.Linear(2000, 1000), optimiser, Precision(torch.float32, torch.device("cpu"))
    )
    training.best = training.average.state_dict()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / checkpoint.NAME
        begun = time.perf_counter()
        checkpoint.save(path, training)
        written = time.perf_counter()
        checkpoint.load(path, training)
        return {
            "write": written - begun, "read": time.perf_counter() - written,
            "megabytes": path.stat().st_size / 1e6,
        }  # fmt: skip


def main() -> None:
    """Print the tables."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    print("| network | way | seconds a step | megabytes |\n|---|---|---|---|")
    for network in NETWORKS:
        for way in WAYS:
            done = subprocess.run(
                [sys.executable, __file__, network, way], capture_output=True, text=True, check=True
            )
            said = json.loads(done.stdout.splitlines()[-1])
            print(f"| {network} | {way} | {said['seconds']:.2f} | {said['megabytes']:.0f} |")
    one = checkpoints()
    print(
        f"checkpoint of 2 million parameters, {one['megabytes']:.0f} MB: written in "
        f"{one['write']:.2f} s, read in {one['read']:.2f} s"
    )


if __name__ == "__main__":
    main()
