"""A tiny experiment for the modes to work on, and a compilation cache that is not the user's."""

import dataclasses

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from experiments.fcn8s_shapes import experiment
from segjax import config
from segjax.models import UNet
from segjax.optim import Sgd


@pytest.fixture(scope='session')
def cache_folder(tmp_path_factory):
    """Compiled programs of all these tests: several start from the same state."""
    return tmp_path_factory.mktemp('compiled')


@pytest.fixture(autouse=True, scope='module')
def own_compilation_cache(cache_folder):
    """Keeps modes out of the user's cache: where the variable is set, they leave it as it is."""

    def use(folder):
        jax.config.update('jax_compilation_cache_dir', folder)
        compilation_cache.reset_cache()  # JAX looks once and remembers what it found

    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('JAX_COMPILATION_CACHE_DIR', str(cache_folder))
        use(str(cache_folder))
        yield
        use(before)


@pytest.fixture(scope='session')
def tiny():
    """fcn8s_shapes, shrunk, with a small U-Net, which compiles in a few seconds.

    Adam gives way to SGD: optax's Adam raises a float to an integer, the step, which strict
    promotion refuses.
    """
    small = {
        'dataset.size': 16,
        'dataset.radius': (2.0, 6.0),
        'dataset.num_train': 16,
        'dataset.num_val': 8,
        'train.crop': (16, 16),
        'num_steps': 4,
        'eval_every': 2,
    }
    model = UNet(num_classes=6, widths=(2, 4), padding='same')
    shrunk = config.replace(experiment(), small)
    return dataclasses.replace(shrunk, model=model, optimizer=Sgd(learning_rate=0.1))
