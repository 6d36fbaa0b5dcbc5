"""DeepLab of versions 1 and 2: published parameters, strides, and the fusion of scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.layers.cost import layer_costs
from segjax.models import DeepLab
from segjax.types import UserError


@pytest.mark.parametrize(
    'variant, count',
    [
        ('7x7', 134_346_581),
        ('4x4', 65_140_565),
        ('large_fov', 20_505_429),
        ('aspp', 37_877_652),
    ],
)
def test_published_parameters(variant, count):
    rows = layer_costs(DeepLab(21, variant=variant), (1, 65, 65, 3))
    assert sum(row.params for row in rows) == count
    assert rows[-1].output_shape == (1, 9, 9, 21)  # stride 8


def test_over_resnet_a_branch_is_one_convolution_that_scores():
    """42,500,160 of ResNet-101 without its classifier, four branches of 3x3x2048x21 + 21."""
    rows = layer_costs(DeepLab(21, 'resnet101', 'aspp'), (1, 33, 33, 3))
    assert sum(row.params for row in rows) == 42_500_160 + 4 * (9 * 2048 * 21 + 21)
    assert [row.path for row in rows[-4:]] == [f'score_{i}/fc8' for i in (1, 2, 3, 4)]


def test_scales_share_the_network_and_their_maximum_is_the_output(draw):
    model = DeepLab(3, features=4, width=2, input_scales=(0.5, 1.0), dropout=0.0)
    alone = model.clone(input_scales=(1.0,))
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 24, 32, 3)), jnp.float32)
    variables = draw(model, image.shape)
    both = jax.jit(lambda v: [m.apply(v, image, train=False) for m in (model, alone)])
    output, plain = both(variables)
    assert len(output.aux) == 2 and plain.aux == ()
    np.testing.assert_array_equal(output.logits, np.maximum(*output.aux))
    np.testing.assert_allclose(plain.logits, output.aux[1], atol=1e-5)
    assert not np.allclose(output.aux[0], output.aux[1], atol=1e-3)


def test_heads_of_vgg16_are_refused_over_resnet():
    with pytest.raises(UserError, match='--variant=7x7 is a layer of VGG16; over resnet101 set'):
        DeepLab(3, 'resnet101', '7x7').init(
            jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False
        )
