"""Replay: some cases of earlier sites are kept and shown again."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from osler.learn.samplers import CaseSampler
from osler.learn.strategies.sequence import SequenceSettings, Sequential, batch_loss
from osler.learn.strategies.strategy import Context, Loss, Settings


class ReplaySettings(SequenceSettings):
    """The keys of replay.

    Attributes:
        by, order: see `SequenceSettings`.
        memory: cases of each earlier site that are kept.
        share: of each batch that they make up, at least one case.
        seed: another seed keeps other cases.
    """

    memory: int = Field(default=4, ge=1)
    share: float = Field(default=0.5, gt=0, lt=1)
    seed: int = 1


class Replay(Sequential):
    """Each later site teaches together with cases that were kept of the earlier ones."""

    name: ClassVar[str] = "replay"
    title: ClassVar[str] = "Replay of kept cases"
    source: ClassVar[str] = (
        "Rolnick et al. 2019, Experience Replay for Continual Learning, NeurIPS; Chaudhry et al. "
        "2019, On Tiny Episodic Memories in Continual Learning"
    )
    Settings: ClassVar[type[Settings]] = ReplaySettings

    def shown(self, number: int, context: Context) -> Loss:
        """The cases of the stage, and kept ones beside them in each batch."""
        said, now = self.settings, self.stages[number]
        kept = []
        for place, samples in enumerate(self.stages[:number]):
            rng = np.random.default_rng((said.seed, 41, place))
            kept += [samples[one] for one in rng.permutation(len(samples))[: said.memory]]
        if not kept:
            return super().shown(number, context)
        learner = context.learner
        old = max(1, round(learner.batch * said.share))
        seed = learner.seed + number
        again = CaseSampler("even", batch=old, seed=seed + 1, count=len(kept))
        new = max(0, learner.batch - old)
        fresh = CaseSampler("even", batch=max(1, new), seed=seed, count=len(now))

        def choose(step: int) -> list[int]:
            return [*fresh(step)[:new], *(len(now) + one for one in again(step))]

        return batch_loss(context.batches_on([*now, *kept], choose), context.task)
