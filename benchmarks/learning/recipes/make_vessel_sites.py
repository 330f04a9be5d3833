"""Make the small photographs and the tables of the experiments from one camera to another.

The field of view of each photograph of CHASE_DB1, HRF and DRIVE is scaled to a width of 320 pixels
in a square, its vessels to where they cover at least half a pixel. DRIVE only ever tests. Nothing
that is learnt from these tables is shipped. They are written to ``runs/vessel-sites/``.

    python benchmarks/learning/recipes/make_vessel_sites.py
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from osler.data.cohort import data_folder

OUT = Path("runs") / "vessel-sites"
SIDE = 320


def small(photo: Path, vessels: Path, fov: Path, name: str) -> None:
    """Write ``NAME.png`` and ``NAME.vessels.png``."""
    field = np.asarray(Image.open(fov).convert("L")) > 127
    rows, columns = np.flatnonzero(field.any(1)), np.flatnonzero(field.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    height = min(SIDE, round(SIDE * (box[3] - box[1]) / (box[2] - box[0])))
    for path, mode, end in ((photo, "RGB", ".png"), (vessels, "L", ".vessels.png")):
        image = Image.open(path).convert(mode).crop(box)
        if mode == "L":
            image = image.point(lambda value: 255 * (value > 127))
        image = image.resize((SIDE, height), Image.Resampling.BOX)
        if mode == "L":
            image = image.point(lambda value: 255 * (value >= 128))
        square = Image.new(mode, (SIDE, SIDE))
        square.paste(image, (0, (SIDE - height) // 2))
        square.save(OUT / f"{name}{end}")


def patient(site: str, stem: str) -> str:
    """The two eyes of a child of CHASE_DB1 are one patient."""
    return f"chase-{stem.removeprefix('Image_')[:2]}" if site == "chase" else f"{site}-{stem}"


def write(name: str, parts: dict[str, tuple[list[str], bool]], where: dict[str, str]) -> None:
    """Write a table; ``parts`` maps ``PART`` (or ``PART+`` again) to patients and labelled."""
    lines = [["case_id", "patient_id", "split", "photo", "label:vessel", "site"]]
    for part, (patients, labelled) in parts.items():
        for case in sorted(one for one in where if where[one] in patients):
            mask = f"{case}.vessels.png" if labelled else ""
            site = case.split("-")[0]
            lines.append([case, where[case], part.rstrip("+"), f"{case}.png", mask, site])
    with (OUT / name).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(lines)


def main() -> None:
    root = data_folder()
    OUT.mkdir(parents=True, exist_ok=True)
    where: dict[str, str] = {}
    of: dict[str, list[str]] = {}
    for site, folder in (("chase", "chase-db1"), ("hrf", "hrf"), ("drive", "drive")):
        for photo in sorted((root / folder / "images").iterdir()):
            case = f"{site}-{photo.stem}"
            files = [
                next((root / folder / one).glob(f"{photo.stem}*")) for one in ("vessels", "fov")
            ]
            small(photo, files[0], files[1], case)
            where[case] = patient(site, photo.stem)
            of.setdefault(site, []).append(where[case])
    chase, hrf, drive = (list(dict.fromkeys(of[site])) for site in ("chase", "hrf", "drive"))
    write("chase-to-hrf.csv", {
        "train": (chase[:8], True), "val": (chase[8:], True), "train+": (hrf[:7], False),
        "test": (hrf[7:], True),
    }, where)  # fmt: skip
    write("hrf-to-chase.csv", {
        "train": (hrf[:11], True), "val": (hrf[11:], True), "train+": (chase[:5], False),
        "test": (chase[5:], True),
    }, where)  # fmt: skip
    write("both-to-drive.csv", {
        "train": (chase[:8] + hrf[:11], True), "val": (chase[8:] + hrf[11:], True),
        "test": (drive, True),
    }, where)  # fmt: skip
    write("sequence.csv", {
        "train": (chase[:5] + hrf[:7], True), "val": (chase[5:6] + hrf[7:9], True),
        "test": (chase[6:] + hrf[9:], True),
    }, where)  # fmt: skip


if __name__ == "__main__":
    main()
