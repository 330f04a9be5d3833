"""Episodes: small tasks drawn from the cases that teach, each with cases to learn from and to ask.

An episode has a *support* of so many cases a class, from which a network adapts, and *queries* of
the same classes, on which the adapted network is judged; no case is in both. Classes may be all or
some of the task's, and the cases may be those of one site at a time.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from osler.errors import RecipeError
from osler.tasks.task import Sample

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

MOST = 10_000
"""Cases a class, more than any episode has."""


class Episodes:
    """The episode of every number, which depends on the seed and the number alone.

    Args:
        samples: of the cases that teach.
        shots: cases a class in the support.
        queries: cases a class that are asked.
        ways: classes in an episode; None takes all.
        homes: of each sample the site (or else) that an episode stays in; None draws from all.
        seed: another seed draws otherwise.

    Raises:
        RecipeError: no home has two cases of each of two classes (of one, where the task has no
            classes), so that no episode can be drawn.
    """

    def __init__(
        self, samples: Sequence[Sample], *, shots: int, queries: int, ways: int | None = None,
        homes: Sequence[str] | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        self.shots, self.queries, self.ways, self.seed = shots, queries, ways, seed
        least = 2 if len({one.group for one in samples}) > 1 else 1
        pools: dict[str, dict[str, list[int]]] = {}
        for place, sample in enumerate(samples):
            home = "" if homes is None else homes[place]
            pools.setdefault(home, {}).setdefault(sample.group or "", []).append(place)
        served = {
            home: {one: places for one, places in sorted(classes.items()) if len(places) > 1}
            for home, classes in sorted(pools.items())
        }
        self.pools = [one for one in served.values() if len(one) >= least]
        self.homes = [home for home, one in served.items() if len(one) >= least]
        if not self.pools:
            what = "two cases of each of two classes" if least == 2 else "two cases"
            raise RecipeError(
                f"no episode can be drawn: {'nobody' if homes is None else 'no home'} has {what}, "
                "one to learn from and one to ask; teach with more cases"
            )

    def __call__(self, number: int) -> tuple[list[int], list[int]]:
        """The places of the support and of the queries of an episode, class by class."""
        rng = np.random.default_rng((self.seed, number))
        pool = self.pools[int(rng.integers(len(self.pools)))]
        names = list(pool)
        if self.ways is not None and self.ways < len(names):
            names = [names[n] for n in sorted(rng.permutation(len(names))[: self.ways])]
        support: list[int] = []
        queries: list[int] = []
        for name in names:
            drawn = [int(one) for one in rng.permutation(pool[name])]
            count = min(self.shots, len(drawn) - 1)  # one at least is asked
            support += drawn[:count]
            queries += drawn[count : count + self.queries]
        return support, queries


def no_single_case(recipe: "Recipe", instead: str) -> list[str]:
    """A fault where one case a class teaches: an episode adapts on one and asks another.

    Args:
        recipe: whose labels are counted.
        instead: what can be done with one.
    """
    if recipe.labels.count == 1:
        return [
            "its episodes take two cases a class, one to learn from and one to ask, and "
            f"labels.count is 1; say 2 or more, or {instead}"
        ]
    return []


def homes_of(
    samples: Sequence[Sample], variables: Mapping[str, Mapping[str, str]], name: str, strategy: str
) -> list[str]:
    """The value of a variable of each sample.

    Raises:
        RecipeError: the cohort has no such variable.
    """
    known = sorted({key for one in variables.values() for key in one})
    if name not in known:
        raise RecipeError(
            f"strategies.{strategy}.by: the cohort has no variable '{name}'; it has: "
            f"{', '.join(known) or 'none'}"
        )
    return [variables[one.id].get(name, "") for one in samples]
