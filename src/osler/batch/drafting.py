"""A second report of each case, worded by a language engine that is opened once a process."""

from functools import lru_cache
from typing import TYPE_CHECKING

from osler.batch.job import Options
from osler.errors import RecipeError

if TYPE_CHECKING:
    from osler.language.engine import Engine
    from osler.record import Case

_LOCAL = ("transformers:", "llama.cpp:")


def ready(options: Options, *, jobs: int) -> None:
    """Open the engine before the first case, so that what is wrong with it is said at once.

    Raises:
        RecipeError: the name says no engine, or a local one was asked to write several at a time.
        InputError: its folder or file cannot be used.
    """
    if options.engine == "none":
        return
    if jobs > 1 and options.engine.startswith(_LOCAL):
        raise RecipeError(
            "a language model on this machine would be loaded by every job; use --jobs 1, or a "
            "server (openai:...)"
        )
    _engine(options.engine, options.engine_timeout)


def drafted(case: "Case", options: Options) -> str:
    """Have the engine word a case's report beside the one by rule; the flag of what came of it."""
    from osler.language.drafting import draft

    engine = _engine(options.engine, options.engine_timeout)
    return "" if engine is None else draft(case, engine, language=options.language).flag


@lru_cache(maxsize=1)
def _engine(said: str, timeout: float) -> "Engine | None":
    from osler.language.engine import open_engine

    return open_engine(said, timeout=timeout)
