"""Which cases are in the batch of a step: a matter of the seed and the step's number alone."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from osler.errors import RecipeError
from osler.learn.learner import Learner

_SALT = 7  # keeps these draws apart from those of patches and augmentation


class CaseSampler:
    """Draws cases.

    - ``even``: each case once before any twice; the order changes with every pass.
    - ``balanced``: a class ``c`` of ``n_c`` cases has the share ``n_c ** balance`` over the sum of
      it (Mahajan et al. 2018, ECCV, section 2.2: 0.5 is their square root; Kang et al. 2020,
      "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR: 0 is class-
      balanced, 1 instance-balanced), and its cases are alike. With replacement, as there are
      fewer cases of a rare class than it has places.
    - ``grouped``: at most one case of a patient in a batch. Patients are shuffled and dealt into
      batches, one of each one's cases at random; those who do not fill a batch wait for the next
      pass. So patients count alike, however many cases they have.
    - ``balanced-grouped``: classes as balanced, but of patients who are not in the batch yet; where
      a class has none left, the place goes to another class.

    A batch is made of ``(seed, number)``, so a resumed run, or another process of the same run,
    draws what it should.

    Args:
        kind: see above.
        batch: cases a batch.
        seed: another seed draws otherwise.
        count: of cases.
        labels: the class of each case; for a balanced sampler.
        groups: the patient of each case; for a grouped sampler.
        balance: 0 to 1.

    Raises:
        RecipeError: there are no cases, what the sampler needs is not known, or there are fewer
            patients than places in a batch.
    """

    def __init__(
        self, kind: str, *, batch: int, seed: int, count: int,
        labels: Sequence[Hashable] | None = None, groups: Sequence[Hashable] | None = None,
        balance: float = 0.0,
    ) -> None:  # fmt: skip
        if not count:
            raise RecipeError("there are no cases to draw from")
        self.kind, self.batch, self.seed, self.count = kind, batch, seed, count
        self._classes: list[NDArray[np.int64]] = []
        self._patients: list[NDArray[np.int64]] = []
        if "balanced" in kind:
            self._classes = _members(labels, count, kind, lacking="a single class to balance")
        if "grouped" in kind:
            self._patients = _members(groups, count, kind, lacking="a patient")
        sizes = np.array([len(one) for one in self._classes], float) ** balance
        self._share = sizes / sizes.sum() if len(sizes) else sizes
        self._patient = np.zeros(count, np.int64)
        for number, cases in enumerate(self._patients):
            self._patient[cases] = number
        if self._patients and batch > len(self._patients):
            raise RecipeError(
                f"learner.batch is {batch} and learner.sampler {kind}, which puts at most one case "
                f"of a patient into a batch, but there are {len(self._patients)} patients; lower "
                "learner.batch (and raise learner.accumulate), or write even or balanced"
            )

    @classmethod
    def of(
        cls, learner: Learner, count: int, *, seed: int | None = None,
        labels: Sequence[Hashable] | None = None, groups: Sequence[Hashable] | None = None,
    ) -> "CaseSampler":  # fmt: skip
        """The sampler that a recipe asks for."""
        return cls(
            learner.sampler, batch=learner.batch, seed=learner.seed if seed is None else seed,
            count=count, labels=labels, groups=groups, balance=learner.balance,
        )  # fmt: skip

    def __call__(self, number: int) -> list[int]:
        """The cases of a batch, by their place in the cohort."""
        if self.kind == "even":
            return self._each_once(number)
        rng = np.random.default_rng((self.seed, _SALT, 1, number))
        if self.kind == "grouped":
            epoch, part = divmod(number, len(self._patients) // self.batch)
            order = self._order(epoch, len(self._patients))
            chosen = order[part * self.batch : (part + 1) * self.batch]
            return [int(rng.choice(self._patients[one])) for one in chosen]
        drawn = rng.choice(len(self._classes), size=self.batch, p=self._share)
        if self.kind == "balanced":
            return [int(rng.choice(self._classes[one])) for one in drawn]
        return self._of_several(drawn, rng)

    def _each_once(self, number: int) -> list[int]:
        """Places ``number * batch`` onwards of one shuffled pass after another."""
        out: list[int] = []
        while len(out) < self.batch:
            epoch, index = divmod(number * self.batch + len(out), self.count)
            out += self._order(epoch, self.count)[index : index + self.batch - len(out)]
        return out

    def _order(self, epoch: int, count: int) -> list[int]:
        """The order of a pass."""
        rng = np.random.default_rng((self.seed, _SALT, epoch))
        return [int(one) for one in rng.permutation(count)]

    def _of_several(self, drawn: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
        """One case for each drawn class, no two of one patient."""
        taken: set[int] = set()
        out: list[int] = []
        for one in drawn:
            order = [int(one), *(int(c) for c in rng.permutation(len(self._classes)))]
            for candidate in order:
                free = [i for i in self._classes[candidate] if int(self._patient[i]) not in taken]
                if free:
                    chosen = int(rng.choice(free))
                    taken.add(int(self._patient[chosen]))
                    out.append(chosen)
                    break
        return out


def _members(
    keys: Sequence[Hashable] | None, count: int, kind: str, *, lacking: str
) -> list[NDArray[np.int64]]:
    """The cases of each key, in the order in which keys appear."""
    if keys is None or len(keys) != count or any(one is None for one in keys):
        raise RecipeError(
            f"learner.sampler is {kind}, and not every case has {lacking}; write even"
        )
    out: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        out.setdefault(key, []).append(index)
    return [np.array(cases, np.int64) for cases in out.values()]
