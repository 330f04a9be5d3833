"""What sites and their coordinator say to each other, and what the coordinator makes of it.

Orders and replies are named arrays and plain numbers: nothing of them is a torch object, so that
the same coordinator can speak to sites over a network. In one process `Site.work` is called
directly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from osler.learn.strategies.federated_updates import (
    Arrays,
    Codec,
    Method,
    from_fixed_point,
    moved,
    unmasked_sum,
)

if TYPE_CHECKING:
    from osler.learn.strategies.federated_privacy import Guard


def nbytes(*messages: Mapping[str, NDArray[Any]]) -> int:
    """Bytes of the arrays of messages, without their names."""
    return sum(int(array.nbytes) for one in messages for array in one.values())


@dataclass(frozen=True)
class Plan:
    """What both ends agree upon before the first round.

    Attributes:
        method: of aggregation.
        learning: name to shape of the parameters that learn and are shared, in order.
        counted: names of running statistics, counters and weights that follow others, shared too.
        home: names that never leave a site (FedBN).
        codec: how updates of what learns are compressed; None sends them as they are.
        secure: whether updates are summed under masks.
        mask_seed: that the pairs of sites have agreed upon.
    """

    method: Method
    learning: Mapping[str, tuple[int, ...]]
    counted: tuple[str, ...] = ()
    home: tuple[str, ...] = ()
    codec: Codec | None = None
    secure: bool = False
    mask_seed: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Numbers that learn and are shared."""
        return sum(int(np.prod(shape, dtype=int)) for shape in self.learning.values())

    def vector(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """What learns, as one vector."""
        parts = [np.asarray(arrays[name], np.float32).reshape(-1) for name in self.learning]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def named(self, vector: NDArray[Any]) -> Arrays:
        """Back from `vector`."""
        out: Arrays = {}
        at = 0
        for name, shape in self.learning.items():
            length = int(np.prod(shape, dtype=int))
            out[name] = vector[at : at + length].reshape(shape)
            at += length
        return out


@dataclass(frozen=True)
class Order:
    """What the coordinator asks of a site in a round.

    Attributes:
        round: counted from 0.
        begin: local steps that were taken before this round.
        steps: local steps to take.
        state: the common network: what learns and is counted.
        control: the common control variate (SCAFFOLD); empty else.
        places: numbers of the sites that take part in the round.
        share: the site's share of their cases.
    """

    round: int
    begin: int
    steps: int
    state: Arrays
    control: Arrays = field(default_factory=dict)
    places: tuple[int, ...] = ()
    share: float = 1.0


@dataclass(frozen=True)
class Reply:
    """What a site sends back.

    Attributes:
        arrays: its update, as the plan says: by name, compressed (``places`` and ``values``, or
            ``steps`` and ``packed``), or ``masked``; what is counted, by name.
        control: the change of its control variate (SCAFFOLD); empty else.
        loss: mean of its steps.
    """

    arrays: Arrays
    control: Arrays = field(default_factory=dict)
    loss: float = float("nan")


class Site(Protocol):
    """A place where cases stay.

    Attributes:
        name: of the site.
        cases: how many teach there.
    """

    name: str
    cases: int

    def work(self, order: Order) -> Reply:
        """Take the steps of a round on the site's own cases."""

    def memory(self) -> dict[str, Any]:
        """What the site has to keep between rounds: arrays by name and plain values."""

    def remember(self, kept: Mapping[str, Any]) -> None:
        """Go on from what `memory` gave."""


class Coordinator:
    """Holds the common network and asks sites to move it.

    Args:
        plan: of the federation.
        state: the network at the start: what learns and is counted, by name.
        cases: of each site, in the order of their numbers.
        participation: share of the sites that are asked in a round.
        rate: factor of the mean update.
        seed: of who is asked.
        guard: what hides each site in the common network; None for nothing.
    """

    def __init__(
        self, plan: Plan, state: Mapping[str, NDArray[Any]], cases: Sequence[int], *,
        participation: float = 1.0, rate: float = 1.0, seed: int = 1, guard: "Guard | None" = None,
    ) -> None:  # fmt: skip
        self.plan, self.cases, self.rate, self.seed = plan, list(cases), rate, seed
        self.participation, self.guard = participation, guard
        self.state: Arrays = {name: np.array(value) for name, value in state.items()}
        self.control: Arrays = (
            {name: np.zeros(shape, np.float32) for name, shape in plan.learning.items()}
            if plan.method == "scaffold"
            else {}
        )

    def asked(self, number: int) -> list[int]:
        """The sites of a round."""
        if self.guard is not None:
            return self.guard.drawn(number)
        count = max(1, round(self.participation * len(self.cases)))
        rng = np.random.default_rng((self.seed, 31_013, number))
        chosen = rng.choice(len(self.cases), count, replace=False)
        return sorted(int(one) for one in chosen)

    def order(self, number: int, place: int, asked: Sequence[int], *, steps: int) -> Order:
        """What one of the sites of a round is sent."""
        total = sum(self.cases[one] for one in asked)
        return Order(
            number, number * steps, steps, self.state, self.control, tuple(asked),
            self.cases[place] / total,
        )  # fmt: skip

    def gather(self, asked: Sequence[int], replies: Sequence[Reply], number: int = 0) -> None:
        """Move the common network by what the sites of a round sent.

        A site that did not answer is left out of both arguments; under masks all must answer.

        Args:
            asked: numbers of the sites.
            replies: of each.
            number: of the round, of which a guard's noise comes.
        """
        plan, sizes = self.plan, [self.cases[one] for one in asked]
        if plan.secure:
            total = from_fixed_point(unmasked_sum([one.arrays["masked"] for one in replies]))
            update = plan.named(total[: plan.size])
            at = plan.size
            for name in plan.counted:
                shape = self.state[name].shape
                length = int(np.prod(shape, dtype=int))
                update[name] = total[at : at + length].reshape(shape)
                at += length
            updates, sizes = [update], [1]
        elif self.guard is not None:
            read = [plan.vector(self._read(one)) for one in replies]
            updates, sizes = [plan.named(self.guard.mean(number, read, plan.size))], [1]
        else:
            updates = [self._read(one) for one in replies]
        self.state = moved(self.state, updates, sizes, rate=self.rate)
        if self.control:
            for name, value in self.control.items():
                change = np.sum([one.control[name] for one in replies], axis=0, dtype=np.float64)
                self.control[name] = (value + change / len(self.cases)).astype(np.float32)

    def _read(self, reply: Reply) -> Arrays:
        plan = self.plan
        if plan.codec is None:
            return reply.arrays
        update = plan.named(plan.codec.decode(reply.arrays, plan.size))
        return {**update, **{name: reply.arrays[name] for name in plan.counted}}
