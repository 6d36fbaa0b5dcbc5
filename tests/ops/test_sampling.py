"""Sampling: what is taken, how often, and from how few."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from segjax import ops

draw = jax.jit(ops.sample_balanced, static_argnames=('size', 'max_foreground'))


def _places(n, *chosen):
    return jnp.asarray(np.isin(np.arange(n), chosen))


def _taken(sample):
    """Foreground and background indices, sorted."""
    index = np.asarray(sample.index)
    return sorted(index[sample.foreground]), sorted(index[sample.background])


def test_enough_of_both(key):
    foreground, background = _places(100, *range(40)), _places(100, *range(50, 100))
    sample = draw(key, foreground, background, size=32, max_foreground=8)
    front, back = _taken(sample)
    assert len(set(front)) == 8 and set(front) <= set(range(40))
    assert len(set(back)) == 24 and set(back) <= set(range(50, 100))
    assert sample.foreground.tolist() == [True] * 8 + [False] * 24


def test_background_fills_up_what_foreground_leaves(key):
    sample = draw(key, _places(9, 7, 2), _places(9, 1, 3, 4, 5), size=5, max_foreground=4)
    front, back = _taken(sample)
    assert front == [2, 7]
    assert len(set(back)) == 3 and set(back) <= {1, 3, 4, 5}


def test_too_few_leave_places_empty(key):
    run = partial(draw, key, size=6, max_foreground=2)
    sample = run(_places(3, 1, 2), _places(3, 0))  # fewer elements than places
    assert _taken(sample) == ([1, 2], [0])
    assert sample.index[3:].tolist() == [0, 0, 0]
    assert not (sample.foreground | sample.background)[3:].any()
    nothing = run(_places(9), _places(9))
    assert _taken(nothing) == ([], [])
    assert not nothing.index.any()


def test_every_element_is_equally_likely(key):
    foreground, background = _places(12, *range(6)), _places(12, *range(6, 12))
    run = partial(
        ops.sample_balanced, foreground=foreground, background=background, size=6, max_foreground=3
    )
    samples = jax.jit(jax.vmap(run))(jax.random.split(key, 2000))
    counts = np.bincount(np.ravel(samples.index), minlength=12)
    assert counts.sum() == 12000
    # 3 of 6 each: 1000 expected, standard deviation 22.
    assert np.abs(counts - 1000).max() < 110


def test_a_key_gives_one_sample(key):
    run = partial(draw, size=8, max_foreground=4)
    many = _places(64, *range(64))
    first, again = run(key, many, many), run(key, many, many)
    np.testing.assert_array_equal(first.index, again.index)
    other = run(jax.random.fold_in(key, 1), many, many)
    assert first.index.tolist() != other.index.tolist()
