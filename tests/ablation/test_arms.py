"""What arms share, and the networks that one training gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from experiments.unetpp_shapes import experiment
from segjax import config
from segjax.ablation.levels import at_depth, levels
from segjax.data.dataset import Roots
from segjax.models import UNet, UNetPlusPlus
from segjax.optim import Sgd
from segjax.tasks import Semantic
from segjax.train.job import make_job
from segjax.train.state import init_state
from segjax.types import UserError

NET = UNetPlusPlus(num_classes=6, widths=(2, 2, 2), depth=2, dropout=0.0)
SUPERVISED = Semantic(supervision='mean')


@pytest.fixture(scope='module')
def base():
    sizes = {'dataset.size': 16, 'dataset.num_train': 8, 'dataset.num_val': 2, 'train.crop': (8, 8)}
    return config.replace(experiment(), {**sizes, 'dataset.radius': (2.0, 6.0)})


@pytest.fixture
def job(base, tmp_path):
    def make(model=NET, task=SUPERVISED, seed=0):
        arm = dataclasses.replace(base, model=model, task=task, seed=seed)
        return make_job(arm, Roots(tmp_path, tmp_path))

    return make


def initial(model, seed=0):
    """Its parameters by path, drawn as a job draws them."""
    image = jnp.zeros((1, 4, 4, 3))
    state = init_state(model, Sgd(learning_rate=0.1), num_steps=1, image=image, seed=seed)
    return flatten_dict(jax.device_get(state.params), sep='/')


def test_arms_begin_with_the_same_values_where_they_share_parameters():
    whole, alone = initial(NET), initial(NET.clone(deep_supervision=False, depth=1))
    assert set(alone) < set(whole)
    for path, value in alone.items():
        np.testing.assert_array_equal(value, whole[path], err_msg=path)
    kernel = 'x_0_0/conv1/kernel'
    assert not np.array_equal(initial(NET, seed=1)[kernel], whole[kernel])


def test_arms_see_the_same_images_in_the_same_order(job):
    plain = UNet(num_classes=6, widths=(2, 4), padding='same')
    batches = [made.train_batches(0) for made in (job(), job(plain, Semantic()))]
    other = job(seed=1).train_batches(0)
    for _ in range(3):
        first, second = (next(found) for found in batches)
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.label, second.label)
        assert not np.array_equal(first.image, next(other).image)


def test_a_supervised_network_has_a_level_for_each_head_and_their_mean(job):
    made = job()
    variables = made.initial_state().variables
    image = jax.random.normal(jax.random.key(1), (1, 8, 8, 3))
    predict = lambda there, own: there.experiment.task.predict(there.experiment.model, own, image)
    found = {name: predict(*network) for name, network in levels(made, variables).items()}
    assert list(found) == ['L1', 'L2', 'mean']
    for depth in (1, 2):
        head = dataclasses.replace(SUPERVISED, head=str(depth))
        wanted = head.predict(NET, variables, image)
        np.testing.assert_allclose(found[f'L{depth}'], wanted, atol=1e-6)
    np.testing.assert_allclose(found['mean'], (found['L1'] + found['L2']) / 2, atol=1e-6)


def test_heads_that_nobody_trained_are_no_levels(job):
    variables = {'params': {}}  # not looked at
    assert list(levels(job(task=Semantic()), variables)) == ['L2']
    assert list(levels(job(NET.clone(deep_supervision=False)), variables)) == ['L2']
    assert list(levels(job(UNet(6, widths=(2, 4), padding='same')), variables)) == ['main']


def test_a_pruned_job_is_smaller_and_predicts_with_the_only_head(job):
    made = job(task=dataclasses.replace(SUPERVISED, head='mean'))
    pruned, variables = at_depth(made, made.initial_state().variables, 1)
    assert (pruned.experiment.model.depth, pruned.experiment.task.head) == (1, 'main')
    assert set(variables['params']) == {'x_0_0', 'x_1_0', 'x_0_1', 'up_0_1', 'score_1'}
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, pruned.abstract_state().variables
    )


def test_only_a_unetpp_can_be_pruned(job):
    with pytest.raises(UserError, match='--prune=1: only a U-Net'):
        at_depth(job(UNet(6, widths=(2, 4), padding='same')), {}, 1)
