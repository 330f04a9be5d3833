"""Where cases come from: the sites, cameras or scanners that a variable of the cohort names."""

from collections.abc import Sequence

from osler.errors import RecipeError
from osler.learn.samplers import CaseSampler
from osler.learn.strategies.strategy import Context
from osler.tasks.task import Sample


def sites_of(samples: Sequence[Sample], by: str, context: Context, *, few: int = 2) -> list[str]:
    """The value of a variable of the cohort in each case.

    Raises:
        RecipeError: a case lacks it, or there are fewer than ``few`` values.
    """
    found = [context.variables.get(sample.id, {}).get(by, "") for sample in samples]
    if lacking := sum(value == "" for value in found):
        raise RecipeError(
            f"by names '{by}', and {lacking} of {len(found)} cases that teach have no such "
            "variable; give every row of the cohort one"
        )
    if len(set(found)) < few:
        raise RecipeError(
            f"by names '{by}', of which the cases that teach have {len(set(found))} value; there "
            f"must be {few} at least"
        )
    return found


class Draws:
    """The cases that the recipe's own loss is of, by the number of the batch."""

    def __init__(self, context: Context) -> None:
        self.samples = context.teach
        self.choose = CaseSampler.of(
            context.learner, len(context.teach),
            labels=[sample.group for sample in context.teach],
            groups=[sample.patient for sample in context.teach],
        )  # fmt: skip

    def __call__(self, number: int) -> list[Sample]:
        """The cases, in the order of the batch."""
        return [self.samples[place] for place in self.choose(number)]
