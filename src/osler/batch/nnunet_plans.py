"""What nnU-Net wrote beside its weights, ``plans.json`` and ``dataset.json``, as settings.

A training of nnU-Net 2 leaves ``TRAINER__PLANS__CONFIGURATION/fold_N/checkpoint_final.pth``, and
the two files in the folder above. They say spacing, intensities, patch and labels, which no
checkpoint does.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from osler.errors import RecipeError, UnreadableError

_MOST: Final = 64 << 20  # bytes of either file
_TURNED: Final = [0, 1, 2]


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of one network for volumes.

    Attributes:
        source: the file.
        settings: of the task of segmentation.
        turned: for each axis of the network, which axis ``(D, H, W)`` of a volume it is.
    """

    source: Path
    settings: dict[str, Any]
    turned: tuple[int, ...]


def plans_beside(checkpoint: Path) -> Plans | None:
    """The plans of a checkpoint for volumes; None where none lie beside it or above it.

    Raises:
        UnreadableError: a file is damaged.
        RecipeError: the plans ask for what is not done here; the message says what to set instead.
    """
    near = [checkpoint] if checkpoint.is_dir() else [checkpoint.parent, checkpoint.parent.parent]
    for folder in near:
        if (folder / "plans.json").is_file():
            return _plans(folder / "plans.json", _read(folder / "plans.json"), folder)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST:
            raise UnreadableError(f"'{path}' is too large for plans")
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableError(f"'{path}' is no JSON that can be read") from error
    if not isinstance(said, dict):
        raise UnreadableError(f"'{path}' holds no plans")
    return said


def _plans(path: Path, said: dict[str, Any], folder: Path) -> Plans:
    try:
        found = _configuration(path, said, folder)
        forward = [int(one) for one in said.get("transpose_forward", _TURNED)]
        spacing, patch = found["spacing"], found["patch_size"]
        if len(patch) != len(_TURNED) or sorted(forward) != _TURNED:
            raise RecipeError(
                f"'{path}' plans a network for slices; volumes need one for volumes (3d_fullres)"
            )
        back = [forward.index(axis) for axis in _TURNED]
        data = folder / "dataset.json"
        dataset = _read(data) if data.is_file() else {}
        intensity = _intensity(path, said, found)
        image = {"spacing": [float(spacing[k]) for k in back], "intensity": intensity}
        channels = dataset.get("channel_names") or dataset.get("modality") or {}
        if len(channels) > 1:
            image["items"] = [str(channels[key]) for key in sorted(channels, key=int)]
        settings = {"image": image, "patch": [int(patch[k]) for k in back], **_labels(dataset)}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UnreadableError(
            f"'{path}' is not as nnU-Net 2 writes plans ({type(error).__name__}: {error})"
        ) from error
    return Plans(path, settings, tuple(forward))


def _configuration(path: Path, said: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration that the folder's name says, with what it inherits."""
    known = said["configurations"]
    name = folder.resolve().name.rpartition("__")[2]
    if name not in known:
        name = "3d_fullres"
    if name not in known:
        raise RecipeError(
            f"'{path}' has the configurations {', '.join(known)}, and its folder names none of them"
        )
    found: dict[str, Any] = {}
    chain = 0
    while name is not None and chain < len(known):
        found = {**known[name], **found}
        name, chain = known[name].get("inherits_from"), chain + 1
    return found


def _intensity(path: Path, said: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    schemes, masked = found["normalization_schemes"], found.get("use_mask_for_norm") or []
    if len(set(schemes)) > 1 or len(set(masked)) > 1:
        raise RecipeError(
            f"'{path}' normalises its channels in several ways ({', '.join(schemes)}); one for all "
            "is done here: use the network from Python"
        )
    scheme = schemes[0]
    if scheme == "ZScoreNormalization":
        return {"method": "z-score", "foreground": bool(masked and masked[0])}
    if scheme == "NoNormalization":
        return {"method": "range", "range": [0.0, 1.0]}
    if scheme == "RGBTo01Normalization":
        return {"method": "range", "range": [0.0, 255.0]}
    if scheme == "CTNormalization" and len(schemes) == 1:
        one = said["foreground_intensity_properties_per_channel"]["0"]
        low, high = float(one["percentile_00_5"]), float(one["percentile_99_5"])
        return {
            "method": "clip", "range": [low, high], "mean": float(one["mean"]),
            "deviation": max(float(one["std"]), 1e-8),
        }  # fmt: skip
    raise RecipeError(
        f"'{path}' normalises by {scheme}, which is not done here; say --task image.intensity=…"
    )


def _labels(dataset: dict[str, Any]) -> dict[str, Any]:
    said = dataset.get("labels")
    if not isinstance(said, dict):
        return {}
    regions = any(isinstance(value, list) for value in said.values())
    if regions:  # a sigmoid each, in the order of the file
        names = [name for name, value in said.items() if value not in (0, [0])]
        return {"labels": [one for one in names if one != "ignore"], "overlapping": True}
    numbers = {int(value): str(name) for name, value in said.items() if name != "ignore"}
    return {"labels": [numbers[number] for number in sorted(numbers) if number != 0]}
