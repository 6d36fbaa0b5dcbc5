"""FCN over AlexNet, GoogLeNet and VGG11: counts, sizes, where cells lie, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.layers.conv import bilinear_init
from segjax.models import FCN
from segjax.models.fcn import TRUNKS, interpolate
from segjax.types import UserError

# Layers that move or thin the grid: kernel, stride, padding. conv1 as the released networks have
# it, but padded by `Trunk.border` before; poolings are Caffe's.
LAYERS = {
    'vgg': [(3, 1, 1)] + [(2, 2, 0)] * 5 + [(7, 1, 0)],
    'alexnet': [(11, 4, 0)] + [(3, 2, 0)] * 3 + [(6, 1, 0)],
    'googlenet': [(7, 2, 3)] + [(3, 2, 0)] * 4,
    'googlenet_bn': [(7, 2, 3)] + [(3, 2, 0)] * 3 + [(2, 2, 0)],
}
NARROW = {'stride': 32, 'fc_features': 3}
NETS = {  # the fields that lead to each trunk
    'vgg': {'backbone': 'vgg11', 'widths': (1, 2, 3, 4, 5)},
    'alexnet': {'backbone': 'caffenet'},
    'googlenet': {'backbone': 'googlenet'},
    'googlenet_bn': {'backbone': 'googlenet', 'norm': 'batch'},
}


def _center(layers):
    """Cell i of the last map is centred on pixel `slope i + offset` of the padded image."""
    slope, offset = 1, 0.0
    for kernel, stride, padding in layers:
        offset += slope * ((kernel - 1) / 2 - padding)
        slope *= stride
    return slope, offset


def _side(layers, side):
    """Side of the last map by Caffe's formulas: convolutions round down, poolings up."""
    for kernel, stride, padding in layers:
        pooling = stride == 2 and kernel < 7
        steps = (side + 2 * padding - kernel) / stride
        side = int(np.ceil(steps) if pooling else np.floor(steps)) + 1
    return side


def _outputs(model, side, width=32):
    """Shapes of the coarse scores, of those up-sampled by 32 and of the logits."""
    image = jax.ShapeDtypeStruct((1, side, width, 3), jnp.float32)
    keep = lambda module, _: module.name in ('score_fr', 'upscore32')

    def run(image):
        variables = model.init(jax.random.key(0), image, train=False)
        mutable = ['intermediates', 'batch_stats']
        return model.apply(
            variables, image, train=False, capture_intermediates=keep, mutable=mutable
        )

    output, found = jax.eval_shape(run, image)
    maps = {name: made['__call__'][0].shape[1] for name, made in found['intermediates'].items()}
    return maps.get('score_fr'), maps.get('upscore32'), output.logits.shape


@pytest.mark.parametrize(
    ('backbone', 'classes', 'count'),
    [
        ('caffenet', 21, 56_954_261),  # the paper's 57M
        ('caffenet', 60, 57_114_044),  # PASCAL-Context with a background: 39 (4096 + 1) more
        ('alexnet', 21, 57_089_877),  # torchvision's 61,100,840 with other scores
        ('googlenet', 21, 5_995_077),  # the paper's 6M
        ('vgg11', 21, 128_852_373),
    ],
)
def test_parameter_counts(backbone, classes, count, shapes):
    flat = shapes(FCN(classes, 32, backbone=backbone), (1, 32, 32, 3))
    assert sum(leaf.size for leaf in flat.values()) == count


@pytest.mark.parametrize('backbone', ['caffenet', 'googlenet', 'vgg11'])
def test_both_paddings_take_the_same_weights(backbone, shapes):
    caffe, same = (FCN(21, 32, backbone=backbone, padding=p) for p in ('caffe', 'same'))
    assert shapes(caffe, (1, 32, 32, 3)) == shapes(same, (1, 32, 32, 3))


@pytest.mark.parametrize('net', ['vgg', 'alexnet', 'googlenet'])
@pytest.mark.parametrize('side', [500, 1])
def test_sizes_as_released(net, side):
    trunk = TRUNKS[net]
    cells = _side(LAYERS[net], side + 2 * trunk.border)
    model = FCN(2, padding='caffe', upsampling='learned', **NETS[net], **NARROW)
    up = 32 * (cells - 1) + (63 if trunk.odd else 64)
    assert _outputs(model, side) == (cells, up, (1, side, 32, 2))


def test_sizes_of_fcn_alexnet_by_hand():
    """500 pixels: 173, 86, 43 and 21 after conv1 and the poolings; 16 after fc6; 15 * 32 + 63."""
    model = FCN(2, padding='caffe', upsampling='learned', **NETS['alexnet'], **NARROW)
    assert _outputs(model, 500)[:2] == (16, 543)


@pytest.mark.parametrize('net', TRUNKS)
def test_the_first_layer_pads_by_100_in_all(net):
    kernel, _, padding = LAYERS[net][0]
    assert TRUNKS[net].border + padding == 100 and kernel % 2


@pytest.mark.parametrize('net', TRUNKS)
def test_the_crop_lays_the_scores_over_the_image(net):
    trunk = TRUNKS[net]
    slope, offset = _center(LAYERS[net])
    center = offset - trunk.border
    assert slope == 32 and (center % 1 == 0) == trunk.odd
    upsampled = (63 if trunk.odd else 64) / 2 - 0.5  # where cell 0 lies in the up-sampled map
    assert upsampled - trunk.crop == center
    if net == 'alexnet':
        assert (center, trunk.crop) == (13, 18)


@pytest.mark.parametrize('net', ['alexnet', 'googlenet', 'googlenet_bn'])
def test_padding_same_puts_each_cell_into_the_middle_of_its_pixels(net):
    trunk = TRUNKS[net]
    assert trunk.same
    front, extra = trunk.same
    layers = LAYERS[net][: -1 if trunk.fc6 else None]
    _, offset = _center(layers)
    behind_center = 32 * ((trunk.fc6 + 1) % 2) / 2 if trunk.fc6 else 0  # fc6 of 6 reads 2 | 3
    assert abs(offset - front + behind_center - 15.5) == 0.5
    for cells in (1, 2, 16):
        assert _side(layers, 32 * cells + extra) == cells


@pytest.mark.parametrize('net', NETS)
@pytest.mark.parametrize('side', [1, 65])
def test_padding_same_has_a_cell_for_each_started_32_pixels(net, side):
    model = FCN(2, padding='same', **NETS[net], **NARROW)
    assert _outputs(model, side)[::2] == (-(-side // 32), (1, side, 32, 2))
    if net == 'alexnet':
        model = FCN(2, backbone='alexnet', **NARROW)
        assert _outputs(model, side)[::2] == (-(-side // 32), (1, side, 32, 2))


def test_interpolation_with_an_odd_kernel_is_the_transposed_convolution():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 2)), jnp.float32)
    kernel = bilinear_init(jax.random.key(0), (63, 63, 2, 2))
    found = interpolate(x, 32, odd=True)
    assert found.shape == (2, 2 * 32 + 63, 3 * 32 + 63, 2)
    np.testing.assert_allclose(found, ops.conv_transpose(x, kernel, stride=32), atol=1e-5)
    np.testing.assert_allclose(found[:, 31:-31:32, 31:-31:32], x, atol=1e-6)


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'backbone': 'caffenet', 'stride': 8}, 'no skips: set stride=32'),
        ({'backbone': 'googlenet', 'stride': 16}, 'vgg16'),
        ({'backbone': 'caffenet', 'norm': 'batch'}, 'norm=none'),
        ({'backbone': 'alexnet', 'padding': 'caffe'}, 'padding=same'),
        ({'backbone': 'googlenet', 'norm': 'batch', 'padding': 'caffe'}, 'padding=same'),
        ({'backbone': 'googlenet', 'widths': (1, 2, 3, 4, 5)}, 'neither widths'),
        ({'backbone': 'caffenet', 'remat': True}, 'remat'),
    ],
    ids=str,
)
def test_fields_that_do_not_go_together_are_refused(fields, words, shapes):
    with pytest.raises(UserError, match=words):
        shapes(FCN(2, **({'stride': 32} | fields)), (1, 32, 32, 3))
