"""Ask a bundle of pictures and texts for other classes than its own, without torch.

bundle = osler.bundles.load("runs/odir-image-text/bundle")
bundle = asked(bundle, ["glaucoma", "normal fundus"])
osler.bundles.answering.answer(bundle, case)
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from osler.bundles.answering import task_of
from osler.bundles.card import Label
from osler.bundles.session import Bundle
from osler.errors import BundleError, RecipeError
from osler.tasks.image_text import SCORES, ImageTextTask
from osler.tasks.image_text_words import prompts_of

MOST_LABELS = 1000
MOST_LETTERS = 300


def reads_texts(bundle: Bundle) -> bool:
    """Whether a bundle answers by words."""
    return bundle.card.task == ImageTextTask.name


def asked(
    bundle: Bundle,
    labels: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    caption: str | None = None,
    knowledge: bool = False,
    ensemble: Literal["mean", "max", "direction"] | None = None,
) -> Bundle:
    """The bundle as it answers for other classes, of which it may never have been shown one.

    Args:
        bundle: of the task ``image-text``.
        labels: names of classes; or, for each, its prompts.
        caption: sentence around each prompt, with ``{}``; None takes that of the training.
        knowledge: add what Osler knows of the look of each label.
        ensemble: how the prompts of a class become one score; None takes the bundle's.

    Raises:
        BundleError: the bundle is of another task, or lacks its encoder of texts.
        RecipeError: the labels or the caption cannot be used.
    """
    task = _task(bundle)
    classes = _checked(labels)
    if caption is not None and "{}" not in caption:
        raise RecipeError(f"the sentence '{caption}' has no {{}} for the label to stand at")
    said = task.settings
    told = said.model_copy(
        update={"knowledge": said.knowledge.model_copy(update={"answering": knowledge})}
    )
    table: list[list[list[float]]] = []
    scale = 1.0
    for prompts in prompts_of(classes, told, caption=caption):
        rows, scale = task.embedded(prompts)
        table.append([[round(float(one), 6) for one in row] for row in rows])
    settings = {
        **bundle.card.settings,
        "classes": {name: list(prompts) for name, prompts in classes.items()},
        "table": table, "scale": scale, "ensemble": ensemble or said.ensemble,
    }  # fmt: skip
    outputs = [
        one.model_copy(update={"labels": [Label(name=name) for name in classes]})
        if one.name == SCORES
        else one
        for one in bundle.card.outputs
    ]
    card = bundle.card.model_copy(update={"settings": settings, "outputs": outputs})
    return Bundle(card, bundle.folder, relabelled=[SCORES])


def embedded(bundle: Bundle, texts: Sequence[str]) -> NDArray[np.float32]:
    """Where texts lie in the bundle's space: ``(P, D)``, each of length 1.

    Args:
        bundle: of the task ``image-text``.
        texts: as they are; the bundle was taught with ``settings["caption"]`` around keywords.

    Raises:
        BundleError: the bundle is of another task, or lacks its encoder of texts.
        InputError: there is no text.
    """
    return _task(bundle).embedded(texts)[0]


def _task(bundle: Bundle) -> ImageTextTask:
    task = task_of(bundle.card) if reads_texts(bundle) else None
    if not isinstance(task, ImageTextTask):
        raise BundleError(
            f"bundle '{bundle.card.name}' is of the task '{bundle.card.task}', which reads no "
            "texts; labels by words are for bundles of the task 'image-text'"
        )
    task.opened(bundle)
    return task


def _checked(labels: Sequence[str] | Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    if isinstance(labels, str):
        raise RecipeError("labels are a list of names, or lists of prompts by name")
    prompts = labels if isinstance(labels, Mapping) else {name: [name] for name in labels}
    classes = {name: list(said) for name, said in prompts.items()}
    if len(classes) < 2 or len(classes) > MOST_LABELS:
        raise RecipeError(
            f"{len(classes)} different labels were named; name 2 to {MOST_LABELS}, such as "
            "'normal fundus' beside what is looked for"
        )
    if not isinstance(labels, Mapping) and len(classes) < len(labels):
        raise RecipeError("a label is named twice")
    for name, said in classes.items():
        if not said or not all(one.strip() for one in (name, *said)):
            raise RecipeError("a label or a prompt is empty")
        if max(map(len, (name, *said))) > MOST_LETTERS:
            raise RecipeError(f"a label or a prompt has more than {MOST_LETTERS} letters")
        if not all(one.isprintable() for one in (name, *said)):
            raise RecipeError("a label or a prompt holds characters that cannot be printed")
    return classes
