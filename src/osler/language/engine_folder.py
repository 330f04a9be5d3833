"""A local folder of the transformers library: Qwen2.5, Llama, MedGemma, Qwen2.5-VL, LLaVA, BLIP-2.

Only weights in safetensors are read, no code that a folder brings is run, and nothing is fetched.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, MissingExtraError, UnreadableError, UnsupportedError
from osler.language.engine import Engine, EngineError, Message

_MOST_CONFIG: Final = 4 << 20  # bytes
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
CAPTION: Final = "Describe this picture."
"""What a model of conversations is asked for a caption."""
_ASSISTANT: Final = "\n\nAssistant:"


class FolderEngine(Engine):
    """A model of a local folder, with its tokenizer, and its image processor where it sees images.

    Args:
        where: the folder.
        timeout: seconds that one answer may take; looked at after each token.

    Raises:
        InputError: the folder is none, or holds what is not read.
        MissingExtraError: torch or transformers is not installed.
    """

    def __init__(self, where: str | Path, *, timeout: float) -> None:
        folder = Path(where)
        config = _checked(folder)
        _need("torch")
        _need("transformers")
        self._timeout = timeout
        self.name = folder.resolve().name
        self.sees_images = _sees(str(config.get("model_type", "")))
        self._model, self._speaker = self._loaded(folder)
        self._tokenizer = getattr(self._speaker, "tokenizer", self._speaker)
        self._marks = _marks_of(self._tokenizer)

    def _loaded(self, folder: Path) -> tuple[Any, Any]:
        import torch
        import transformers as library
        from transformers.utils import logging as library_logging

        from osler.io.hushing import hushed

        transformers: Any = library  # whose annotations say less than it takes
        logging: Any = library_logging
        local = {"local_files_only": True, "trust_remote_code": False}
        kind = (
            transformers.AutoModelForImageTextToText
            if self.sees_images
            else transformers.AutoModelForCausalLM
        )
        speaker = transformers.AutoProcessor if self.sees_images else transformers.AutoTokenizer
        cuda = torch.cuda.is_available()
        barred = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            with hushed("transformers"):
                model = kind.from_pretrained(
                    folder, use_safetensors=True, dtype="auto" if cuda else torch.float32, **local
                )
                says = speaker.from_pretrained(folder, **local)
        except ImportError as error:
            package = getattr(error, "name", None) or "torchvision"
            raise MissingExtraError(package, extra="timm", purpose="show images to it") from None
        except Exception as error:  # noqa: BLE001 - whatever the library makes of a wrong folder
            raise UnreadableError(
                f"'{folder}' is no folder that transformers reads ({type(error).__name__}); it "
                "takes config.json, weights in safetensors and a tokenizer"
            ) from None
        finally:
            if barred:
                logging.enable_progress_bar()
        model.eval()
        return model.to("cuda" if cuda else "cpu"), says

    def _write(
        self,
        messages: Sequence[Message],
        *,
        images: Sequence[NDArray[np.uint8]],
        limit: int,
        seed: int,
    ) -> str:
        import torch

        if self.sees_images and not images and not self._has_template():
            raise EngineError(f"the engine '{self.name}' answers about images alone; give it one")
        turns = [Message(m.role, self._without_marks(m.text)) for m in messages]
        inputs = self._inputs(turns, images).to(self._model.device)
        length = int(inputs["input_ids"].shape[1])
        room = self._context() - length
        if room < 1:
            raise EngineError(
                f"the engine '{self.name}' takes {self._context():,} tokens and was given "
                f"{length:,}"
            )
        end = time.monotonic() + self._timeout
        torch.manual_seed(seed)
        try:
            with torch.inference_mode():
                written = self._model.generate(
                    **inputs,
                    max_new_tokens=min(limit, room),
                    do_sample=False,
                    num_beams=1,
                    temperature=None,
                    top_p=None,
                    top_k=None,
                    max_time=self._timeout,
                    **self._padded(),
                )
        except Exception as error:  # noqa: BLE001 - out of memory, or a folder whose parts do not fit
            raise EngineError(
                f"the engine '{self.name}' failed ({type(error).__name__}); take a smaller model "
                "or fewer words"
            ) from None
        if time.monotonic() > end:
            raise EngineError(
                f"the engine '{self.name}' has not answered within {self._timeout:g} seconds; "
                "allow it more time, or take a smaller model"
            )
        # a model with an encoder and a decoder, such as BLIP-2 on T5, gives the answer alone
        whole = written[0]
        start = length if whole.shape[0] > length and not self._answers_apart() else 0
        return str(self._tokenizer.decode(whole[start:], skip_special_tokens=True))

    def caption(self, image: NDArray[np.uint8], *, limit: int) -> str:
        """What a model that was taught no conversation, such as BLIP, writes of a picture alone.

        Args:
            image: ``(3, H, W)``.
            limit: most tokens.

        Raises:
            EngineError: it sees no images, or fails.
        """
        import torch
        from PIL import Image as Picture

        if not self.sees_images:
            raise EngineError(f"the engine '{self.name}' sees no images")
        if self._has_template() or not self._captions():
            return self.write([Message("user", CAPTION)], images=[image], limit=limit)
        picture = Picture.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        try:
            given = self._speaker(images=[picture], return_tensors="pt").to(self._model.device)
            with torch.inference_mode():
                written = self._model.generate(
                    pixel_values=given["pixel_values"], max_new_tokens=limit, do_sample=False,
                    num_beams=1, max_time=self._timeout, **self._padded(),
                )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - as above
            raise EngineError(
                f"the engine '{self.name}' failed ({type(error).__name__}); ask it in words"
            ) from None
        return str(self._tokenizer.decode(written[0], skip_special_tokens=True)).strip()

    def _inputs(self, turns: Sequence[Message], images: Sequence[NDArray[np.uint8]]) -> Any:
        """Tokens, by the folder's own template of a conversation where it has one."""
        if not self.sees_images:
            text = self._in_turns(turns)
            return self._tokenizer(
                text, return_tensors="pt", add_special_tokens=not self._has_template()
            )
        from PIL import Image as Picture

        pictures = [Picture.fromarray(np.ascontiguousarray(i.transpose(1, 2, 0))) for i in images]
        text = self._in_turns(turns, count=len(pictures))
        given = {"images": pictures} if pictures else {}
        inputs = self._speaker(text=[text], return_tensors="pt", **given)
        # InstructBLIP's way of seeing reads the head of the question; all of it goes to the model
        if (room := self._read_in_seeing()) is not None:
            for name in ("qformer_input_ids", "qformer_attention_mask"):
                if name in inputs:
                    inputs[name] = inputs[name][:, :room]
        return inputs

    def _read_in_seeing(self) -> int | None:
        """Tokens of the question that the way of seeing takes, where it reads any."""
        config = getattr(self._model.config, "qformer_config", None)
        size = getattr(config, "max_position_embeddings", None)
        return size if isinstance(size, int) and size > 0 else None

    def _has_template(self) -> bool:
        return bool(getattr(self._speaker, "chat_template", None))

    def _in_turns(self, turns: Sequence[Message], *, count: int = 0) -> str:
        if not self._has_template():
            return _plainly(turns, asked=self.sees_images)
        said: list[dict[str, Any]] = [{"role": t.role, "content": t.text} for t in turns]
        if self.sees_images:
            for turn in said:
                turn["content"] = [{"type": "text", "text": turn["content"]}]
            said[-1]["content"] = [{"type": "image"}] * count + said[-1]["content"]
        for given in (said, _without_system(said)):
            try:
                return str(
                    self._speaker.apply_chat_template(
                        given, tokenize=False, add_generation_prompt=True
                    )
                )
            except Exception:  # noqa: BLE001 - a template may refuse a system's turn, as Gemma's does
                continue
        raise EngineError(f"the template of the engine '{self.name}' takes no conversation")

    def _without_marks(self, text: str) -> str:
        """Text in which nothing ends a turn or stands for an image."""
        for mark in self._marks:
            text = text.replace(mark, " ")
        return text

    def _context(self) -> int:
        config = self._model.config
        for one in (getattr(config, "text_config", None), config):
            size = getattr(one, "max_position_embeddings", None)
            if isinstance(size, int) and size > 0:
                return size
        return 4096

    def _answers_apart(self) -> bool:
        config = self._model.config
        text = getattr(config, "text_config", None) or config
        return bool(getattr(text, "is_encoder_decoder", False))

    def _captions(self) -> bool:
        """Whether it writes of a picture without being asked anything."""
        config = self._model.config
        first = getattr(getattr(config, "text_config", config), "bos_token_id", None)
        return config.model_type in ("blip", "blip-2") and isinstance(first, int)

    def _padded(self) -> dict[str, int | None]:
        # BLIP hands on its own, and takes no other
        return {} if self._model.config.model_type == "blip" else {"pad_token_id": self._pad()}

    def _pad(self) -> int | None:
        for name in ("pad_token_id", "eos_token_id"):
            if (token := getattr(self._tokenizer, name, None)) is not None:
                return int(token)
        return None

    def close(self) -> None:
        """Free the weights."""
        self._model = None


def _checked(folder: Path) -> dict[str, Any]:
    """The folder's configuration, once it is sure that no pickle would be opened."""
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"'{folder}' is no folder of transformers: it has no config.json")
    if file.stat().st_size > _MOST_CONFIG:
        raise UnreadableError(f"'{file}' is too large for a configuration")
    try:
        config = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError):
        raise UnreadableError(f"'{file}' is no JSON") from None
    if not isinstance(config, dict):
        raise UnreadableError(f"'{file}' is no configuration")
    if (folder / "adapter_config.json").exists():
        raise UnsupportedError(
            f"'{folder}' holds an adapter; merge it into its model first, and name that folder"
        )
    if not any(folder.glob("*.safetensors")):
        pickles = [p.name for p in folder.iterdir() if p.suffix in _PICKLES]
        held = f"only {', '.join(sorted(pickles)[:3])}, which can run code" if pickles else "none"
        raise UnsupportedError(
            f"'{folder}' has no weights in safetensors ({held}); convert them where they are "
            "trusted: model.save_pretrained(FOLDER, safe_serialization=True)"
        )
    return config


def _need(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtraError(package, extra="train", purpose="run a local language model")


def _sees(model_type: str) -> bool:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    return model_type in KNOWN


def _marks_of(tokenizer: Any) -> tuple[str, ...]:
    """What a tokenizer takes for more than letters: ends of turns, places of images."""
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    marks = {str(token) for token in added.values()}
    marks |= {str(token) for token in getattr(tokenizer, "all_special_tokens", ())}
    return tuple(sorted((m for m in marks if m.strip()), key=len, reverse=True))


def _plainly(turns: Sequence[Message], *, asked: bool) -> str:
    """A conversation for a model that was taught none."""
    if asked and len(turns) == 1:
        return f"Question: {turns[0].text} Answer:"  # as BLIP-2 was taught
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    return "\n\n".join(f"{names[t.role]}: {t.text}" for t in turns) + _ASSISTANT


def _without_system(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The system's words at the head of the first turn of the user."""
    if not said or said[0]["role"] != "system" or len(said) < 2:
        return said
    first, second, *rest = said
    one, two = first["content"], second["content"]
    joined = f"{one}\n\n{two}" if isinstance(one, str) else [*one, *two]
    return [{**second, "content": joined}, *rest]
