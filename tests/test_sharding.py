"""Pictures cut into strips of rows: the numbers of whole pictures, and what cannot be cut."""

from __future__ import annotations

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from segjax import ops
from segjax.models import FCN, UNet
from segjax.optim import Sgd
from segjax.sharding import ShardedJit, parallelism
from segjax.tasks import Semantic
from segjax.train.heights import check_height
from segjax.train.state import init_state
from segjax.train.step import make_train_step
from segjax.types import Batch, UserError

NETWORKS = {
    'fcn': FCN(
        4, backbone='vgg11', widths=(4, 4, 6, 8, 8), fc_features=8, norm='batch', dropout=0.3
    ),
    'unet': UNet(4, widths=(4, 6, 8), padding='same', norm='batch', dropout=0.3),
}
SIZES = {'fcn': (128, 32), 'unet': (32, 24)}  # of FCN's coarsest map each of four devices has a row
OPTIMIZER = Sgd(0.02, momentum=0.9, weight_decay=1e-3)


def example(size, rows=4):
    """A batch of waves with noise; the label follows the image."""
    rng = np.random.default_rng(3)
    h, w = size
    y, x = np.mgrid[:h, :w][..., None] / 8
    waves = [np.sin(y * a + x * b + c) for a, b, c in rng.uniform(0.3, 2, (rows, 3, 3))]
    image = np.float32(100 * np.stack(waves) + rng.normal(0, 20, (rows, h, w, 3)))
    label = np.int32(np.clip(image.mean(-1) / 40 + 2, 0, 3))
    label[:, : h // 4] = 255  # the first of four strips has no labels at all
    weight = rng.uniform(0.5, 2, (rows, h, w)).astype(np.float32)
    return Batch(image, label, weight, image_id=np.arange(rows, dtype=np.int32))


def random_state(model, size):
    """Every parameter random: scores that start at zero would pass no gradient on."""
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    init = lambda: init_state(model, OPTIMIZER, num_steps=5, image=image, seed=0)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(init))
    rng = np.random.default_rng(0)
    fill = lambda x: np.float32(rng.normal(x.ndim == 1, 0.2, x.shape))
    return state._replace(params=jax.tree.map(fill, state.params))


@functools.cache
def run(name, devices, shard_height, steps=2):
    """(state, scalars) after some steps, and the compiled program."""
    model, size = NETWORKS[name], SIZES[name]
    step = make_train_step(model, Semantic(), OPTIMIZER, num_steps=5, mean=(0.0,), std=(60.0,))
    parallel = parallelism('jit', 4, jax.devices()[:devices], shard_height=shard_height)
    state = parallel.place_state(random_state(model, size))
    batch = parallel.place_batch(example(size))
    program = parallel.compile(step).lower(state, batch).compile()
    for _ in range(steps):
        state, scalars = program(state, batch)
    return jax.tree.map(np.asarray, (state._asdict(), scalars)), program


def assert_close(found, wanted, tolerance=1e-4):
    """Every array differs by less than this part of its own length."""

    def check(path, x, y):
        apart = np.linalg.norm(np.float64(x) - np.float64(y)) / max(np.linalg.norm(y), 1e-6)
        assert apart < tolerance, f'{jax.tree_util.keystr(path)}: {apart}'

    jax.tree_util.tree_map_with_path(check, found, wanted)


def largest_gathered(program):
    """Numbers in the largest array that devices give one another whole."""
    shapes = re.findall(r' = \w+\[([\d,]+)\]\S* all-gather(?:-start)?\(', program.as_text())
    return max((math.prod(map(int, shape.split(','))) for shape in shapes), default=0)


@pytest.mark.parametrize('name', NETWORKS)
def test_strips_give_loss_gradient_state_and_batch_norm_of_one_device(name):
    """Momentum after the steps is the gradients; running averages are among the state."""
    assert_close(run(name, 8, 4)[0], run(name, 1, 1)[0])


@pytest.mark.parametrize('name', NETWORKS)
def test_activations_are_never_gathered(name):
    """What whole pictures are gathered of is coarse: less than the image itself."""
    _, program = run(name, 8, 4)
    h, w = SIZES[name]
    assert largest_gathered(program) <= 2 * h * w
    halos = program.as_text().count(' collective-permute')
    assert halos > 10  # the test sees the program that was cut


@pytest.mark.parametrize('name', NETWORKS)
def test_strips_save_memory(name):
    alone, strips = (run(name, *layout)[1].memory_analysis() for layout in ((1, 1), (8, 4)))
    assert strips.temp_size_in_bytes < alone.temp_size_in_bytes / 4


OPERATIONS = {
    'conv': lambda x, k: ops.conv(x, k[:3, :3]),
    'strided conv': lambda x, k: ops.conv(x, k[:3, :3], stride=2),
    'atrous conv': lambda x, k: ops.conv(x, k[:3, :3], dilation=6),
    'wide conv': lambda x, k: ops.conv(x, k),
    '1x1 conv': lambda x, k: ops.conv(x, k[:1, :1]),
    'grouped conv': lambda x, k: ops.conv(x, k[:3, :3, :1], groups=3),
    'depthwise conv': lambda x, k: ops.depthwise_conv(x, k[:3, :3, :1, :3]),
    'strided depthwise conv': lambda x, k: ops.depthwise_conv(x, k[:3, :3, :1, :3], stride=2),
    'tiled conv_transpose': lambda x, k: ops.conv_transpose(x, k[:2, :2], stride=2),
    'conv_transpose': lambda x, k: ops.conv_transpose(x, k[:4, :4], stride=2, padding=1),
    'wide conv_transpose': lambda x, k: ops.conv_transpose(x, k[:6, :6], stride=2, padding=2),
    'max_pool': lambda x, k: ops.max_pool(x),
    'max_pool 3': lambda x, k: ops.max_pool(x, window=3, padding=1),
    'enlarged': lambda x, k: ops.resize_bilinear(x, (64, 32)),
    'reduced': lambda x, k: ops.resize_bilinear(x, (8, 9), align_corners=True),
    'mirror_pad': lambda x, k: ops.mirror_pad(x, (4, 4), (1, 2)),
    'center_crop': lambda x, k: ops.center_crop(x, (24, 10)),
}


def in_strips(function):
    """`(picture, kernel) -> (picture, picture, kernel)` with rows on four devices, jitted."""
    mesh = ShardedJit(jax.devices(), shard_height=4).mesh
    strips, whole = NamedSharding(mesh, P('data', 'height')), NamedSharding(mesh, P())

    def on_mesh(x, kernel):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(x, kernel)

    return jax.jit(on_mesh, in_shardings=(strips, whole), out_shardings=(strips, strips, whole))


@pytest.mark.parametrize('name', OPERATIONS)
def test_operation(name):
    """Value and both gradients, rows on four devices, against one device."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: np.float32(rng.normal(size=shape))
    x, kernel, noise = normal(2, 32, 16, 3), normal(7, 7, 3, 6), normal(2, 80, 40, 6)

    def value_and_gradients(x, kernel):
        y, back = jax.vjp(OPERATIONS[name], x, kernel)
        b, h, w, c = y.shape
        return y, *back(jnp.asarray(noise[:b, :h, :w, :c]))

    wanted = jax.jit(value_and_gradients)(x, kernel)
    found = in_strips(value_and_gradients)(x, kernel)
    assert_close(*(jax.tree.map(np.asarray, tree) for tree in (found, wanted)), 1e-5)


def test_enlarging_scores_gathers_none_but_the_small_ones():
    def value_and_gradients(x, kernel):
        y, back = jax.vjp(lambda x: ops.resize_bilinear(x, (256, 128)), x)
        return y, *back(jnp.sin(y)), kernel

    small = jax.ShapeDtypeStruct((2, 32, 16, 21), jnp.float32)
    program = in_strips(value_and_gradients).lower(small, jnp.zeros(())).compile()
    assert 0 < largest_gathered(program) <= 32 * 16 * 21


def test_heights_that_fit_are_named():
    fits = lambda model, height, parts: check_height(model, (1, height, 32, 3), parts)
    fits(NETWORKS['fcn'], 256, 4)
    fits(NETWORKS['unet'], 48, 4)
    with pytest.raises(UserError, match=r'Multiples of 128 fit; try --train.crop=128,32 or 256,32'):
        fits(NETWORKS['fcn'], 224, 4)
    with pytest.raises(UserError, match=r'Multiples of 16 fit; try --train.crop=32,32 or 48,32'):
        fits(NETWORKS['unet'], 40, 4)
    with pytest.raises(UserError, match='--shard_height=1'):
        fits(NETWORKS['fcn'].clone(padding='caffe'), 256, 4)


@pytest.mark.parametrize(
    ('kind', 'batch_size', 'shard_height', 'message'),
    [
        ('pmap', 8, 2, 'needs --parallelism=jit'),
        ('jit', 8, 3, 'what fits: 1, 2, 4, 8'),
        ('jit', 3, 4, '2 groups of 4 devices; try --train.batch_size=4'),
    ],
)
def test_what_cannot_be_cut_is_refused(kind, batch_size, shard_height, message):
    with pytest.raises(UserError, match=message):
        parallelism(kind, batch_size, jax.devices(), shard_height=shard_height)
