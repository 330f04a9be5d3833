"""The torch network that a bundle was made of, out of the run that it lies in."""

import json

import torch
from torch import nn

from osler.bundles import Bundle
from osler.bundles.answering import task_of
from osler.errors import RecipeError
from osler.learn.checkpoint import NAME
from osler.learn.networks import build
from osler.learn.recipe import Recipe


def network_of(bundle: Bundle) -> nn.Module:
    """The network of a bundle, on the processor and ready to answer.

    Args:
        bundle: in the folder that ``osler fit`` wrote, beside its checkpoint.

    Returns:
        The network with the weights that were chosen. What a strategy makes of a network after its
        training is not in the checkpoint: compare its answers with the bundle's.

    Raises:
        RecipeError: the bundle does not lie in its run, or the checkpoint holds another network.
    """
    folder, name = bundle.folder.parent, bundle.card.name
    record, kept = folder / "run.json", folder / NAME
    if not record.is_file() or not kept.is_file():
        raise RecipeError(
            f"'{name}' is an ONNX graph, which gives answers only; to look inside, name the bundle "
            f"in the folder of its run ('osler fit' leaves run.json and {NAME} beside it), or use "
            "occlusion"
        )
    try:
        recipe = Recipe.model_validate(json.loads(record.read_text(encoding="utf-8"))["recipe"])
        weights = torch.load(kept, map_location="cpu", weights_only=True)["best"]
    except Exception as error:  # whatever a damaged archive makes torch raise
        raise RecipeError(f"'{record}' or '{kept}' is damaged; use occlusion") from error
    blank = recipe.network.model_copy(update={"checkpoint": None})
    with torch.random.fork_rng(devices=[]):  # the weights are replaced: no draw of the caller's
        net = build(
            recipe.model_copy(update={"network": blank}), task_of(bundle.card), folder / "recipe"
        )
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise RecipeError(
            f"'{kept}' holds another network than the recipe of '{name}' names (a strategy may "
            "have changed it); use occlusion"
        ) from error
    return net.eval()
