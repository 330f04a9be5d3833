"""LLaVA-Med 1.5: its published folder, which no class of transformers opens, as a LLaVA.

The folder says ``llava_mistral`` and keeps the vision tower and the projector within the language
model's names. Here its tensors go into ``LlavaForConditionalGeneration``; two tokens are added, one
that stands for a picture's patch and one for padding.

Source: Li et al. 2023, "LLaVA-Med: training a large language-and-vision assistant for biomedicine
in one day", NeurIPS, arXiv:2306.00890.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osler.models import generative
from osler.models.checkpoints.layout import Layout, Shapes

ADDED = 2
"""Tokens added to the vocabulary: the picture's and padding, in this order."""


def llava_med(
    *,
    vision: Mapping[str, Any],
    text: Mapping[str, Any],
    lora: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """LLaVA with a Mistral; options of ``generative.build``.

    Args:
        vision: fields of the CLIP vision tower's configuration.
        text: fields of the Mistral's; ``vocab_size`` counts the two added tokens.
        lora: as in ``generative.build``.
        options: further fields of LLaVA's configuration.
    """
    words = int(text["vocab_size"])
    return generative.build(
        "llava",
        vision={"model_type": "clip_vision_model", **vision},
        text={"model_type": "mistral", "pad_token_id": words - 1, **text},
        lora=lora,
        **{
            "image_token_index": words - ADDED,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            **options,
        },
    )


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """A picture and a few words."""
    words = int(options["text"]["vocab_size"])
    return generative.example("llava", {"image_token_index": words - ADDED, **options}, batch, size)


def _inferred(shapes: Shapes) -> dict[str, Any]:
    """The widths and depths that the shapes tell; heads cannot be seen."""
    prefix = "model.language_model"
    words, width = shapes[f"{prefix}.embed_tokens.weight"]
    text = {
        "vocab_size": words + ADDED,
        "hidden_size": width,
        "intermediate_size": shapes[f"{prefix}.layers.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": _depth(shapes, f"{prefix}.layers."),
    }
    vision: dict[str, Any] = {}
    tower = "model.vision_tower"
    patch = shapes.get(f"{tower}.embeddings.patch_embedding.weight")
    if patch is not None:
        places = shapes[f"{tower}.embeddings.position_embedding.weight"][0]
        vision = {
            "hidden_size": patch[0],
            "patch_size": patch[2],
            "image_size": round((places - 1) ** 0.5) * patch[2],
            "intermediate_size": shapes[f"{tower}.encoder.layers.0.mlp.fc1.weight"][0],
            "num_hidden_layers": _depth(shapes, f"{tower}.encoder.layers."),
        }
    return {"text": text, "vision": vision}


def _depth(shapes: Shapes, prefix: str) -> int:
    numbers = {
        name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)
    }
    return len(numbers)


def _grown(value: Tensor, due: torch.Size) -> Tensor | None:
    """Rows for the added tokens, each the mean of all rows, so that they surprise nobody."""
    if value.shape[1:] != due[1:] or due[0] - value.shape[0] != ADDED:
        return None
    return torch.cat([value, value.float().mean(0, keepdim=True).to(value.dtype).repeat(ADDED, 1)])


TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] "
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endif %} [/INST]{% else %}{{ m['content'] }}</s>{% endif %}{% endfor %}"
)
"""A conversation as its Mistral was taught it; the tokenizer puts the beginning before it."""


def speak(net: nn.Module, source: Path, folder: Path) -> None:
    """Write the tokenizer with the two added tokens, and what prepares pictures, beside a network.

    Nothing is written where the published folder has no tokenizer that transformers opens.

    Args:
        net: converted.
        source: the published folder.
        folder: with the converted network.
    """
    from transformers import AutoTokenizer, LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    config: Any = net.config
    try:
        words = AutoTokenizer.from_pretrained(
            folder if (folder / "tokenizer_config.json").is_file() else source,
            local_files_only=True, trust_remote_code=False,
        )  # fmt: skip
    except Exception:  # noqa: BLE001 - whatever transformers makes of a folder without one
        return
    words.add_tokens(["<image>", "<pad>"], special_tokens=True)
    words.pad_token = "<pad>"
    if words.convert_tokens_to_ids("<image>") != config.image_token_index:
        return
    side = int(config.vision_config.image_size)
    made: Any = LlavaProcessor
    made(
        image_processor=LlavaImageProcessorPil(
            do_pad=True,  # to a square of the mean colour, as it was taught
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
        ),
        tokenizer=words,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


LAYOUTS = (
    Layout(
        "LLaVA-Med 1.5 (llava_mistral)",
        ("llava-med",),
        marks=(r"^model\.mm_projector\.0\.weight", r"^model\.layers\.0\.self_attn\.q_proj"),
        rename=(
            (r"^model\.mm_projector\.0\.", "model.multi_modal_projector.linear_1."),
            (r"^model\.mm_projector\.2\.", "model.multi_modal_projector.linear_2."),
            (r"^model\.vision_tower\.vision_tower\.vision_model\.", "model.vision_tower."),
            (r"^model\.(embed_tokens|layers|norm)\.", r"model.language_model.\1."),
        ),
        drop=(r"\.position_ids$", r"rotary_emb\.inv_freq$"),
        heads=(),
        options=_inferred,
        refits=((r"(embed_tokens|lm_head)\.weight$", _grown),),
    ),
)
