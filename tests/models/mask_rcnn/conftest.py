"""Narrow networks: with the weights of the golden file, compiled once; and with any at all."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.models import FasterRCNN, MaskRCNN
from segjax.pretrained import convert
from segjax.tools import detection_golden as golden
from segjax.tools.torchvision_golden import weights

FILE = Path(__file__).with_name('torchvision_golden.npz')


@pytest.fixture(scope='session')
def stages():
    """`stages(name)`: what torchvision's detector of this name computes."""

    @functools.cache
    def of(name):
        with np.load(FILE) as file:
            return {key.split('/')[1]: file[key] for key in file if key.startswith(f'{name}/')}

    return of


@pytest.fixture(scope='session')
def narrow(stages):
    """`narrow(name)`: our network of the golden file, and torchvision's weights in it."""

    @functools.cache
    def of(name):
        kind = MaskRCNN if name.startswith('mask') else FasterRCNN
        model = kind(**golden.FIELDS, version=int(name[-1]))
        shapes = {n: tuple(shape) for n, shape in json.loads(str(stages(name)['shapes'])).items()}

        def silent(line):
            raise AssertionError(f'said {line!r}')

        return model, convert(model, weights(shapes), layout='torchvision', say=silent)

    return of


@pytest.fixture(scope='session')
def detect():
    """`detect(model, variables, image, sizes)`: proposals and detections, compiled."""

    @functools.partial(jax.jit, static_argnums=0)
    def of(model, variables, image, sizes):
        stages = lambda module, method: module.name is None and method == 'proposals'
        detections, kept = model.apply(
            variables,
            image,
            sizes=sizes,
            train=False,
            mutable=['intermediates'],
            capture_intermediates=stages,
        )
        return kept['intermediates']['proposals'][0], detections

    return of


@pytest.fixture(scope='session')
def drawn():
    """`drawn(module, *inputs, **options)`: random variables for what `module` does with them."""

    def of(module, *inputs, **options):
        rng = np.random.default_rng(0)

        def value(path, leaf):
            name, drawn = path[-1].key, rng.normal(size=leaf.shape)
            if name == 'kernel':
                return jnp.asarray(drawn / np.sqrt(np.prod(leaf.shape[:-1])), jnp.float32)
            return jnp.asarray(0.2 * drawn + (name in ('scale', 'var')), jnp.float32)

        init = lambda key: module.init(key, *inputs, **options)
        return jax.tree_util.tree_map_with_path(value, jax.eval_shape(init, jax.random.key(0)))

    return of
