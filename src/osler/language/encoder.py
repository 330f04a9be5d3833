"""What turns images and texts into the vectors of an index.

- a pair of image and text encoders (``flair``, ``clip``, ``image-text`` …): both, in one space;
- any other network of pictures: its features, images only;
- a bundle of the task ``image-text``: both, without torch;
- any other bundle that classifies: what comes before its scores, images only, without torch;
- a text encoder (``minilm``, ``words``, a folder of a BERT): texts only.
"""

import hashlib
from abc import ABC
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.bundles import Bundle
from osler.errors import InputError, OslerError, RecipeError
from osler.language.bundle_features import FeatureBundle
from osler.language.index_parts import EncoderSaid
from osler.models.text_encoder import TextEncoder, open_text_encoder, unit
from osler.record import Case, Image

Vectors = NDArray[np.float32]

EMBEDDING: Final = "embedding"  # output of a bundle that puts pictures among texts
_AT_ONCE: Final = 8


class Encoder(ABC):
    """Images, texts or both to vectors of length 1.

    Attributes:
        said: what an index keeps of it, and by which it is known again.
    """

    said: EncoderSaid

    def images(self, images: Sequence[Image]) -> Vectors:
        """``(N, D)`` of flat pictures.

        Raises:
            InputError: it takes no images, or not these.
        """
        raise InputError(f"'{self.said.name}' encodes texts only; images take another encoder")

    def texts(self, texts: Sequence[str]) -> Vectors:
        """``(N, D)`` of texts.

        Raises:
            InputError: it takes no texts, or one says nothing.
        """
        raise InputError(
            f"'{self.said.name}' encodes images only; texts take a network of images and texts "
            "(flair, clip, image-text), or an index of texts (--with minilm)"
        )

    def understood(self, text: str) -> float:
        """The share of a text's parts that it knows, 0 to 1."""
        return 1.0


class TextOnly(Encoder):
    """A text encoder.

    Args:
        encoder: from ``open_text_encoder``.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self.said = EncoderSaid(
            kind="text", name=encoder.name, version=encoder.version, dim=encoder.dim,
            images=False, texts=True,
        )  # fmt: skip

    def texts(self, texts: Sequence[str]) -> Vectors:  # noqa: D102
        return self._encoder.encode(texts)

    def understood(self, text: str) -> float:  # noqa: D102
        return self._encoder.understood(text)


class NetworkEncoder(Encoder):
    """A network of ``osler.models``: its embeddings, or its features.

    Args:
        net: from ``osler.models.create``.
        checkpoints: where its weights lie, as the user named them; kept for the next time.
        tokenizer: folder of its tokenizer, where it does not lie beside the checkpoint.
        options: how it was built, where that differs from its card.

    Raises:
        RecipeError: it takes no flat pictures, or has no features.
    """

    def __init__(
        self,
        net: Any,
        *,
        checkpoints: Sequence[str] = (),
        tokenizer: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        from osler.models.zero_shot import ImageText

        card = net.card
        self._net, self._pair = net, isinstance(net, ImageText)
        if not self._pair and "features" not in card.answers:
            raise RecipeError(f"'{card.name}' answers {', '.join(card.answers)}, and no features")
        if card.inputs[0].kind != "image" or card.preprocessing is None:
            raise RecipeError(f"'{card.name}' takes no flat pictures that Osler prepares")
        if self._pair and tokenizer:
            net.tokenizer_folder = Path(tokenizer)
        side = getattr(net, "options", {}).get("image_size")
        self._ready = card.preprocessing.for_size(side) if side else card.preprocessing
        grey = Image("probe", np.zeros((3, 64, 64), np.uint8))
        self.said = EncoderSaid(
            kind="network", name=card.name, version=weights_digest(net),
            dim=self._seen([grey]).shape[1], images=True, texts=self._reads(),
            checkpoints=tuple(checkpoints), tokenizer=tokenizer, options=dict(options or {}),
        )  # fmt: skip

    def images(self, images: Sequence[Image]) -> Vectors:  # noqa: D102
        if not images:
            raise InputError("there is no image")
        parts = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
        return unit(np.concatenate([self._seen(part) for part in parts]))

    def texts(self, texts: Sequence[str]) -> Vectors:  # noqa: D102
        if not self._pair:
            return super().texts(texts)
        import torch

        from osler.models.text_encoder import clean

        cleaned = [clean(one) for one in texts]
        if not all(cleaned):
            raise InputError("a text says nothing")
        with torch.inference_mode():
            said = [self._net.encode_text([one])[0] for one in cleaned]
        return unit(torch.stack(said).float().cpu().numpy())

    def _reads(self) -> bool:
        """Whether texts can be read: there is a tokenizer."""
        try:
            if self._pair:
                self._net.tokenize(["a word"])
            return self._pair
        except OslerError:
            return False

    def _seen(self, images: Sequence[Image]) -> NDArray[Any]:
        import torch

        pictures = [eight_bits(image) for image in images]
        if self._pair:
            with torch.inference_mode():
                out: NDArray[Any] = self._net.encode_image(pictures).float().cpu().numpy()
            return out
        from osler.models import asking

        ready = [self._ready(one) for one in pictures]
        if len({one.shape for one in ready}) == 1:
            return asking.features(self._net, ready)
        return np.concatenate([asking.features(self._net, [one]) for one in ready])


class BundleEncoder(Encoder):
    """A bundle of any task of pictures but those of the fundus; torch is not needed.

    Args:
        bundle: opened.

    Raises:
        RecipeError: it reads no single flat image, or has nothing before its scores.
    """

    def __init__(self, bundle: Bundle) -> None:
        from osler.bundles.answering import task_of

        card = bundle.card
        self._task: Any = task_of(card)
        self._pair = any(one.name == EMBEDDING for one in card.outputs)
        if self._pair and hasattr(self._task, "opened"):
            self._task.opened(bundle)
        self._bundle = bundle if self._pair else FeatureBundle(bundle)
        probe = Image("image", np.zeros((3 if len(card.inputs[0].channels) == 3 else 1, 64, 64),
                                        np.uint8))  # fmt: skip
        self.said = EncoderSaid(
            kind="bundle", name=str(bundle.folder), version=version_of(bundle),
            dim=len(self._one(probe)), images=True,
            texts=self._pair and hasattr(self._task, "embedded"),
        )  # fmt: skip

    def images(self, images: Sequence[Image]) -> Vectors:  # noqa: D102
        if not images:
            raise InputError("there is no image")
        return unit(np.stack([self._one(image) for image in images]))

    def texts(self, texts: Sequence[str]) -> Vectors:  # noqa: D102
        if not self.said.texts:
            return super().texts(texts)
        from osler.models.text_encoder import clean
        from osler.tasks.image_text_words import as_taught

        cleaned = [clean(one) for one in texts]
        if not all(cleaned):
            raise InputError("a text says nothing")
        # as the texts that taught: bare keywords lie elsewhere than keywords in the caption
        vectors, _ = self._task.embedded([as_taught(one, self._task.settings) for one in cleaned])
        return unit(vectors)

    def _one(self, image: Image) -> NDArray[np.float32]:
        sample = self._task.encode(Case("query", items={image.name: image}))
        inputs = {name: array[None] for name, array in sample.inputs.items()}
        if isinstance(self._bundle, FeatureBundle):
            return self._bundle.features(inputs)
        out: NDArray[np.float32] = self._bundle.run(inputs)[EMBEDDING][0]
        return out


def open_text_only(said: str) -> TextOnly:
    """The encoder of an index of texts, by the name of a text encoder."""
    return TextOnly(open_text_encoder(said))


def version_of(bundle: Bundle) -> str:
    """By which a bundle is known again: its version, and a digest of its graph."""
    files = "".join(bundle.card.files[name].sha256 for name in sorted(bundle.card.files))
    return f"{bundle.card.version}-{hashlib.sha256(files.encode()).hexdigest()[:16]}"


def weights_digest(net: Any) -> str:
    """A digest of all weights of a network, whatever file they came from."""
    import torch

    sums = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        if not hasattr(tensor, "detach"):
            continue
        values = tensor.detach().cpu().contiguous()
        sums.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
        sums.update(values.reshape(-1).view(torch.uint8).numpy())
    return sums.hexdigest()[:16]


def eight_bits(image: Image) -> NDArray[np.uint8]:
    """A flat image as networks of pictures take it, ``(3, H, W)``; grey is repeated.

    More than 8 bits are brought to 8 by the window that the file proposes, or else so that all but
    the brightest and darkest thousandth of the pixels fit.

    Raises:
        InputError: it is a volume, or has neither one nor three channels.
    """
    array = image.array
    if array.ndim != 3 or array.shape[0] not in (1, 3) or not array.size:
        raise InputError(
            f"image '{image.name}' has shape {array.shape}; a flat picture is (1, H, W) or "
            "(3, H, W): cut a slice out of a volume first"
        )
    if array.dtype != np.uint8:
        values = array.astype(np.float32)
        if image.window is not None and image.window[1] > 0:
            low = image.window[0] - image.window[1] / 2
            high = image.window[0] + image.window[1] / 2
        else:
            low, high = np.nanpercentile(values[:, ::4, ::4], [0.1, 99.9])
        scaled = np.nan_to_num((values - low) * (255 / max(float(high - low), 1e-6)))
        array = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.repeat(array, 3, axis=0) if array.shape[0] == 1 else array
