"""The peace in which torch's exporter to ONNX works."""

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep quiet what the exporter says of its own internals, and the collector of garbage away.

    It warns, for one, that torchvision is not installed. And it makes millions of small objects
    that all stay until it ends: looking through them for garbage again and again takes a third of
    its time.
    """
    names = (
        "torch.onnx",
        "torch.onnx._internal.exporter._registration",
        "onnx_ir",  # tells which numbers it leaves where they are
    )
    before = [(logger := logging.getLogger(name), logger.level) for name in names]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for logger, _ in before:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
        if collecting:
            gc.enable()
