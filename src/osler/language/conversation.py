"""Several questions about one case, each of which may refer to the one before."""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from osler.language.answers import Answer
from osler.language.asking import ask
from osler.language.engine import Engine
from osler.language.questions import Question
from osler.language.tools import Toolbox

if TYPE_CHECKING:
    from osler.bundles import Bundle

MOST_TURNS = 20
"""Most questions that are kept; older ones are forgotten."""


@dataclass(slots=True, eq=False)
class Conversation:
    """A conversation about one case.

    Attributes:
        tools: over the case.
        engine: puts answers into words; None answers by rule.
        bundle: answers instead, where it is given.
        certain: probability below which a bundle's answer is "I cannot see that".
        language: of the answers; None takes that of each question.
        turns: questions and answers, oldest first, at most ``MOST_TURNS``.
    """

    tools: Toolbox
    engine: Engine | None = None
    bundle: "Bundle | None" = None
    certain: float = 0.5
    language: str | None = None
    turns: deque[tuple[str, Answer]] = field(default_factory=lambda: deque(maxlen=MOST_TURNS))
    _last: Question | None = field(default=None, init=False, repr=False)

    def ask(self, text: str) -> Answer:
        """Answer the next question.

        Raises:
            BundleError: the bundle is of another task.
            InputError: the case has no image that the bundle takes.
        """
        said, asked = ask(
            text,
            self.tools,
            engine=self.engine,
            bundle=self.bundle,
            certain=self.certain,
            language=self.language,
            last=self._last,
            turns=[(q, a.text) for q, a in self.turns],
        )
        self.turns.append((asked.text, said))
        if asked.topics:
            self._last = asked
        return said
