"""What a rule says of ``recipes/cohorts/ecg-rhythm.csv``: the rate between peaks of lead II.

    python benchmarks/ecg_rate.py [--worse FILE]

Below 60 a minute is bradycardia, above 100 tachycardia, as the classes are defined. Peaks are those
of the band from 5 to 20 Hz, its absolute value averaged over 0.1 s, at least 0.25 s apart. With
``--worse`` the share that is right is told of the recordings made worse as well
(`osler.learn.corruptions`), drawn ten times each, with 95 % intervals by the bootstrap over
patients, and written to FILE.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.signal import butter, filtfilt, find_peaks

from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.learn.corruptions import SEVERITIES, SIGNAL_CORRUPTIONS, corrupt_signal
from osler.record import Case, Signal
from osler.tasks.signal_input import SignalInput, encoded_signal, signal_of

TABLE = Path(__file__).parents[1] / "recipes/cohorts/ecg-rhythm.csv"
RATE = 100
DRAWS = 10
REPLICATES = 2000


def rate_of(case: Case) -> float:
    """Beats a minute; NaN where fewer than two are found."""
    wanted = SignalInput(channels=["II"], rate=RATE, seconds=5)
    lead = encoded_signal(case, wanted)[0][0]
    band = filtfilt(*butter(2, [5 / (RATE / 2), 20 / (RATE / 2)], "band"), lead)
    power = np.convolve(np.abs(band), np.ones(10) / 10, "same")
    peaks, _ = find_peaks(power, distance=25, height=0.4 * np.quantile(power, 0.98))
    return 60 * RATE / float(np.median(np.diff(peaks))) if len(peaks) > 1 else float("nan")


def rhythm_of(rate: float) -> str:
    """The class; none of them where there is no rate."""
    if np.isnan(rate):
        return "no rate"
    return f"sinus {'bradycardia' if rate < 60 else 'tachycardia' if rate > 100 else 'rhythm'}"


def worse(case: Case, name: str, severity: int, seed: int) -> Case:
    """The case with its signal made worse."""
    one: Signal = signal_of(case, "signal")
    made = corrupt_signal(np.asarray(one.array), name, severity, rate=one.rate, seed=seed)
    return replace(case, items={**case.items, one.name: replace(one, array=made)})


def interval(right: np.ndarray, patients: list[str]) -> dict[str, float]:
    """The share that is right ``(N,)``, with its interval."""
    everyone = sorted(set(patients))
    of = np.array([everyone.index(one) for one in patients])
    sums = np.bincount(of, right, len(everyone))
    counts = np.bincount(of, minlength=len(everyone))
    drawn = np.random.default_rng(1).integers(0, len(everyone), (REPLICATES, len(everyone)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return {"value": round(float(right.mean()), 4), "low": round(float(low), 4),
            "high": round(float(high), 4)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--worse", type=Path)
    asked = parser.parse_args()
    cohort = read_cohort(TABLE)
    cases = [open_row(row, cohort) for row in cohort.rows]
    truth = [row.labels["rhythm"] for row in cohort.rows]
    rates = [rate_of(case) for case in cases]
    right = np.array([rhythm_of(rate) == one for rate, one in zip(rates, truth, strict=True)])
    for case, rate, one in zip(cases, rates, truth, strict=True):
        print(f"{case.id}: {rate:.0f} a minute, {rhythm_of(rate)}; {one}")
    print(f"{right.sum()} of {len(right)}")
    if asked.worse is None:
        return
    patients = [row.patient_id for row in cohort.rows]
    record = {"figure": "accuracy of the rule", "cases": len(cases), "patients": len(set(patients)),
              "draws": DRAWS, "as they are": interval(right.astype(float), patients)}  # fmt: skip
    for name in SIGNAL_CORRUPTIONS["ecg"]:
        record[name] = []
        for severity in SEVERITIES:
            share = [
                np.mean([
                    rhythm_of(rate_of(worse(case, name, severity, DRAWS * number + draw))) == one
                    for draw in range(DRAWS)
                ])
                for number, (case, one) in enumerate(zip(cases, truth, strict=True))
            ]  # fmt: skip
            record[name].append(interval(np.array(share), patients))
        print(name, [one["value"] for one in record[name]], flush=True)
    asked.worse.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
