"""A language engine: whatever puts messages into words, on this machine or on a server one names.

There is no default: without an engine every report is written by rule. What an engine writes is
text and nothing else; it is bounded, stripped of control characters, and checked by who asks.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from osler.errors import OslerError, RecipeError

MOST_ASKED: Final = 400_000
"""Most characters of all the messages of one call."""

MOST_WRITTEN: Final = 60_000
"""Most characters that are taken of an answer; the rest is cut off."""

# <|im_start|>, <start_of_turn>, <s>, <image>, [INST] and their like, of any model
_MARKS: Final = re.compile(
    r"<[|｜][^<>|｜\s]{1,40}[|｜]>|</?(?:s|bos|eos|pad|unk|image|video|audio|img|tool_call|think)>"
    r"|<(?:start|end)_of_(?:turn|image|text)>|<(?:image|patch)_[a-z_]{1,30}>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|IMG)\]|<</?SYS>>",
    re.IGNORECASE,
)
# what a model that thinks aloud writes before its answer
_THOUGHT: Final = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)

KINDS: Final = (
    "none",
    "transformers:FOLDER",
    "llama.cpp:FILE.gguf",
    "openai:http://host:port/v1#MODEL",
)
"""How an engine is named."""


class EngineError(OslerError):
    """A language engine is down, too slow, or answers with nothing that can be used."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: who speaks; what a case says is always the ``user``'s, quoted, never ``system``.
        text: the words.
    """

    role: Literal["system", "user", "assistant"]
    text: str


class Engine(ABC):
    """Something that writes; close it, or use it in ``with``, to free its memory.

    Attributes:
        name: what it is called in reports, without keys or passwords.
        sees_images: whether ``images`` may be given to it.
    """

    name: str
    sees_images: bool = False

    def write(
        self,
        messages: Sequence[Message],
        *,
        images: Sequence[NDArray[np.uint8]] = (),
        limit: int = 1024,
        seed: int = 0,
    ) -> str:
        """The next turn of a conversation.

        Args:
            messages: the turns so far, the last of them the user's.
            images: ``(3, H, W)``, sRGB, shown with the last turn.
            limit: most tokens to write.
            seed: of whatever is left to chance.

        Returns:
            The words, never empty, without control characters.

        Raises:
            EngineError: the engine is down, too slow, or wrote nothing.
            RecipeError: it is asked for what it cannot do.
        """
        if not messages or messages[-1].role != "user":
            raise RecipeError("an engine is asked with messages of which the last is the user's")
        if sum(len(one.text) for one in messages) > MOST_ASKED:
            raise RecipeError(f"an engine is asked at most {MOST_ASKED:,} characters at once")
        if images and not self.sees_images:
            raise RecipeError(f"the engine '{self.name}' sees no images; ask it in words alone")
        for image in images:
            if image.ndim != 3 or image.shape[0] != 3 or image.dtype != np.uint8:
                raise RecipeError(
                    f"an image of shape {image.shape} {image.dtype} is not (3, H, W) uint8"
                )
        if limit < 1:
            raise RecipeError(f"an engine writes at least one token, not {limit}")
        turns = [Message(one.role, inert(one.text)) for one in messages]
        text = self._write(turns, images=images, limit=limit, seed=seed)
        text = _THOUGHT.sub("", clean(text[: 4 * MOST_WRITTEN]))[:MOST_WRITTEN]
        if not text.strip():
            raise EngineError(f"the engine '{self.name}' wrote nothing")
        return text.strip()

    @abstractmethod
    def _write(
        self,
        messages: Sequence[Message],
        *,
        images: Sequence[NDArray[np.uint8]],
        limit: int,
        seed: int,
    ) -> str:
        """As ``write``, of arguments that were looked at."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what it holds."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def open_engine(said: str, *, timeout: float = 120.0) -> Engine | None:
    """The engine of a name; nothing is opened, and no host is asked, that the name does not say.

    The key of a server is read from the environment variable ``OSLER_ENGINE_KEY``, where it is
    set, and stands in no message and no log.

    Args:
        said: ``"none"``; ``"transformers:FOLDER"``, a folder of the transformers library with
            weights in safetensors; ``"llama.cpp:FILE.gguf"``; or
            ``"openai:http://host:port/v1#MODEL"``, a server with the OpenAI interface, such as
            vLLM, Ollama or llama-server (``"openai+images:"`` where its model sees images).
        timeout: seconds that one answer may take in all.

    Returns:
        The engine, or None for ``"none"``.

    Raises:
        RecipeError: the name says no engine.
        InputError: the folder or file cannot be used.
        MissingExtraError: a package that it takes is not installed.
    """
    if not timeout > 0:
        raise RecipeError(f"an engine needs a time in seconds, not {timeout}")
    if said == "none":
        return None
    kind, _, where = said.partition(":")
    if kind == "transformers" and where:
        from osler.language.engine_folder import FolderEngine

        return FolderEngine(where, timeout=timeout)
    if kind == "llama.cpp" and where:
        from osler.language.engine_llama import LlamaEngine

        return LlamaEngine(where, timeout=timeout)
    if kind in ("openai", "openai+images") and where:
        from osler.language.engine_server import ServerEngine

        return ServerEngine(where, timeout=timeout, sees_images=kind == "openai+images")
    raise RecipeError(f"'{kind[:40]}' is no language engine; say {', '.join(KINDS)}")


def name_of(said: str) -> str:
    """What an engine is called in reports; nothing is opened for it."""
    kind, _, where = said.partition(":")
    if kind == "transformers":
        return Path(where).resolve().name
    if kind == "llama.cpp":
        return Path(where).stem
    address, _, model = where.partition("#")
    return f"{model} at {urlsplit(address).netloc}"


def inert(text: str) -> str:
    """Text without the marks by which models tell turns, roles and images apart.

    What a record quotes could else close the user's turn and open the system's.
    """
    return _MARKS.sub(" ", text)


def clean(text: str, *, keep: str = "\n\t") -> str:
    """Text without control characters, turns of direction, or characters that show nothing.

    Args:
        text: any text.
        keep: control characters that stay.
    """
    out = []
    for char in text:
        kind = unicodedata.category(char)
        if char in keep or kind not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            out.append(char)
        elif kind in ("Zl", "Zp") or char in "\r\n\t\x0b\x0c":
            out.append(" ")
    return "".join(out)
