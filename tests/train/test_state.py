"""The state: what is averaged, what one evaluates with, what a checkpoint holds."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.optim import Sgd
from segjax.train.checkpoint import Checkpointer
from segjax.train.hashing import leaf_paths, state_sha256
from segjax.train.job import make_job
from tests.train.test_gradients import NOISY
from tests.train.test_step import NOWHERE, bind, small

AVERAGED = small(NOISY, Sgd(0.1, ema=0.9, frozen=('Conv_1',)))


@pytest.fixture(scope='module')
def job():
    """On one device, with an averaging optimizer."""
    return make_job(AVERAGED, NOWHERE, devices=jax.devices()[:1], num_threads=0)


@pytest.fixture(scope='module')
def step():
    """Its step, compiled."""
    return jax.jit(bind(AVERAGED))


def _trained(step, state, batches, number):
    for _ in range(number):
        state, _ = step(state, jax.tree.map(jnp.asarray, next(batches)))
    return state


def test_parameters_and_running_statistics_are_averaged(job, step):
    before = job.initial_state()
    chex.assert_trees_all_equal(before.average, {'params': before.params, **before.extra})
    after = _trained(step, before, job.train_batches(0), 1)
    trained = {'params': after.params, **after.extra}
    assert set(trained) == {'params', 'batch_stats'}
    expected = jax.tree.map(lambda a, v: 0.1 * a + 0.9 * v, before.average, trained)  # 1 / 10
    chex.assert_trees_all_close(after.average, expected, atol=1e-6)
    chex.assert_trees_all_equal(after.variables, after.average)
    frozen = before.params['Conv_1']
    chex.assert_trees_all_equal(after.average['params']['Conv_1'], frozen)


def test_evaluation_uses_the_average(job):
    state = job.initial_state()
    found = job.evaluate(state._replace(params=jax.tree.map(lambda x: x * jnp.nan, state.params)))
    assert found.metrics == job.evaluate(state).metrics
    assert np.isfinite(found.metrics['loss'])


def test_a_skipped_step_leaves_the_average(job, step):
    before = job.initial_state()
    batch = jax.tree.map(jnp.asarray, next(job.train_batches(0)))
    after, _ = step(before, batch._replace(image=jnp.full(batch.image.shape, jnp.nan)))
    assert int(after.skipped) == 1
    chex.assert_trees_all_equal(after.average, before.average)


def test_a_checkpoint_of_the_average_goes_on_with_the_same_bits(job, step, tmp_path):
    whole = _trained(step, job.initial_state(), job.train_batches(0), 4)
    half = _trained(step, job.initial_state(), job.train_batches(0), 2)
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.save(2, half)
        checkpoints.wait()
        number, restored = checkpoints.restore('latest', like=job.abstract_state())
    assert state_sha256(_trained(step, restored, job.train_batches(number), 2)) == state_sha256(
        whole
    )
    assert state_sha256(whole._replace(average=half.average)) != state_sha256(whole)


def test_without_an_average_nothing_of_it_is_kept():
    experiment = small(NOISY)
    state = make_job(experiment, NOWHERE, devices=jax.devices()[:1], num_threads=0).abstract_state()
    assert state.average == {} and not any('average' in path for path in leaf_paths(state))
    assert state.variables == {'params': state.params, **state.extra}
