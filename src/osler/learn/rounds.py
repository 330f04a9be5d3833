"""Active learning in rounds: train, choose, reveal, and train again."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.errors import RecipeError
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.tuning_plan import write_recipe

RECORD = "rounds.json"


@dataclass(frozen=True, slots=True)
class Round:
    """One training.

    Attributes:
        labelled: the cases whose labels it used.
        chosen: those that it would have labelled next.
        metrics: of the cases that test, as the card has them.
        folder: of its run.
    """

    labelled: list[str]
    chosen: list[str]
    metrics: list[dict[str, Any]]
    folder: Path

    def value(self, figure: str) -> float:
        """One of its figures.

        Raises:
            RecipeError: it has no such figure.
        """
        for one in self.metrics:
            if one["name"] == figure:
                return float(one["value"])
        known = ", ".join(str(one["name"]) for one in self.metrics)
        raise RecipeError(f"there is no figure '{figure}'; there are: {known}")


def learn_in_rounds(
    recipe: Path | str, *, rounds: int, out: Path | str | None = None, resume: bool = False,
    fit: Callable[..., Any] | None = None,
) -> list[Round]:  # fmt: skip
    """Train with few labels, let the network choose cases, reveal their labels, and train anew.

    The annotator is simulated: the cohort holds all labels, of which ``labels:`` says what the
    first round may see, and every round adds what the one before it chose (``strategies.active``).
    The cases that tune and test are the same in all rounds. Where the labels are still to be drawn,
    fit the recipe once, with ``labels.blank``, and read the choice in ``run.json``.

    Args:
        recipe: with ``strategies.active``, and with ``labels.share``, ``count`` or ``cases``.
        rounds: trainings.
        out: ``runs/NAME-rounds`` by default; round K lies in ``round-K``, and ``rounds.json`` has
            labels and figures of all.
        resume: rounds that are done are kept, and the one that was interrupted goes on.
        fit: trains one recipe; `osler.learn.fit` by default.

    Raises:
        RecipeError: the recipe is wrong, does not name the strategy, or runs under torchrun.
    """
    path = Path(recipe)
    content = read_yaml(path)
    read, _ = check_recipe(content, path)
    if "active" not in read.strategies:
        raise RecipeError(f"'{path}' does not say how cases are chosen: strategies.active")
    if rounds < 1:
        raise RecipeError(f"{rounds} rounds are none; give 1 or more")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError("rounds run in one process; start them without torchrun")
    if fit is None:
        from osler.learn.fitting import fit as default

        fit = default
    folder = Path(out) if out is not None else Path("runs") / f"{read.name}-rounds"
    done: list[Round] = []
    for number in range(rounds):
        there = folder / f"round-{number}"
        if done and not done[-1].chosen:
            break  # every case has its label
        write_recipe(_revealed(content, done), there / "recipe.yaml", beside=path)
        if not (resume and (there / "cases.json").exists()):  # what a run writes last
            fit(there / "recipe.yaml", out=there, resume=resume)
        said = json.loads((there / "run.json").read_text(encoding="utf-8"))
        kept = said["strategies"]["active"]
        done.append(Round(kept["labelled"], kept["next"], said["metrics"], there))
        _write(done, folder)
    return done


def _revealed(content: dict[str, Any], done: list[Round]) -> dict[str, Any]:
    """The recipe with the labels of the last round and those that it chose."""
    if not done:
        return content
    before = content.get("labels", {})
    kept = {key: value for key, value in before.items() if key not in ("share", "count", "cases")}
    cases = [*done[-1].labelled, *done[-1].chosen]
    return {**content, "labels": {**kept, "cases": cases}}


def _write(done: list[Round], folder: Path) -> None:
    record = [
        {"labels": len(one.labelled), "labelled": one.labelled, "chosen": one.chosen,
         "metrics": one.metrics}
        for one in done
    ]  # fmt: skip
    part = folder / f"{RECORD}.part"
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, folder / RECORD)
