"""The step: the same numbers however it is spread, and the loss falls."""

from __future__ import annotations

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.data.dataset import Roots
from segjax.data.datasets.shapes import Shapes
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.models import FCN, UNet
from segjax.optim import AdamW, Constant, Sgd
from segjax.sharding import parallelism
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment
from segjax.train.job import make_job
from segjax.train.step import make_train_step
from segjax.types import UserError

NOWHERE = Roots(Path('/nonexistent'), Path('/nonexistent'))
NARROW = FCN(6, widths=(4, 4, 8, 8, 8), fc_features=8, norm='batch', dropout=0.3)


def small(model=NARROW, optimizer=None, **changes) -> Experiment:
    """A few shapes of 32 pixels, batches of 8."""
    return Experiment(
        model=model,
        task=Semantic(),
        optimizer=optimizer or Sgd(0.02, momentum=0.9, weight_decay=1e-3),
        dataset=Shapes(size=32, radius=(5, 10), num_train=16, num_val=4),
        train=TrainPipeline(batch_size=8, crop=changes.pop('crop', (32, 32)), **changes),
        eval=EvalPipeline(),
        num_steps=5,
    )


def run(experiment, *, kind='jit', devices=1, steps=5):
    """State and last scalars after some steps."""
    job = make_job(experiment, NOWHERE, kind=kind, devices=jax.devices()[:devices], num_threads=0)
    step, batches = job.train_step(), job.train_batches(0)
    state = job.parallel.place_state(job.initial_state())
    for _ in range(steps):
        state, scalars = step(state, job.parallel.place_batch(next(batches)))
    return job.parallel.gather_state(state), job.parallel.first(scalars)


@pytest.fixture(scope='module')
def alone():
    """Five steps of one device."""
    return jax.tree.map(np.asarray, run(small()))


@pytest.mark.parametrize('kind', ['jit', 'pmap'])
@pytest.mark.parametrize('devices', [2, 8])
def test_devices_agree_with_one_device(alone, kind, devices):
    state, scalars = run(small(), kind=kind, devices=devices)
    chex.assert_trees_all_close(
        jax.tree.map(np.asarray, (state.params, state.extra)),
        (alone[0].params, alone[0].extra),
        atol=1e-5,
    )
    np.testing.assert_allclose(scalars['loss'], alone[1]['loss'], atol=1e-5)
    assert int(state.step) == 5


def test_the_same_run_twice_is_the_same_bits(alone):
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, run(small())), alone)


def test_another_seed_is_another_run(alone):
    import dataclasses

    state, _ = run(dataclasses.replace(small(), seed=1), steps=1)
    assert not np.array_equal(
        state.params['fc6']['conv']['kernel'], alone[0].params['fc6']['conv']['kernel']
    )


def test_a_batch_that_devices_cannot_share_names_the_remedy():
    with pytest.raises(UserError, match=r'--train.batch_size=8'):
        parallelism('jit', 6, jax.devices()[:4])


def bind(experiment, **changes):
    e = experiment
    return make_train_step(
        e.model, e.task, e.optimizer, num_steps=5, mean=(0.0,), std=(255.0,), **changes
    )


@pytest.fixture(scope='module')
def started():
    """Experiment, state and batch before the first step."""
    experiment = small()
    job = make_job(experiment, NOWHERE, devices=jax.devices()[:1], num_threads=0)
    return experiment, job.initial_state(), jax.tree.map(jnp.asarray, next(job.train_batches(0)))


def test_a_step_that_is_not_finite_changes_nothing_but_counts(started):
    experiment, state, batch = started
    image = batch.image.astype(jnp.float32).at[3, 5, 7].set(jnp.nan)
    broken, step = batch._replace(image=image), jax.jit(bind(experiment))
    once, scalars = step(state, broken)
    assert np.isnan(scalars['loss']) and int(scalars['skipped']) == int(once.skipped) == 1
    chex.assert_trees_all_equal(once._replace(step=state.step, skipped=state.skipped), state)
    twice, _ = step(once, broken)
    assert int(twice.step) == int(twice.skipped) == 2
    good, scalars = step(twice, batch)
    assert int(good.step) == 3 and int(good.skipped) == int(scalars['skipped']) == 0
    assert float(scalars['learning_rate']) == pytest.approx(0.02)  # the first update after all


def test_a_batch_without_labels_has_no_loss_and_no_gradient(started):
    experiment, state, batch = started
    void = batch._replace(label=jnp.full_like(batch.label, 255))
    _, scalars = jax.jit(bind(experiment))(state, void)
    assert not scalars['skipped'] and scalars['loss'] == 0 and scalars['grad_norm'] == 0


def test_frozen_parameters_stay_and_cost_no_optimizer_state(started):
    _, _, batch = started
    frozen = small(optimizer=Sgd(1e-2, frozen=('vgg16',)))
    job = make_job(frozen, NOWHERE, devices=jax.devices()[:1], num_threads=0)
    state = job.initial_state()
    after, _ = jax.jit(bind(frozen))(state, batch)
    chex.assert_trees_all_equal(after.params['vgg16'], state.params['vgg16'])
    moved = after.params['score_fr']['bias'] - state.params['score_fr']['bias']
    assert jnp.abs(moved).max() > 0
    assert not any('vgg16' in str(path) for path, _ in jax.tree.leaves_with_path(state.opt_state))


def test_rematerialisation_and_bfloat16_keep_the_loss(started):
    experiment, state, batch = started
    _, plain = jax.jit(bind(experiment))(state, batch)
    import dataclasses

    for changes, tolerance in (({'remat': True}, 1e-5), ({'dtype': 'bfloat16'}, 3e-2)):
        variant = dataclasses.replace(experiment, model=NARROW.clone(**changes))
        after, scalars = jax.jit(bind(variant))(state, batch)
        np.testing.assert_allclose(scalars['grad_norm'], plain['grad_norm'], rtol=tolerance)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after.params))


def test_one_compilation_serves_every_step(started):
    experiment, state, batch = started
    traced = chex.assert_max_traces(bind(experiment), n=1)
    step = jax.jit(traced)
    for _ in range(3):
        state, _ = step(state, batch)


@pytest.mark.parametrize(
    ('model', 'changes'),
    [
        (FCN(6, widths=(8, 8, 16, 16, 16), fc_features=32, norm='batch', dropout=0.0), {}),
        (
            UNet(6, widths=(8, 16), norm='batch', dropout=0.0),
            {'crop': (48, 48), 'margin': 8, 'pad': 'reflect'},
        ),
    ],
    ids=['fcn', 'valid unet'],
)
def test_overfits_one_batch(model, changes):
    experiment = small(model, AdamW(1e-2, Constant()), **changes)
    with jax.numpy_dtype_promotion('standard'):  # optax's Adam mixes int32 and float32
        losses = _losses_on_one_batch(experiment)
    assert losses[-1] < 0.2 * losses[0], losses[::10]


def _losses_on_one_batch(experiment):
    job = make_job(experiment, NOWHERE, devices=jax.devices()[:1], num_threads=0)
    state, batch = job.initial_state(), jax.tree.map(jnp.asarray, next(job.train_batches(0)))
    step = jax.jit(bind(experiment), donate_argnums=0)
    losses = []
    for _ in range(150):
        state, scalars = step(state, batch)
        losses.append(float(scalars['loss']))
    return losses
