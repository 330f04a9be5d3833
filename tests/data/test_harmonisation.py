"""ComBat and histogram matching against slow oracles and made-up sites."""

import math

import numpy as np
import pytest

from osler.data.harmonisation import fit_combat, match_histogram
from osler.errors import InputError


def made_up(seed=1, cases=40, features=6):
    """Values with known effects of age and site, the sites, and age."""
    rng = np.random.default_rng(seed)
    sites = [("a", "b", "c")[n % 3 if n < 3 * cases // 4 else 0] for n in range(cases)]
    age = rng.normal(0, 1, (cases, 1))
    add = {site: rng.normal(2 * k, 1, features) for k, site in enumerate("abc")}
    widen = {site: 0.5 + k for k, site in enumerate("abc")}
    noise = rng.normal(0, 1, (cases, features))
    values = np.stack([
        10 + 3 * age[n, 0] + add[site] + widen[site] * noise[n] for n, site in enumerate(sites)
    ])  # fmt: skip
    return values, sites, age


def _slow(values, sites, age, bayes):
    """ComBat value by value, the least squares by the normal equations of one feature at a time."""
    names = sorted(set(sites))
    cases, features = values.shape
    design = [[float(site == name) for name in names] + [float(age[n, 0])]
              for n, site in enumerate(sites)]  # fmt: skip
    square = np.array([[sum(row[i] * row[j] for row in design) for j in range(len(names) + 1)]
                       for i in range(len(names) + 1)])  # fmt: skip
    scores, expected, widths = np.zeros_like(values), np.zeros_like(values), []
    for f in range(features):
        right = [sum(design[n][i] * values[n, f] for n in range(cases))
                 for i in range(len(names) + 1)]  # fmt: skip
        beta = np.linalg.solve(square, right)
        grand = sum(sites.count(name) / cases * beta[k] for k, name in enumerate(names))
        gaps = [values[n, f] - sum(b * x for b, x in zip(beta, design[n], strict=True))
                for n in range(cases)]  # fmt: skip
        width = math.sqrt(sum(gap**2 for gap in gaps) / cases)
        widths.append(width)
        for n in range(cases):
            expected[n, f] = grand + beta[-1] * age[n, 0]
            scores[n, f] = (values[n, f] - expected[n, f]) / width
    out = np.zeros_like(values)
    for name in names:
        mine = [n for n, site in enumerate(sites) if site == name]
        count = len(mine)
        gamma = [sum(scores[n, f] for n in mine) / count for f in range(features)]
        delta = [sum((scores[n, f] - gamma[f]) ** 2 for n in mine) / (count - 1)
                 for f in range(features)]  # fmt: skip
        g, d = list(gamma), list(delta)
        if bayes:
            bar = sum(gamma) / features
            tau = sum((one - bar) ** 2 for one in gamma) / (features - 1)
            mean = sum(delta) / features
            apart = sum((one - mean) ** 2 for one in delta) / (features - 1)
            alpha, theta = mean**2 / apart + 2, mean**3 / apart + mean
            while True:
                old = [*g, *d]
                for f in range(features):
                    g[f] = (count * tau * gamma[f] + d[f] * bar) / (count * tau + d[f])
                    total = sum((scores[n, f] - g[f]) ** 2 for n in mine)
                    d[f] = (theta + total / 2) / (count / 2 + alpha - 1)
                if max(abs(a - b) / abs(b) for a, b in zip([*g, *d], old, strict=True)) < 1e-4:
                    break
        for n in mine:
            for f in range(features):
                flat = (scores[n, f] - g[f]) / math.sqrt(d[f])
                out[n, f] = flat * widths[f] + expected[n, f]
    return out


@pytest.mark.parametrize("bayes", [True, False])
def test_combat_against_a_slow_oracle(bayes):
    values, sites, age = made_up()
    fitted = fit_combat(values, sites, age, empirical_bayes=bayes)
    np.testing.assert_allclose(
        fitted.apply(values, sites, age), _slow(values, sites, age, bayes), rtol=1e-9
    )


def test_combat_takes_the_site_and_leaves_the_age():
    values, sites, age = made_up(cases=600)
    whole = fit_combat(values, sites, age).apply(values, sites, age)
    of = np.array(sites)
    plain = whole - 3 * age
    means = np.stack([plain[of == site].mean(0) for site in "abc"])
    spreads = np.stack([plain[of == site].std(0) for site in "abc"])
    assert np.ptp(means, axis=0).max() < 0.7
    assert (spreads.max(0) / spreads.min(0)).max() < 1.2
    slope = np.linalg.lstsq(np.c_[np.ones(600), age], whole, rcond=None)[0][1]
    np.testing.assert_allclose(slope, 3, atol=0.4)


def test_further_cases_are_changed_as_those_that_were_fitted():
    values, sites, age = made_up()
    fitted = fit_combat(values, sites, age)
    whole = fitted.apply(values, sites, age)
    np.testing.assert_allclose(fitted.apply(values[3:5], sites[3:5], age[3:5]), whole[3:5])


def test_combat_refuses_what_it_cannot_tell_apart():
    values, sites, age = made_up()
    with pytest.raises(InputError, match="one of z"):
        fit_combat(values, [*sites[:-1], "z"], age)
    with pytest.raises(InputError, match="follow from the sites"):
        fit_combat(values, sites, np.array([[float(site == "b")] for site in sites]))
    with pytest.raises(InputError, match="not fitted to the sites z"):
        fit_combat(values, sites).apply(values[:1], ["z"])
    with pytest.raises(InputError, match="6 features and 0 covariates"):
        fit_combat(values, sites).apply(values, sites, age)
    with pytest.raises(InputError, match="must be finite"):
        fit_combat(np.where(values > 12, np.nan, values), sites)
    with pytest.raises(InputError, match="do not vary"):
        fit_combat(np.c_[values, np.ones(len(values))], sites)
    with pytest.raises(InputError, match="with one, set it to False"):
        fit_combat(values[:, :1], sites)
    with pytest.raises(InputError, match="a row for each case"):
        fit_combat(values, sites[1:])


def test_histograms_against_ranks():
    rng = np.random.default_rng(2)
    image, reference = rng.random((2, 5, 6)), rng.random((2, 10, 3))
    out = match_histogram(image, reference)
    for channel in range(2):
        ranks = image[channel].ravel().argsort().argsort().reshape(5, 6)
        np.testing.assert_allclose(out[channel], np.sort(reference[channel].ravel())[ranks])
    steps = match_histogram([[0, 0, 0, 1]], [[4, 5, 6, 7]])
    assert steps.tolist() == [[5, 5, 5, 7]]
    with pytest.raises(InputError, match="as many channels"):
        match_histogram(image, reference[:1])
