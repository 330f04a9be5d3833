"""Networks of a task whose cases are more than pictures: signals, tables, or a table beside either.

A network of a signal is told which channels there are and where the signal ends, one of a table
which values are known. Where a table stands beside an image or a signal, each has a network of its
own and their scores are added: what the table says shifts what the image says (late fusion on the
scale of the scores, so of log odds or log hazards).
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from osler.tasks.case_input import IMAGE, KNOWN, LEADS, LENGTH, SIGNAL, TABLE


class Joined(nn.Module):
    """The sum of the scores of the networks of a case's parts.

    Args:
        names: of the inputs, in the order in which they are given.
        parts: network of the ``image``, the ``signal`` and the ``table``, those that there are.
    """

    def __init__(self, names: Sequence[str], parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.parts = nn.ModuleDict(dict(parts))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Scores ``(B, L)``."""
        given = dict(zip(self.names, inputs, strict=True))
        scores: list[Tensor] = []
        for name, net in self.parts.items():
            if name == IMAGE:
                scores.append(net(given[IMAGE]))
            elif name == SIGNAL:
                length = given[LENGTH][:, 0].long()
                scores.append(net(given[SIGNAL], given[LEADS] > 0.5, length))
            else:
                scores.append(net(numbers=given[TABLE], present=given[KNOWN] > 0.5))
        total = scores[0]
        for one in scores[1:]:
            total = total + one
        return total
