"""Every experiment file: built, flattened, restored, evaluated in shapes; one a task is trained."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import jax
import pytest

from segjax import config
from segjax.layers.cost import layer_costs
from segjax.train.experiment import Experiment
from segjax.train.state import init_state
from segjax.train.step import make_train_step

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from launch import load_experiment  # noqa: E402

FILES = sorted((ROOT / 'experiments').glob('[!_]*.py'))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def experiment(request) -> Experiment:
    """With two classes where the data would say how many."""
    built = load_experiment(ROOT / 'experiments', request.param.stem)
    assert isinstance(built, Experiment)
    if built.model.num_classes == 0:
        built = dataclasses.replace(built, model=built.model.clone(num_classes=2))
    return built


def test_survives_config_json(experiment):
    assert config.restore(experiment, config.flatten(experiment)) == experiment


def test_its_step_keeps_the_shapes_of_its_state(experiment):
    e = experiment
    (h, w), c = e.train.crop, e.dataset.channels
    batch = e.train.empty_batch(c)
    state = jax.eval_shape(
        lambda: init_state(e.model, e.optimizer, num_steps=e.num_steps, image=batch.image, seed=0)
    )
    step = make_train_step(
        e.model,
        e.task,
        e.optimizer,
        num_steps=e.num_steps,
        mean=(0.0,),
        std=(1.0,),
        accumulate=e.accumulate,
    )
    with jax.numpy_dtype_promotion('standard'):  # optax's Adam mixes int32 and float32
        after, scalars = jax.eval_shape(step, state, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert scalars['loss'].shape == ()
    assert sum(row.macs for row in layer_costs(e.model, (1, h, w, c))) > 1e6
