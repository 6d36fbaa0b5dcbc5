"""Statistics of ablations: values by hand, then what must hold for any scores."""

import math

import numpy as np
import pytest

from segjax.metrics import statistics


def test_wilcoxon_by_hand():
    """All of n pairs on one side: 2 of the 2^n signs are as extreme."""
    assert statistics.wilcoxon_p(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == 2 / 2**6
    assert statistics.wilcoxon_p(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == 2 / 2**5 > 0.05
    # Ranks 1 and 2 negative: signs with a sum of ranks <= 3 are {}, {1}, {2}, {3}, {1, 2}.
    assert statistics.wilcoxon_p(np.array([-1, -2, 3, 4, 5, 6.0])) == pytest.approx(2 * 5 / 64)


def test_wilcoxon_with_ties_by_hand():
    """Ranks 1.5, 1.5, 3, 4 with -1.5: of 16 sums {0, 1.5, 1.5} are as low, three as high."""
    assert statistics.wilcoxon_p(np.array([-1, 1, 2, 3.0])) == pytest.approx(6 / 16)


def test_many_pairs_agree_with_counting(monkeypatch):
    differences = np.random.default_rng(0).normal(0.15, 1, 150).round(1)
    counted = statistics.wilcoxon_p(differences)
    monkeypatch.setattr(statistics, 'EXACT', 100)
    assert statistics.wilcoxon_p(differences) == pytest.approx(counted, rel=0.05)
    assert 0 < counted < 1


def test_pairs_that_do_not_differ_say_nothing():
    assert statistics.wilcoxon_p(np.zeros(9)) == 1
    some = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert statistics.wilcoxon_p(np.append(some, [0.0, 0.0])) == statistics.wilcoxon_p(some)


def test_holm_by_hand():
    """Example: .01 * 4, .015 * 3 -> .045, .02 * 2 = .04 -> .045 (never less than before), .4."""
    assert statistics.holm([0.4, 0.01, 0.02, 0.015]) == pytest.approx([0.4, 0.04, 0.045, 0.045])
    assert statistics.holm([0.6, 0.7]) == [1, 1]
    assert statistics.holm([]) == []


def test_the_interval_of_equal_values_is_a_point():
    assert statistics.bootstrap_interval(np.full((3, 4), 0.25)) == pytest.approx([0.25] * 3)


def test_the_interval_of_one_seed_is_that_of_a_mean():
    """Of many images it is the normal one, mean -+ 1.96 s / sqrt(n)."""
    values = np.random.default_rng(1).normal(0.5, 0.1, (1, 400))
    found, half = statistics.bootstrap_interval(values), 1.96 * values.std() / 20
    assert found.mean == values.mean()
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_seeds_that_disagree_widen_the_interval():
    images = np.random.default_rng(1).normal(0.5, 0.01, (1, 50))
    alike = statistics.bootstrap_interval(np.concatenate([images] * 5))
    shifted = statistics.bootstrap_interval(images + np.linspace(-0.1, 0.1, 5)[:, None])
    assert shifted.high - shifted.low > 5 * (alike.high - alike.low)
    assert math.isclose(shifted.mean, alike.mean)


def test_the_interval_covers_as_often_as_it_says():
    """5 seeds: a little less than 95 %, as seeds are few; never the 30 % of images alone."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(30):
        values = 0.03 * rng.normal(size=(5, 1)) + 0.05 * rng.normal(size=(5, 30))
        found = statistics.bootstrap_interval(values)
        hits += found.low <= 0 <= found.high
    assert 22 <= hits <= 30


def test_detectable_effect_by_hand():
    """var_images = 2 / 1 over the means (0, 2); var_seeds of the means (1, 1) is 0."""
    differences = np.array([[0.0, 2.0], [0.0, 2.0]])
    assert statistics.detectable_effect(differences) == pytest.approx(2.80159, abs=1e-4)
    with_seeds = np.array([[0.0, 2.0], [2.0, 4.0]])  # seeds' means 1 and 3: variance 2, too
    assert statistics.detectable_effect(with_seeds) == pytest.approx(2.80159 * 2**0.5, abs=1e-4)
    assert math.isnan(statistics.detectable_effect(np.ones((3, 1))))


def test_deviation_is_that_of_seeds():
    assert statistics.deviation(np.array([[0.0, 1.0], [1.0, 2.0]])) == pytest.approx(0.5**0.5)
    assert math.isnan(statistics.deviation(np.ones((1, 9))))


@pytest.mark.parametrize(
    'low, high, p, wanted',
    [
        (0.01, 0.03, 0.001, 'better'),
        (-0.03, -0.01, 0.001, 'worse'),
        (0.01, 0.03, 0.2, 'no difference shown'),
        (-0.01, 0.03, 0.001, 'no difference shown'),
    ],
)
def test_a_difference_needs_test_and_interval(low, high, p, wanted):
    assert statistics.verdict(statistics.Interval((low + high) / 2, low, high), p) == wanted
