"""What it saves to let part of a network learn: seconds of the processor a step.

``python benchmarks/partial_training.py`` takes steps of a ResNet-18 at 64 pixels and of a small
vision transformer at 96 with full fine-tuning and with each strategy of tuning, on drawn pictures,
and prints the median of the processor's time a step (one thread) and the weights that learn.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from osler.learn.blocks import blocks_of
from osler.learn.optimisers import depths_of
from osler.learn.strategies.adapters import add_adapters
from osler.learn.strategies.freezing import freeze, parameters_of
from osler.learn.strategies.lora import LoraSettings, add_updates, low_rank_layers
from osler.learn.strategies.strategy import Wrapped
from osler.learn.strategies.visual_prompts import add_prompts
from osler.models import create

NETWORKS = {
    "resnet-18, 64 px": ("resnet-18", {"num_classes": 5}, 64),
    "vit (192 wide, 12 blocks), 96 px": (
        "vit-base",
        {"image_size": 96, "patch_size": 8, "embed_dim": 192, "num_heads": 3, "num_classes": 5}, 96,
    ),
}  # fmt: skip


def made(name: str, options: dict, side: int, way: str) -> tuple[torch.nn.Module, int]:
    """A network of which a part learns, and how many weights that are."""
    torch.manual_seed(1)
    net = create(name, weights="random", **options)
    head = "fc" if hasattr(net, "fc") else "head"
    example = [torch.rand(2, 3, side, side)]
    learning = parameters_of(net, [head])
    if way == "full fine-tuning":
        learning = {key for key, _ in net.named_parameters()}
    elif way.startswith("last"):
        share = int(way.split()[1])
        first = len(blocks_of(net)) - share + 1
        learning |= {key for key, depth in depths_of(net).items() if depth >= first}
    elif way == "LoRA, rank 8":
        said = LoraSettings()
        names = [one for one in low_rank_layers(net, example, said) if one != head]
        add_updates(net, names, said, seed=1)
        learning |= {key for key, _ in net.named_parameters() if ".lora_" in key}
    elif way == "adapters, width 16":
        add_adapters(net, example, [head], width=16)
        learning |= {key for key, _ in net.named_parameters() if ".adapter." in key}
    elif way.endswith("prompts"):
        add_prompts(net, example, 10, deep=way.startswith("deep"))
        learning |= {key for key, _ in net.named_parameters() if key.endswith(".prompt")}
    still = freeze(net, learning)
    count = sum(one.numel() for one in net.parameters() if one.requires_grad)
    return Wrapped(net, still=still).train(), count


def seconds(net: torch.nn.Module, side: int, *, steps: int, batch: int) -> float:
    """The median of the processor's time of a step, without the first two."""
    given = [one for one in net.parameters() if one.requires_grad]
    best = torch.optim.AdamW(given, lr=1e-4)
    x, y = torch.rand(batch, 3, side, side), torch.arange(batch) % 5
    spent = []
    for _ in range(steps + 2):
        began = time.process_time()
        best.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(x), y).backward()
        best.step()
        spent.append(time.process_time() - began)
    return float(np.median(spent[2:]))


def main() -> None:
    """Measure every network with every strategy."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table = {}
    for title, (name, options, side) in NETWORKS.items():
        count = 8 if name.startswith("resnet") else 12
        ways = ["full fine-tuning", f"last {count // 2} blocks", f"last {count // 4} blocks",
                "linear probe", "LoRA, rank 8", "adapters, width 16"]  # fmt: skip
        ways += ["shallow prompts", "deep prompts"] if name.startswith("vit") else []
        whole = None
        for way in ways:
            net, learn = made(name, options, side, way)
            spent = seconds(net, side, steps=asked.steps, batch=asked.batch)
            whole = whole or spent
            table.setdefault(title, {})[way] = {
                "seconds a step": round(spent, 3),
                "of full": round(spent / whole, 2),
                "weights that learn": learn,
            }
            print(f"{title}: {way}: {spent:.3f} s, {spent / whole:.2f} of full, {learn} learn")
    if asked.out:
        asked.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
