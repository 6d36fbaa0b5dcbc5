"""Receptive fields: the published ones, and the support of the gradient."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.backbones.vgg import CONVS, VGG
from segjax.ops import Window

POOL = Window(2, 2)
VGG16 = [w for n in CONVS[16] for w in (*[Window(3, padding=1)] * n, POOL)]
OVERLAPPING = Window(3, 2)
ALEXNET = [
    Window(11, 4, padding=100),
    OVERLAPPING,
    Window(5, padding=2),
    OVERLAPPING,
    *[Window(3, padding=1)] * 3,
    OVERLAPPING,
    Window(6),
]
INCEPTION = Window(5, padding=2)  # its widest branch
GOOGLENET = [
    *(Window(7, 2), OVERLAPPING, Window(3), OVERLAPPING),
    *([INCEPTION] * 2 + [OVERLAPPING] + [INCEPTION] * 5 + [OVERLAPPING] + [INCEPTION] * 2),
    Window(7),  # the mean before the classifier
]


def test_two_layers_by_hand():
    # Unit 0 of the second layer: units 0 to 2 of the first, which see pixels 0-2, 2-4, 4-6.
    assert ops.receptive_field([Window(3, 2), Window(3)]) == (7, 2, 0)
    # Three taps two apart: units 0, 2, 4 see up to pixel 2 * 4 + 2; padding moves the start.
    assert ops.receptive_field([Window(3, 2), Window(3, dilation=2, padding=2)]) == (11, 2, -4)
    assert ops.receptive_field([]) == (1, 1, 0)


@pytest.mark.parametrize(
    'layers, size', [(ALEXNET, 355), (GOOGLENET, 907), ([*VGG16, Window(7)], 404)]
)
def test_sizes_of_fcn_table_1(layers, size):
    field = ops.receptive_field(layers)
    assert (field.size, field.stride) == (size, 32)


def _seen(function, side, unit):
    """First and last row and column of the image that a unit's gradient reaches."""
    gradient = jax.jit(jax.grad(lambda image: function(image)[0, unit, unit].sum()))
    support = np.abs(gradient(jnp.ones((1, side, side, 1)))[0]).sum(-1) > 0
    return [
        (np.flatnonzero(line)[0], np.flatnonzero(line)[-1])
        for line in (support.any(1), support.any(0))
    ]


@pytest.mark.parametrize(
    'layers',
    [
        [Window(3), Window(5)],
        [Window(3, 2, padding=1), Window(2, 2), Window(3, padding=1)],
        [Window(3, dilation=2, padding=2), Window(3, 2), Window(3, dilation=4, padding=1)],
    ],
)
def test_the_formula_is_the_support_of_the_gradient(layers):
    def network(x):
        for kernel, stride, dilation, padding in layers:
            ones = jnp.ones((kernel, kernel, 1, 1))
            x = ops.conv(x, ones, stride=stride, dilation=dilation, padding=padding)
        return x

    # Between two taps of a dilation lie holes; what is compared are the first and the last pixel.
    field, unit = ops.receptive_field(layers), 3
    first = field.start + unit * field.stride
    assert _seen(network, 40, unit) == [(first, first + field.size - 1)] * 2


def test_fc7_of_vgg16_sees_404_pixels_every_32(monkeypatch):
    # A maximum hands its gradient to one pixel of the four it looks at, a mean to all four.
    monkeypatch.setattr(ops, 'max_pool', ops.avg_pool)
    backbone = VGG(16, widths=(1,) * 5)
    shapes = jax.eval_shape(
        lambda: backbone.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), train=False)
    )
    # Positive weights: no ReLU is off, and no two paths cancel.
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), shapes)

    def fc7(image):
        c5 = backbone.apply(variables, image, train=False)['c5']
        return nn.relu(ops.conv(c5, jnp.ones((7, 7, 1, 1)), padding='valid'))

    field = ops.receptive_field([*VGG16, Window(7)])
    assert field == (404, 32, -90)
    first = -90 + 3 * 32  # of unit 3
    assert _seen(fc7, 512, 3) == [(first, first + 403)] * 2
