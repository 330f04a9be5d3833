r"""Learned prompts (CoOp): the words before a class's name are vectors that learn.

.. math:: t_k = g([v_1]\,[v_2] \ldots [v_M]\,[\text{class}_k])

Source: Zhou et al. 2022, "Learning to Prompt for Vision-Language Models", IJCV 130,
arXiv:2109.01134.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import InputError, RecipeError
from osler.learn.strategies.freezing import Tuning, evaluating, exchanged
from osler.learn.strategies.sentences import (
    OnSentences,
    SentenceClassifier,
    SentenceSettings,
    names_of,
)
from osler.learn.strategies.strategy import Context
from osler.models.zero_shot import ImageText


class LearnedPromptsSettings(SentenceSettings):
    """The keys of ``learned-prompts``, beside those of `SentenceSettings`.

    Of each class the first prompt is its name; ``caption`` is not used.

    Attributes:
        words: with which the vectors start, such as ``a fundus photograph of``; empty starts at
            random.
        length: number of the vectors where no words are given.
    """

    words: str = ""
    length: Annotated[int, Field(ge=1, le=64)] = 8


class LearnedPrompts(OnSentences, Tuning):
    """Vectors in the place of words learn; both encoders rest."""

    name: ClassVar[str] = "learned-prompts"
    title: ClassVar[str] = "Learned prompts (CoOp)"
    source: ClassVar[str] = (
        "Zhou et al. 2022, 'Learning to Prompt for Vision-Language Models', IJCV 130"
    )
    Settings: ClassVar[type[SentenceSettings]] = LearnedPromptsSettings

    settings: LearnedPromptsSettings

    def learning(self, net: nn.Module, context: Context) -> tuple[nn.Module, Collection[str]]:
        """The vectors."""
        assert isinstance(net, SentenceClassifier)
        said = self.settings
        names = [said.prompts.get(one, [one])[0] for one in context.task.settings.labels]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.learner.seed)
            prompted = PromptedSentences(net, names, words=said.words, length=said.length)
        context.record["vectors"] = len(prompted.context)
        return prompted, names_of(prompted, [prompted.context])

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        """The classifier by the embeddings that the prompts came to."""
        return exchanged(super().finished(net, context), PromptedSentences, _fixed)


def _fixed(one: "PromptedSentences") -> SentenceClassifier:
    with evaluating(one), torch.no_grad():
        return SentenceClassifier(one.net, one.embedded().clone())


class PromptedSentences(SentenceClassifier):
    """A classifier by sentences that begin with learned vectors.

    Args:
        of: the classifier of fixed sentences.
        names: of the classes.
        words: with which the vectors start.
        length: number of vectors where there are no words.

    Raises:
        RecipeError: the sentences are longer than the network reads.
    """

    ids: Tensor
    mask: Tensor

    def __init__(
        self, of: SentenceClassifier, names: list[str], *, words: str, length: int
    ) -> None:
        super().__init__(of.net, of.texts)
        self.place = word_table(of.net, names)
        table: nn.Embedding = of.net.get_submodule(self.place)  # type: ignore[assignment]
        ids, mask = of.net.tokenize(names)
        if words:
            begun = of.net.tokenize([words])[0][0, 1:-1]  # without what begins and ends a text
            start = table(begun).detach().clone()
        else:
            begun = ids[0, 1].repeat(length)  # any word: vectors take its place
            start = torch.empty(length, table.embedding_dim).normal_(0, 0.02)
        self.context = nn.Parameter(start)
        count = len(names)
        more = begun.expand(count, -1)
        self.register_buffer("ids", torch.cat([ids[:, :1], more, ids[:, 1:]], dim=1))
        self.register_buffer(
            "mask", torch.cat([mask[:, :1], torch.ones_like(more), mask[:, 1:]], dim=1)
        )
        if self.ids.shape[1] > of.net.longest:
            raise RecipeError(
                f"strategies.learned-prompts: {len(start)} vectors and the longest name are "
                f"{self.ids.shape[1]} tokens, and the network reads {of.net.longest}; say fewer"
            )

    def embedded(self) -> Tensor:
        """The classes' embeddings ``(L, D)``, of length 1."""
        with replaced(self.net, self.place, self.context):
            return self.net.embed_text(self.ids, self.mask)

    def scores(self, seen: Tensor) -> Tensor:
        """Embeddings of pictures ``(B, D)`` to ``(B, L)``."""
        return self.net.scale() * seen @ self.embedded().T


def word_table(net: ImageText, names: list[str]) -> str:
    """The name of the module that turns tokens into vectors.

    Raises:
        RecipeError: the network's encoder of texts asks no such module for them.
    """
    ids, mask = net.tokenize(names)
    found: list[str] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, said: Any) -> None:
            del module, said
            if args and isinstance(args[0], Tensor) and torch.equal(args[0], ids):
                found.append(name)

        return hook

    tables = [name for name, one in net.named_modules() if isinstance(one, nn.Embedding)]
    handles = [net.get_submodule(name).register_forward_hook(note(name)) for name in tables]
    try:
        with evaluating(net), torch.no_grad():
            net.embed_text(ids, mask)
    except InputError as error:
        raise RecipeError(f"strategies.learned-prompts: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise RecipeError(
            "strategies.learned-prompts: the network does not read texts word by word, so vectors "
            "cannot take the place of words; take clip-adapter or tip-adapter"
        )
    return found[0]


@contextmanager
def replaced(net: nn.Module, table: str, vectors: Tensor) -> Iterator[None]:
    """While it lasts, vectors take the place of the words after the first token of each text."""

    def hook(module: nn.Module, args: Any, said: Tensor) -> Tensor:
        del module, args
        after = said[:, 1 + len(vectors) :]
        given = vectors.to(said.dtype).expand(len(said), -1, -1)
        return torch.cat([said[:, :1], given, after], dim=1)

    handle = net.get_submodule(table).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
