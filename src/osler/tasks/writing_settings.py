"""The keys of the task `writing`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from osler.tasks.image_input import ImageInput
from osler.tasks.task import Settings


class NamedFinding(Settings):
    """A finding that a text may name.

    Attributes:
        words: ways to name it, in any case; a sentence that holds one and negates it says that it
            is not there.
        column: the cohort's label column that tells whether it is there (``0``, ``no``, ``none``,
            ``false`` and an empty cell are no); None asks the reference text instead.
    """

    words: Annotated[list[str], Field(min_length=1)]
    column: str | None = None


class WritingSettings(Settings):
    """The keys of writing.

    Attributes:
        image: which image, and how it is made alike; ``size`` must be set. None writes without.
        prompt: the text item or the variable that is read first, such as a question or what was
            measured. None writes about the picture alone.
        target: the cohort's label column with the text, or the name of a text item.
        lower: texts are read and written in lower case.
        prompt_length: tokens of a prompt that are read; what comes after is cut off and flagged.
        length: tokens that are written at most, the end among them.
        merges_at_most: merges of bytes beside the 256 bytes.
        beams: texts that are followed at a time; 1 takes the likeliest token each time.
        smoothing: share of the truth that is spread over all tokens in training.
        other_numbers: share of the steps' examples in which the numbers that prompt and text share,
            decimal ones and those of two digits or more, are others, the same in both: it teaches
            to copy them. Leave it at 0 where the text concludes something from such numbers.
        certain: probability of the whole text below which it is "cannot say"; 0 always writes.
        language: of what is written, BCP 47.
        section: of the passage that it becomes.
        findings: what a text may name, for figures of what it says.
        merges: pairs of numbers that became one; found by itself.
        commonest: the commonest text; found by itself.
        by_start: the commonest text to prompts that begin with the same words; found by itself.
    """

    image: ImageInput | None = None
    prompt: str | None = None
    target: str = "report"
    lower: bool = False
    prompt_length: Annotated[int, Field(ge=1, le=4096)] = 48
    length: Annotated[int, Field(ge=2, le=4096)] = 32
    merges_at_most: Annotated[int, Field(ge=0, le=20_000)] = 500
    beams: Annotated[int, Field(ge=1, le=16)] = 1
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    other_numbers: Annotated[float, Field(ge=0, le=1)] = 0.0
    certain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    language: str = "en"
    section: str = "findings"
    findings: dict[str, NamedFinding] = {}
    merges: list[tuple[int, int]] = []
    commonest: str = ""
    by_start: dict[str, str] = {}

    @model_validator(mode="after")
    def _reads_something(self) -> Self:
        if self.image is None and self.prompt is None:
            raise ValueError("one of image and prompt must be set, or both")
        if self.image is not None and self.image.size is None:
            raise ValueError("image.size must be set, such as [128, 128]")
        for n, (a, b) in enumerate(self.merges):  # a card is data from elsewhere
            if not (3 <= a < 259 + n and 3 <= b < 259 + n):
                raise ValueError(f"merges: pair {n} names tokens that are not made before it")
        return self
