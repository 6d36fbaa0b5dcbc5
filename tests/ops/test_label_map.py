"""Scores to ids and ids to channels, on a few pixels."""

import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.types import IGNORE_LABEL


def test_the_highest_score_wins_and_of_equal_ones_the_first():
    scores = jnp.asarray([[0.1, 0.7, 0.2], [3.0, -1.0, 3.0], [-5.0, -5.0, -4.0]])
    label = ops.label_map(scores.reshape(1, 1, 3, 3))
    assert label.dtype == jnp.int32
    assert label.tolist() == [[[1, 0, 2]]]


def test_void_has_zeros_in_all_channels():
    label = jnp.asarray([[0, 2], [IGNORE_LABEL, 7]]).reshape(1, 2, 2)
    y = ops.one_hot(label, num_classes=3)
    assert y.dtype == jnp.float32
    assert y[0].tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]


def test_one_undoes_the_other_where_a_class_is():
    label = jnp.asarray(np.random.default_rng(0).integers(0, 21, (2, 5, 6)), jnp.int32)
    np.testing.assert_array_equal(ops.label_map(ops.one_hot(label, num_classes=21)), label)
