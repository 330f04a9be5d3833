"""Networks that write: image captions, answers about pictures, and language models.

All of them are transformers' own classes, built from a configuration of any size or opened from a
local folder in the layout of Hugging Face; nothing is fetched. Names of tensors are transformers'.

Sources: Li et al. 2022 (BLIP), arXiv:2201.12086; Li et al. 2023 (BLIP-2), arXiv:2301.12597; Dai et
al. 2023 (InstructBLIP), arXiv:2305.06500; Liu et al. 2023 (LLaVA), arXiv:2304.08485; Bai et al.
2025 (Qwen2.5-VL), arXiv:2502.13923; Hu et al. 2021 (LoRA), arXiv:2106.09685.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError, UnreadableError, WeightsError
from osler.models.checkpoints.layout import Report

CLASSES: dict[str, tuple[str, str]] = {
    "blip": ("BlipConfig", "BlipForConditionalGeneration"),
    "blip-2": ("Blip2Config", "Blip2ForConditionalGeneration"),
    "instructblip": ("InstructBlipConfig", "InstructBlipForConditionalGeneration"),
    "llava": ("LlavaConfig", "LlavaForConditionalGeneration"),
    "qwen2-5-vl": ("Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration"),
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "qwen2-5": ("Qwen2Config", "Qwen2ForCausalLM"),
}
"""Configuration and class of each network, as transformers names them."""

_KINDS = {
    "blip": "blip", "blip-2": "blip-2", "instructblip": "instructblip", "llava": "llava",
    "qwen2_5_vl": "qwen2-5-vl", "llama": "llama", "qwen2": "qwen2-5",
}  # fmt: skip
_PARTS = {"vision": "vision_config", "text": "text_config", "qformer": "qformer_config"}


def network_of(config: object) -> str | None:
    """The network that a ``config.json`` of transformers is of; None for others."""
    said = config.get("model_type") if isinstance(config, Mapping) else None
    return _KINDS.get(said) if isinstance(said, str) else None


def blip(**options: Any) -> nn.Module:
    """BLIP; options of ``build``."""
    return build("blip", **options)


def blip2(**options: Any) -> nn.Module:
    """BLIP-2; options of ``build``."""
    return build("blip-2", **options)


def instructblip(**options: Any) -> nn.Module:
    """InstructBLIP; options of ``build``."""
    return build("instructblip", **options)


def llava(**options: Any) -> nn.Module:
    """LLaVA 1.5; options of ``build``."""
    return build("llava", **options)


def qwen2_5_vl(**options: Any) -> nn.Module:
    """Qwen2.5-VL; options of ``build``."""
    return build("qwen2-5-vl", **options)


def llama(**options: Any) -> nn.Module:
    """A language model of the Llama family; options of ``build``."""
    return build("llama", **options)


def qwen2_5(**options: Any) -> nn.Module:
    """A language model of the Qwen2.5 family; options of ``build``."""
    return build("qwen2-5", **options)


def build(
    name: str,
    *,
    config: Mapping[str, Any] | None = None,
    lora: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Build one of ``CLASSES`` at random weights.

    Args:
        name: of the network.
        config: a whole configuration, as ``config.json`` has it; then ``options`` are not read.
        lora: train low-rank updates alone: ``rank``, ``alpha``, ``dropout`` and ``targets`` (ends
            of the names of linear layers), through peft.
        options: fields of the configuration; ``vision``, ``text`` and ``qformer`` are those of its
            parts.

    Raises:
        RecipeError: the configuration has no such field, or contradicts itself.
    """
    import transformers

    kind, network = CLASSES[name]
    settings: type[Any] = getattr(transformers, kind)
    if config is not None:
        made = settings.from_dict(dict(config))
    else:
        fields = {_PARTS.get(key, key): value for key, value in options.items()}
        _refuse_unknown(name, settings, fields)
        try:
            made = settings(**fields)
        except (TypeError, ValueError, KeyError) as error:
            raise RecipeError(f"the configuration of '{name}' is wrong: {error}") from error
    net: nn.Module = getattr(transformers, network)(made)
    return net if lora is None else with_lora(net, **lora)


def _refuse_unknown(name: str, settings: type[Any], fields: Mapping[str, Any]) -> None:
    """A configuration takes any field without a word; a misspelt one would change nothing."""
    known = set(settings().to_dict()) | set(_PARTS.values())
    unknown = sorted(set(fields) - known)
    if unknown:
        raise RecipeError(
            f"the network '{name}' does not take these options: {', '.join(unknown)}; it takes "
            f"config, lora and {', '.join(sorted(known - {'transformers_version'}))}"
        )


def with_lora(
    net: nn.Module,
    *,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: list[str] | None = None,
) -> nn.Module:
    """Freeze a network and let low-rank updates of some of its linear layers learn.

    Args:
        net: a network of transformers.
        rank: of each update.
        alpha: each update is multiplied by ``alpha / rank``; None takes twice the rank.
        dropout: share of an update's inputs dropped in training.
        targets: ends of the names of linear layers; None takes ``q_proj`` and ``v_proj``.

    Raises:
        RecipeError: no layer has such a name.
    """
    from peft import LoraConfig, inject_adapter_in_model

    wanted = targets or ["q_proj", "v_proj"]
    scale = 2 * rank if alpha is None else alpha
    settings = LoraConfig(
        r=rank,
        lora_alpha=scale,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=wanted,
    )
    net.requires_grad_(False)
    try:
        out = inject_adapter_in_model(settings, net)
    except ValueError as error:
        raise RecipeError(
            f"LoRA found no layer whose name ends in {', '.join(wanted)}: {error}"
        ) from error
    for name, value in out.named_parameters():
        value.requires_grad_("lora_" in name)
    return out


def open_folder(name: str, folder: Path, options: Mapping[str, Any]) -> tuple[nn.Module, Report]:
    """Open a folder in the layout of Hugging Face; weights are read, never run.

    Args:
        name: of the network.
        folder: with ``config.json`` and safetensors (or a torch file of weights alone).
        options: only ``lora`` can be said of a network that exists.

    Returns:
        the network, and what became of each tensor.

    Raises:
        RecipeError: an option that would change the network.
        WeightsError: the folder is of another network, or its weights do not fill this one.
        UnreadableError: it is damaged.
    """
    import json

    import transformers

    others = sorted(set(options) - {"lora"})
    if others:
        raise RecipeError(
            f"'{folder}' says how '{name}' is built; {', '.join(others)} cannot be said beside it"
        )
    kind, network = CLASSES[name]
    settings: type[Any] = getattr(transformers, kind)
    try:
        said = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableError(f"'{folder}' holds no config.json that can be read") from error
    if said.get("model_type") != settings.model_type:
        raise WeightsError(
            f"'{folder}' is of the kind '{said.get('model_type')}', and '{name}' of the kind "
            f"'{settings.model_type}'"
        )
    try:
        net, found = getattr(transformers, network).from_pretrained(
            folder,
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except Exception as error:  # transformers raises what its parsers raise
        raise UnreadableError(
            f"'{folder}' cannot be opened as '{name}': {type(error).__name__}: {error}"
        ) from error
    report = Report(f"{name} in the layout of Hugging Face", str(folder))
    report.missing = sorted(found["missing_keys"])
    report.unexpected = sorted(found["unexpected_keys"])
    wrong = [str(one[0]) for one in found["mismatched_keys"]]
    own = net.state_dict()
    lost = {*report.missing, *wrong}
    report.matched = sorted(key for key in own if key not in lost)
    total = sum(value.numel() for value in own.values())
    report.share = sum(own[key].numel() for key in report.matched) / max(total, 1)
    if lost:
        raise WeightsError(
            f"'{folder}' brings {report.share:.1%} of '{name}'; absent or of another shape: "
            f"{', '.join(sorted(lost)[:10])}"
        )
    if options.get("lora"):
        net = with_lora(net, **options["lora"])
    net.eval()
    net.options = {"config": said, **options}
    return net, report


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Pictures where there are any, and a few words; the same each time."""
    del size
    generator = torch.Generator().manual_seed(0)
    text = options.get("text") or options
    words = torch.randint(5, min(int(text["vocab_size"]) - 8, 60), (1, 4), generator=generator)
    if name in ("llama", "qwen2-5"):
        return _words(words.expand(batch, -1))
    vision = options["vision"]
    patch = vision["patch_size"]
    if name == "qwen2-5-vl":
        return _qwen(options, words, batch, generator)
    side = vision["image_size"]
    pictures = torch.rand(batch, 3, side, side, generator=generator)
    if name == "blip":
        return {"pixel_values": pictures, **_words(words.expand(batch, -1))}
    shown = (side // patch) ** 2 if name == "llava" else options["num_query_tokens"]
    place = torch.full((1, shown), options["image_token_index"])
    both = torch.cat([place, words], dim=1).expand(batch, -1)
    said = {"pixel_values": pictures, **_words(both)}
    if name == "instructblip":
        asked = _words(words.expand(batch, -1))
        said |= {f"qformer_{key}": value for key, value in asked.items()}
    return said


def _words(ids: Tensor) -> dict[str, Tensor]:
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _qwen(
    options: Mapping[str, Any], words: Tensor, batch: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Qwen2.5-VL takes patches in a row, with the grid that they came from."""
    vision, side = options["vision"], 8
    merged = (side // vision["spatial_merge_size"]) ** 2
    width = 3 * vision["temporal_patch_size"] * vision["patch_size"] ** 2
    tokens = [options["vision_start_token_id"], *[options["image_token_id"]] * merged]
    ids = torch.cat([torch.tensor([[*tokens, options["vision_end_token_id"]]]), words], dim=1)
    ids = ids.expand(batch, -1)
    return {
        "pixel_values": torch.rand(batch * side * side, width, generator=generator),
        "image_grid_thw": torch.tensor([[1, side, side]] * batch),
        "mm_token_type_ids": (ids == options["image_token_id"]).long(),
        **_words(ids),
    }
