"""MedSegX: Segment Anything with experts that are mixed by modality, organ and task.

Source: Zhang et al. 2025, "A generalist foundation model and database for open-world medical image
segmentation", Nature Biomedical Engineering.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.checkpoints.shapes import commonest, count
from osler.models.medsegx_tasks import context_of
from osler.models.preprocessing import Preprocessing, Step
from osler.models.sam import Sam, decoder_options, encoder_options, positions_to
from osler.models.sam_encoder import Block, ImageEncoder

NAME = "medsegx"
ROWS = (1, 5, 12, 39, 112)
"""Of the embeddings of the body, its parts, regions, organs, and of tasks; the last task row is
for tasks that were never seen."""


class Experts(nn.Module):
    """A block's MLP, and beside it narrow experts that are all used, each by its share.

    Args:
        mlp: as in Segment Anything.
        dim: width.
        experts: number of them.
        bottleneck: width within an expert.
        embedding: width of each embedding of the context.
        levels: embeddings that say where in the body.
        scale: of what the experts add.
        dropout: within the experts, in training.
    """

    def __init__(
        self,
        mlp: nn.Module,
        dim: int,
        *,
        experts: int,
        bottleneck: int,
        embedding: int,
        levels: int,
        scale: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.mlp = mlp
        self.adapter_input_embed = nn.Linear(dim, embedding)
        self.adapter_organ_gate = nn.Linear(levels * embedding, levels)
        self.adapter_gate = nn.Linear(4 * embedding, experts)
        self.adapter_down = nn.ModuleList(nn.Linear(dim, bottleneck) for _ in range(experts))
        self.adapter_up = nn.ModuleList(nn.Linear(bottleneck, dim) for _ in range(experts))
        self.scale, self.dropout = scale, dropout

    def shares(self, x: Tensor, modality: Tensor, organs: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of the experts ``(B, E)`` and of the places in the body ``(B, L)``.

        Args:
            x: the whole map ``(B, h, w, D)``, also where attention was within windows.
            modality: its embedding ``(B, e)``.
            organs: embeddings ``(B, L + 1, e)`` of places in the body, and of the task at the end.
        """
        places, task = organs[:, :-1], organs[:, -1]
        where = self.adapter_organ_gate(places.flatten(1)).softmax(dim=1)
        organ = (where[..., None] * places).sum(dim=1)
        seen = self.adapter_input_embed(x.mean(dim=(1, 2)))
        context = torch.cat([organ, task, modality, seen], dim=1)
        return self.adapter_gate(context).softmax(dim=1), where

    def forward(self, x: Tensor, modality: Tensor, organs: Tensor) -> Tensor:
        """``(B, h, w, D)`` to the same; the rest as ``shares`` takes it."""
        shares = self.shares(x, modality, organs)[0]
        added = torch.zeros_like(x)
        for number, (down, up) in enumerate(zip(self.adapter_down, self.adapter_up, strict=True)):
            inner = functional.dropout(functional.gelu(down(x)), self.dropout, self.training)
            added = added + shares[:, number, None, None, None] * up(inner)
        return self.mlp(x) + self.scale * added


class ContextEncoder(ImageEncoder):
    """The image encoder with experts in every block, and the embeddings that mix them.

    Args:
        experts: in each block.
        bottleneck: width within an expert.
        embedding: width of the context's embeddings.
        modalities: rows of their embedding.
        rows: of the embeddings of the body, its parts, regions, organs, and of tasks.
        scale: of what the experts add.
        dropout: within the experts, in training.
        options: of ``ImageEncoder``.
    """

    def __init__(
        self,
        *,
        experts: int = 4,
        bottleneck: int = 16,
        embedding: int = 16,
        modalities: int = 10,
        rows: Sequence[int] = ROWS,
        scale: float = 0.1,
        dropout: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.modal_embed = nn.Embedding(modalities, embedding)
        self.organ_embed = nn.ModuleList(nn.Embedding(number, embedding) for number in rows)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.mlp = Experts(
                block.mlp,
                options["embed_dim"],
                experts=experts,
                bottleneck=bottleneck,
                embedding=embedding,
                levels=len(rows) - 1,
                scale=scale,
                dropout=dropout,
            )
            for up in block.mlp.adapter_up:  # training starts from Segment Anything
                nn.init.zeros_(up.weight)
                nn.init.zeros_(up.bias)

    def context(self, modality: Tensor, organs: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings ``(B, e)`` of modalities and ``(B, L + 1, e)`` of places and tasks.

        Args:
            modality: rows ``(B,)``.
            organs: rows ``(B, L - 1)`` of part, region and organ; -1 gives zeros.
            task: rows ``(B,)``; -1 gives the last, which is for tasks that were never seen.
        """
        body, *places, tasks = self.organ_embed
        out = [body.weight[:1].expand(len(modality), -1)]
        for level, embed in enumerate(places):
            row = organs[:, level]
            out.append(embed(row.clamp(min=0)) * (row >= 0)[:, None])
        out.append(tasks(torch.where(task < 0, tasks.num_embeddings - 1, task)))
        return self.modal_embed(modality), torch.stack(out, dim=1)

    def levels(self, x: Tensor, *context: Tensor) -> list[Tensor]:
        """Tokens ``(B, h, w, D)`` after each block; the context as ``context`` gives it."""
        out = [self.embed(x)]
        for block in self.blocks:
            inner = block.attend(out[-1])
            out.append(inner + block.mlp(block.norm2(inner), *context))
        return out[1:]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """``(B, C, H, W)`` and a context to an embedding ``(B, out_channels, h, w)``."""
        return self.neck(self.levels(x, *context)[-1].permute(0, 3, 1, 2))


class MedSegX(Sam):
    """Segment Anything that is told what it looks at; masks come at the size of its input.

    The published evaluation takes, of three masks, the one that overlaps the truth best. A user has
    no truth, and the head that guesses the overlap was not trained. Without ``multimask`` this
    network gives, of the three, the one that agrees best with the two others.

    Args:
        task: what it looks at unless ``segment`` is told otherwise, such as ``Fundus_OpticCup``.
        options: of ``Sam``.
    """

    def __init__(self, encoder: nn.Module, *, task: str | None = None, **options: Any) -> None:
        super().__init__(encoder, **options)
        self.task = task
        if task is not None:
            context_of(task)

    def encode(
        self,
        x: Tensor,
        *,
        task: str | None = None,
        rows: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """``(B, C, H, W)`` to the embedding ``(B, D, h, w)``.

        Args:
            x: pictures.
            task: of all of them by name, such as ``Fundus_OpticCup``; None takes the network's.
            rows: instead of a name, rows of modality ``(B,)``, places ``(B, 3)`` and task ``(B,)``.
        """
        if rows is None:
            known = context_of(task or self.task or "")
            parts = ([known.modality], [known.organs], [known.task])
            filled = [torch.tensor(part, device=x.device) for part in parts]
            rows = tuple(one.expand(len(x), *one.shape[1:]) for one in filled)  # type: ignore[assignment]
        return self.image_encoder(x, *self.image_encoder.context(*rows))

    def decode(
        self, embedding: Tensor, *, multimask: bool = False, **prompts: Any
    ) -> tuple[Tensor, Tensor]:
        """As ``Sam.decode``; without ``multimask`` the mask that agrees best with the others."""
        scores, overlaps = super().decode(embedding, multimask=True, **prompts)
        if multimask:
            return scores, overlaps
        agreement = _agreement(scores)
        best = agreement.argmax(dim=1, keepdim=True)
        chosen = scores.gather(1, best[..., None, None].expand(-1, -1, *scores.shape[2:]))
        return chosen, agreement.gather(1, best)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        boxes: Tensor,
        modality: Tensor,
        organs: Tensor,
        task: Tensor,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Pictures with P boxes each.

        Args:
            x: ``(B, C, H, W)``, as the preprocessing gives it.
            boxes: ``(B, P, 4)``, x0, y0, x1, y1 in pixels of ``x``.
            modality: rows ``(B,)``.
            organs: rows ``(B, 3)`` of part, region and organ; -1 where it is not known.
            task: rows ``(B,)``; -1 for one that was never seen.
            multimask: three masks a box.

        Returns:
            scores ``(B, P, M, H, W)`` and overlaps ``(B, P, M)``.
        """
        embedding = self.encode(x, rows=(modality, organs, task))
        n = boxes.shape[1]
        scores, overlaps = self.decode(
            embedding.repeat_interleave(n, dim=0),
            size=(x.shape[-2], x.shape[-1]),
            boxes=boxes.flatten(0, 1),
            multimask=multimask,
        )
        return scores.unflatten(0, (-1, n)), overlaps.unflatten(0, (-1, n))


def _agreement(scores: Tensor) -> Tensor:
    """``(N, M)``: the mean overlap of each mask's chances with those of the others."""
    chances = scores.sigmoid().flatten(2)
    both = chances @ chances.transpose(1, 2)
    each = chances.sum(dim=2)
    overlap = both / (each[:, :, None] + each[:, None] - both).clamp(min=1e-6)
    overlap = overlap - torch.diag_embed(overlap.diagonal(dim1=1, dim2=2))
    return overlap.sum(dim=2) / max(scores.shape[1] - 1, 1)


def medsegx(
    *,
    image_size: int = 256,
    patch_size: int = 16,
    channels: int = 3,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    mlp_ratio: float = 4.0,
    window_size: int = 14,
    global_blocks: Sequence[int] = (2, 5, 8, 11),
    dim: int = 256,
    experts: int = 4,
    bottleneck: int = 16,
    embedding: int = 16,
    modalities: int = 10,
    rows: Sequence[int] = ROWS,
    scale: float = 0.1,
    upscaling: Sequence[int] | None = None,
    task: str | None = None,
    **decoder: Any,
) -> MedSegX:
    """MedSegX; options of ``ContextEncoder`` and of ``Sam``, and a ``task`` to look at."""
    encoder = ContextEncoder(
        image_size=image_size,
        patch_size=patch_size,
        channels=channels,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        window_size=window_size,
        global_blocks=global_blocks,
        out_channels=dim,
        experts=experts,
        bottleneck=bottleneck,
        embedding=embedding,
        modalities=modalities,
        rows=rows,
        scale=scale,
    )
    steps = (
        Step(resize=(image_size, image_size)),
        Step(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    )
    return MedSegX(
        encoder,
        preprocessing=Preprocessing(steps=steps),
        image_size=image_size,
        dim=dim,
        task=task,
        upscaling=upscaling or (dim // 4, dim // 8, dim // 16, dim // 32),
        **decoder,
    )


def example(
    name: str, options: dict[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Pictures, each with two boxes and a context."""
    from osler.models.sam import example as boxed

    inputs = boxed(name, options, batch, size)
    places = torch.tensor([[0, 1, 3], [1, 3, -1]])
    return {
        **inputs,
        "modality": torch.tensor([6, 7]).repeat(batch)[:batch],
        "organs": places.repeat(batch, 1)[:batch],
        "task": torch.tensor([15, -1]).repeat(batch)[:batch],
    }


def _base_options(shapes: Shapes) -> dict[str, Any]:
    """What Segment Anything's file tells; MedSegX works at a size of its own."""
    out = encoder_options(shapes)
    out.pop("image_size", None)
    read = decoder_options(shapes)
    return {**out, **{name: read[name] for name in ("mask_channels",) if name in read}}


def _own_options(shapes: Shapes) -> dict[str, Any]:
    """What MedSegX's own file tells; the rows are those of the published tree of tasks."""
    experts = r"^image_encoder\.blocks\.\d+\.mlp\.adapter_"
    out = {
        **decoder_options(shapes),
        "experts": count(shapes, experts + r"down\.(\d+)\."),
        "bottleneck": commonest(shapes, experts + r"down\.", 0),
        "embedding": commonest(shapes, experts + "input_embed", 0),
    }
    return {name: value for name, value in out.items() if value is not None}


_OWN = r"(\.adapter_|^image_encoder\.(modal|organ)_embed\.|^mask_decoder\.)"

LAYOUTS = (
    Layout(
        "MedSegX beside Segment Anything",
        (NAME,),
        marks=(r"\.mlp\.adapter_gate\.", r"^image_encoder\.modal_embed\.", r"^mask_decoder\."),
        without=(r"^image_encoder\.patch_embed\.",),
        heads=(rf"^(?!.*{_OWN})",),
        options=_own_options,
        part=("image_encoder.", "mask_decoder."),
    ),
    Layout(
        "Segment Anything underneath MedSegX",
        (NAME,),
        marks=(
            r"^image_encoder\.blocks\.0\.mlp\.lin1\.",
            r"^prompt_encoder\.point_embeddings\.0\.weight",
        ),
        rename=((r"^(image_encoder\.blocks\.\d+\.mlp)\.(lin\d)", r"\1.mlp.\2"),),
        heads=(_OWN,),
        needs="MedSegX beside Segment Anything",
        borrowed=True,
        options=_base_options,
        refits=positions_to("bilinear"),
    ),
)
