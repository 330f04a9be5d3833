"""Masked autoencoding: what is hidden of an image is drawn from what is left of it.

Source: He et al. 2022, "Masked autoencoders are scalable vision learners", CVPR, for networks of
tokens; see `osler.learn.strategies.masked_reconstruction` for networks of convolutions.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from osler.errors import RecipeError
from osler.learn.augmenting_settings import Augmentation
from osler.learn.loop import Loss
from osler.learn.strategies.features import output_layer
from osler.learn.strategies.masked_reconstruction import (
    MapDecoder,
    heard,
    hidden_error,
    hidden_parts,
    in_each_patch,
    map_layers,
    patch_for,
)
from osler.learn.strategies.pretraining import (
    Pretraining,
    PretrainingSettings,
    exact,
    first_inputs,
    image_network,
    images_in,
    keep_weights,
    pool,
    view,
)
from osler.learn.strategies.strategy import Context, Wrapped, tensors
from osler.models.mae import MaskedAutoencoder
from osler.models.vit import VisionTransformer
from osler.tasks.task import Settings

Images = Callable[[int, torch.device], dict[str, Tensor]]

LEAST = 0.5
"""Share of a network's weights that the reconstruction must reach."""


class MaskedAutoencodingSettings(PretrainingSettings):
    """The keys of ``masked-autoencoding``, beside those of every stage without labels.

    Attributes:
        augment: None changes images as the recipe's ``augment`` says.
        ratio: share of patches that is hidden; None hides 0.75 of a network of tokens, which sees
            the others alone, and 0.6 of any other, which sees the hidden ones as one learnt value.
        patch: side of a patch in pixels; None goes four times into the shortest side. Networks of
            tokens have their own.
        norm_pix: whether each patch is drawn with the mean 0 and the deviation 1.
        width: of the decoder.
        depth: blocks of the decoder of a network of tokens.
    """

    ratio: float | None = Field(None, gt=0, lt=1)
    patch: int | None = Field(None, ge=2)
    norm_pix: bool = True
    width: int = Field(64, gt=0, multiple_of=8)
    depth: int = Field(2, gt=0)


class MaskedAutoencoding(Pretraining):
    """See `MaskedAutoencodingSettings`."""

    name: ClassVar[str] = "masked-autoencoding"
    title: ClassVar[str] = "Masked autoencoding"
    source: ClassVar[str] = (
        "He et al. 2022, 'Masked autoencoders are scalable vision learners', CVPR; Xie et al. "
        "2022, 'SimMIM', CVPR"
    )
    Settings: ClassVar[type[Settings]] = MaskedAutoencodingSettings

    settings: MaskedAutoencodingSettings

    def before(self, net: nn.Module, context: Context) -> None:
        """Pretrain the network in place, and keep its weights."""
        samples = pool(context)
        every = first_inputs(context, samples)
        net, names = image_network(net, every)
        inputs = {name: every[name] for name in names}
        torch.manual_seed(context.learner.seed)
        whole: nn.Module
        if of_tokens(net):
            whole = self._of_tokens(net)
            loss = self._loss_of_tokens(context)
        else:
            whole, loss = self._of_maps(net, inputs, context)
        state = context.stage(whole, loss, self.name, learner=self.learner(context))
        context.record |= {"cases": len(samples), "steps": state.step}
        head = output_layer(net.cpu(), list(inputs.values()))
        keep_weights(net, context, self.name, head=head)

    def _augment(self, context: Context) -> Augmentation:
        said = context.recipe.augment
        return self.settings.augment or Augmentation.model_validate(
            {"preset": said} if isinstance(said, str) else said
        )

    def _images(self, context: Context) -> Images:
        """Batches of all cases, changed at random."""
        changes, seed = self._augment(context), context.learner.seed * 1_000_003
        batches = context.batches(pool(context), batch=self.learner(context).batch)

        def images(number: int, device: torch.device) -> dict[str, Tensor]:
            inputs = tensors(batches(number)[0], device)
            return view(inputs, context.task, changes, seed=seed + number)

        return images

    def _of_tokens(self, net: nn.Module) -> MaskedAutoencoder:
        said = self.settings
        assert isinstance(net, VisionTransformer)
        if said.patch not in (None, net.patch_size):
            raise RecipeError(
                f"strategies.masked-autoencoding.patch is {said.patch} and the network's patches "
                f"are of {net.patch_size} pixels; leave it out"
            )
        return autoencoder_of(
            net, ratio=0.75 if said.ratio is None else said.ratio, norm_pix=said.norm_pix,
            width=said.width, depth=said.depth,
        )  # fmt: skip

    def _loss_of_tokens(self, context: Context) -> Loss:
        images = self._images(context)

        def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
            inputs = images(number, device)
            image = inputs[images_in(inputs, context.task)[0]]
            noise = _noise(image, net, context.learner.seed * 1_000_003 + number)
            found: Tensor = net.loss(image, noise)  # type: ignore[operator]
            return found

        return loss

    def _of_maps(
        self, net: nn.Module, inputs: Mapping[str, Tensor], context: Context
    ) -> tuple[nn.Module, Loss]:
        said, task = self.settings, context.task
        taken, names = list(inputs), images_in(inputs, task)
        shape = inputs[names[0]].shape[2:]
        channels = sum(inputs[name].shape[1] for name in names)
        layers, before = _layers(net, list(inputs.values()), shape)
        with heard(net, layers, before=before) as seen:
            output_layer(net, list(inputs.values()))
        maps = [seen[layer] for layer in layers]
        strides = [-(-a // b) for a, b in zip(shape, maps[0].shape[2:], strict=True)]
        decoder = MapDecoder(
            [one.shape[1] for one in maps], strides, channels, width=said.width
        )  # fmt: skip
        patch = said.patch or patch_for(shape)
        if max(shape) <= patch:
            raise RecipeError(
                f"strategies.masked-autoencoding.patch is {patch} and the images are of "
                f"{' x '.join(map(str, shape))} pixels, so a patch would be the whole of them"
            )
        ratio = 0.6 if said.ratio is None else said.ratio
        context.record |= {"patch": patch, "maps": len(maps)}

        def error(net: nn.Module, inputs: dict[str, Tensor], seed: int) -> Tensor:
            made: Any = net
            inner, decoder = made.net, made.beside["decoder"]
            parts = [inputs[name] for name in names]
            images = torch.cat(parts, dim=1)
            hidden = hidden_parts(
                len(images), images.shape[2:], patch=patch, ratio=ratio,
                generator=torch.Generator().manual_seed(seed),
            ).to(images.device)  # fmt: skip
            covered = decoder.covered(images, hidden).split([one.shape[1] for one in parts], dim=1)
            fed = {**inputs, **dict(zip(names, covered, strict=True))}
            with heard(inner, layers, before=before) as seen:
                inner(*(fed[name] for name in taken))
            drawn = decoder([seen[layer] for layer in layers], images.shape[2:])
            with exact(images.device):
                true = in_each_patch(images.float(), patch) if said.norm_pix else images.float()
                return hidden_error(drawn.float(), true, hidden)

        whole = Wrapped(net, {"decoder": decoder})
        _refuse_what_is_not_reached(whole, error(whole, dict(inputs), 0))
        batches = self._images(context)

        def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
            seed = context.learner.seed * 1_000_003 + number
            return error(net, batches(number, device), seed)

        return whole, loss


def of_tokens(net: nn.Module) -> bool:
    """Whether a network is a plain vision transformer, whose hidden patches can be left out."""
    return isinstance(net, VisionTransformer) and net.reg_token is None and net.position_prefix == 1


def autoencoder_of(
    net: VisionTransformer, *, ratio: float, norm_pix: bool, width: int, depth: int
) -> MaskedAutoencoder:
    """A masked autoencoder whose encoder is the network itself: the same modules and weights.

    Args:
        net: whose patches, positions, blocks and last norm learn.
        ratio: share of patches that is hidden.
        norm_pix: see `MaskedAutoencoder`.
        width: of the decoder.
        depth: its blocks.
    """
    side = isqrt(net.pos_embed.shape[1] - 1) * net.patch_size
    block: Any = net.blocks[0]
    whole = MaskedAutoencoder(
        mask_ratio=ratio, norm_pix=norm_pix, decoder_dim=width, decoder_depth=depth,
        decoder_heads=max(one for one in (1, 2, 4, 8, 16) if width % (8 * one) == 0),
        image_size=side, patch_size=net.patch_size, channels=net.patch_embed.proj.in_channels,
        embed_dim=net.embed_dim, depth=1, num_heads=block.attn.heads, eps=block.norm1.eps,
    )  # fmt: skip
    whole.patch_embed, whole.blocks, whole.norm = net.patch_embed, net.blocks, net.norm
    whole.cls_token, whole.pos_embed = net.cls_token, net.pos_embed
    whole.depth = net.depth
    return whole


def _noise(images: Tensor, net: nn.Module, seed: int) -> Tensor:
    patch = int(net.patch_size)  # type: ignore[arg-type]
    count = (images.shape[-2] // patch) * (images.shape[-1] // patch)
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(len(images), count, generator=draw).to(images.device)


def _layers(
    net: nn.Module, inputs: Sequence[Tensor], shape: Sequence[int]
) -> tuple[list[str], bool]:
    """Where a network's maps are, and whether they go into those layers or come out of them.

    A network that answers every voxel draws from what its head reads, so that its decoder learns
    too; any other from its maps of every size.
    """
    head = output_layer(net, inputs)
    with heard(net, [head], before=True) as seen:
        output_layer(net, inputs)
    if isinstance(net.get_submodule(head), _ConvNd) and tuple(seen[head].shape[2:]) == tuple(shape):
        return [head], True
    found = map_layers(net, inputs, shape)
    if not found:
        raise RecipeError(
            "masked-autoencoding draws from the maps of a network, and this one has none; choose "
            "a network of convolutions or a vision transformer without registers"
        )
    return found, False


def _refuse_what_is_not_reached(whole: Wrapped, loss: Tensor) -> None:
    """Refuse a network most of whose weights the reconstruction would not teach."""
    loss.backward()  # type: ignore[no-untyped-call]
    weights = list(whole.net.parameters())
    reached = sum(one.numel() for one in weights if one.grad is not None)
    whole.zero_grad(set_to_none=True)
    share = reached / max(sum(one.numel() for one in weights), 1)
    if share < LEAST:
        raise RecipeError(
            f"masked-autoencoding would teach {share:.0%} of this network's weights, since most "
            "of it makes no maps; choose a network of convolutions or a vision transformer "
            "without registers"
        )
