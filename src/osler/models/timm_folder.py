"""What a folder says to timm, so that ``timm.create_model("local-dir:FOLDER")`` opens it.

Vision transformers and ResNets have timm's own names for their tensors here, so that the folder's
weights fit; other networks have names that timm does not know, and say nothing.
"""

from typing import Any

from torch import nn

from osler.models.card import Card
from osler.models.retfound import RetFound
from osler.models.vit import VisionTransformer

_NORM = 1e-6  # of timm's vision transformers
_RESNETS = {"resnet-18": "resnet18", "resnet-50": "resnet50"}


def for_timm(net: nn.Module, card: Card, options: dict[str, Any]) -> dict[str, Any]:
    """Keys of ``config.json`` beside Osler's; none for a network that timm has not."""
    known: dict[str, Any] | None = None
    twice = getattr(net, "fc_norm_twice", False)  # as one release of the official code has it
    if type(net) in (VisionTransformer, RetFound) and not twice:
        assert isinstance(net, VisionTransformer)
        known = _transformer(net, options)
        size = int(options.get("image_size", 224))
        first, last, name = "patch_embed.proj", "head", "vit_base_patch16_224"
    elif card.name in _RESNETS and _as_published(card, options):
        known, size = {"in_chans": int(options.get("channels", 3))}, 224
        first, last, name = "conv1", "fc", _RESNETS[card.name]
    else:
        return {}
    if known is None:
        return {}
    classes = int(options.get("num_classes") or 0)
    return {
        "architecture": name,
        "num_classes": classes,
        "model_args": {"num_classes": classes, **known},
        "pretrained_cfg": {
            "input_size": [known["in_chans"], size, size],
            "fixed_input_size": name.startswith("vit"),
            "interpolation": "bicubic",
            "num_classes": classes,
            "first_conv": first,
            "classifier": last,
            **_colours(card),
        },
    }


def _as_published(card: Card, options: dict[str, Any]) -> bool:
    free = {"num_classes", "channels", "class_names"}
    return all(
        list(value) == list(was) if isinstance(was := card.options.get(key), list) else value == was
        for key, value in options.items()
        if key not in free
    )


def _transformer(net: VisionTransformer, options: dict[str, Any]) -> dict[str, Any] | None:
    """Arguments of timm's ``VisionTransformer``; None where it cannot be built so."""
    shapes = {name: value.shape for name, value in net.state_dict().items()}
    after = "fc_norm.weight" in shapes
    norm = net.fc_norm if after else net.norm
    plain = "blocks.0.mlp.fc1.weight" in shapes and getattr(norm, "eps", None) == _NORM
    if not plain or net.pool == "none" or (after and net.pool != "avg"):
        return None
    dim, channels, patch, _ = shapes["patch_embed.proj.weight"]
    out = {
        "img_size": int(options.get("image_size", 224)),
        "patch_size": patch,
        "in_chans": channels,
        "embed_dim": dim,
        "depth": net.depth,
        "num_heads": int(options.get("num_heads", 12)),
        "mlp_ratio": shapes["blocks.0.mlp.fc1.weight"][0] / dim,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "global_pool": net.pool,
        "fc_norm": after,
        "reg_tokens": net.registers,
        "no_embed_class": not net.position_prefix,
    }
    return {**out, "init_values": 1e-5} if "blocks.0.ls1.gamma" in shapes else out


def _colours(card: Card) -> dict[str, Any]:
    """Mean and standard deviation, where the card's preprocessing has them."""
    steps = card.preprocessing.steps if card.preprocessing is not None else ()
    for step in steps:
        if step.mean is not None and step.std is not None:
            return {"mean": list(step.mean), "std": list(step.std)}
    return {}
