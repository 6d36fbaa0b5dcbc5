"""Gradients from microbatches: those of the whole batch, on any number of devices."""

from __future__ import annotations

import dataclasses
import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.layers import BatchNorm, Dropout
from segjax.losses import CrossEntropyDice
from segjax.tasks import Semantic
from segjax.train.gradients import accumulated_gradient, batch_gradient
from segjax.train.job import make_job
from segjax.types import Batch, SegmentationOutput, UserError
from tests.train.test_step import NOWHERE, bind, run, small


class Shallow(nn.Module):
    """Two convolutions; between them, in training, what looks at more than one pixel's features."""

    num_classes: int = 6
    norm: bool = False
    dropout: float = 0.0
    margin = 0

    def input_size(self, size):
        return size

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(8, (3, 3), strides=2)(image)
        x = BatchNorm()(x, train=train) if self.norm else x
        x = Dropout(self.dropout)(nn.relu(x), train=train)
        x = nn.Conv(self.num_classes, (1, 1))(x)
        return SegmentationOutput(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2))


PLAIN = Shallow()
NOISY = Shallow(norm=True, dropout=0.3)


def _terms(w, extra, rows, key):
    """Two terms `sum (w x)^2` over rows with different counts, as 0 to all rows have a label."""
    x = rows.image[:, 0, 0, 0]
    squares = (w * x) ** 2
    labelled = rows.label[:, 0, 0].astype(jnp.float32)
    terms = {'all': (squares.sum(), jnp.ones_like(x).sum())}
    terms['labelled'] = ((w * x * labelled).sum(), labelled.sum())
    return terms, {'seen': extra['seen'] + 1}


ROWS = Batch(
    jnp.arange(1.0, 9.0).reshape(8, 1, 1, 1),
    label=jnp.asarray([1, 0, 0, 0, 1, 0, 1, 0], jnp.int32).reshape(8, 1, 1),
)
ALONE = {'across': lambda tree: tree}


@pytest.mark.parametrize('microbatches', [2, 4, 8])
def test_two_terms_with_counts_of_their_own_by_hand(microbatches):
    """Means over the batch: (1 + 4 + ... + 64) / 8 = 25.5 and (1 + 5 + 7) / 3."""
    parts = jnp.asarray(3.0), {'seen': jnp.asarray(0)}, ROWS, jax.random.key(0)
    losses, gradient, extra = jax.jit(
        lambda *x: accumulated_gradient(_terms, *x, **ALONE, microbatches=microbatches)
    )(*parts)
    assert float(losses['all']) == pytest.approx(9 * 25.5)
    assert float(losses['labelled']) == pytest.approx(3 * 13 / 3)
    assert float(gradient) == pytest.approx(2 * 3 * 25.5 + 13 / 3)
    assert int(extra['seen']) == microbatches
    whole = batch_gradient(_terms, *parts, **ALONE)
    chex.assert_trees_all_close((losses, gradient), whole[:2], rtol=1e-6)


@pytest.fixture(scope='module')
def started():
    """A step of a network without batch normalisation or dropout: state and batch before it."""
    job = make_job(small(PLAIN), NOWHERE, devices=jax.devices()[:1], num_threads=0)
    batch = jax.tree.map(jnp.asarray, next(job.train_batches(0)))
    label = batch.label.at[1:5].set(255).at[6, :20].set(255)  # unequal counts
    return small(PLAIN), job.initial_state(), batch._replace(label=label)


def test_microbatches_take_the_step_of_the_whole_batch(started):
    experiment, state, batch = started
    whole, expected = jax.jit(bind(experiment))(state, batch)
    after, scalars = jax.jit(bind(experiment, accumulate=4))(state, batch)
    np.testing.assert_allclose(scalars['loss'], expected['loss'], rtol=2e-5)
    np.testing.assert_allclose(scalars['grad_norm'], expected['grad_norm'], rtol=2e-5)
    chex.assert_trees_all_close(after.params, whole.params, atol=1e-6)


def test_counting_costs_no_network_and_no_row_travels(started):
    """Two microbatches take the products of two steps, and only sums cross devices."""
    experiment, state, batch = started
    texts = {}
    for n in (1, 2):
        changed = dataclasses.replace(experiment, accumulate=n)
        job = make_job(changed, NOWHERE, devices=jax.devices()[:4], num_threads=0)
        texts[n] = job.train_step().lower(state, batch).compile().as_text()
    products = lambda text: len(re.findall(r' (convolution|dot)\(', text))
    assert products(texts[2]) == 2 * products(texts[1]) >= 10  # two forward, three backward
    for exchange in ('all-gather', 'all-to-all', 'collective-permute'):
        assert exchange not in texts[2]
    assert 'all-reduce' in texts[2]


@pytest.mark.parametrize('kind', ['jit', 'pmap'])
def test_devices_agree_on_microbatches(kind):
    """Batch normalisation and dropout included: every device has its part of each microbatch."""
    experiment = dataclasses.replace(small(NOISY), accumulate=2)
    alone, spread = run(experiment, steps=2), run(experiment, kind=kind, devices=4, steps=2)
    chex.assert_trees_all_close(
        *(jax.tree.map(np.asarray, (s.params, s.extra)) for s, _ in (alone, spread)), atol=1e-5
    )
    np.testing.assert_allclose(spread[1]['loss'], alone[1]['loss'], atol=1e-5)


@pytest.mark.parametrize(
    ('accumulate', 'devices', 'words'),
    [
        (3, 1, 'into 3 equal microbatches; try --accumulate=2, or --train.batch_size=9'),
        (4, 4, 'on 4 devices; try --accumulate=2, or --train.batch_size=16'),
        (0, 1, '--accumulate=0: must be at least 1'),
    ],
)
def test_unequal_microbatches_are_refused(accumulate, devices, words):
    experiment = dataclasses.replace(small(PLAIN), accumulate=accumulate)
    with pytest.raises(UserError, match=words):
        make_job(experiment, NOWHERE, devices=jax.devices()[:devices], num_threads=0)


@pytest.mark.parametrize(('accumulate', 'kind'), [(2, 'jit'), (1, 'pmap')])
def test_the_dice_of_a_batch_is_not_taken_apart(accumulate, kind):
    task = Semantic(CrossEntropyDice(over='batch'))
    experiment = dataclasses.replace(small(PLAIN), accumulate=accumulate, task=task)
    with pytest.raises(UserError, match='no sum over its images; give --over=image'):
        make_job(experiment, NOWHERE, kind=kind, devices=jax.local_devices()[:1])
