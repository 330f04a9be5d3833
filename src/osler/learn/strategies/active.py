"""Active learning: the trained network says which cases to label next.

The criteria are those of `osler.learn.choosing`. One run ranks the cases without a label and keeps
the choice in ``run.json``; `osler.learn.rounds` trains, reveals what was chosen and trains again.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.hooks import RemovableHandle

from osler.errors import RecipeError
from osler.learn.choosing import bald, entropy, k_centre, probabilities
from osler.learn.loop import inference
from osler.learn.strategies.features import output_layer, pooled, tapped
from osler.learn.strategies.mean_teacher import refuse_prompts
from osler.learn.strategies.strategy import Context, Role, Settings, Strategy, tensors
from osler.tasks.task import Arrays, Sample, Task


class ActiveSettings(Settings):
    """The keys of ``active``.

    Attributes:
        criterion: ``entropy``, ``bald`` (by dropout at inference), ``core-set`` (by the features
            before the output layer), or ``random``, to compare with.
        take: cases that are chosen.
        draws: of dropout, for ``bald``.
        dropout: of the features before the output layer, for ``bald`` in a network that has no
            dropout of its own; while it is trained too.
    """

    criterion: Literal["entropy", "bald", "core-set", "random"] = "entropy"
    take: Annotated[int, Field(gt=0)] = 10
    draws: Annotated[int, Field(gt=1, le=1000)] = 10
    dropout: Annotated[float, Field(gt=0, lt=1)] = 0.3


class Active(Strategy):
    """See `ActiveSettings`."""

    name: ClassVar[str] = "active"
    title: ClassVar[str] = "Active learning"
    role: ClassVar[Role] = "afterwards"
    source: ClassVar[str] = (
        "Settles 2009, 'Active learning literature survey'; Gal et al. 2017, 'Deep Bayesian active "
        "learning with image data', ICML; Sener and Savarese 2018, 'Active learning for "
        "convolutional neural networks: a core-set approach', ICLR"
    )
    Settings: ClassVar[type[Settings]] = ActiveSettings
    needs_unlabelled: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation")
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({})

    settings: ActiveSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._hook: RemovableHandle | None = None

    def faults(self, recipe: Any, task: Task) -> list[str]:
        return refuse_prompts(task)

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        if self.settings.criterion == "bald" and not dropouts(net):
            layer = net.get_submodule(output_layer(net, self._example(context)))
            self._hook = layer.register_forward_pre_hook(Dropping(self.settings.dropout))
        return net

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        pool, said = list(context.unlabelled), self.settings
        seed = context.learner.seed
        scores: NDArray[np.float64] | None = None
        if said.criterion == "random":
            order = [int(one) for one in np.random.default_rng((seed, 41)).permutation(len(pool))]
        elif said.criterion == "core-set":
            layer = output_layer(net, self._example(context))
            known, new = (
                np.stack([features(net, layer, context.task, one) for one in samples])
                for samples in (context.teach, pool)
            )
            order = k_centre(new, known, said.take)
        else:
            unsure = self._unsure(net, context)
            scores = np.array([unsure(one) for one in pool])
            order = [int(one) for one in np.argsort(-scores, kind="stable")]
        if self._hook is not None:
            self._hook.remove()
        chosen = order[: said.take]
        context.record |= {
            "criterion": said.criterion, "labelled": [one.id for one in context.teach],
            "pool": len(pool), "next": [pool[one].id for one in chosen],
        }  # fmt: skip
        if scores is not None:
            context.record["scores"] = [round(float(scores[one]), 6) for one in chosen]
        return net

    def _unsure(self, net: nn.Module, context: Context) -> Callable[[Sample], float]:
        task = context.task
        if self.settings.criterion == "entropy":
            return lambda sample: mean_over(
                entropy, {k: v[0] for k, v in asked(net, task, sample).items()}, task
            )
        drop = [*dropouts(net), *dropped_layers(net)]
        if not drop:
            raise RecipeError(
                "strategies.active.criterion bald asks a network with dropout, and another "
                "strategy made one without it; take entropy or core-set"
            )

        def disagreement(sample: Sample) -> float:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(context.learner.seed)  # the same networks for every case
                said = asked(net, task, sample, draws=self.settings.draws, dropping=drop)
            return mean_over(bald, said, task)

        return disagreement

    @staticmethod
    def _example(context: Context) -> list[Tensor]:
        arrays, _ = context.batches(context.teach, batch=1)(0)
        return list(tensors(arrays, torch.device("cpu")).values())


class Dropping:
    """A hook that drops features before a layer while the layer is in training mode.

    Args:
        rate: share of them.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Maps are dropped whole, since neighbouring positions say the same."""
        if not layer.training:
            return args
        x, *rest = args
        drop = {4: functional.dropout2d, 5: functional.dropout3d}.get(x.ndim, functional.dropout)
        return (drop(x, self.rate, training=True), *rest)


def dropouts(net: nn.Module) -> list[nn.Module]:
    """The layers of a network that drop some of what they are given."""
    return [one for one in net.modules() if isinstance(one, _DropoutNd) and one.p > 0]


def dropped_layers(net: nn.Module) -> list[nn.Module]:
    """The layers before which `Dropping` drops."""
    return [
        one for one in net.modules()
        if any(isinstance(hook, Dropping) for hook in one._forward_pre_hooks.values())
    ]  # fmt: skip


def asked(
    net: nn.Module, task: Task, sample: Sample, *, draws: int = 1,
    dropping: Sequence[nn.Module] = (),
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    """Probabilities ``(draws, L, ...)`` of a whole case, by output.

    Args:
        net: the network.
        task: asks it.
        sample: of the case.
        draws: times that it is asked.
        dropping: layers that drop meanwhile.
    """
    said: dict[str, list[NDArray[np.float64]]] = {}
    for _ in range(draws):
        answer = task.run(_predict(net, task, dropping), sample)
        for spec in task.outputs():
            if spec.activation in ("softmax", "sigmoid") and spec.name in answer:
                p = probabilities(answer[spec.name], spec.activation)
                said.setdefault(spec.name, []).append(p)
    return {name: np.stack(parts) for name, parts in said.items()}


def _predict(
    net: nn.Module, task: Task, dropping: Sequence[nn.Module] = ()
) -> Callable[[Arrays], Arrays]:
    device = next(net.parameters()).device

    def predict(inputs: Arrays) -> Arrays:
        with inference(net):
            for layer in dropping:
                layer.training = True
            try:
                said = net(*tensors(inputs, device).values())
            finally:
                for layer in dropping:
                    layer.training = False
        return {name: one.float().cpu().numpy() for name, one in task.named(said).items()}

    return predict


def mean_over(
    criterion: Callable[[NDArray[np.float64], str], float], said: Mapping[str, NDArray[np.float64]],
    task: Task,
) -> float:  # fmt: skip
    """A criterion, mean over the outputs."""
    kinds = {spec.name: spec.activation for spec in task.outputs()}
    return float(np.mean([criterion(p, kinds[name]) for name, p in said.items()]))


def features(net: nn.Module, layer: str, task: Task, sample: Sample) -> NDArray[np.float64]:
    """What the output layer reads of a whole case, mean over positions and windows ``(C,)``."""
    with tapped(net, layer) as seen:
        task.run(_predict(net, task), sample)
    parts = torch.cat([pooled(one, net.get_submodule(layer)) for one in seen])
    return np.asarray(parts.double().mean(dim=0).cpu().numpy())
