"""Did it make a difference? Statistics of several trainings, each scored on the same images.

Scores are `s n`: of s seeds and n images. Two networks are compared by their differences d[s, n],
seed by seed and image by image: with one seed both began alike and saw the same data. The unit of
the test is the image, averaged over seeds; the seeds are the noise of training.

Wilcoxon, "Individual comparisons by ranking methods" (Biometrics Bulletin 1945); Holm, "A simple
sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics 1979); Efron,
"Bootstrap methods" (Annals of Statistics 1979), of seeds and images both, as in Davison and
Hinkley, "Bootstrap Methods and their Application", section 3.8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.05  # of the tests; intervals hold 1 - LEVEL
POWER = 0.8  # with which the smallest detectable effect would be found
EXACT = 200  # the most pairs whose ranks are counted out; beyond, their sum is normal


class Interval(NamedTuple):
    """A mean with its bounds."""

    mean: float
    low: float
    high: float


def bootstrap_interval(values: np.ndarray) -> Interval:
    """The mean of `s n` values and its 95 % percentile interval; seeds and images are drawn anew.

    Each of 10,000 resamples draws s seeds and n images with replacement; with one seed only the
    images vary, and the interval says nothing about another training. The random numbers are always
    the same.
    """
    seeds, images = values.shape
    rng = np.random.default_rng(0)
    draw = lambda size: rng.multinomial(size, [1 / size] * size, RESAMPLES) / size
    means = ((draw(seeds) @ values) * draw(images)).sum(axis=1)
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(values.mean()), float(low), float(high))


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def wilcoxon_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on `n` paired differences; zeros are left out.

    The chance that random signs give a sum of positive ranks as far from its mean: of up to 200
    pairs counted out, ties included; of more by the normal distribution of the same variance,
    sum(rank^2) / 4. 1 where no pair differs. Five pairs or fewer never give less than .05.
    """
    differences = differences[differences != 0]
    ranks = _ranks(np.abs(differences))
    far = abs(float(ranks[differences > 0].sum() - ranks.sum() / 2))
    if not len(ranks) or not far:
        return 1.0
    if len(ranks) > EXACT:
        return math.erfc(far / math.sqrt((ranks**2).sum() / 2))
    doubled = np.rint(2 * ranks).astype(int)  # whole numbers, with ties, too
    chance = np.zeros(doubled.sum() + 1)
    chance[0] = 1.0
    for rank in doubled:
        chance[rank:] = (chance[rank:] + chance[: len(chance) - rank]) / 2
        chance[:rank] /= 2
    from_mean = np.abs(np.arange(len(chance)) / 2 - ranks.sum() / 2)
    return min(1.0, float(chance[from_mean >= far].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p of a family of tests, adjusted so that the chance of any false alarm stays below .05.

    adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j)), with the p in ascending order.
    """
    order = np.argsort(p_values)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def detectable_effect(differences: np.ndarray) -> float:
    """The smallest true difference that a test of `s n` differences would find, 4 times in 5.

    (z_.975 + z_.8) * sqrt(var_seeds / s + var_images / n), with the variance of the seeds' means
    and that of the images' means. With one seed the first is not known and left out: then it is too
    small. NaN for one image.
    """
    seeds, images = differences.shape
    if images < 2:
        return math.nan
    variance = float(differences.mean(axis=0).var(ddof=1)) / images
    if seeds > 1:
        variance += float(differences.mean(axis=1).var(ddof=1)) / seeds
    normal = NormalDist()
    factor = normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(POWER)
    return factor * math.sqrt(variance)


def deviation(values: np.ndarray) -> float:
    """The standard deviation of the seeds' means of `s n` values; NaN for one seed."""
    return float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else math.nan


def verdict(difference: Interval, p: float) -> str:
    """'better', 'worse', or 'no difference shown' where the test or the interval leaves doubt."""
    if p >= LEVEL or difference.low <= 0 <= difference.high:
        return 'no difference shown'
    return 'better' if difference.mean > 0 else 'worse'
