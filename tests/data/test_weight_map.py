"""The separation weights against distances measured one by one."""

import numpy as np
import pytest

from segjax.data.weight_map import separation_weights


def by_brute_force(objects, w0, sigma, class_weights):
    """Equation 2, pixel by pixel and object by object."""
    expected = np.zeros(objects.shape)
    places = [np.argwhere(objects == i) for i in np.unique(objects) if i]
    for y, x in np.ndindex(objects.shape):
        expected[y, x] = class_weights[int(objects[y, x] > 0)]
        if objects[y, x] == 0 and len(places) > 1:
            distances = sorted(np.hypot(p[:, 0] - y, p[:, 1] - x).min() for p in places)
            expected[y, x] += w0 * np.exp(-(sum(distances[:2]) ** 2) / (2 * sigma**2))
    return expected


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize(
    'options',
    [
        {'w0': 10.0, 'sigma': 5.0, 'class_weights': (1.0, 1.0)},
        {'w0': 3.0, 'sigma': 1.5, 'class_weights': (0.4, 1.7)},
        {'w0': 0.0, 'sigma': 5.0, 'class_weights': (2.0, 1.0)},
    ],
)
def test_weights_are_those_of_brute_force(seed, options):
    rng = np.random.default_rng(seed)
    objects = np.zeros((40, 53), np.uint16)
    for number in rng.choice(np.arange(1, 30), 6, replace=False):  # numbers may be missing
        top, left = rng.integers(0, 36), rng.integers(0, 48)
        objects[top : top + rng.integers(1, 12), left : left + rng.integers(1, 12)] = number
    found = separation_weights(objects, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_brute_force(objects, **options), rtol=2e-7)


def test_the_middle_between_two_cells():
    objects = np.zeros((1, 9), np.int32)
    objects[0, 0], objects[0, 8] = 1, 2
    found = separation_weights(objects)
    expected = 1 + 10 * np.exp(-64 / 50)  # every pixel between has d1 + d2 = 8
    np.testing.assert_allclose(found[0], [1, *[expected] * 7, 1], rtol=1e-6)


@pytest.mark.parametrize('number', [0, 1])
def test_fewer_than_two_cells_have_nothing_to_separate(number):
    objects = np.full((6, 6), number)
    objects[3:] = 0
    np.testing.assert_array_equal(separation_weights(objects), np.ones((6, 6)))


def test_far_cells_are_not_measured_and_nothing_is_lost():
    objects = np.zeros((8, 400), np.int32)
    objects[:, 10:20], objects[:, 30:40], objects[:, 380:] = 1, 2, 3
    expected = by_brute_force(objects, 10.0, 5.0, (1.0, 1.0))
    np.testing.assert_allclose(separation_weights(objects), expected, rtol=2e-7)
