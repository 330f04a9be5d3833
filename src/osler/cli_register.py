"""The command ``osler register``: one image brought onto another."""

import json
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from osler.cli_open import SOME_FAILED, AsJson, Debug, Option, _errors, options_of

if TYPE_CHECKING:
    from osler.record import Case, Image
    from osler.tasks.registration import Registration


class Method(StrEnum):
    """How two images are registered."""

    RIGID = "rigid"
    AFFINE = "affine"
    DEFORMABLE = "deformable"
    DEMONS = "demons"
    FUNDUS = "fundus"


class Start(StrEnum):
    """Where the search starts."""

    AUTO = "auto"
    POSITION = "position"
    CENTRE = "centre"


class Scale(StrEnum):
    """What lengths are counted in."""

    MILLIMETRES = "millimetres"
    PIXELS = "pixels"


def register(
    fixed: Annotated[str, typer.Argument(metavar="FIXED", help="The image that stays.")],
    moving: Annotated[str, typer.Argument(metavar="MOVING", help="The image to bring onto it.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="A folder for what comes of it.")
    ],
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="The freedom of the map; demons for two images of one sequence, fundus for two "
            "photographs of one eye.",
        ),
    ] = Method.RIGID,
    start: Annotated[
        Start,
        typer.Option("--start", help="Trust the places in the patient, or lay centre on centre."),
    ] = Start.AUTO,
    scale: Annotated[
        Scale, typer.Option("--scale", help="Count in pixels where no spacing is known.")
    ] = Scale.MILLIMETRES,
    labels: Annotated[
        str,
        typer.Option(
            "--labels", metavar="FILE", help="Labels of MOVING to bring along (nearest voxel)."
        ),
    ] = "",
    item: Annotated[
        str, typer.Option("--item", help="The item to take, where the files hold several.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what lies there.")
    ] = False,
    option: Option = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Bring one image onto another: the moved image, the transform, and what was doubted.

    Writes registration.json (with the matrix from indices of FIXED to indices of MOVING), the
    moving image in the grid of FIXED and, where the map bends, displacement.npy (what is added to
    the matrix) and, of volumes, displacement.nii.gz (the whole way of each voxel in mm along L, P
    and S, as ITK takes it). Not for diagnosis.

    Exit status: 0 it was done; 3 the two cannot be registered (registration.json says why); 2
    wrong usage, or one cannot be opened.
    """
    with _errors(debug=debug):
        from osler.io.conversion import one_case

        options = options_of(option, None)
        _free(out, overwrite=overwrite)
        still = _image(one_case(fixed, **options), item, fixed)
        moved = _image(one_case(moving, **options), item, moving)
        still.name, moved.name = "fixed", "moving"
        found = _registered(still, moved, method, start, scale, seed)
        told = _told(found, still, moved, method)
        out.mkdir(parents=True, exist_ok=True)
        if found.transform is not None:
            told["files"] = _images(found, still, moved, labels, out, options)
        text = json.dumps(told, ensure_ascii=False, indent=1, allow_nan=False)
        _whole(out / "registration.json", lambda path: path.write_text(text + "\n", "utf-8"))
        typer.echo(text if as_json else _sentence(told, out))
    raise typer.Exit(0 if found.transform is not None else SOME_FAILED)


def _free(out: Path, *, overwrite: bool) -> None:
    from osler.errors import OutputError

    if out.exists() and not out.is_dir():
        raise OutputError(f"'{out}' is a file; --out names a folder")
    if not overwrite and (out / "registration.json").exists():
        raise OutputError(f"'{out}' holds a registration already; use --overwrite to replace it")


def _image(case: "Case", name: str, path: str) -> "Image":
    from osler.errors import InputError
    from osler.record import Image

    images = [one for one in case.items.values() if isinstance(one, Image)]
    if not images:
        raise InputError(f"'{path}' holds no image; images are registered")
    chosen = [one for one in images if name in ("", one.name)]
    if len(chosen) != 1:
        known = ", ".join(one.name for one in images) or "none"
        raise InputError(f"'{path}' holds {len(images)} images ({known}); choose one with --item")
    return chosen[0]


def _registered(
    fixed: "Image", moving: "Image", method: Method, start: Start, scale: Scale, seed: int
) -> "Registration":
    if method is Method.FUNDUS:
        from osler.tasks.fundus_registration import register_fundus

        return register_fundus(fixed, moving, seed=seed)
    from osler.tasks.registration import register as registered

    return registered(
        fixed,
        moving,
        method=cast(Any, method.value),
        start=start.value,
        scale=scale.value,
        seed=seed,
    )


def _told(found: "Registration", fixed: "Image", moving: "Image", method: Method) -> dict[str, Any]:
    """What ``registration.json`` holds; of the files only names, for folders can name people."""

    def of(image: "Image") -> dict[str, Any]:
        return {
            "file": Path(image.origin.path).name if image.origin else "",
            "shape": list(image.shape),
            "spacing_mm": None if image.spacing is None else list(image.spacing),
        }

    out: dict[str, Any] = {
        "schema_version": 1,
        "method": method.value,
        "registered": found.transform is not None,
        "reason": found.reason,
        "fixed": of(fixed),
        "moving": of(moving),
        "figures": {name: round(float(value), 6) for name, value in found.figures.items()},
    }
    if found.transform is not None:
        transform = found.transform
        out |= {
            "source": {"name": transform.source.name, "version": transform.source.version},
            "flags": list(transform.flags),
            "matrix": transform.matrix.tolist(),
            "unit_of_displacement": transform.unit if transform.displacement is not None else None,
        }
    return out


def _images(
    found: "Registration",
    fixed: "Image",
    moving: "Image",
    labels: str,
    out: Path,
    options: dict[str, Any],
) -> list[str]:
    import numpy as np

    from osler.io.conversion import one_case
    from osler.io.converting import save
    from osler.io.nifti_field_out import write_field
    from osler.record import Image
    from osler.tasks.registration_warp import field_of, warped, warped_labels

    assert found.transform is not None
    transform = found.transform
    extension = ".nii.gz" if len(fixed.shape) == 3 else ".png"
    if extension == ".png" and moving.dtype != np.uint8:
        extension = ".tiff"
    made = [f"moved{extension}"]
    seen = warped(moving, transform, onto=fixed)
    save(seen, out / made[0])
    if transform.displacement is not None:
        field = transform.displacement
        made.append("displacement.npy")
        _whole(out / made[-1], lambda path: np.save(path, field, allow_pickle=False))
        if len(fixed.shape) == 3 and transform.unit == "mm":
            made.append("displacement.nii.gz")
            write_field(field_of(transform, fixed=fixed, moving=moving), fixed, out / made[-1])
    if labels:
        given = _image(one_case(labels, **options), "", labels)
        moved = warped_labels(given.array.max(axis=0), transform, onto=fixed, moving=moving)
        image = Image(
            "labels", moved[None], modality="SEG", spacing=fixed.spacing, affine=fixed.affine
        )
        made.append(f"labels{'.nii.gz' if len(fixed.shape) == 3 else '.png'}")
        save(image, out / made[-1])
    return made


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let a file appear whole or not at all; a name beside it takes the part."""
    part = path.with_name(f".part-{path.name}")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _sentence(told: dict[str, Any], out: Path) -> str:
    if not told["registered"]:
        return f"not registered: {told['reason']} ({out / 'registration.json'})"
    doubts = f"; doubts: {', '.join(told['flags'])}" if told["flags"] else ""
    figures = ", ".join(f"{name} {value:.3g}" for name, value in told["figures"].items())
    return f"registered ({told['method']}): {figures}{doubts}\n{out}"
