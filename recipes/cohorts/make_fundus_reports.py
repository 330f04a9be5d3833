"""Make fundus-reports.csv beside this file from the data folder (``$OSLER_DATA``).

Every photograph of IDRiD's grading set is read (`osler.read`, four seconds each on one core). What
was found is a line of short statements; the text is what the narrative says of it by rule, without
what it says of the file. Rows that are there already are kept, so that it can be interrupted; the
patients are those of grading.csv.

    python recipes/cohorts/make_fundus_reports.py [MOST]
"""

import csv
import random
import sys
from pathlib import Path

import osler
from osler.data.cohort import data_folder
from osler.io.wording import chance, quantity, reason_words
from osler.record import Case, Label, Mask, Measurement, Passage

HERE = Path(__file__).parent
LESIONS = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")
COLUMNS = (
    "case_id", "patient_id", "photo", "variable:findings", "label:report",
    *(f"label:{name}" for name in LESIONS), "label:referable",
)  # fmt: skip


def main() -> None:
    root = data_folder()
    place = HERE / "fundus-reports.csv"
    rows: dict[str, dict[str, str]] = {}
    if place.exists():
        with place.open(newline="", encoding="utf-8") as stream:
            rows = {row["case_id"]: row for row in csv.DictReader(stream)}
    with (HERE / "grading.csv").open(newline="", encoding="utf-8") as stream:
        patients = {row["photo"]: row["patient_id"] for row in csv.DictReader(stream)}
    photos = sorted((root / "idrid-grading/images").iterdir())
    random.Random(1).shuffle(photos)
    most = int(sys.argv[1]) if len(sys.argv) > 1 else len(photos)
    for photo in photos[:most]:
        if photo.stem.lower() in rows:
            continue
        row = row_of(photo, root)
        row["patient_id"] = patients[row["photo"]]
        rows[row["case_id"]] = row
        with place.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[key] for key in sorted(rows))


def row_of(photo: Path, root: Path) -> dict[str, str]:
    case = osler.read(photo)
    passages = [one for one in case.of(Passage) if one.section != "quality"]
    used = {id for one in passages for id in one.evidence}
    said = [words for id in case.findings if id in used and (words := statement(case, id))]
    referable = case.get("dr-referable", Label)
    return {
        "case_id": photo.stem.lower(),
        "photo": str(photo.relative_to(root)),
        "variable:findings": "; ".join(said),
        "label:report": " ".join(one.text for one in passages).replace("\u00a0", " "),
        **{f"label:{name}": "yes" if there(case, name) else "no" for name in LESIONS},
        "label:referable": "" if referable is None else referable.value,
    }


def there(case: Case, name: str) -> bool:
    mask = case.get(name, Mask)
    return mask is not None and bool(mask.mask.any())


def statement(case: Case, id: str) -> str:
    """A finding in few words; none for masks that something else was measured of."""
    finding = case.findings[id]
    if isinstance(finding, Measurement):
        if finding.value is None:
            return f"{id} none: {reason_words(finding.reason, language='en')}"
        return f"{id} {quantity(finding, language='en')}".replace("\u00a0", " ")
    if isinstance(finding, Label):
        sure = "" if finding.probability is None else f" p {chance(finding.probability)}"
        kept = sorted(finding.prediction_set)
        return f"{id} {finding.value}{sure}" + (f" set {' '.join(kept)}" if kept else "")
    if isinstance(finding, Mask) and id in LESIONS:
        return f"{id} {'present' if finding.mask.any() else 'absent'}"
    return ""


if __name__ == "__main__":
    main()
