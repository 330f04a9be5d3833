"""Measurements of several sites made comparable: ComBat, and the histogram of a reference.

ComBat takes from each feature the mean and the spread that a site adds, after what known
covariates explain. Site and feature are drawn together over the features of a site (empirical
Bayes), so that a site of few cases is not over-corrected (Johnson et al. 2007, "Adjusting batch
effects in microarray expression data using empirical Bayes methods", Biostatistics; Fortin et al.
2018, "Harmonization of cortical thickness measurements across scanners and sites", NeuroImage).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError

Values = NDArray[np.float64]

_TOLERANCE = 1e-4  # of the last relative change of the empirical Bayes estimates
_ROUNDS = 1000
_LEAST = 1e-10  # of a feature's largest value: less within sites is rounding


@dataclass(frozen=True, slots=True)
class Combat:
    """What ComBat has learnt; `apply` takes it from further cases of the same sites.

    Attributes:
        sites: in alphabetical order.
        mean: of each feature ``(F,)``, where the covariates are nought.
        slopes: of each covariate ``(K, F)``.
        deviation: of each feature ``(F,)``, within sites.
        shift: that each site adds to a feature, in deviations ``(S, F)``.
        spread: by which each site widens a feature ``(S, F)``; a factor of deviations.
    """

    sites: tuple[str, ...]
    mean: Values
    slopes: Values
    deviation: Values
    shift: Values
    spread: Values

    def apply(
        self, values: ArrayLike, sites: Sequence[str], covariates: ArrayLike | None = None
    ) -> Values:
        """Values ``(N, F)`` without what their sites add.

        Args:
            values: of cases of the sites that were fitted.
            sites: of each case.
            covariates: as many columns ``(N, K)`` as were fitted.

        Raises:
            InputError: a site is not known, or sizes do not agree.
        """
        data, known = _checked(values, sites, covariates)
        if unknown := sorted(set(sites) - set(self.sites)):
            raise InputError(
                f"ComBat was not fitted to the sites {', '.join(unknown)}; it knows "
                f"{', '.join(self.sites)}"
            )
        if data.shape[1] != len(self.mean) or known.shape[1] != len(self.slopes):
            raise InputError(
                f"ComBat was fitted to {len(self.mean)} features and {len(self.slopes)} "
                f"covariates; there are {data.shape[1]} and {known.shape[1]}"
            )
        of = np.array([self.sites.index(site) for site in sites])
        expected = self.mean + known @ self.slopes
        score = (data - expected) / self.deviation
        return np.asarray((score - self.shift[of]) / self.spread[of] * self.deviation + expected)


def fit_combat(
    values: ArrayLike, sites: Sequence[str], covariates: ArrayLike | None = None, *,
    empirical_bayes: bool = True,
) -> Combat:  # fmt: skip
    """Learn what each site adds to each feature. Fit on cases that teach, apply to all.

    Args:
        values: features ``(N, F)``, finite.
        sites: of each case; each with two cases at least.
        covariates: ``(N, K)``, such as age and sex, whose effect stays in the values.
        empirical_bayes: draw sites together over features; needs two features.

    Raises:
        InputError: sizes do not agree, values are not finite, a site has a single case, a feature
            does not vary, or covariates follow from the sites.
    """
    data, known = _checked(values, sites, covariates)
    names = sorted(set(sites))
    of = np.array([names.index(site) for site in sites])
    count = np.bincount(of, minlength=len(names)).astype(float)
    if (count < 2).any():
        lonely = ", ".join(name for name, many in zip(names, count, strict=True) if many < 2)
        raise InputError(f"ComBat needs two cases of each site; there is one of {lonely}")
    if empirical_bayes and data.shape[1] < 2:
        raise InputError("empirical Bayes draws features together; with one, set it to False")
    design = np.concatenate([np.eye(len(names))[of], known], axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError(
            "the covariates follow from the sites or from each other, so their effect cannot be "
            "told from that of the sites; leave some out"
        )
    fitted = np.linalg.lstsq(design, data, rcond=None)[0]
    mean = count / len(data) @ fitted[: len(names)]
    slopes = fitted[len(names) :]
    deviation = np.sqrt(np.mean((data - design @ fitted) ** 2, axis=0))
    still = deviation <= _LEAST * np.abs(data).max(0)
    if still.any():
        raise InputError(f"{int(still.sum())} features do not vary within sites; leave them out")
    score = (data - mean - known @ slopes) / deviation
    shift = np.stack([score[of == site].mean(0) for site in range(len(names))])
    variance = np.stack([score[of == site].var(0, ddof=1) for site in range(len(names))])
    if empirical_bayes:
        drawn = [
            _drawn_together(score[of == site], shift[site], variance[site])
            for site in range(len(names))
        ]
        shift, variance = (np.stack(part) for part in zip(*drawn, strict=True))
    if not (variance > 0).all():
        raise InputError("a feature does not vary in one of the sites; leave it out")
    return Combat(tuple(names), mean, slopes, deviation, shift, np.sqrt(variance))


def _drawn_together(score: Values, shift: Values, variance: Values) -> tuple[Values, Values]:
    """Posterior shift and variance of a site's features (Johnson 2007, section 3.2).

    The prior of the shift is normal and that of the variance inverse gamma, both by their moments
    over the features; the two estimates depend on each other and are found by turns.
    """
    count = len(score)
    middle, width = shift.mean(), shift.var(ddof=1)
    centre, apart = variance.mean(), variance.var(ddof=1)
    if apart == 0:
        raise InputError("all features vary alike; empirical Bayes cannot draw them together")
    alpha = (2 * apart + centre**2) / apart
    beta = (centre * apart + centre**3) / apart
    new_shift, new_variance = shift, variance
    for _ in range(_ROUNDS):
        before = new_shift, new_variance
        new_shift = (count * width * shift + new_variance * middle) / (count * width + new_variance)
        squares = ((score - new_shift) ** 2).sum(0)
        new_variance = (beta + squares / 2) / (count / 2 + alpha - 1)
        change = max(
            float(np.max(np.abs(new - old) / np.maximum(np.abs(old), 1e-12)))
            for old, new in zip(before, (new_shift, new_variance), strict=True)
        )
        if change < _TOLERANCE:
            break
    return new_shift, new_variance


def match_histogram(image: ArrayLike, reference: ArrayLike) -> NDArray[Any]:
    """An image ``(C, ...)`` whose channels have the histograms of a reference's.

    A value goes to the reference's value of the same cumulative share; equal values stay equal and
    take the middle of the shares that they have (Gonzalez & Woods, Digital Image Processing,
    section 3.3).

    Args:
        image: what is changed.
        reference: with as many channels, of any size.

    Raises:
        InputError: the channels differ in number.
    """
    content, wanted = np.asarray(image, float), np.asarray(reference, float)
    if content.ndim < 2 or wanted.ndim < 2 or len(content) != len(wanted):
        raise InputError("an image and its reference must have as many channels, on axis 0")
    out = np.empty_like(content)
    for channel in range(len(content)):
        _, place, times = np.unique(content[channel], return_inverse=True, return_counts=True)
        share = (np.cumsum(times) - times / 2) / times.sum()
        ordered = np.sort(wanted[channel], axis=None)
        at = (np.arange(len(ordered)) + 0.5) / len(ordered)
        out[channel] = np.interp(share, at, ordered)[place].reshape(content[channel].shape)
    return out


def _checked(
    values: ArrayLike, sites: Sequence[str], covariates: ArrayLike | None
) -> tuple[Values, Values]:
    data = np.asarray(values, np.float64)
    if data.ndim != 2 or not len(data):
        raise InputError(f"values must be (cases, features); their shape is {data.shape}")
    known = np.zeros((len(data), 0)) if covariates is None else np.asarray(covariates, np.float64)
    if known.ndim != 2 or len(known) != len(data) or len(sites) != len(data):
        raise InputError("values, sites and covariates must have a row for each case")
    if not (np.isfinite(data).all() and np.isfinite(known).all()):
        raise InputError("values and covariates must be finite; fill in or leave out what is not")
    return data, known
