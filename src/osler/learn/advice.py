"""What to change when a run meets a wall: sentences instead of traces."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from osler.errors import RecipeError
from osler.learn.learner import Learner

_FULL = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")


@contextmanager
def advising(learner: Learner, device: torch.device) -> Iterator[None]:
    """Turn running out of memory into an error that names what to change.

    Raises:
        RecipeError: memory ran out. (Where Linux itself ends a process that asks for too much,
            nothing can be said here: the shell says "Killed", and ``--resume`` goes on.)
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RecipeError(_lighter(learner, device)) from error
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise RecipeError(_lighter(learner, device)) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory is full."""
    return any(sign in str(error).lower() for sign in _FULL)


def _lighter(learner: Learner, device: torch.device) -> str:
    ways = []
    if learner.batch > 1:
        ways.append(
            f"lower learner.batch (now {learner.batch}) and raise learner.accumulate (now "
            f"{learner.accumulate}) by as much, which keeps the samples of a step"
        )
    if "patch" not in learner.model_fields_set:
        ways.append("lower settings.patch or settings.image.size")
    elif learner.patch > 32:  # of a task of the fundus
        ways.append(f"lower learner.patch (now {learner.patch})")
    if not learner.checkpointing:
        ways.append("set learner.checkpointing to true")
    if learner.precision not in ("bfloat16", "float16"):
        ways.append(f"set learner.precision to bfloat16 (now {learner.precision})")
    ways.append("choose a smaller network")
    where = "the GPU" if device.type == "cuda" else "the machine"
    return f"the memory of {where} is full; {'; or '.join(ways)}; then go on with --resume"


def unsound_loss(value: float, step: int, learner: Learner) -> RecipeError:
    """What to do about a loss that is no number."""
    return RecipeError(f"the loss is {value} at step {step}; {_calmer(learner)}")


def unsound_gradient(step: int, learner: Learner) -> RecipeError:
    """What to do about gradients that are no numbers though the loss is one."""
    return RecipeError(
        f"the gradients are not finite at step {step} though the loss is; {_calmer(learner)}"
    )


def _calmer(learner: Learner) -> str:
    ways = [f"lower learner.rate (now {learner.rate})"]
    if learner.warmup < learner.steps // 20:
        ways.append(f"raise learner.warmup (now {learner.warmup})")
    if learner.clip is None or learner.clip > 1:
        ways.append(f"lower learner.clip to 1 (now {learner.clip})")
    if learner.precision != "float32":
        ways.append(f"set learner.precision to float32 (now {learner.precision})")
    return f"{', or '.join(ways)}; where it comes at once, look for NaN in the cohort's values"
