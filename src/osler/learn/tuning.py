"""``osler.learn.tune``: values of a recipe's keys, tried until the best are known."""

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.errors import MissingExtraError, RecipeError
from osler.learn.tuning_plan import (
    Plan,
    Range,
    Value,
    own_values,
    read_plan,
    with_values,
    write_recipe,
)  # fmt: skip

if TYPE_CHECKING:
    import optuna

STORE, RECORD, BEST = "trials.db", "trials.json", "best.yaml"
_REFUSED = "refused"  # the attribute of a trial that could not be run, and why
_SCORES = "scores.json"

Fit = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of values.

    Attributes:
        values: key to value.
        score: the best validation score that it reached; None where it could not be run.
        state: ``finished``, ``pruned`` or ``refused``.
        folder: of its run.
        why: what a refused trial said.
    """

    values: dict[str, Value]
    score: float | None
    state: str
    folder: Path
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of tuning.

    Attributes:
        best: the finished trial with the best score.
        recipe: the file ``best.yaml``: the recipe with its values, to be fitted.
        trials: all, in their order.
    """

    best: Trial
    recipe: Path
    trials: list[Trial]


class _Pruned(Exception):
    """A trial is given up."""


def tune(
    recipe: Path | str,
    *,
    out: Path | str | None = None,
    fit: Fit | None = None,
    resume: bool = False,
) -> Tuned:
    """Try values of a recipe's keys, and write the recipe with the best of them.

    The best is the one whose run reached the greatest validation score. That score chose it, so it
    flatters; judge what ``best.yaml`` gives on cases that took no part.

    Args:
        recipe: a recipe with a section ``tune:`` (`osler.learn.tuning_plan.Plan`), or a file of
            ``tune:`` and ``recipe:``, the path of one.
        out: folder of the trials; ``runs/NAME-tuned`` by default. Each trial's run is a
            sub-folder; ``trials.db`` is Optuna's, ``trials.json`` the plain record.
        fit: ``fit(recipe, out=folder, resume=...)`` runs a trial; `osler.learn.fit` by default.
            Where it gives a number, that is the score; otherwise it is the best of the
            validations that the training loop made meanwhile.
        resume: go on with the folder's trials: the trial that was interrupted goes on from its
            checkpoint, and what follows is what would have followed.

    Raises:
        MissingExtraError: Optuna is not installed.
        RecipeError: the plan is wrong, the recipe does not run as it is, nothing is validated, or
            the folder holds other trials.
    """
    path = Path(recipe)
    plan, base, beside = read_plan(path)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError("tuning runs in one process; start it without torchrun")
    if fit is None:
        from osler.learn.fitting import fit as default

        fit = default
    name = str(base.get("name", path.stem))
    folder = Path(out) if out is not None else Path("runs") / f"{name}-tuned"
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with _quiet() as optuna:
        study = _study(optuna, plan, base, folder, resume=resume)
        while len(_done(study)) < plan.trials:
            if plan.minutes is not None and time.monotonic() - begun > 60 * plan.minutes:
                break
            _try(optuna, study, plan, base, beside, folder, fit)
            _write(study, folder)
        trials = _trials(study, folder)
        _write(study, folder)
    finished = [one for one in trials if one.state == "finished" and one.score is not None]
    if not finished:
        raise RecipeError(
            f"no trial in '{folder}' was finished; raise tune.trials or "
            "tune.minutes, or set tune.prune to false"
        )
    best = max(finished, key=lambda one: one.score if one.score is not None else -math.inf)
    write_recipe(with_values(base, best.values), folder / BEST, beside=beside)
    return Tuned(best, folder / BEST, trials)


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Optuna, with its messages held back."""
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("optuna", extra="tune", purpose="tune a recipe") from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)


def _study(optuna: Any, plan: Plan, base: Mapping[str, Any], folder: Path, *, resume: bool) -> Any:
    """The folder's study, with the trial that was interrupted put first."""
    store = folder / STORE
    if store.exists() and not resume:
        os.replace(store, folder / "trials.before.db")
    pruner: Any = optuna.pruners.NopPruner()
    if plan.prune:
        steps, trials = plan.spare
        pruner = optuna.pruners.MedianPruner(n_startup_trials=trials, n_warmup_steps=steps)
    study = optuna.create_study(
        storage=f"sqlite:///{store.resolve()}", study_name="tune", direction="maximize",
        pruner=pruner, load_if_exists=True,
    )  # fmt: skip
    digest = hashlib.sha256(
        json.dumps([plan.model_dump(exclude={"trials", "minutes"}), base], default=str).encode()
    ).hexdigest()
    if study.user_attrs.setdefault("plan", digest) != digest:
        raise RecipeError(
            f"the trials in '{folder}' are of another recipe or other ranges; choose another "
            "folder, or start anew without --resume"
        )
    study.set_user_attr("plan", digest)
    if not study.trials and (own := own_values(plan, base)) is not None:
        study.enqueue_trial(own)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _done(study: "optuna.Study") -> list[Any]:
    """Trials that count: interrupted ones do not."""
    return [
        one
        for one in study.get_trials(deepcopy=False)
        if one.state.name in ("COMPLETE", "PRUNED") or _REFUSED in one.user_attrs
    ]


def _try(
    optuna: Any, study: "optuna.Study", plan: Plan, base: Mapping[str, Any], beside: Path,
    folder: Path, fit: Fit,
) -> None:  # fmt: skip
    """One trial."""
    done = _done(study)
    # seeded for each trial, so that an interrupted run draws what it would have drawn
    seed = (plan.seed * 1_000_003 + len(done)) % 2**32
    samplers = optuna.samplers
    study.sampler = (
        samplers.TPESampler(seed=seed)
        if plan.sampler == "tpe"
        else samplers.RandomSampler(seed=seed)
    )
    trial = study.ask()
    values = {key: _suggest(trial, key, one) for key, one in plan.ranges.items()}
    there = folder / _folder_of(values)
    write_recipe(with_values(base, values), there / "recipe.yaml", beside=beside)
    try:
        score = _score(trial, there, fit)
    except _Pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except RecipeError as error:
        if not done:  # the recipe itself is wrong, and every other trial would fail alike
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        trial.set_user_attr(_REFUSED, str(error))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, score)


def _suggest(trial: "optuna.Trial", key: str, one: Range) -> Value:
    if one.choices is not None:
        chosen: Value = trial.suggest_categorical(key, one.choices)
        return chosen
    assert one.low is not None
    assert one.high is not None
    if one.whole:
        step = 1 if one.step is None else int(one.step)
        return trial.suggest_int(key, int(one.low), int(one.high), step=step, log=one.log)
    return trial.suggest_float(key, one.low, one.high, step=one.step, log=one.log)


def _folder_of(values: Mapping[str, Value]) -> str:
    """The same values have the same folder, so that an interrupted trial finds its checkpoint."""
    text = json.dumps(values, sort_keys=True)
    return f"trial-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _score(trial: "optuna.Trial", folder: Path, fit: Fit) -> float:
    """Run a trial and give its score, telling Optuna of each validation."""
    from osler.learn.training_log import listening

    kept = folder / _SCORES
    scores: dict[str, float] = {}
    if kept.exists():
        with contextlib.suppress(ValueError):
            scores = json.loads(kept.read_text(encoding="utf-8"))
    reported: set[int] = set()

    def report(step: int, score: float) -> None:
        if step not in reported and math.isfinite(score):
            trial.report(score, step)
            reported.add(step)

    for step, score in scores.items():
        report(int(step), score)

    def heard(step: int, figures: Mapping[str, float]) -> None:
        score = float(figures["score"])
        if math.isfinite(score):
            scores[str(step)] = score
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(scores), encoding="utf-8")
            os.replace(part, kept)
        report(step, score)
        if trial.should_prune():
            raise _Pruned

    with listening(heard):
        said = fit(folder / "recipe.yaml", out=folder, resume=True)
    if isinstance(said, int | float) and not isinstance(said, bool):
        return float(said)
    if not scores:
        raise RecipeError(
            "the recipe validates nothing, so tuning has nothing to choose by; hold a fold or "
            "part out (learner.hold, hold.tune) and let learner.validate_every be below "
            "learner.steps"
        )
    return max(scores.values())


def _trials(study: "optuna.Study", folder: Path) -> list[Trial]:
    out = []
    for one in _done(study):
        best = max(one.intermediate_values.values(), default=None)
        state = {"COMPLETE": "finished", "PRUNED": "pruned"}.get(one.state.name, _REFUSED)
        out.append(
            Trial(
                dict(one.params), one.value if state == "finished" else best, state,
                folder / _folder_of(one.params), one.user_attrs.get(_REFUSED, ""),
            )
        )  # fmt: skip
    return out


def _write(study: "optuna.Study", folder: Path) -> None:
    """The plain record, after each trial."""
    record = [
        {"values": one.values, "score": one.score, "state": one.state, "folder": one.folder.name,
         **({"why": one.why} if one.why else {})}
        for one in _trials(study, folder)
    ]  # fmt: skip
    part = folder / "trials.part"
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, folder / RECORD)
