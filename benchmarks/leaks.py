"""How many of IDRiD's known repeated photographs are found, and what else.

    python benchmarks/leaks.py

Known are those whose cohort tables (``recipes/cohorts``) give two photographs one patient; IDRiD
has one photograph a patient, so each such pair is one photograph under two numbers.
"""

import time
from pathlib import Path

from osler.data.cohort import Cohort, data_folder, read_cohort
from osler.data.duplicates import find_duplicates
from osler.data.scanning import scan

COHORTS = Path(__file__).parent.parent / "recipes" / "cohorts"

if __name__ == "__main__":
    graded, drawn = (
        read_cohort(COHORTS / f"{name}.csv", root=data_folder()) for name in ("grading", "lesions")
    )
    begun = time.perf_counter()
    scans = scan(Cohort(graded.path, graded.root, graded.rows + drawn.rows), threads=2)
    seen = time.perf_counter()
    pairs = find_duplicates(scans)
    done = time.perf_counter()
    found = {(p.first, p.second) for p in pairs}
    patients = [one.row.patient_id for one in scans]
    known = {(i, j) for j in range(len(scans)) for i in range(j) if patients[i] == patients[j]}
    print(f"{len(scans)} photographs read in {seen - begun:.0f} s, compared in {done - seen:.1f} s")
    print(f"known pairs {len(known)}, found {len(found)}, of the known {len(known & found)}")
    print(f"recall {len(known & found) / len(known):.3f}", end=", ")
    print(f"precision by the tables {len(known & found) / len(found):.3f}")
    for pair in pairs:
        if (pair.first, pair.second) not in known:
            cases = (scans[k].row.case_id for k in (pair.first, pair.second))
            print("not known:", *cases, f"correlation {pair.correlation:.2f}")
