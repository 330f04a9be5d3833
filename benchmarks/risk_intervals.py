"""How often the interval of a risk holds the true risk: ``python benchmarks/risk_intervals.py``.

60 simulated cohorts of 200, exponential times with a log hazard that is the score, about 30 %
censored; three cases each. The intervals are those that a bundle of ``task: survival`` gives.
"""

import numpy as np

from osler.tasks.survival_intervals import Known, cox_spread, risk_interval
from osler.tasks.survival_models import breslow, cox_incidence

MARKS = np.array([200.0, 500.0, 1000.0])
CASES = (-1.0, 0.0, 1.5)


def main() -> None:
    """Print coverage and mean width at each time."""
    rng = np.random.default_rng(0)
    held, widths = [], []
    for number in range(60):
        score = rng.normal(0, 1, 200)
        time = 1000 * rng.exponential(1, 200) / np.exp(score)
        left = rng.exponential(2500, 200)
        seen, event = np.minimum(time, left), time <= left
        known = Known(score[:, None], seen, event.astype(np.int64), [str(n) for n in range(200)])
        spread = cox_spread(known, 1, MARKS.tolist(), seed=number)
        assert spread is not None
        base = breslow(seen, event, score)
        for case in CASES:
            stated = cox_incidence([base], np.array([case]), MARKS)
            low, high = risk_interval(spread, np.array([case]), stated, MARKS)
            true = 1 - np.exp(-MARKS / 1000 * np.exp(case))
            held.append((low[0] <= true) & (true <= high[0]))
            widths.append(high[0] - low[0])
    for mark, share, width in zip(MARKS, np.mean(held, 0), np.mean(widths, 0), strict=True):
        print(f"by {mark:g}: holds the truth {share:.3f}, mean width {width:.3f}")


if __name__ == "__main__":
    main()
