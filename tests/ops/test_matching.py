"""Matching of anchors with objects: a small table by hand, and loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

match = jax.jit(ops.match, static_argnames=('foreground', 'background', 'low_quality'))
ANCHORS = partial(match, foreground=0.7, background=0.3, low_quality=True)
PROPOSALS = partial(match, foreground=0.5, background=0.5)

# Columns: certain, between, background, the best of object 1 (twice), between but best of none.
IOU = jnp.asarray(
    [
        [0.9, 0.6, 0.1, 0.2, 0.4, 0.5],
        [0.0, 0.2, 0.2, 0.4, 0.4, 0.3],
    ]
)
BOTH = jnp.asarray([True, True])


def test_a_table_by_hand():
    found = ANCHORS(IOU, BOTH)
    assert found.foreground.tolist() == [True, False, False, True, True, False]
    assert found.background.tolist() == [False, False, True, False, False, False]
    # Column 4 is foreground for the sake of object 1, and yet finds object 0, of equals the first.
    assert found.index.tolist() == [0, 0, 1, 1, 0, 0]
    strict = match(IOU, BOTH, foreground=0.7, background=0.3)
    assert strict.foreground.tolist() == [True, False, False, False, False, False]


def test_with_equal_thresholds_nothing_is_left_out():
    found = PROPOSALS(IOU, BOTH)
    assert found.foreground.tolist() == [True, True, False, False, False, True]
    np.testing.assert_array_equal(found.background, ~found.foreground)


@pytest.mark.parametrize('rule', [ANCHORS, PROPOSALS])
def test_padding_is_no_object(rule):
    found = rule(IOU, jnp.asarray([False, True]))
    alone = rule(IOU[1:], BOTH[1:])
    np.testing.assert_array_equal(found.foreground, alone.foreground)
    np.testing.assert_array_equal(found.background, alone.background)
    assert set(found.index.tolist()) == {1}
    empty = rule(IOU, jnp.asarray([False, False]))
    assert empty.background.all() and not empty.foreground.any()


def test_an_object_that_nothing_overlaps_makes_nothing_foreground():
    found = ANCHORS(jnp.zeros((1, 4)), jnp.ones(1, bool))
    assert found.background.all() and not found.foreground.any()


def test_equals_the_loop():
    rng = np.random.default_rng(0)
    for _ in range(5):
        iou = np.round(rng.uniform(size=(4, 30)), 1).astype(np.float32)  # with ties
        valid = rng.uniform(size=4) < 0.7
        found = ANCHORS(jnp.asarray(iou), jnp.asarray(valid))
        rows = [i for i in range(4) if valid[i]]
        for n in range(30):
            best = max((iou[i, n] for i in rows), default=-1)
            forced = any(iou[i, n] == iou[i].max() > 0 for i in rows)
            assert bool(found.foreground[n]) == (best >= np.float32(0.7) or forced)
            assert bool(found.background[n]) == (best < np.float32(0.3) and not forced)
            if rows:
                assert int(found.index[n]) == next(i for i in rows if iou[i, n] == best)
