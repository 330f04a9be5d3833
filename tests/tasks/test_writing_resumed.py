"""A training of writing that was killed goes on to the bit, dropout and other numbers included."""

import pytest

import osler
from osler.bundles import load
from osler.bundles.integrity import read_file

torch = pytest.importorskip("torch")

from osler.learn.samplers import CaseSampler  # noqa: E402

RECIPE = """
name: ratios
task: writing
cohort: ratios.csv
settings: {prompt: findings, target: report, prompt_length: 24, length: 20, other_numbers: 0.5,
           merges_at_most: 20}
network:
  name: tiny-vlm
  options: {embed_dim: 16, depth: 1, num_heads: 2, dropout: 0.2}
learner: {steps: 6, batch: 4, rate: 0.01, warmup: 1, validate_every: 3, precision: float32,
          checkpoint_minutes: 0}
"""


def test_a_killed_run_writes_the_same_bundle(tmp_path):
    lines = ["case_id,patient_id,variable:findings,label:report"]
    lines += [f"c{n},p{n},cdr 0.{n + 11},the ratio is 0.{n + 11}." for n in range(20)]
    (tmp_path / "ratios.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "ratios.yaml"
    path.write_text(RECIPE)
    whole = osler.fit(path, out=tmp_path / "whole")
    own, seen = CaseSampler.__call__, []

    def stop(self, number, *args):
        seen.append(number)
        if number == 4:
            raise KeyboardInterrupt
        return own(self, number, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CaseSampler, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            osler.fit(path, out=tmp_path / "part")
    done = osler.fit(path, out=tmp_path / "part", resume=True)
    graphs = [read_file(run.bundle, load(run.bundle).card, "model.onnx") for run in (whole, done)]
    assert graphs[0] == graphs[1]
    assert whole.metrics == done.metrics
