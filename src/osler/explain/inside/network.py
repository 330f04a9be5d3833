"""A torch network on a case: what is explained, its maps, and those of random weights."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, RecipeError
from osler.explain.absent import absent
from osler.explain.occlusion import Score, occlusion
from osler.explain.subject import Subject, chosen, curves_for, windows_for
from osler.record import Case, Image, Source

Made = tuple[NDArray[np.float32], str, dict[str, float] | None, list[str]]

_ENOUGH = 0.02  # share of the difference that integrated gradients may be off
_STEPS = (64, 256, 1024)


def on_network(net: Any, case: Case, *, label: str | None = None) -> Subject:
    """One score of a network to the photograph or volume of a case.

    Args:
        net: a network of ``osler.models`` whose card says how a picture becomes its input.
        case: with one image, or with ``photo``.
        label: number of the score, or what its class is called; None takes the greatest.

    Raises:
        RecipeError: the network names no preprocessing, or has no such score.
        InputError: the case has no picture.
    """
    card = getattr(net, "card", None)
    if card is None or getattr(card, "preprocessing", None) is None:
        raise RecipeError(
            "the network's card names no preprocessing; use osler.explain.inside.network.on_array "
            "with an array as the network takes it"
        )
    image = _picture(case)
    side = getattr(net, "options", {}).get("image_size")
    prepare = card.preprocessing.for_size(side) if side else card.preprocessing
    from osler.explain.framing import way_home
    from osler.io.masks import as_rgb

    array = prepare(np.ascontiguousarray(as_rgb(image).transpose(2, 0, 1)))
    subject = on_array(net, array, case=case, item=image, label=label, name=card.name)
    subject.home = way_home(prepare.steps, (image.shape[0], image.shape[1]))
    return subject


def on_array(
    net: Any,
    array: NDArray[Any],
    *,
    case: Case | None = None,
    item: Image | None = None,
    label: str | int | None = None,
    name: str = "",
) -> Subject:
    """One score of any torch network to an array.

    Args:
        net: in eval mode; answers ``(N, L)`` or ``(N, L, [D,] H, W)``.
        array: ``(C, [D,] H, W)``, as the network takes it.
        case: the case it is of; None makes one of the array alone.
        item: the image it is of, whose whole frame it shows.
        label: number of the score, or what its class is called; None takes the greatest, or the
            structure of most pixels.
        name: of the network.

    Raises:
        RecipeError: there is no such score.
    """
    import torch

    from osler.explain.inside.places import label_score
    from osler.models.class_names import fitting_names
    from osler.tasks.image_input import resized

    x = np.ascontiguousarray(array, np.float32)
    with torch.no_grad():
        answer = net(torch.from_numpy(x)[None])
    answer = answer if isinstance(answer, torch.Tensor) else answer[0]
    numbers = [str(number) for number in range(answer.shape[1])]
    called = fitting_names(net, len(numbers))
    names = numbers if called is None or str(label) in numbers else list(called)
    number = chosen(None if label is None else str(label), names, whose=name or "the network")
    region = None
    if answer.ndim > 2:
        most = answer[0].argmax(dim=0)
        if number is None:
            counts = torch.bincount(most.flatten(), minlength=len(names))
            number = 1 + int(counts[1:].argmax()) if len(names) > 1 else 0
        found = most == number if len(names) > 1 else answer[0, 0] > 0
        region = found if bool(found.any()) else None
    elif number is None:
        number = int(answer[0].argmax())
    what = f"score {number}" if called is None else f"score of '{called[number]}'"
    gives = getattr(getattr(net, "card", None), "answers", ())
    if "features" in gives and answer.ndim == 2 and not net.options.get("num_classes"):
        what = f"feature {number} of {len(numbers)} (without classes)"
    target = label_score(number, region=region)
    item = item or Image("array", x[:1])
    case = case or Case("array", items={item.name: item})
    size, step = windows_for(x.shape[1:])
    steps, orders = curves_for(x.shape[1:])
    native = tuple(item.shape)
    return Subject(
        case=case,
        item=item.name,
        source=Source("algorithm", name or type(net).__name__),
        image=x,
        score=score_of(net, target),
        home=lambda heat: resized(heat[None], native)[0],
        within=np.ones(x.shape[1:], bool),
        absent=absent(x, "blur"),
        absent_words="the input blurred to a twelfth of its shortest side",
        window=size,
        stride=step,
        label=called[number] if called else numbers[number],
        question=(
            f"{what} of the network, before any activation"
            + ("" if answer.ndim == 2 else ", over the pixels that it marks")
        ),
        value=float(target(answer)[0]),
        native=native,
        net=net,
        target=target,
        steps=steps,
        orders=orders,
        batch=8 if x.ndim == 3 else 1,  # volumes fill the memory one by one
    )


def score_of(net: Any, target: Any) -> Score:
    """The score of copies of an input, by the network."""
    import torch

    def score(stack: NDArray[np.float32]) -> NDArray[np.floating]:
        with torch.no_grad():
            said: NDArray[np.floating] = target(net(torch.from_numpy(stack))).double().numpy()
        return said

    return score


def map_of(subject: Subject, method: str, layer: str | None, *, net: Any = None) -> Made:
    """The map of a method on the grid of the input.

    Args:
        subject: with a network.
        method: one of ``osler.explain.explaining.INSIDE``.
        layer: of a class activation map; None finds one.
        net: another network than the subject's, such as one with random weights.

    Returns:
        ``([D,] H, W)``, the layer it was made at, what integrated gradients add up to, and notes.
    """
    import torch

    from osler.explain.inside import cam, gradients, rollout

    steps = _STEPS if net is None else _STEPS[:1]  # random weights are worth no more
    net = subject.net if net is None else net
    x = torch.from_numpy(subject.image)[None]
    size = tuple(x.shape[2:])
    if method == "attention-rollout":
        heat, place = rollout.attention_rollout(net, x, subject.target)
        return _numpy(cam.enlarge(heat[None], size)[0]), place.name, None, []
    if method in ("grad-cam", "grad-cam++", "layer-cam", "score-cam"):
        heat, place = cam.class_activation(
            net,
            x,
            subject.target,
            kind=cast(cam.Kind, method),
            layer=layer,
            batch=subject.batch,
        )
        return _numpy(cam.enlarge(heat[None], size)[0]), place.name, None, []
    if method == "smooth-grad":
        return (
            _numpy(gradients.smooth_grad(net, x, subject.target, batch=subject.batch)),
            "",
            None,
            [],
        )
    if method == "gradient-times-input":
        values = gradients.gradient_times_input(net, x, subject.target)
        return _numpy(values.sum(dim=0)), "", None, []
    return _integrated(net, x, subject, steps)


def _integrated(net: Any, x: Any, subject: Subject, most: tuple[int, ...]) -> Made:
    import torch

    from osler.explain.inside.gradients import integrated_gradients

    baseline = torch.from_numpy(subject.absent)[None]
    for steps in most:
        said = integrated_gradients(
            net, x, subject.target, baseline=baseline, steps=steps, batch=subject.batch
        )
        if abs(said.gap) <= _ENOUGH * abs(said.difference):
            break
    notes = []
    if abs(said.gap) > _ENOUGH * abs(said.difference):
        notes.append(
            f"the attributions add up to {said.difference + said.gap:.4g} and should to "
            f"{said.difference:.4g}: {steps} steps are not enough"
        )
    additive = {"difference": said.difference, "gap": said.gap, "steps": float(steps)}
    return _numpy(said.values.sum(dim=0)), "", additive, notes


def random_maps(
    subject: Subject, method: str, layer: str | None, *, stages: int = 3
) -> "Iterator[tuple[str, NDArray[np.float32]]]":
    """The map of networks that forget more and more of what they learnt (`cascade`)."""
    from osler.explain.inside.drawn_anew import cascade

    for stage, net in cascade(subject.net, stages=stages):
        if method == "occlusion":
            yield stage, occlusion(
                score_of(net, subject.target), subject.image, absent=subject.absent,
                window=subject.window, stride=subject.stride, batch=subject.batch,
            )  # fmt: skip
            continue
        try:
            yield stage, map_of(subject, method, layer, net=net)[0]
        except RecipeError:  # random weights may leave no layer that the answer depends on
            yield stage, np.zeros(subject.image.shape[1:], np.float32)


def _numpy(heat: Any) -> NDArray[np.float32]:
    return np.asarray(heat.detach().cpu().numpy(), np.float32)


def _picture(case: Case) -> Image:
    images = [item for item in case.items.values() if isinstance(item, Image)]
    flat = [item for item in images if len(item.shape) == 2]
    if not flat:
        raise InputError(f"case '{case.id}' has no picture; a volume goes through on_array")
    return next((item for item in flat if item.name == "photo"), flat[0])
