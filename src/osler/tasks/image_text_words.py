"""Texts of a case and prompts of classes: which words are said, and as which numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import MissingExtraError, RecipeError, UnreadableError
from osler.models.descriptions import looks_of
from osler.models.words import vocabulary_of, word_ids
from osler.tasks.image_text_settings import ImageTextTaskSettings

Numbers = tuple[NDArray[np.int64], NDArray[np.int64]]
MOST_TEXT = 4000
"""Characters of a text that are looked at; what a longer one says after them is not."""


def keywords_of(text: str, separators: str) -> list[str]:
    """The keywords of a text, in order, each once, in lower case; what cannot be printed goes."""
    text = "".join(one for one in text[:MOST_TEXT] if one.isprintable() or one.isspace())
    for separator in separators[1:]:
        text = text.replace(separator, separators[0])
    parts = (" ".join(part.split()).lower() for part in text.split(separators[0]))
    return list(dict.fromkeys(part for part in parts if part))


def looks(keyword: str, said: ImageTextTaskSettings) -> list[str]:
    """What is known of the look of a keyword; nothing of most."""
    own = {name.lower(): phrases for name, phrases in said.knowledge.looks.items()}
    return list(dict.fromkeys([*own.get(keyword.lower(), []), *looks_of(keyword)]))


def text_drawn(
    keywords: Sequence[str], said: ImageTextTaskSettings, rng: np.random.Generator | None
) -> str:
    """The text of keywords, some of them replaced by a phrase of their look, drawn at random.

    Args:
        keywords: of the case.
        said: the task's settings.
        rng: draws; None leaves all names.
    """
    parts = []
    for word in keywords:
        known = looks(word, said) if rng is not None and said.knowledge.training > 0 else []
        drawn = rng is not None and bool(known) and rng.random() < said.knowledge.training
        parts.append(known[int(rng.integers(len(known)))] if drawn and rng is not None else word)
    return said.caption.replace("{}", ", ".join(parts) or "unknown")


def as_taught(text: str, said: ImageTextTaskSettings) -> str:
    """A text of one's own as those that taught: its keywords in the caption.

    Args:
        text: keywords, a report, or a sentence that has the caption already.
        said: the task's settings.
    """
    before, _, after = said.caption.partition("{}")
    plain = " ".join(text[:MOST_TEXT].split())
    has = plain.casefold().startswith(before.casefold()) and plain.casefold().endswith(
        after.casefold()
    )
    if has and (before.strip() or after.strip()):
        plain = plain[len(before) : len(plain) - len(after)]
    return text_drawn(keywords_of(plain, said.separators), said, None)


def prompts_of(
    classes: Mapping[str, Sequence[str]], said: ImageTextTaskSettings, *, caption: str | None = None
) -> list[list[str]]:
    """The sentences of each class.

    Args:
        classes: name to prompts.
        said: the task's settings.
        caption: sentence around each prompt; None takes the settings'.
    """
    caption = said.caption if caption is None else caption
    out = []
    for name, prompts in classes.items():
        more = []
        if said.knowledge.answering:
            more = [look for one in (name, *prompts) for look in looks(one, said)]
        out.append([caption.replace("{}", one) for one in dict.fromkeys([*prompts, *more])])
    return out


def known_words(
    keywords: Sequence[str], classes: Mapping[str, Sequence[str]], said: ImageTextTaskSettings
) -> list[str]:
    """The vocabulary of the small encoder: of all that may be said in training and of the classes.

    Args:
        keywords: of the teaching cases, one entry for each time that one is said.
        classes: name to prompts.
        said: the task's settings.
    """
    texts = [said.caption.replace("{}", " "), *keywords, "unknown"]
    if said.knowledge.training > 0:
        texts += [look for word in dict.fromkeys(keywords) for look in looks(word, said)]
    asked = [one for prompts in prompts_of(classes, said) for one in prompts]
    found = set(vocabulary_of(texts, least=said.text.least))
    return sorted(found | set(vocabulary_of([said.caption, "unknown", *asked])))


def numbers_of(texts: Sequence[str], said: ImageTextTaskSettings, tokenizer: Any) -> Numbers:
    """Ids and mask of texts, ``(P, longest)`` each.

    Args:
        texts: sentences.
        said: the task's settings.
        tokenizer: of `tokenizer_of`, where a BERT reads them; None for the small encoder.
    """
    longest = said.text.longest
    if tokenizer is None:
        return word_ids(texts, said.text.vocabulary, longest=longest)
    read = tokenizer.encode_batch([text[:MOST_TEXT] for text in texts])
    ids = np.array([one.ids for one in read], np.int64)
    return ids, np.array([one.attention_mask for one in read], np.int64)


def tokenizer_file(encoder: str) -> Path:
    """The tokenizer of the BERT that a recipe names.

    Raises:
        RecipeError: there is none.
    """
    from osler.models.bert_folder import bert_folder

    file = bert_folder(encoder) / "tokenizer.json"
    if not file.is_file():
        raise RecipeError(
            f"settings.text.encoder: '{encoder}' has no tokenizer.json; save its fast tokenizer "
            "there (tokenizer.save_pretrained)"
        )
    return file


def tokenizer_of(content: bytes, *, longest: int) -> Any:
    """The tokenizer in a ``tokenizer.json``, which pads and cuts to one length.

    Raises:
        MissingExtraError: tokenizers is not installed.
        UnreadableError: the file is damaged.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("tokenizers", extra="text", purpose="read texts") from error
    try:
        tokenizer = Tokenizer.from_str(content.decode())
        tokenizer.enable_truncation(longest)
        tokenizer.enable_padding(length=longest)
    except Exception as error:
        raise UnreadableError("the tokenizer.json is damaged") from error
    return tokenizer
