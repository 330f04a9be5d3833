"""Tasks whose answer is about the whole case: what they take of it, and how it is shown a network.

Their settings are the keys of ``case_input.py`` and their own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osler.tasks.case_input import (
    CaseInput,
    default_network,
    example_input,
    input_specs,
    moved_images,
    network_inputs,
    run_input,
)
from osler.tasks.fusion_sentences import open_texts, text_files
from osler.tasks.task import Arrays, InputSpec, Predict, Sample, Task


class CaseTask(Task):
    """What such tasks share; each adds its truth, its outputs and its findings."""

    settings: CaseInput

    def __init__(
        self, settings: Any, *, calibration: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__(settings, calibration=calibration)
        self.images, self.apart = moved_images(self.settings), self.settings.inputs is not None

    def inputs(self) -> tuple[InputSpec, ...]:
        return input_specs(self.settings)

    def network(self) -> tuple[str, Mapping[str, Any]]:
        return default_network(self.settings)

    def wanted(self) -> Mapping[str, Any]:
        return network_inputs(self.settings, self.outputs()) or super().wanted()

    def more_files(self, net: Any, folder: Path) -> Mapping[str, bytes]:
        return text_files(self.settings.inputs)

    def opened(self, bundle: Any) -> None:
        open_texts(self.settings.inputs, bundle)

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        return example_input(sample.inputs, self.settings, rng), sample.targets

    def run(self, predict: Predict, sample: Sample) -> Arrays:
        return run_input(predict, sample, self.settings)
