"""The encoder that a user names, or that an index says it was made with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.batch import networks
from osler.bundles import Bundle
from osler.errors import BundleError, InputError, OslerError, RecipeError
from osler.language.bundle_features import FeatureBundle
from osler.language.encoder import (
    BundleEncoder,
    Encoder,
    NetworkEncoder,
    open_text_only,
    version_of,
)
from osler.language.index_parts import EncoderSaid
from osler.models.text_encoder import KINDS as TEXT_KINDS
from osler.models.text_encoder import unit
from osler.record import Case, Image

_PROBE: Final = 256


class FundusEncoder(Encoder):
    """A bundle that reads photographs of the fundus, such as ``retina-dr``.

    Each photograph's field is found, and the bundles that it builds on are run first, as
    ``osler predict`` does it.

    Args:
        bundle: opened.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = FeatureBundle(bundle)
        y, x = np.mgrid[:_PROBE, :_PROBE] - _PROBE / 2
        disc = (np.hypot(y, x) < _PROBE * 0.45) * np.array([160, 80, 40])[:, None, None]
        probe = Image("photo", disc.astype(np.uint8))
        self.said = EncoderSaid(
            kind="bundle", name=_kept_name(bundle), version=version_of(bundle),
            dim=len(self._one(probe)), images=True, texts=False,
        )  # fmt: skip

    def images(self, images: Sequence[Image]) -> NDArray[np.float32]:  # noqa: D102
        if not images:
            raise InputError("there is no image")
        return unit(np.stack([self._one(image) for image in images]))

    def _one(self, image: Image) -> NDArray[np.float32]:
        from osler.retina.predict import predict

        predict(self._bundle, Case("query", items={image.name: image}), item=image.name)
        seen = self._bundle.seen
        assert seen is not None
        first: NDArray[np.float32] = seen[0]
        return first


def _kept_name(bundle: Bundle) -> str:
    from osler import bundles

    shipped = bundle.card.name in bundles.names() and bundles.load(bundle.card.name) is bundle
    return bundle.card.name if shipped else str(bundle.folder.resolve())


def open_encoder(
    said: str,
    *,
    checkpoints: Sequence[Path] = (),
    tokenizer: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Encoder:
    """Open what a user names.

    Args:
        said: ``minilm``, ``words`` or the folder of a BERT; a network's name, or the folder of one
            that ``osler models import`` wrote; a bundle's name or folder.
        checkpoints: a network's weights.
        tokenizer: of a network of images and texts, where it does not lie beside them.
        options: how a network is built, where that differs from its card.

    Raises:
        RecipeError: there is nothing of this name, or it gives no vectors.
        OslerError: what opening it raises.
    """
    if said in TEXT_KINDS:
        return open_text_only(said)
    folder = Path(said)
    if (folder / "card.json").is_file() or _is_shipped(said):
        if checkpoints or options or tokenizer:
            raise RecipeError(f"'{said}' is a bundle; it takes no weights and no options")
        return _of_bundle(said)
    if folder.is_dir() and not checkpoints and not _is_network(folder):
        return open_text_only(said)
    if not networks.is_network(said) and not folder.is_dir():
        known = ", ".join(("minilm", "words"))
        raise RecipeError(
            f"there is nothing called '{said}' that gives vectors: name a text encoder ({known}, "
            "or a folder), a network ('osler models list') or a bundle ('osler bundles')"
        )
    net = networks.built(said, list(checkpoints), dict(options or {}))
    weights = [folder] if folder.is_dir() and not checkpoints else list(checkpoints)
    return NetworkEncoder(
        net,
        checkpoints=[str(path.resolve()) for path in weights],
        tokenizer=str(tokenizer.resolve()) if tokenizer else "",
        options=options,
    )


def encoder_of(kept: EncoderSaid, *, checkpoints: Sequence[Path] = ()) -> Encoder:
    """Open the encoder that an index was made with.

    Args:
        kept: what the index says of it.
        checkpoints: where a network's weights lie now, if they were moved.

    Raises:
        InputError: what is here is another one, or cannot be opened; the message says the way out.
    """
    try:
        found = open_encoder(
            kept.name,
            checkpoints=checkpoints or [Path(one) for one in kept.checkpoints],
            tokenizer=Path(kept.tokenizer) if kept.tokenizer else None,
            options=kept.options,
        )
    except OslerError as error:
        raise InputError(
            f"the index was made with '{kept.name}', which cannot be opened here: {error}"
            + ("; say where its weights lie by --checkpoint" if kept.kind == "network" else "")
        ) from error
    same(found.said, kept)
    return found


def same(found: EncoderSaid, kept: EncoderSaid) -> None:
    """Refuse vectors of another encoder.

    Raises:
        InputError: it is another; the message names both and the way out.
    """
    if (found.kind, found.version, found.dim) != (kept.kind, kept.version, kept.dim):
        raise InputError(
            f"the index was made with '{kept.name}' ({kept.version}) and this is '{found.name}' "
            f"({found.version}), whose vectors cannot be compared with it: use the same weights "
            "(--checkpoint), or make another index (--out)"
        )


def _of_bundle(said: str) -> Encoder:
    from osler import bundles

    bundle = bundles.load(said)
    return FundusEncoder(bundle) if bundle.card.preprocessing else BundleEncoder(bundle)


def _is_shipped(said: str) -> bool:
    from osler import bundles

    try:
        return said in bundles.names()
    except BundleError:
        return False


def _is_network(folder: Path) -> bool:
    """Whether a folder is one that ``osler models import`` wrote."""
    config = folder / "config.json"
    try:
        return '"osler_network"' in config.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
