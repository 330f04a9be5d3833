"""Many cases at once: what ``osler read`` does with the files it is given."""

from osler.batch.collecting import Batch
from osler.batch.job import Job, Options, Outcome
from osler.batch.run import run

__all__ = ("Batch", "Job", "Options", "Outcome", "run")
