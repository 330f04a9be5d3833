"""Which site has which cases: by a variable of the cohort, or dealt out unevenly."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from osler.errors import RecipeError
from osler.tasks.task import Sample, Settings

_TRIES = 200


class Sites(Settings):
    """Who the sites are.

    Attributes:
        variable: the cohort's variable that names the site of each case.
        count: sites that are made up, where no variable names them.
        classes: concentration of the Dirichlet distribution by which each class is dealt out to
            the made-up sites: 0.1 gives nearly a class a site, 100 the same mixture everywhere.
            None deals without regard to classes.
        quantity: concentration of the Dirichlet distribution of the sites' sizes; None makes them
            alike.
        least: patients that each made-up site has at the least.
        seed: another seed deals otherwise.
    """

    variable: str | None = Field(default=None, min_length=1)
    count: int | None = Field(default=None, ge=2, le=1000)
    classes: float | None = Field(default=None, gt=0, le=1e6)
    quantity: float | None = Field(default=None, gt=0, le=1e6)
    least: int = Field(default=2, ge=1)
    seed: int = Field(default=1, ge=0)


def faults_of_sites(sites: Sites) -> list[str]:
    """What is wrong with the keys together, a sentence each."""
    if (sites.variable is None) == (sites.count is None):
        return ["sites: name either a variable of the cohort, or a count of sites to make up"]
    if sites.variable is not None and (sites.classes or sites.quantity):
        return ["sites: classes and quantity deal out made-up sites; leave them out with variable"]
    if sites.classes is not None and sites.quantity is not None:
        return ["sites: says both classes and quantity; keep one of them"]
    return []


def split_sites(
    samples: Sequence[Sample], variables: Mapping[str, Mapping[str, str]], sites: Sites
) -> dict[str, list[Sample]]:
    """The samples of each site, in the order of the sites' names; no patient is at two of them.

    Args:
        samples: that teach.
        variables: of the cohort, by id of the case.
        sites: how.

    Raises:
        RecipeError: a case has no site, a patient is at two, there are fewer than two sites, or
            the sites cannot all have patients.
    """
    if sites.variable is not None:
        return _by_variable(samples, variables, sites.variable)
    assert sites.count is not None
    first: dict[str, str | None] = {}
    for sample in samples:
        first.setdefault(sample.patient, sample.group)
    patients = sorted(first)
    if len(patients) < sites.count * sites.least:
        raise RecipeError(
            f"strategies.federated.sites: {sites.count} sites of at least {sites.least} patients "
            f"cannot be made of {len(patients)}; lower count or least"
        )
    groups = [str(first[one]) for one in patients]
    if sites.classes is not None and any(first[one] is None for one in patients):
        raise RecipeError(
            "strategies.federated.sites.classes: the task knows no classes of its cases; write "
            "quantity, or name a variable"
        )
    rng = np.random.default_rng((sites.seed, 41_011))
    place = deal(groups, sites, rng)
    width = len(str(sites.count))
    out: dict[str, list[Sample]] = {
        f"site-{number + 1:0{width}d}": [] for number in range(sites.count)
    }
    names = list(out)
    home = {patient: names[int(one)] for patient, one in zip(patients, place, strict=True)}
    for sample in samples:
        out[home[sample.patient]].append(sample)
    return out


def deal(groups: Sequence[str], sites: Sites, rng: np.random.Generator) -> NDArray[np.int64]:
    """The site of each patient, by number.

    With ``classes`` = a, the patients of each class are dealt by shares ``p ~ Dir(a, ..., a)`` of
    their own (Hsu et al. 2019, "Measuring the Effects of Non-Identical Data Distribution for
    Federated Visual Classification", arXiv:1909.06335; per class as Li et al. 2022, "Federated
    Learning on Non-IID Data Silos", ICDE, section IV); with ``quantity`` all of them by the same
    such shares. What leaves a site with fewer than ``least`` is drawn again, and if it cannot be
    had in 200 draws, patients are moved from the greatest site.

    Args:
        groups: the class of each patient.
        sites: with a count.
        rng: to draw from.
    """
    assert sites.count is not None
    count, total = sites.count, len(groups)
    alpha = sites.classes if sites.classes is not None else sites.quantity
    kinds = sorted(set(groups)) if sites.classes is not None else [None]
    place = np.zeros(total, np.int64)
    for _ in range(_TRIES):
        for kind in kinds:
            here = [n for n in range(total) if kind is None or groups[n] == kind]
            order = rng.permutation(here)
            share = np.full(count, 1 / count) if alpha is None else rng.dirichlet([alpha] * count)
            cuts = np.rint(np.cumsum(share)[:-1] * len(order)).astype(int)
            for number, part in enumerate(np.split(order, cuts)):
                place[part] = number
        if np.bincount(place, minlength=count).min() >= sites.least:
            return place
    sizes = np.bincount(place, minlength=count)
    while sizes.min() < sites.least:
        rich, poor = int(sizes.argmax()), int(sizes.argmin())
        place[rng.choice(np.flatnonzero(place == rich))] = poor
        sizes = np.bincount(place, minlength=count)
    return place


def _by_variable(
    samples: Sequence[Sample], variables: Mapping[str, Mapping[str, str]], name: str
) -> dict[str, list[Sample]]:
    out: dict[str, list[Sample]] = {}
    home: dict[str, str] = {}
    for sample in samples:
        said = variables.get(sample.id, {})
        if not said.get(name):
            known = ", ".join(sorted({key for one in variables.values() for key in one})) or "none"
            raise RecipeError(
                f"strategies.federated.sites.variable: the case '{sample.id}' has no '{name}'; "
                f"the cohort's variables are: {known}"
            )
        if home.setdefault(sample.patient, said[name]) != said[name]:
            raise RecipeError(
                f"strategies.federated.sites: the patient '{sample.patient}' is at two sites; "
                "a patient's cases stay together, so leave those of one site out"
            )
        out.setdefault(said[name], []).append(sample)
    if len(out) < 2:
        raise RecipeError(
            f"strategies.federated.sites.variable: all cases that teach are of one '{name}'; there "
            "must be two sites at least"
        )
    return {one: out[one] for one in sorted(out)}
