"""Drawn pictures of squares and discs, and recipes that learn them in seconds."""

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

CASES = 24

CLASSIFY = {
    "name": "squares",
    "task": "classification",
    "cohort": "cohort.csv",
    "settings": {"image": {"size": [32, 32], "colour": True}, "target": "class"},
    "network": {"name": "resnet-18", "options": {"widths": [4, 4, 8, 8], "stem": 4}},
    "learner": {"steps": 4, "batch": 4, "warmup": 1, "validate_every": 2, "precision": "float32"},
}

SEGMENT = {
    "name": "shapes",
    "task": "segmentation",
    "cohort": "cohort.csv",
    "settings": {"labels": ["shape"], "multiple": 8, "tolerance": 1.0},
    "network": {"name": "dynunet-2d", "options": {"widths": [8, 12, 16]}},
    "learner": {"steps": 4, "batch": 3, "rate": 0.01, "warmup": 2, "ema": 0.8,
                "validate_every": 2, "precision": "float32"},
}  # fmt: skip

VIT = {"name": "vit-s-16", "options": {"image_size": 32, "patch": 8, "width": 24, "depth": 3}}


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder with pictures, masks and ``cohort.csv``: 24 patients of two sites, three folds."""
    folder = tmp_path_factory.mktemp("strategy-shapes")
    lines = ["case_id,patient_id,fold,image,label:shape,label:class,site"]
    hh, ww = np.mgrid[:40, :40]
    for n in range(CASES):
        rng = np.random.default_rng(n)
        h, w = rng.integers(14, 26, 2)
        square = n % 2 == 0
        away = np.maximum(abs(hh - h), abs(ww - w)) if square else np.hypot(hh - h, ww - w)
        mask = away < 9
        dark = 30 * (n % 4 < 2)
        picture = np.clip(90 - dark + 120 * mask + rng.normal(0, 8, mask.shape), 0, 255)
        Pillow.fromarray(picture.astype(np.uint8)).save(folder / f"{n}.png")
        Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{n}.mask.png")
        word = "square" if square else "disc"
        site = "dark" if n % 4 < 2 else "bright"
        lines.append(f"c{n},p{n},{(n // 2) % 3},{n}.png,{n}.mask.png,{word},{site}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    """No test here looks at the ends of an interval, which take a third of a fit so small."""
    monkeypatch.setattr("osler.learn.training.REPLICATES", 50)


@pytest.fixture
def recipe(shapes, request):
    """Write a recipe of `CLASSIFY` or `SEGMENT` with other keys; gives its path."""
    count = 0

    def write(base, **changes):
        nonlocal count
        count += 1
        content = copy.deepcopy(base)
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(content.get(key), dict):
                content[key] = {**content[key], **value}
            else:
                content[key] = value
        path = shapes / f"{request.node.name.split('[')[0]}-{count}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def classify():
    """A recipe that tells squares from discs."""
    return copy.deepcopy(CLASSIFY)


@pytest.fixture
def segment():
    """A recipe that marks squares and discs."""
    return copy.deepcopy(SEGMENT)


@pytest.fixture(scope="session")
def golden_vectors():
    """`Golden` of ``tests/models/golden.py``: vectors by the name of their folder."""
    place = Path(__file__).parents[2] / "models" / "golden.py"
    spec = importlib.util.spec_from_file_location("golden_vectors", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Golden
