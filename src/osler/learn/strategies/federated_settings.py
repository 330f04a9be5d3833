"""The keys of federated learning, and which of them do not go together."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from osler.learn.strategies.federated_privacy import Private, faults_of_private
from osler.learn.strategies.federated_sites import Sites, faults_of_sites
from osler.learn.strategies.federated_updates import Codec, Method, Quantised, TopK
from osler.tasks.task import Settings, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe


class Compression(Settings):
    """How updates of what learns are said in fewer bytes; what is left out is sent later.

    Attributes:
        kind: ``top-k`` sends the greatest entries and their places, ``quantised`` all of them in
            few bits.
        share: of the entries that ``top-k`` sends.
        bits: of an entry that is ``quantised``.
    """

    kind: Literal["top-k", "quantised"]
    share: float = Field(default=0.05, gt=0, le=1)
    bits: int = Field(default=8, ge=2, le=8)

    def codec(self) -> Codec:
        """What does it."""
        return TopK(self.share) if self.kind == "top-k" else Quantised(self.bits)


class FederatedSettings(Settings):
    """The keys of federated learning.

    Attributes:
        sites: who the sites are.
        method: ``fedavg``: the mean of the sites' networks; ``fedprox``: their steps are held near
            the common network; ``fedbn``: batch normalisation stays at its site; ``scaffold``:
            their steps are corrected for where they drift.
        rounds: into which ``learner.steps``, the local steps of every site, are divided evenly.
        participation: share of the sites that take part in a round.
        mu: weight of FedProx's proximal term.
        rate: factor of the mean update on the coordinator's side.
        compress: updates in fewer bytes; none by default.
        secure: sum updates under pairwise masks, in fixed point.
        private: central differential privacy: what hides each site in the common network.
        alone: the one site that learns, from its own cases and for itself: what federation is
            compared with.
    """

    sites: Sites
    method: Method = "fedavg"
    rounds: int = Field(default=10, ge=1, le=100_000)
    participation: float = Field(default=1.0, gt=0, le=1)
    mu: float = Field(default=0.01, ge=0, le=1000)
    rate: float = Field(default=1.0, gt=0, le=10)
    compress: Compression | None = None
    secure: bool = False
    private: Private | None = None
    alone: str | None = Field(default=None, min_length=1)


def faults_of(said: FederatedSettings, recipe: "Recipe", task: Task) -> list[str]:
    """What does not go together, a sentence each."""
    learner = recipe.learner
    out = faults_of_sites(said.sites)
    if learner.steps % said.rounds:
        out.append(
            f"rounds is {said.rounds}, which does not divide learner.steps, the local steps of "
            f"a site ({learner.steps}); write {_divisor(learner.steps, said.rounds)}"
        )
    if said.method == "scaffold":
        if learner.optimiser != "sgd" or learner.momentum > 0:
            out.append(
                "method scaffold corrects plain gradient descent; write learner.optimiser: sgd "
                "and learner.momentum: 0"
            )
        if said.compress is not None:
            out.append(
                "method scaffold sends control variates beside the updates, which must be "
                "whole; leave compress out"
            )
    if said.compress is not None and said.secure:
        out.append(
            "secure sums whole numbers of the same places; sites that compress send other "
            "places and steps each; leave one of compress and secure out"
        )
    if said.secure and said.method == "scaffold":
        out.append("secure does not mask control variates; leave it out, or take another method")
    if said.alone is not None and (said.compress or said.secure or said.participation < 1):
        out.append("alone sends nothing, so leave compress, secure and participation out")
    if said.private is not None:
        out += faults_of_private(said, recipe, task)
    return out


def _divisor(steps: int, wanted: int) -> int:
    """The divisor of a number nearest to another."""
    found = [one for one in range(1, steps + 1) if steps % one == 0]
    return min(found, key=lambda one: abs(one - wanted))
