"""SegNet: the parameter counts of the papers' networks, and where pixels go back to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.layers.cost import layer_costs
from segjax.models import SegNet
from segjax.pretrained.layouts import name_map
from segjax.types import UserError


def _count(shapes, model):
    flat = shapes(model, (1, 36, 48, 3))
    return sum(leaf.size for path, leaf in flat.items() if path.startswith('params/'))


@pytest.mark.parametrize(
    'model, expected',
    [
        (SegNet(11), 29_449_355),  # CamVid
        (SegNet(21), 29_455_125),
        (SegNet(37), 29_464_357),  # SUN RGB-D
        (SegNet(11, 'basic'), 1_416_587),
    ],
)
def test_parameter_counts_are_those_of_the_released_networks(model, expected, shapes):
    assert _count(shapes, model) == expected


def test_the_decoder_is_the_encoder_turned_round():
    rows = {row.path: row for row in layer_costs(SegNet(11), (1, 360, 480, 3))}
    channels = [
        row.output_shape[-1] for path, row in rows.items() if '_D' in path and '/conv' in path
    ]
    assert channels == [512] * 3 + [512, 512, 256] + [256, 256, 128] + [128, 64] + [64]
    # Poolings round up: what 45 x 60 pixels became, 23 x 30, goes back to 45 x 60.
    assert rows['stage5/conv5_1'].input_shape[1:3] == (23, 30)
    assert rows['decoder5/conv5_3_D'].output_shape[1:3] == (23, 30)
    assert rows['decoder4/conv4_3_D'].output_shape[1:3] == (45, 60)
    assert rows['score'].output_shape == (1, 360, 480, 11)


def test_each_pixel_of_a_coarse_map_reaches_its_maximum_alone(draw):
    """Identity convolutions: what is left of the image are the maxima, at their places."""
    model = SegNet(1, 'basic', widths=(1, 1, 1, 1))
    variables = jax.tree.map(jnp.zeros_like, draw(model, (1, 16, 16, 1)))

    def fill(path, leaf):
        name = '/'.join(str(key.key) for key in path)
        if name.endswith('kernel'):
            middle = leaf.shape[0] // 2
            return leaf.at[middle, middle].set(1.0)
        return jnp.ones_like(leaf) if name.endswith(('scale', 'var')) else leaf

    variables = jax.tree_util.tree_map_with_path(fill, variables)
    image = np.random.default_rng(0).uniform(0.1, 1.0, (1, 16, 16, 1)).astype(np.float32)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False).logits)
    logits = np.asarray(apply(variables, jnp.asarray(image)))
    kept = np.flatnonzero(logits)
    assert kept.tolist() == [int(np.argmax(image))]
    np.testing.assert_allclose(logits.max(), image.max(), rtol=1e-3)


def test_torchvision_vgg16_fits_the_encoder(shapes):
    names = shapes(SegNet(11), (1, 36, 48, 3))
    counterparts = name_map(names, 'torchvision').counterparts
    assert counterparts['params/stage5/conv5_3/kernel'].name == 'features.40.weight'
    assert counterparts['batch_stats/stage1/bn1_1/mean'].name == 'features.1.running_mean'
    for name, counterpart in counterparts.items():
        assert counterpart.optional == ('decoder' in name or 'score' in name), name


def test_other_widths_than_stages_are_refused():
    with pytest.raises(UserError, match='2 widths; variant=basic has 4 stages'):
        jax.eval_shape(
            lambda: SegNet(3, 'basic', (4, 4)).init(
                jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False
            )
        )
