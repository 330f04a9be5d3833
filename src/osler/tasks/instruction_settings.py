"""The keys of the task `instruction`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from osler.tasks.task import Settings
from osler.tasks.writing_settings import NamedFinding


class InstructionSettings(Settings):
    """The keys of instruction tuning.

    Attributes:
        model: folder of the transformers library that is taken further: config.json, weights in
            safetensors, a tokenizer, and a processor where it sees images; relative to the recipe.
        images: image items of a case that are shown; empty for words alone.
        largest_side: images are made smaller to it, pixels, before the model's own processor.
        system: what is said to the model before the conversation.
        question: the text item or variable with the question or findings; None asks ``ask``.
        ask: what is asked where a case has no question of its own.
        history: the variable with the turns before, as JSON of pairs (``user`` or ``assistant``,
            text), where a case has it.
        answer: the cohort's label column with the answer or report, or the name of a text item.
        length: most tokens of an example; what is longer is cut, and left out where nothing of the
            answer is left.
        answer_length: most tokens that are written when the model is judged.
        most_judged: most cases that test for which answers are written.
        rank: of each low-rank update.
        alpha: updates are multiplied by ``alpha / rank``.
        dropout: share of an update's inputs dropped in training.
        targets: ends of the names of the linear layers that are updated.
        vision: whether layers of the image encoder are updated too.
        bits: 4 or 8 to hold the frozen weights in so many bits (QLoRA; extra ``quantised``).
        pack: several conversations share a row, each seeing itself alone (words alone).
        write: what is written: the ``adapter``, the whole model ``merged`` with it, or ``both``.
        language: of the answers, BCP 47.
        section: of the passage that an answer becomes.
        findings: what an answer may name, for figures of what it says.
        commonest: the commonest answer; found by itself.
        by_start: the commonest answer to questions that begin with the same words; found by itself.
    """

    model: Annotated[str, Field(min_length=1)]
    images: list[str] = []
    largest_side: Annotated[int, Field(ge=16, le=4096)] = 448
    system: str = ""
    question: str | None = "question"
    ask: str = "Write the report."
    history: str = "history"
    answer: str = "answer"
    length: Annotated[int, Field(ge=8, le=131_072)] = 1024
    answer_length: Annotated[int, Field(ge=1, le=8192)] = 128
    most_judged: Annotated[int, Field(ge=1)] = 500
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: Annotated[list[str], Field(min_length=1)] = [
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    ]  # fmt: skip
    vision: bool = False
    bits: Literal[4, 8] | None = None
    pack: bool = False
    write: Literal["adapter", "merged", "both"] = "both"
    language: str = "en"
    section: str = "findings"
    findings: dict[str, NamedFinding] = {}
    commonest: str = ""
    by_start: dict[str, str] = {}

    @property
    def prompt(self) -> str | None:
        """As `WritingSettings` calls the question."""
        return self.question

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.pack and self.images:
            raise ValueError("pack shares rows of words alone; leave it out where images are shown")
        return self
