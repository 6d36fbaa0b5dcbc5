"""Batch normalisation around a training: kept, measured anew, warned of."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from segjax import ops
from segjax.models import UNet
from segjax.modes import train
from segjax.optim import Sgd
from segjax.train import batch_norm, loop, opening
from segjax.train.batch_norm import reestimate_batch_norm
from segjax.train.job import make_job
from segjax.train.screen import Screen
from segjax.types import UserError
from tests.train.test_loop import options, result
from tests.train.test_step import NOWHERE, run, small


def reestimated(experiment, *, kind='jit', devices=1):
    """The job, its first state, and that state with new statistics."""
    job = make_job(experiment, NOWHERE, kind=kind, devices=jax.devices()[:devices], num_threads=0)
    first = job.initial_state()
    placed = job.parallel.place_state(jax.tree.map(jnp.copy, first))
    after = job.parallel.gather_state(reestimate_batch_norm(job, placed))
    return job, first, jax.tree.map(np.asarray, after)


TINY = UNet(6, widths=(2, 4), padding='same', norm='batch', dropout=0.0)
STILL = small(TINY)


def test_pooling_by_hand():
    """0, 2 and 4, 6: means 1 and 5, variances 1 and 1; together mean 3, variance 5."""
    batch = lambda mean: {('bn', 'mean'): np.array([mean]), ('bn', 'var'): np.array([1.0])}
    pooled = batch_norm._pool([batch(1.0), batch(5.0)])
    assert pooled == {'bn': {'mean': 3.0, 'var': 5.0}}


def test_statistics_of_the_first_layer_are_those_of_the_pictures():
    job, first, after = reestimated(dataclasses.replace(STILL, reestimate_batch_norm=2))
    batches = job.train_batches(STILL.num_steps)
    images = np.concatenate([next(batches).image for _ in range(2)])
    kernel = first.params['down1']['conv1']['kernel']
    x = ops.conv(ops.normalize(jnp.asarray(images), job.mean, job.std), kernel)
    found = after.extra['batch_stats']['down1']['bn1']
    np.testing.assert_allclose(found['mean'], jnp.mean(x, (0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found['var'], jnp.var(x, (0, 1, 2)), rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, after.params, first.params)


def test_predictions_with_the_statistics_of_a_batch_are_those_of_training():
    job, first, after = reestimated(dataclasses.replace(STILL, reestimate_batch_norm=1))
    batch = next(job.train_batches(STILL.num_steps))
    image = ops.normalize(jnp.asarray(batch.image), job.mean, job.std)
    model = job.experiment.model
    trained, _ = model.apply(first.variables, image, train=True, mutable=['batch_stats'])
    variables = jax.tree.map(jnp.asarray, after.variables)
    found = model.apply(variables, image, train=False)
    np.testing.assert_allclose(found.logits, trained.logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('kind', ['jit', 'pmap'])
def test_devices_agree_with_one_device(kind):
    experiment = dataclasses.replace(STILL, reestimate_batch_norm=2)
    _, _, alone = reestimated(experiment)
    _, _, spread = reestimated(experiment, kind=kind, devices=8)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, spread.extra, alone.extra)


def test_averaged_weights_get_statistics_of_their_own():
    experiment = dataclasses.replace(small(TINY, Sgd(0.02, ema=0.9)), reestimate_batch_norm=1)
    _, first, after = reestimated(experiment)
    jax.tree.map(np.testing.assert_array_equal, after.extra, first.extra)
    jax.tree.map(np.testing.assert_array_equal, after.average['params'], first.average['params'])
    changed = flatten_dict(after.average['batch_stats'])
    before = flatten_dict(first.average['batch_stats'])
    assert all(np.any(changed[path] != before[path]) for path in before)


def test_frozen_averages_stay_and_scales_are_trained():
    experiment = dataclasses.replace(STILL, freeze_batch_norm=True)
    first = jax.tree.map(np.asarray, make_job(experiment, NOWHERE).initial_state())
    after, _ = run(experiment, steps=2)
    jax.tree.map(np.testing.assert_array_equal, after.extra, first.extra)
    scale = lambda state: state.params['down1']['bn1']['scale']
    assert np.any(scale(after) != scale(first))


@pytest.mark.parametrize('reestimate', [0, 1])
def test_a_frozen_layer_keeps_its_averages_and_uses_them(reestimate):
    """Also where statistics are measured anew; those of the other layers change."""
    frozen = small(TINY, Sgd(0.02, frozen=('^down1',)))
    experiment = dataclasses.replace(frozen, reestimate_batch_norm=reestimate)
    if reestimate:
        _, first, after = reestimated(experiment)
    else:
        first = jax.tree.map(np.asarray, make_job(experiment, NOWHERE).initial_state())
        after, _ = run(experiment, steps=2)
    old, new = first.extra['batch_stats'], after.extra['batch_stats']
    jax.tree.map(np.testing.assert_array_equal, new['down1'], old['down1'])
    assert np.any(new['down2']['bn1']['mean'] != old['down2']['bn1']['mean'])


def test_a_frozen_layer_is_trained_with_as_it_predicts():
    """With all its layers frozen but the head, a network has the loss of its predictions."""
    experiment = small(TINY, Sgd(0.0, frozen=('^down', '^up')))
    job = make_job(experiment, NOWHERE, num_threads=0)
    state, batch = job.initial_state(), jax.tree.map(jnp.asarray, next(job.train_batches(0)))
    _, scalars = run(experiment, steps=1)
    image = ops.normalize(batch.image, job.mean, job.std)
    output = experiment.model.apply(state.variables, image, train=False)
    terms = experiment.task.criterion.terms(output.logits, batch.label, None, 0)
    ((total, count),) = terms.values()
    np.testing.assert_allclose(scalars['loss'], total.sum() / count.sum(), rtol=1e-5)


def test_the_end_of_a_training_is_measured_saved_and_evaluated(tmp_path, monkeypatch):
    """Interrupted in the last evaluation and given again it ends in the same bits."""
    measured = []

    def spy(job, state, **arguments):
        state = reestimate_batch_norm(job, state, **arguments)
        measured.append((int(state.step), jax.tree.map(np.array, state.extra)))
        return state

    monkeypatch.setattr(loop, 'reestimate_batch_norm', spy)
    experiment = dataclasses.replace(STILL, num_steps=2, eval_every=1, reestimate_batch_norm=1)
    where = options(tmp_path, pictures=False)
    assert train.run(experiment, where) == 0
    before = result(tmp_path)
    (tmp_path / 'result.json').unlink()
    assert train.run(experiment, where) == 0
    assert result(tmp_path)['state_sha256'] == before['state_sha256']
    (first, statistics), (again, same) = measured
    assert first == again == 2
    jax.tree.map(np.testing.assert_array_equal, statistics, same)


def test_without_batch_normalisation_there_is_nothing_to_measure():
    experiment = small(TINY.clone(norm='none'))
    with pytest.raises(UserError, match='UNet as it is set has no batch normalisation'):
        make_job(dataclasses.replace(experiment, reestimate_batch_norm=1), NOWHERE)
    with pytest.raises(UserError, match='a number of batches'):
        make_job(dataclasses.replace(experiment, reestimate_batch_norm=-1), NOWHERE)


@pytest.mark.parametrize(
    'changes, warned',
    [
        ({}, False),
        ({'accumulate': 2}, True),
        ({'accumulate': 2, 'freeze_batch_norm': True}, False),
        ({'accumulate': 2, 'model': TINY.clone(norm='none')}, False),
    ],
)
def test_a_batch_too_small_to_normalise_is_warned_of(changes, warned, capsys):
    job = make_job(dataclasses.replace(STILL, **changes), NOWHERE, devices=jax.devices()[:1])
    opening.describe_job(Screen(), job)
    assert ('from 4 images at a time' in capsys.readouterr().err) == warned
