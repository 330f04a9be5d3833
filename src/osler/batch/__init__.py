"""Many cases at once: what ``osler read`` does with the files it is given."""

from osler.batch.job import Job, Options, Outcome
from osler.batch.run import Batch, run

__all__ = ("Batch", "Job", "Options", "Outcome", "run")
