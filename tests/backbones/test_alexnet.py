"""AlexNet twice: names, sizes by hand, FCN-AlexNet's count."""

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from segjax.backbones import AlexNet, CaffeNet


def _sizes(model, side):
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    init = lambda x: model.init_with_output(jax.random.key(0), x, train=False)[0]
    features = jax.eval_shape(init, image)
    assert list(features) == ['c2', 'c3', 'c4', 'c5']
    return [feature.shape[1] for feature in features.values()]


def test_sizes_by_hand():
    assert _sizes(CaffeNet(), 227) == [55, 27, 13, 6]
    assert _sizes(AlexNet(), 224) == [55, 27, 13, 6]
    assert _sizes(CaffeNet(padding=100), 500) == [173, 86, 43, 21]  # rounded up: 86 -> 43
    assert _sizes(CaffeNet(), 39)[-1] == _sizes(AlexNet(), 63)[-1] == 1


def test_names(shapes):
    leaves = lambda layers: {f'{n}/{leaf}' for n in layers for leaf in ('kernel', 'bias')}
    names = lambda model: set(flatten_dict(shapes(model)[1]['params'], sep='/'))
    assert names(CaffeNet()) == leaves(f'conv{i}' for i in range(1, 6))
    assert names(AlexNet()) == leaves(('0', '3', '6', '8', '10'))  # torchvision's features


def test_parameters_of_fcn_alexnet(shapes):
    """56,954,261 with fc6, fc7 and scores of 21 classes as convolutions."""
    params = sum(leaf.size for leaf in jax.tree.leaves(shapes(CaffeNet())[1]['params']))
    fc6, fc7, score = (6 * 6 * 256 + 1) * 4096, (4096 + 1) * 4096, (4096 + 1) * 21
    assert params + fc6 + fc7 + score == 56_954_261


def test_groups_see_half_of_the_channels(shapes):
    params = shapes(CaffeNet())[1]['params']
    inputs = [params[f'conv{i}']['kernel'].shape[2] for i in range(1, 6)]
    assert inputs == [3, 96 // 2, 256, 384 // 2, 384 // 2]
