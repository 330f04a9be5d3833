"""The ordered list of strategies."""

import difflib
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from osler.errors import RecipeError
from osler.tasks.catalogue import explain

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe
    from osler.learn.strategies.strategy import Strategy
    from osler.tasks.task import Task

STRATEGIES: Final[tuple[tuple[str, str], ...]] = (
    ("active", "osler.learn.strategies.active:Active"),
    ("deep-ensemble", "osler.learn.strategies.ensemble:DeepEnsemble"),
    ("contrastive", "osler.learn.strategies.contrastive:Contrastive"),
    ("masked-autoencoding", "osler.learn.strategies.masked_autoencoding:MaskedAutoencoding"),
    ("self-distillation", "osler.learn.strategies.self_distillation:SelfDistillation"),
    ("image-text", "osler.learn.strategies.image_text:ImageText"),
    ("linear-probe", "osler.learn.strategies.linear_probe:LinearProbe"),
    ("last-blocks", "osler.learn.strategies.last_blocks:LastBlocks"),
    ("lora", "osler.learn.strategies.lora:Lora"),
    ("adapters", "osler.learn.strategies.adapters:Adapters"),
    ("visual-prompts", "osler.learn.strategies.visual_prompts:VisualPrompts"),
    ("clip-adapter", "osler.learn.strategies.clip_adapter:ClipAdapter"),
    ("tip-adapter", "osler.learn.strategies.tip_adapter:TipAdapter"),
    ("learned-prompts", "osler.learn.strategies.learned_prompts:LearnedPrompts"),
    ("prototypes", "osler.learn.strategies.prototypes:Prototypes"),
    ("maml", "osler.learn.strategies.maml:Maml"),
    ("cyclegan", "osler.learn.strategies.cyclegan:CycleGan"),
    ("fourier-style", "osler.learn.strategies.fourier_style:FourierStyle"),
    ("adain", "osler.learn.strategies.adain:Adain"),
    ("histogram-matching", "osler.learn.strategies.histogram_matching:HistogramMatching"),
    ("adversarial", "osler.learn.strategies.adversarial:Adversarial"),
    ("separate-features", "osler.learn.strategies.separate_features:SeparateFeatures"),
    ("separate-inputs", "osler.learn.strategies.separate_inputs:SeparateInputs"),
    ("mean-teacher", "osler.learn.strategies.mean_teacher:MeanTeacher"),
    ("pseudo-labels", "osler.learn.strategies.pseudo_labels:PseudoLabels"),
    ("partial-labels", "osler.learn.strategies.partial_labels:PartialLabels"),
    ("image-labels", "osler.learn.strategies.image_labels:ImageLabels"),
    ("distillation", "osler.learn.strategies.distillation:Distillation"),
    ("quantisation-aware", "osler.learn.strategies.quantisation:Quantisation"),
    ("pruning", "osler.learn.strategies.pruning:Pruning"),
    ("mc-dropout", "osler.learn.strategies.mc_dropout:McDropout"),
    ("swag", "osler.learn.strategies.swag:Swag"),
    ("evidential", "osler.learn.strategies.evidential:Evidential"),
    ("co-teaching", "osler.learn.strategies.co_teaching:CoTeaching"),
    ("sequence", "osler.learn.strategies.sequence:Sequential"),
    ("replay", "osler.learn.strategies.replay:Replay"),
    ("ewc", "osler.learn.strategies.ewc:Ewc"),
    (
        "test-time-statistics",
        "osler.learn.strategies.adaptive_statistics:AdaptiveStatistics",
    ),
    ("tent", "osler.learn.strategies.tent:Tent"),
    (
        "differential-privacy",
        "osler.learn.strategies.differential_privacy:DifferentialPrivacy",
    ),
    ("federated", "osler.learn.strategies.federated:Federated"),
)
"""Name to the class, imported when it is asked for; they act in this order."""


def names(extra: "Sequence[type[Strategy]]" = ()) -> list[str]:
    """The names of all strategies."""
    return [*(name for name, _ in STRATEGIES), *(one.name for one in extra)]


def find(name: str, extra: "Sequence[type[Strategy]]" = ()) -> "type[Strategy]":
    """The class of a strategy.

    Args:
        name: as a recipe says it.
        extra: strategies of one's own, looked through first.

    Raises:
        RecipeError: there is no such strategy; the message names the nearest.
    """
    for one in extra:
        if one.name == name:
            return one
    for known, place in STRATEGIES:
        if known == name:
            module, _, attribute = place.partition(":")
            found: type[Strategy] = getattr(import_module(module), attribute)
            return found
    near = difflib.get_close_matches(name, names(extra), n=1, cutoff=0.5)
    nearest = f"; the nearest is '{near[0]}'" if near else ""
    known_ones = ", ".join(names(extra))
    raise RecipeError(f"there is no strategy '{name}'{nearest} (there are: {known_ones})")


def strategies_of(
    recipe: "Recipe", task: "Task", extra: "Sequence[type[Strategy]]" = ()
) -> "tuple[list[Strategy], list[str]]":
    """The strategies of a recipe in the order in which they act, and what is wrong with them.

    Args:
        recipe: checked by itself.
        task: the recipe's.
        extra: strategies of one's own, which act after Osler's.
    """
    faults: list[str] = []
    made: list[Strategy] = []
    order = {name: place for place, name in enumerate(names(extra))}
    for name in sorted(recipe.strategies, key=lambda one: order.get(one, -1)):
        try:
            kind = find(name, extra)
        except RecipeError as error:
            faults.append(f"strategies.{name}: {error}")
            continue
        try:
            made.append(kind(kind.Settings.model_validate(recipe.strategies[name])))
        except ValidationError as error:
            faults += [explain(one, kind.Settings, f"strategies.{name}") for one in error.errors()]
    for one in made:
        faults += [f"strategies.{one.name}: {said}" for said in _misfits(one, made, recipe, task)]
    return made, faults


def _misfits(
    one: "Strategy", made: "Sequence[Strategy]", recipe: "Recipe", task: "Task"
) -> list[str]:
    """What does not go with a strategy, in a sentence each."""
    out: list[str] = []
    if one.tasks and task.name not in one.tasks:
        return [f"goes with the tasks {', '.join(one.tasks)}, not with {task.name}"]
    if one.needs_unlabelled and not recipe.some_unlabelled:
        out.append(
            "learns from cases without a label too, and the recipe has none; name a cohort under "
            "unlabelled, set labels.blank, or take labels away with labels.share"
        )
    learner = recipe.learner
    asked = {
        "float16": learner.precision == "float16",
        "accumulate": learner.accumulate > 1,
        "checkpointing": learner.checkpointing,
    }
    out += [f"does not go with learner.{key}: {one.refuses[key]}" if key != "float16"
            else f"does not go with learner.precision float16: {one.refuses[key]}"
            for key, there in asked.items() if there and key in one.refuses]  # fmt: skip
    for name in recipe.strategies:
        if name != one.name and name in one.refuses:
            out.append(f"does not go with '{name}': {one.refuses[name]}")
    for other in made:
        if other is one or other.name in one.refuses:
            continue
        if why := one.refuses.get(other.role):
            out.append(f"does not go with '{other.name}': {why}")
        elif other.role == one.role and one.role in ("tuning", "training") and (
            made.index(one) < made.index(other)
        ):  # fmt: skip
            what = "which weights learn" if one.role == "tuning" else "how the steps are taken"
            out.append(f"does not go with '{other.name}': both say {what}; keep one of them")
    return out + one.faults(recipe, task)
