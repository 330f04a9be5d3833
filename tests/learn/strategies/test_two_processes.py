"""Strategies in two processes: they end with the weights of one, or the recipe is refused.

Each run holds several strategies, since starting one costs more than what it computes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from osler.errors import RecipeError
from osler.learn.distributed import is_first
from osler.learn.fitting import fit
from osler.learn.strategies.catalogue import STRATEGIES, find
from osler.learn.strategies.strategy import Settings, Strategy

pytestmark = pytest.mark.long

# plain steps, since AdamW takes the rounding of a gradient of 0 at full size; stages have it
LEARNER = {"steps": 2, "batch": 2, "accumulate": 2, "warmup": 0, "validate_every": 2,
           "optimiser": "sgd", "rate": 0.01}  # fmt: skip
FEW = {"steps": 2, "batch": 2}
SITE = {"by": "site"}
CNN = {"name": "resnet-18", "options": {"widths": [4, 4, 8, 8], "stem": 4}}
VIT = {"name": "vit-base", "options": {
    "image_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2,
}}  # fmt: skip
RUNS = (
    {"contrastive": FEW, "masked-autoencoding": FEW, "image-text": {"text": "site", **FEW},
     "linear-probe": {}, "mean-teacher": {}, "evidential": {}, "tent": {}, "active": {}},
    {"cyclegan": {**FEW, "width": 4}, "histogram-matching": SITE, "fourier-style": SITE,
     "adain": SITE, "adversarial": SITE, "lora": {"rank": 2}, "pseudo-labels": {},
     "mc-dropout": {}},
    {"separate-features": SITE, "co-teaching": {}, "test-time-statistics": {}},
    {"distillation": {"teacher": {"network": CNN, "steps": 1}}, "quantisation-aware": {"steps": 1}},
    {"deep-ensemble": {"members": 2}, "adapters": {"width": 2}},
    {"swag": {"steps": 2, "every": 1, "members": 2}, "visual-prompts": {"tokens": 2}},
    {"replay": SITE, "last-blocks": {}},
    {"maml": {}},
)  # fmt: skip
ELSEWHERE = {
    "clip-adapter": "its network needs a tower of texts, and it learns like linear-probe",
    "tip-adapter": "it takes no step but those of the loop, on keys that are counted once",
    "learned-prompts": "its network needs a tower of texts, and it learns like visual-prompts",
    "pruning": "its masks follow from the weights, which all processes have after each step",
    "prototypes": "its episodes are drawn and learnt from as those of maml",
    "sequence": "its stages are those of replay, which keeps cases besides",
    "ewc": "its stages are those of replay, with a penalty of weights beside the loss",
    "separate-inputs": "the loss beside the network is that of separate-features",
    "partial-labels": "a loss of the batch alone, in segmentation",
    "image-labels": "a stage as of distillation, in segmentation",
    "differential-privacy": "its draws come of the key that the first process makes",
}

# what torchrun does, but that its processes are born with all that takes long to import
SCRIPT = """
import sys
import peft, torch._dynamo, torch.utils.tensorboard
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
sys.path.insert(0, {here!r})
import test_two_processes
from osler.learn import training
if __name__ == "__main__":
    torchrun = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", run_id="two", max_restarts=0, start_method="fork",
    )
    elastic_launch(torchrun, test_two_processes.every_run)({folder!r}, "two")
"""


class Enough(Exception):
    """The training is over, and nobody asks for a bundle."""


class Kept(Strategy):
    """Keeps the weights that were trained."""

    name, title, role, source = "kept", "Kept", "afterwards", "a test"
    Settings = Settings

    def finished(self, net, context):
        raise Enough(net.state_dict())


def every_run(folder, name):
    """Train each of `RUNS`, and write what it ended with, or why it was refused."""
    folder = Path(folder)
    said = {}
    for number, ways in enumerate(RUNS):
        path = folder / f"{number}.yaml"
        try:
            fit(path, out=folder / f"{name}-{number}", strategies=[Kept])
        except Enough as done:
            torch.save(done.args[0], folder / f"{name}-{number}.pt")
        except RecipeError as error:
            said[" + ".join(ways)] = str(error)
    if is_first():
        (folder / f"{name}.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def folder(shapes, tmp_path_factory):
    """What one process and two made of each run."""
    place = tmp_path_factory.mktemp("processes")
    for number, ways in enumerate(RUNS):
        recipe = {
            "name": "processes", "task": "classification", "cohort": str(shapes / "cohort.csv"),
            "hold": {"test": 0, "tune": None},
            "settings": {"image": {"size": [32, 32], "colour": True}, "target": "class"},
            "network": VIT if "visual-prompts" in ways else CNN, "learner": LEARNER,
            "labels": {} if "replay" in ways else {"share": 0.6},
            "strategies": {**ways, "kept": {}},
        }  # fmt: skip
        (place / f"{number}.yaml").write_text(yaml.safe_dump(recipe))
    script = place / "script.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), folder=str(place)))
    with (place / "two.log").open("w") as log:
        two = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script)],
            stdout=log, stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )  # fmt: skip
        try:
            every_run(place, "one")  # while the two are on their way
            code = two.wait(timeout=900)
        finally:
            two.kill()
    assert code == 0, (place / "two.log").read_text()
    return place


@pytest.mark.parametrize("number", range(len(RUNS)), ids=["+".join(one) for one in RUNS])
def test_two_processes_end_with_the_weights_of_one(folder, number):
    one, two = (
        torch.load(folder / f"{name}-{number}.pt", weights_only=True) for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, value in one.items():  # sums in another order: rounding, and what AdamW makes of it
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=2e-5)


def test_no_run_was_refused(folder):
    for name in ("one", "two"):
        assert json.loads((folder / f"{name}.json").read_text()) == {}


def test_every_strategy_is_compared_or_says_why_not():
    compared = {name for ways in RUNS for name in ways}
    for name, _ in STRATEGIES:
        refused = find(name).refuses.get("processes", "")
        ways = [name in compared, name in ELSEWHERE, len(refused.split()) > 4]
        assert sum(ways) == 1, f"{name} is neither compared nor refused"
