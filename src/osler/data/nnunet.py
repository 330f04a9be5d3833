"""nnU-Net folders, in and out: ``dataset.json``, ``imagesTr/CASE_0000.ext``, ``labelsTr/CASE.ext``.

Sources: nnU-Net v2, documentation/dataset_format.md (``channel_names``, ``labels`` name to value,
``file_ending``); v1 and the Medical Segmentation Decathlon (``modality``, ``labels`` value to
name, ``training``, ``test``).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osler.data.cohort import Row
from osler.data.importing import (
    UNKNOWN_PATIENTS,
    Imported,
    Names,
    Options,
    column_name,
    inside,
    patient_of,
    read_json,
)
from osler.errors import UnreadableError

FILE = "dataset.json"
_CHANNEL = re.compile(r"(.+)_(\d{4})\Z")
_KNOWN_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".bmp", ".tif", ".tiff", ".jpg")


def accepts(source: Path) -> bool:
    """Whether the folder has ``dataset.json`` and ``imagesTr``."""
    return (source / FILE).is_file() and (source / "imagesTr").is_dir()


def read(source: Path, options: Options) -> Imported:
    """The training and test cases of an nnU-Net folder.

    Raises:
        UnreadableError: ``dataset.json`` is damaged, or a case lacks a channel or its label map.
    """
    path = source / FILE
    head = read_json(path)
    if not isinstance(head, dict):
        raise UnreadableError(f"'{path}' holds no object; export it again")
    channels, labels = _channels(head, path), _labels(head, path)
    found = {
        split: _listed(head, split, source) or _in_folder(head, split, source)
        for split in ("train", "test")
    }
    folds = _folds(source) if not found["test"] else {}
    names, rows = Names(), []
    for split, cases in found.items():
        for case, (images, mask) in sorted(cases.items()):
            items = _items(case, images, channels, path)
            if mask is not None and not mask.is_file():
                raise UnreadableError(
                    f"'{path}': case '{case}' has no label map '{mask.name}'; "
                    "copy it again, or move its images to imagesTs"
                )
            first = next(iter(items.values()))
            rows.append(
                Row(
                    names.new(case),
                    patient_of(first, source, options, case),
                    folds.get(case) if len(folds) == len(cases) else None,
                    items,
                    _targets(mask, labels, source),
                    split,
                )
            )
    notes = [] if options.patient else [UNKNOWN_PATIENTS]
    stated = head.get("numTraining")
    if isinstance(stated, int) and stated != len(found["train"]):
        notes.append(f"{FILE} states {stated} training cases, {len(found['train'])} are there")
    return Imported(source, rows, notes)


def _channels(head: Mapping[str, Any], path: Path) -> dict[int, str]:
    stated = head.get("channel_names", head.get("modality"))
    if not isinstance(stated, dict) or not stated or not all(str(k).isdecimal() for k in stated):
        raise UnreadableError(f"'{path}' has no channel_names (nor modality), number to name")
    names: dict[int, str] = {}
    for key, value in sorted(stated.items(), key=lambda pair: int(pair[0])):
        name = column_name(str(value).lower())
        names[int(key)] = name if name not in names.values() else f"{name}-{int(key) + 1}"
    return names


def _labels(head: Mapping[str, Any], path: Path) -> dict[str, tuple[int, ...]]:
    """Name to the values in the label maps, background left out."""
    stated = head.get("labels")
    if not isinstance(stated, dict):
        raise UnreadableError(f"'{path}' has no labels")
    out: dict[str, tuple[int, ...]] = {}
    for key, value in stated.items():
        old = str(key).isdecimal()  # v1 writes value to name
        name, numbers = (str(value), [key]) if old else (str(key), value)
        numbers = numbers if isinstance(numbers, list) else [numbers]
        if not numbers or not all(str(number).isdecimal() for number in numbers):
            raise UnreadableError(f"'{path}': label '{name}' has no whole numbers as its values")
        values = tuple(int(number) for number in numbers)
        if values != (0,):
            out[column_name(name)] = values
    return out


_Cases = dict[str, tuple[dict[int, Path], Path | None]]


def _in_folder(head: Mapping[str, Any], split: str, source: Path) -> _Cases:
    short = "Tr" if split == "train" else "Ts"
    images, masks = source / f"images{short}", source / f"labels{short}"
    if not images.is_dir():
        return {}
    files = sorted(f for f in images.iterdir() if f.is_file() and not f.name.startswith("."))
    ending = _ending(head, files)
    stems = {file: file.name.removesuffix(ending) for file in files if file.name.endswith(ending)}
    # the Decathlon's files carry no channel number: all channels are in one
    numbered = any(_CHANNEL.match(stem) for stem in stems.values())
    cases: _Cases = {}
    for file, stem in stems.items():
        match = _CHANNEL.match(stem) if numbered else None
        if numbered and not match:
            raise UnreadableError(f"'{file}' has no channel number such as _0000 in its name")
        case, channel = (match[1], int(match[2])) if match else (stem, 0)
        mask = masks / f"{case}{ending}"
        wanted = mask if split == "train" or mask.is_file() else None
        cases.setdefault(case, ({}, wanted))[0][channel] = file
    return cases


def _ending(head: Mapping[str, Any], files: list[Path]) -> str:
    stated = head.get("file_ending")
    if isinstance(stated, str) and stated:
        return stated
    return next((e for e in _KNOWN_ENDINGS for file in files if file.name.endswith(e)), ".nii.gz")


def _listed(head: Mapping[str, Any], split: str, source: Path) -> _Cases:
    """Cases that ``dataset.json`` of v2 lists one by one under ``dataset``."""
    stated = head.get("dataset")
    if not isinstance(stated, dict) or split != "train":
        return {}
    cases: _Cases = {}
    for case, files in stated.items():
        try:
            images = {
                k: inside(source, str(f), source / FILE) for k, f in enumerate(files["images"])
            }
            cases[str(case)] = (images, inside(source, str(files["label"]), source / FILE))
        except (KeyError, TypeError):
            raise UnreadableError(
                f"'{source / FILE}': case '{case}' does not name its images and label"
            ) from None
    return cases


def _items(
    case: str, images: Mapping[int, Path], channels: Mapping[int, str], path: Path
) -> dict[str, Path]:
    if len(images) == 1 and len(channels) > 1 and not _CHANNEL.match(images[0].name.split(".")[0]):
        return {"volume": images[0]}  # one file with all channels
    missing = [f"_{number:04d}" for number in channels if number not in images]
    extra = [f"_{number:04d}" for number in images if number not in channels]
    if missing or extra:
        words = f"lacks channel {', '.join(missing)}" if missing else f"has {', '.join(extra)} too"
        raise UnreadableError(f"'{path}' names {len(channels)} channel(s); case '{case}' {words}")
    absent = [images[number].name for number in channels if not images[number].is_file()]
    if absent:
        raise UnreadableError(f"'{path}': case '{case}' lacks the file(s) {', '.join(absent)}")
    return {channels[number]: images[number] for number in channels}


def _targets(
    mask: Path | None, labels: Mapping[str, tuple[int, ...]], source: Path
) -> dict[str, str]:
    if mask is None:
        return {}
    where = mask.relative_to(source).as_posix()
    return {name: f"{where}#{','.join(map(str, values))}" for name, values in labels.items()}


def _folds(source: Path) -> dict[str, int]:
    """Case to the fold that validates it, where nnU-Net has written its folds beside the data."""
    path = source / "splits_final.json"
    if not path.is_file():
        return {}
    stated = read_json(path)
    try:
        return {str(case): k for k, fold in enumerate(stated) for case in fold["val"]}  # type: ignore[arg-type, var-annotated]
    except (KeyError, TypeError):
        raise UnreadableError(f"'{path}' is no list of folds with train and val") from None
