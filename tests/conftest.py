"""What every test may ask for."""

import contextlib
import functools
import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# how fast a busy machine makes up examples says nothing about the code
settings.register_profile("osler", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("osler")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that take long begin first, so that no core waits for the last one."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Leave out work that teaches nothing: a tenth of all, and a third of an export.

    What was imported and collected stays to the end, so no collector of garbage need look through
    it. And torch makes its registry of operators, always the same one, anew for each export, half a
    second some two hundred times; another release of torch may keep it elsewhere: then it does.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with contextlib.suppress(ImportError, AttributeError):
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real photographs: ``$OSLER_DATA``, else ``../shared/data`` beside the repo."""
    folder = Path(os.environ.get("OSLER_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set OSLER_DATA to its folder")
    return folder
