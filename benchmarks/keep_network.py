"""Keep the network of a run, so that another recipe can start from it: ``python
benchmarks/keep_network.py RECIPE RUN OUT``.

The network of the recipe gets the best weights of the run's checkpoint, and OUT is a folder that
``network.checkpoint`` takes, with ``partial: true`` where the head has other classes.
"""

import argparse
from pathlib import Path

import torch

from osler import models
from osler.bundles import load
from osler.bundles.answering import task_of
from osler.learn.networks import build
from osler.learn.recipe import check_recipe, read_yaml


def main() -> None:
    """Build, fill and keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    recipe, _ = check_recipe(read_yaml(asked.recipe), asked.recipe)
    net = build(recipe, task_of(load(asked.run / "bundle").card), asked.recipe)
    stored = torch.load(asked.run / "checkpoint.pt", weights_only=True)
    net.load_state_dict(stored["best"])
    print(models.keep(net.eval(), asked.out))


if __name__ == "__main__":
    main()
