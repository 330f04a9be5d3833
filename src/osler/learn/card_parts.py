"""The parts of a bundle's card that a training fills in."""

from collections.abc import Mapping, Sequence
from typing import Any

from osler.tasks.task import Figure, OutputSpec, Task


def card_outputs(
    outputs: Sequence[OutputSpec], calibration: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The outputs as a card holds them."""
    out = []
    for one in outputs:
        cut = one.thresholds or (None,) * len(one.labels)
        out.append({
            "name": one.name,
            "activation": one.activation,
            "labels": [
                {"name": label, "threshold": threshold}
                for label, threshold in zip(one.labels, cut, strict=True)
            ],
            "calibration": dict(calibration[one.name]) if one.name in calibration else None,
            "description": one.description,
        })  # fmt: skip
    return out


def card_inputs(task: Task) -> list[dict[str, Any]]:
    """The inputs as a card holds them."""
    return [
        {
            "name": one.name, "channels": list(one.channels), "multiple": one.multiple,
            "size": None if one.size is None else list(one.size), "source": "case",
        }
        for one in task.inputs()
    ]  # fmt: skip


def card_metrics(figures: Sequence[Figure], *, data: str) -> list[dict[str, Any]]:
    """The figures as a card holds them; those without a value are left out."""
    out = []
    for one in figures:
        if one.interval.value is None or one.cases < 1:
            continue
        interval = one.interval
        bounded = interval.low is not None and interval.high is not None
        left_out = f"; {one.left_out} cases without a figure" if one.left_out else ""
        out.append({
            "name": one.name, "value": round(float(interval.value), 4),
            "low": round(float(interval.low), 4) if bounded else None,
            "high": round(float(interval.high), 4) if bounded else None,
            "level": interval.level if bounded else None,
            "images": one.cases, "data": data,
            "how": f"{one.how}; percentile bootstrap over {interval.groups} patients{left_out}",
        })  # fmt: skip
    return out
