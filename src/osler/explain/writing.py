"""An explanation as files: pictures, numbers, and one page that needs nothing else.

OUT/CASE/explanation.html   the page
OUT/CASE/explanation.json   every number and every step of the evidence
OUT/CASE/overlay.png        the map over the picture (of a volume its hottest slice)
OUT/CASE/heatmap.npz        ``heat`` (0 to 1) and ``signed``, native grid
OUT/CASE/heatmap.nii.gz     of a volume also, with its place in the patient
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from osler.errors import OutputError
from osler.explain.explaining import WORDS, Explanation
from osler.explain.pictures import overlay
from osler.io.atomic_file import replacing
from osler.record import Image

SCHEMA: Final = 1


def write(said: Explanation, out: str | Path) -> Path:
    """Write all files into a folder of the case's own; each appears whole or not at all.

    Returns:
        ``out/CASE``.

    Raises:
        OutputError: the folder cannot be written.
    """
    from osler.explain.page import page

    folder = Path(out) / _safe(said.case.id)
    if folder.is_file() or Path(out).is_file():
        raise OutputError(f"'{folder}' lies in or at a file; name a folder")
    image = said.case.image(said.heatmap.item or "")
    text = json.dumps(as_json(said), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    jobs: list[tuple[str, Callable[[Path], Any]]] = [
        ("overlay.png", lambda path: overlay(image, said.heatmap).save(path, "PNG")),
        ("heatmap.npz", lambda path: _npz(said, path)),
        ("explanation.json", lambda path: path.write_text(text, "utf-8", newline="\n")),
        ("explanation.html", lambda path: path.write_text(page(said), "utf-8", newline="\n")),
    ]
    if len(image.shape) == 3:
        jobs.insert(2, ("heatmap.nii.gz", lambda path: _nifti(said, image, path)))
    for name, job in jobs:
        with replacing(folder / name) as part:
            job(part)
    return folder


def as_json(said: Explanation) -> dict[str, Any]:
    """All numbers, plain."""
    from osler import __version__

    faithful = said.faithful
    origin = said.case.image(said.heatmap.item or "").origin
    return {
        "schema_version": SCHEMA,
        "osler": __version__,
        "case": said.case.id,
        "item": said.heatmap.item,
        "sha256": origin.sha256 if origin is not None else "",
        "model": {
            "kind": said.heatmap.source.kind,
            "name": said.heatmap.source.name,
            "version": said.heatmap.source.version,
        },
        "label": said.label,
        "question": said.question,
        "value": said.value,
        "method": said.method,
        "method_in_words": WORDS[said.method],
        "layer": said.layer,
        "input_shape": list(said.input_shape),
        "window": list(said.window),
        "absent": said.absent,
        "units": said.units,
        "range": [float(said.signed.min()), float(said.signed.max())],
        "additive": said.additive,
        "faithfulness": {
            "definition": "area under the score while squares of the picture are taken away "
            "(deletion) or put back (insertion), the hottest first; Petsiuk et al. 2018",
            "deletion": _curve(faithful.deletion),
            "insertion": _curve(faithful.insertion),
            "random_deletion": _curve(faithful.random_deletion),
            "random_insertion": _curve(faithful.random_insertion),
            "random_orders": faithful.orders,
            "side": list(faithful.side),
            "deletion_gain": faithful.deletion_gain,
            "insertion_gain": faithful.insertion_gain,
            "better_than_random": faithful.better_than_random,
        },
        "random_weights": {
            "definition": "likeness to the map of the same model with random weights: Spearman's "
            "rank correlation of the values and of their sizes, structural similarity; Adebayo et "
            "al. 2018",
            "stages": [
                {
                    "random": one.stage,
                    "rank": one.rank,
                    "rank_of_size": one.rank_of_size,
                    "ssim": one.ssim,
                    "alike": one.alike,
                }
                for one in said.random_weights
            ],
        },
        "evidence": None if said.evidence is None else said.evidence.as_json(),
        "notes": list(said.notes),
        "seconds": round(said.seconds, 2),
    }


def _curve(curve: Any) -> dict[str, Any]:
    return {"area": curve.area, "shares": list(curve.shares), "scores": list(curve.scores)}


def _npz(said: Explanation, path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, heat=said.heatmap.values, signed=said.signed)


def _nifti(said: Explanation, image: Image, path: Path) -> None:
    from osler.io.nifti_out import write_nifti

    heat = Image(
        "explanation",
        said.signed[None].astype(np.float32),
        image.modality,
        spacing=image.spacing,
        affine=image.affine,
    )
    write_nifti(heat, path)


def _safe(id: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in id).lstrip(".")
    return kept[:120] or "case"
