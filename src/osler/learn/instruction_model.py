"""A folder of transformers whose low-rank updates learn, and what is written of it.

Nothing is fetched, no code that a folder brings is run, and weights are read and written as
safetensors alone.

Sources: Hu et al. 2021, "LoRA: low-rank adaptation of large language models", arXiv:2106.09685;
Dettmers et al. 2023, "QLoRA: efficient finetuning of quantized LLMs", arXiv:2305.14314.
"""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from osler.errors import MissingExtraError, RecipeError
from osler.io.hushing import hushed
from osler.learn.instruction_tokens import Speaker
from osler.tasks.instruction_settings import InstructionSettings

_VISION = r".*(vision|visual|image_encoder).*"
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_BLOCK = 64
_LOGS = ("transformers", "peft", "bitsandbytes")


class Updates(nn.Module):
    """The low-rank updates of a model, as a network of their own.

    The loop copies, averages and keeps what it trains; of a language model that is the updates
    alone. A copy shares the frozen model and answers with its own numbers.

    Args:
        base: the model with its updates (`opened`).
    """

    def __init__(self, base: Any) -> None:
        super().__init__()
        self._base = (base,)  # in a tuple, so that its weights are not this network's
        self._names = [name for name, one in base.named_parameters() if one.requires_grad]
        inside = dict(base.named_parameters())
        self.learnt = nn.ParameterList([inside[name] for name in self._names])
        self._alive = True

    @property
    def base(self) -> Any:
        """The model of transformers."""
        return self._base[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Updates":
        other = type(self).__new__(type(self))
        nn.Module.__init__(other)
        other._base, other._names, other._alive = self._base, self._names, False
        other.learnt = nn.ParameterList(
            [nn.Parameter(one.detach().clone(), one.requires_grad) for one in self.learnt]
        )
        return other

    def train(self, mode: bool = True) -> Self:
        """Its own mode; that of the model too, for the one that learns."""
        super().train(mode)
        if self._alive:
            self.base.train(mode)
        return self

    def forward(self, **given: Tensor) -> Tensor:
        """Scores ``(B, T, V)``."""
        if self._alive:
            out: Tensor = self.base(**given, use_cache=False).logits
            return out
        with lent(self):
            answer: Tensor = self.base(**given, use_cache=False).logits
        return answer


class lent:
    """While it lasts, the model answers with the numbers of a copy, without dropout."""

    def __init__(self, net: Updates) -> None:
        self.net = net

    def __enter__(self) -> Any:
        inside = dict(self.net.base.named_parameters())
        self.places = [inside[name] for name in self.net._names]
        self.kept = [one.data for one in self.places]
        self.training = self.net.base.training
        for place, own in zip(self.places, self.net.learnt, strict=True):
            place.data = own.data
        self.net.base.eval()
        return self.net.base

    def __exit__(self, *_: object) -> None:
        for place, kept in zip(self.places, self.kept, strict=True):
            place.data = kept
        self.net.base.train(self.training)


def opened(
    folder: Path, said: InstructionSettings, *, device: torch.device, dtype: torch.dtype, seed: int,
) -> tuple[Updates, Speaker]:  # fmt: skip
    """The model of a folder with new updates, which change nothing yet, and its tokenizer.

    Raises:
        RecipeError: the folder is none of transformers, or has no layer of these names.
        MissingExtraError: a package is not installed.
    """
    sees = bool(said.images)
    model = frozen(folder, said, device=device, dtype=dtype)
    speaker = Speaker(_speaker(folder, sees=sees), sees=sees, folder=str(folder))
    from peft import LoraConfig, get_peft_model

    settings: Any = LoraConfig(
        r=said.rank, lora_alpha=said.alpha, lora_dropout=said.dropout,  # type: ignore[arg-type]
        target_modules=list(said.targets), task_type="CAUSAL_LM",
        exclude_modules=_VISION if sees and not said.vision else None,
    )  # fmt: skip
    torch.manual_seed(seed)
    try:
        with hushed(*_LOGS):
            base = get_peft_model(model, settings)
    except ValueError as error:
        raise RecipeError(
            f"settings.targets: '{folder}' has no linear layer whose name ends in "
            f"{', '.join(said.targets)}"
        ) from error
    return Updates(base), speaker


def frozen(
    folder: Path, said: InstructionSettings, *, device: torch.device, dtype: torch.dtype,
    bits: bool = True,
) -> Any:  # fmt: skip
    """The model as the folder has it, in few bits where the settings say so."""
    config = checked(folder)
    import transformers as library

    transformers: Any = library
    sees = _sees(str(config.get("model_type", "")))
    if said.images and not sees:
        raise RecipeError(
            f"settings.images names images and '{folder}' is a model of words alone "
            f"({config.get('model_type')}); name another model, or no images"
        )
    kind = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, **_LOCAL}
    if bits and said.bits is not None:
        options |= {"quantization_config": _few_bits(said.bits, dtype), "device_map": {"": device}}
    try:
        with hushed(*_LOGS), _no_bars():
            model = kind.from_pretrained(folder, **options)
    except ImportError as error:
        raise MissingExtraError(error.name or "torchvision", extra="timm", purpose="open it") from (
            error
        )
    except Exception as error:
        raise RecipeError(
            f"settings.model: '{folder}' is no folder that transformers reads "
            f"({type(error).__name__})"
        ) from error
    model.requires_grad_(requires_grad=False)
    if "device_map" not in options:
        return model.to(device)
    _ready_to_learn(model, folder, device)
    return model


def _ready_to_learn(model: Any, folder: Path, device: torch.device) -> None:
    """Keep weights of 4 bits in the order through which gradients go.

    On a processor bitsandbytes packs them anew when a model answers, and what is packed so passes
    no gradient on when it learns again.

    Raises:
        RecipeError: a layer is narrower than the block that shares a scale.
    """
    for name, layer in model.named_modules():
        if not hasattr(layer, "support_avx512bf16_for_cpu"):
            continue
        layer.support_avx512bf16_for_cpu = False
        if device.type == "cpu" and layer.in_features % _BLOCK:
            raise RecipeError(
                f"settings.bits: 4 shares a scale by {_BLOCK} numbers on a processor, and "
                f"'{name}' of '{folder}' reads {layer.in_features}; leave bits out, or take 8"
            )


def checked(folder: Path) -> dict[str, Any]:
    """The folder's configuration.

    Raises:
        RecipeError: it is no folder of transformers, or its weights are not in safetensors.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(
            f"settings.model: '{folder}' is no folder of transformers: its config.json cannot be "
            "read"
        ) from error
    if not isinstance(config, dict) or not any(folder.glob("*.safetensors")):
        raise RecipeError(
            f"settings.model: '{folder}' has no weights in safetensors; convert them where they "
            "are trusted: model.save_pretrained(FOLDER, safe_serialization=True)"
        )
    return config


def write(
    net: Updates, speaker: Speaker, folder: Path, said: InstructionSettings, *, source: Path,
    dtype: torch.dtype,
) -> list[Path]:  # fmt: skip
    """Write the adapter, the merged model, or both, each whole or not at all.

    Returns:
        The folders.
    """
    out = []
    part = folder / "adapter.part"
    ends = ends_of(net, speaker)
    with hushed(*_LOGS), _no_bars():
        _emptied(part)
        net.base.save_pretrained(part, safe_serialization=True)
        speaker.speaker.save_pretrained(part)
        if said.write != "merged":
            out.append(_taking_the_place(part, folder / "adapter"))
        if said.write != "adapter":
            if said.bits is None:
                merged = net.base.merge_and_unload()
            else:  # into the weights as they were, not into what few bits left of them
                from peft import PeftModel

                cpu = torch.device("cpu")
                whole = frozen(source, said, device=cpu, dtype=dtype, bits=False)
                from_ = folder / "adapter" if said.write == "both" else part
                merged = PeftModel.from_pretrained(whole, str(from_)).merge_and_unload()
            if getattr(merged, "generation_config", None) is not None:
                merged.generation_config.eos_token_id = ends
            there = folder / "merged.part"
            _emptied(there)
            merged.save_pretrained(there, safe_serialization=True)
            speaker.speaker.save_pretrained(there)
            out.append(_taking_the_place(there, folder / "merged"))
    if part.exists():
        shutil.rmtree(part)
    return out


def ends_of(net: Updates, speaker: Speaker) -> list[int]:
    """The tokens at which writing stops: the folder's own, and those that were taught."""
    said = getattr(getattr(net.base, "generation_config", None), "eos_token_id", None)
    own = said if isinstance(said, list) else [] if said is None else [said]
    end = getattr(speaker.tokenizer, "eos_token_id", None)
    return sorted({*own, *speaker.ends} or ({int(end)} if end is not None else set()))


def _emptied(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _taking_the_place(part: Path, whole: Path) -> Path:
    if whole.exists():
        shutil.rmtree(whole)
    os.replace(part, whole)
    return whole


def _few_bits(bits: int, dtype: torch.dtype) -> Any:
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            "bitsandbytes", extra="quantised", purpose="hold weights in few bits"
        )
    from transformers import BitsAndBytesConfig

    made: Any = BitsAndBytesConfig
    if bits == 8:
        return made(load_in_8bit=True)
    return made(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )  # fmt: skip


def _speaker(folder: Path, *, sees: bool) -> Any:
    import transformers as library

    transformers: Any = library
    kind = transformers.AutoProcessor if sees else transformers.AutoTokenizer
    try:
        with hushed(*_LOGS):
            return kind.from_pretrained(folder, **_LOCAL)
    except ImportError as error:
        raise MissingExtraError(
            error.name or "torchvision", extra="timm", purpose="show images to it"
        ) from error
    except Exception as error:
        what = "processor of images" if sees else "tokenizer"
        raise RecipeError(
            f"settings.model: '{folder}' has no {what} that transformers reads "
            f"({type(error).__name__})"
        ) from error


def _sees(model_type: str) -> bool:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    return model_type in KNOWN


class _no_bars:
    """No bars of progress meanwhile."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        shown: Any = logging
        self.shown, self.before = shown, shown.is_progress_bar_enabled()
        shown.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        if self.before:
            self.shown.enable_progress_bar()
