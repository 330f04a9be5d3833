"""Self-distillation: of one view a network says what its running average says of another.

Sources: Caron et al. 2021, "Emerging properties in self-supervised vision transformers" (DINO),
ICCV; for networks of tokens with the term of hidden patches of Zhou et al. 2022, "iBOT: image BERT
pre-training with online tokenizer", ICLR.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from osler.learn.augmenting_settings import Augmentation
from osler.learn.loop import Loss
from osler.learn.strategies.features import output_layer
from osler.learn.strategies.masked_autoencoding import of_tokens
from osler.learn.strategies.pretraining import (
    VIEWS,
    Pretraining,
    PretrainingSettings,
    exact,
    first_inputs,
    image_network,
    joined,
    keep_weights,
    pool,
    represent,
    representation,
    view,
)
from osler.learn.strategies.self_distillation_losses import (
    agreement,
    agreement_where_hidden,
    cosine,
    moved_centre,
    targets,
)
from osler.learn.strategies.strategy import Context, Wrapped, tensors
from osler.models.visionfm_heads import IbotHead
from osler.tasks.task import Settings

LOCAL: Final[dict[str, Any]] = {
    **VIEWS,
    "scale": {"probability": 1.0, "factor": (1.8, 3.0)},
    "translate": {"probability": 1.0, "share": 0.3},
}
"""How the local views differ where the recipe does not say: a small part, magnified."""

WHOLE: Final = 2
"""Views that the teacher sees."""


class SelfDistillationSettings(PretrainingSettings):
    """The keys of ``self-distillation``, beside those of every stage without labels.

    Attributes:
        local: views of a small part, which the student alone sees.
        momentum: of the teacher at the start; it rises to 1 by half a cosine.
        temperature: of the student.
        teacher_temperature: of the teacher.
        centring: momentum of the centre of the teacher's scores.
        hidden_share: share of the patches of a whole view that a student of tokens does not see;
            0 leaves the term of hidden patches out.
        directions: learnt directions, of which the scores are.
        hidden: width within the head.
        narrow: length of the vector that is compared with the directions.
        rest: share of the steps in which the directions do not learn yet.
        keep: whose weights the training starts from.
    """

    rate: float = Field(5e-4, gt=0)
    local: int = Field(2, ge=0, le=10)
    momentum: float = Field(0.99, ge=0, lt=1)
    temperature: float = Field(0.1, gt=0)
    teacher_temperature: float = Field(0.04, gt=0)
    centring: float = Field(0.9, ge=0, lt=1)
    hidden_share: float = Field(0.3, ge=0, lt=1)
    directions: int = Field(1024, gt=1)
    hidden: int = Field(256, gt=0)
    narrow: int = Field(64, gt=0)
    rest: float = Field(0.05, ge=0, lt=1)
    keep: Literal["teacher", "student"] = "teacher"


class _Remembered(nn.Module):
    """The mask's token, which learns, and the centres of the teacher's scores, which do not."""

    def __init__(self, width: int, directions: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(width))
        self.register_buffer("centre", torch.zeros(directions))
        self.register_buffer("patch_centre", torch.zeros(directions))


class SelfDistillation(Pretraining):
    """See `SelfDistillationSettings`."""

    name: ClassVar[str] = "self-distillation"
    title: ClassVar[str] = "Self-distillation"
    source: ClassVar[str] = (
        "Caron et al. 2021, 'Emerging properties in self-supervised vision transformers', ICCV; "
        "Zhou et al. 2022, 'iBOT', ICLR"
    )
    Settings: ClassVar[type[Settings]] = SelfDistillationSettings
    refuses: ClassVar = MappingProxyType(
        {"processes": "the centre of its teacher is counted batch after batch"}
    )

    settings: SelfDistillationSettings

    def before(self, net: nn.Module, context: Context) -> None:
        """Pretrain the network in place, and keep its weights."""
        said, samples = self.settings, pool(context)
        first = first_inputs(context, samples)
        net, names = image_network(net, first)
        inputs = joined([first], names)
        layer = representation(net, inputs)
        with torch.no_grad():
            width = represent(net, inputs, layer).shape[1]
        torch.manual_seed(context.learner.seed)
        head = IbotHead(width, said.hidden, said.narrow, said.directions)
        for last in (head.last_layer, head.last_layer2):
            last.weight_g.requires_grad_(False)  # unit directions
        tokens = width if of_tokens(net) else 1
        whole = Wrapped(net, {
            "head": head,
            "teacher": copy.deepcopy(net).requires_grad_(False),
            "teacher_head": copy.deepcopy(head).requires_grad_(False),
            "remembered": _Remembered(tokens, said.directions),
        })  # fmt: skip
        state = context.stage(
            whole, self._loss_of(names, layer, context), self.name, learner=self.learner(context),
            stepped=[self._follow],
        )  # fmt: skip
        if said.keep == "teacher":
            net.load_state_dict(whole.beside["teacher"].state_dict())
        context.record |= {"cases": len(samples), "features": layer, "steps": state.step}
        keep_weights(net, context, self.name, head=output_layer(net.cpu(), inputs))

    @torch.no_grad()
    def _follow(self, whole: nn.Module, step: int) -> None:
        """The teacher follows the student by one step."""
        said, parts = self.settings, whole.get_submodule("beside")
        momentum = cosine(step - 1, steps=said.steps, start=said.momentum, end=1.0)
        for teacher, student in (("teacher", "net"), ("teacher_head", "beside.head")):
            pairs = zip(
                parts.get_submodule(teacher).parameters(),
                whole.get_submodule(student).parameters(), strict=True,
            )  # fmt: skip
            for kept, new in pairs:
                kept.lerp_(new, 1 - momentum)

    def _loss_of(self, names: Sequence[str], layer: str, context: Context) -> Loss:
        said, task, learner = self.settings, context.task, self.learner(context)
        seed = context.learner.seed * 1_000_003
        batches = context.batches(pool(context), batch=learner.batch)
        wide, small = self.changes(), self.settings.augment or Augmentation.model_validate(LOCAL)
        resting = round(said.rest * said.steps) * learner.accumulate

        def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
            made: Any = net
            head, kept = made.beside["head"], made.beside["remembered"]
            for last in (head.last_layer, head.last_layer2):
                last.weight_v.requires_grad_(number >= resting)
            inputs = tensors(batches(number)[0], device)
            views = [
                view(inputs, task, wide if k < WHOLE else small, seed=(seed + number) * 16 + k)
                for k in range(WHOLE + said.local)
            ]
            with torch.no_grad():
                features, patches = _seen(
                    made.beside["teacher"], joined(views[:WHOLE], names), layer
                )
                scores = made.beside["teacher_head"](features).float()
                patch_scores = _of_patches(made.beside["teacher_head"], patches, said.hidden_share)
            hidden = _hidden(patch_scores, len(views), said.hidden_share, seed + number)
            with _covered(made.net, hidden, kept.token):
                features, patches = _seen(made.net, joined(views, names), layer)
            students = head(features)
            with exact(device):
                total = agreement(
                    students.float().chunk(len(views)),
                    targets(scores, kept.centre, temperature=said.teacher_temperature).chunk(WHOLE),
                    temperature=said.temperature,
                )
                kept.centre.copy_(moved_centre(kept.centre, scores, momentum=said.centring))
                if patch_scores is not None and patches is not None and hidden is not None:
                    count = len(patch_scores)
                    total = total + agreement_where_hidden(
                        head.patches(patches[:count]).float(),
                        targets(
                            patch_scores, kept.patch_centre, temperature=said.teacher_temperature
                        ),
                        hidden[:count], temperature=said.temperature,
                    )  # fmt: skip
                    kept.patch_centre.copy_(
                        moved_centre(kept.patch_centre, patch_scores, momentum=said.centring)
                    )
            return total

        return loss


def _seen(net: nn.Module, inputs: Sequence[Tensor], layer: str) -> tuple[Tensor, Tensor | None]:
    """Features ``(B, C)`` and, of a network of tokens, those of patches ``(B, N, C)``."""
    if not of_tokens(net):
        return represent(net, inputs, layer), None
    seen: list[Tensor] = []
    handle = net.get_submodule("norm").register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    try:
        features = represent(net, inputs, layer)
    finally:
        handle.remove()
    return features, seen[-1][:, 1:]


def _of_patches(head: Any, patches: Tensor | None, share: float) -> Tensor | None:
    if patches is None or share == 0:
        return None
    scores: Tensor = head.patches(patches).float()
    return scores


def _hidden(scores: Tensor | None, views: int, share: float, seed: int) -> Tensor | None:
    """Which patches of all views the student does not see: some of whole views, ``(V B, N)``."""
    if scores is None:
        return None
    whole, count = scores.shape[:2]
    draw = torch.Generator().manual_seed(seed)
    order = torch.rand(whole, count, generator=draw).argsort(dim=1).argsort(dim=1)
    hidden = order < max(round(share * count), 1)
    none = torch.zeros(whole // WHOLE * (views - WHOLE), count, dtype=torch.bool)
    return torch.cat([hidden, none]).to(scores.device)


@contextmanager
def _covered(net: nn.Module, hidden: Tensor | None, token: Tensor) -> Iterator[None]:
    """While it lasts, hidden patches are the mask's token."""
    if hidden is None:
        yield
        return
    handle = net.get_submodule("patch_embed").register_forward_hook(
        lambda module, args, output: torch.where(hidden[..., None], token.to(output.dtype), output)
    )
    try:
        yield
    finally:
        handle.remove()
