"""What a rule says of ``recipes/cohorts/ecg-rhythm.csv``: the rate between peaks of lead II.

    python benchmarks/ecg_rate.py

Below 60 a minute is bradycardia, above 100 tachycardia, as the classes are defined. Peaks are those
of the band from 5 to 20 Hz, its absolute value averaged over 0.1 s, at least 0.25 s apart.
"""

from pathlib import Path

import numpy as np
from scipy.signal import butter, filtfilt, find_peaks

from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.tasks.signal_input import SignalInput, encoded_signal

TABLE = Path(__file__).parents[1] / "recipes/cohorts/ecg-rhythm.csv"
RATE = 100


def main() -> None:
    wanted = SignalInput(channels=["II"], rate=RATE, seconds=5)
    cohort = read_cohort(TABLE)
    right = 0
    for row in cohort.rows:
        lead = encoded_signal(open_row(row, cohort), wanted)[0][0]
        band = filtfilt(*butter(2, [5 / (RATE / 2), 20 / (RATE / 2)], "band"), lead)
        power = np.convolve(np.abs(band), np.ones(10) / 10, "same")
        peaks, _ = find_peaks(power, distance=25, height=0.4 * np.quantile(power, 0.98))
        rate = 60 * RATE / float(np.median(np.diff(peaks)))
        said = "bradycardia" if rate < 60 else "tachycardia" if rate > 100 else "rhythm"
        right += f"sinus {said}" == row.labels["rhythm"]
        print(f"{row.case_id}: {rate:.0f} a minute, sinus {said}; {row.labels['rhythm']}")
    print(f"{right} of {len(cohort.rows)}")


if __name__ == "__main__":
    main()
