"""What surrounds a picture in its canvas stays out of its features."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.layers import BatchNorm, Conv
from segjax.models.mask_rcnn.valid_area import inside, kept_inside, padded_size, stride_of


def test_areas_end_at_multiples_of_32():
    assert padded_size(jnp.asarray([[427, 640], [33, 1]])).tolist() == [[448, 640], [64, 32]]


def test_cells_of_an_area():
    found = inside(jnp.asarray([[64, 32]]), (4, 4), 32)[0]
    assert found.sum() == 2 and found[:2, 0].all()
    # 13 cells at stride 64 belong to 800 rows: the last one is half empty
    assert (
        inside(jnp.asarray([[800, 64]]), (16, 1), 64)[0, :, 0].tolist() == [True] * 13 + [False] * 3
    )


@pytest.mark.parametrize('canvas', [(800, 1344), (832, 832), (64, 96), (32, 32)])
@pytest.mark.parametrize('stride', [1, 4, 32, 64])
def test_the_stride_of_a_map(canvas, stride):
    x = jnp.zeros((1, *(-(-side // stride) for side in canvas), 1))
    found = stride_of(x, canvas)
    assert inside(jnp.asarray([canvas]), x.shape[1:3], found).all()
    assert found == stride or x.shape[1:3] == (1, 1)


class Net(nn.Module):
    """Convolutions with biases, normalisation and an overlapping pooling."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(BatchNorm(name='bn')(Conv(3, 3, stride=2, padding=1)(x), train=False))
        x = ops.max_pool(x, window=3, stride=2, padding=1)
        return Conv(2, 1, name='last')(nn.relu(Conv(3, 3)(x)))


def test_features_do_not_depend_on_the_canvas(key):
    net = Net()
    picture = jax.random.normal(key, (1, 32, 64, 3))
    variables = net.init(key, picture)
    shift = lambda x: x + 0.5  # every bias and every mean leaks
    variables = jax.tree.map(shift, variables)
    alone = net.apply(variables, picture)  # 1 8 16 2
    around = jnp.pad(picture, ((0, 0), (0, 64), (0, 32), (0, 0)), constant_values=9.0)
    np.testing.assert_array_less(
        0.1, np.abs(net.apply(variables, around)[:, :8, :16] - alone).max()
    )
    with kept_inside(jnp.asarray([[32, 64]]), (96, 96)):
        found = net.apply(variables, around)
    np.testing.assert_allclose(found[:, :8, :16], alone, rtol=1e-5, atol=1e-5)
