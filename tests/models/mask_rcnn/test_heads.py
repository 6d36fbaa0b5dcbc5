"""The heads in NumPy: which channel a mask is read from, what C4's heads share, first values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.models import MaskRCNN
from segjax.models.mask_rcnn.box_head import BoxHead, BoxPredictor
from segjax.models.mask_rcnn.mask_head import MaskHead, OneMask
from segjax.models.mask_rcnn.rpn import RPNHead

RNG = np.random.default_rng(1)
CLASSES = jnp.asarray([2, 1, 0], jnp.int32)  # 0: a place without a region; its mask is never seen


def _dense(x, layer):
    kernel = layer['kernel'].reshape(-1, layer['kernel'].shape[-1])
    return np.asarray(x).reshape(len(x), -1) @ kernel + layer['bias']


def _mask_logits(x, layers):
    """Of all channels: a transposed convolution of 2x2 pixels at stride 2, rectified, and a 1x1."""
    up = np.einsum('nhwc,abcm->nhawbm', x, layers['conv5_mask']['kernel'])
    n, h, _, w, _, m = up.shape
    up = np.maximum(up.reshape(n, 2 * h, 2 * w, m) + layers['conv5_mask']['bias'], 0)
    predictor = layers['mask_fcn_logits']
    return up @ predictor['kernel'][0, 0] + predictor['bias']


# (loss, agnostic, flavour): the channel of each of CLASSES, none where the classes compete
CHANNELS = {
    ('sigmoid', False, 'torchvision'): [2, 1, 0],  # the background has one, too
    ('sigmoid', False, 'detectron2'): [1, 0, 0],
    ('sigmoid', True, 'torchvision'): [0, 0, 0],
    ('softmax', False, 'detectron2'): None,
    ('softmax', True, 'torchvision'): None,
}
NUMBER = {False: {'torchvision': 3, 'detectron2': 2}, True: {'torchvision': 1}}


@pytest.mark.parametrize('kind', ['res5', 'mlp'])
@pytest.mark.parametrize('loss, agnostic, flavor', CHANNELS)
def test_masks_by_hand(kind, loss, agnostic, flavor, drawn):
    x = jnp.asarray(RNG.normal(size=(3, 4, 4, 5)), jnp.float32)
    head = MaskHead(3, kind, loss, agnostic, features=6, fc_features=7, flavor=flavor)
    variables = drawn(head, x, CLASSES, train=False)
    found = head.apply(variables, x, CLASSES, train=False)
    layers = jax.tree.map(np.asarray, variables['params'])
    if kind == 'mlp':
        hidden = np.maximum(_dense(x, layers['mask_fc1']), 0)
        hidden = np.maximum(_dense(hidden, layers['mask_fc2']), 0)
        every = _dense(hidden, layers['mask_fc_logits']).reshape(3, 8, 8, -1)
    else:
        every = _mask_logits(x, layers)
    channels = CHANNELS[loss, agnostic, flavor]
    if channels is None:
        assert every.shape[-1] == (2 if agnostic else 3)
        np.testing.assert_allclose(found, every, atol=1e-5)
    else:
        assert every.shape[-1] == NUMBER[agnostic][flavor]
        expected = every[np.arange(3), :, :, channels][..., None]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('flavor', ['torchvision', 'detectron2'])
def test_classes_and_boxes_by_hand(flavor, drawn):
    """torchvision has codes of the background, which are left out."""
    x = jnp.asarray(RNG.normal(size=(3, 2, 2, 4)), jnp.float32)
    head, predictor = BoxHead(6, flavor=flavor), BoxPredictor(3, flavor)
    variables = drawn(head, x, train=False)
    vectors = head.apply(variables, x, train=False)
    layers = jax.tree.map(np.asarray, variables['params'])
    expected = np.maximum(_dense(np.maximum(_dense(x, layers['fc6']), 0), layers['fc7']), 0)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    variables = drawn(predictor, vectors)
    logits, codes = predictor.apply(variables, vectors)
    layers = jax.tree.map(np.asarray, variables['params'])
    np.testing.assert_allclose(logits, _dense(expected, layers['cls_score']), atol=1e-5)
    every = _dense(expected, layers['bbox_pred']).reshape(3, -1, 4)
    assert every.shape[1] == (3 if flavor == 'torchvision' else 2)
    np.testing.assert_allclose(codes, every[:, -2:], atol=1e-5)


SPREADS = {  # standard deviations of first values
    'torchvision': {
        'cls_score': 1 / np.sqrt(3 * 400),  # Torch's own, uniform up to 1 / sqrt(inputs)
        'bbox_pred': 1 / np.sqrt(3 * 400),
        'fc6': 1 / np.sqrt(3 * 400),
        'mask_fcn_logits': np.sqrt(2 / 80),  # He's, over the outputs
        'cls_logits': 0.01,
    },
    'detectron2': {
        'cls_score': 0.01,
        'bbox_pred': 0.001,
        'fc6': 1 / np.sqrt(400),  # Xavier's, over the inputs
        'mask_fcn_logits': 0.001,
        'cls_logits': 0.01,
    },
}


@pytest.mark.parametrize('flavor', SPREADS)
def test_first_values_as_the_flavour_draws_them(flavor, key):
    map_of = lambda *shape: jnp.zeros((1, *shape))
    drawn = {
        **BoxPredictor(80, flavor).init(key, map_of(400))['params'],
        **BoxHead(100, flavor=flavor).init(key, map_of(2, 2, 100), train=False)['params'],
        'mask_fcn_logits': OneMask(80, flavor).init(key, map_of(1, 1, 400))['params'],
        'cls_logits': RPNHead(15, 100).init(key, map_of(2, 2, 100))['params']['cls_logits'],
    }
    for name, spread in SPREADS[flavor].items():
        np.testing.assert_allclose(np.std(drawn[name]['kernel']), spread, rtol=0.1, err_msg=name)
        assert not np.any(drawn[name]['bias'])


def test_the_heads_of_c4_share_the_last_stage_of_the_backbone(drawn):
    """Figure 4, left: RoIAlign 14x14 from c4, res5 at stride 2, its mean or a 14x14 mask."""
    fields = {'backbone': 'resnet18', 'backbone_width': 2, 'width': 3}
    model = MaskRCNN(3, trunk='c4', flavor='detectron2', **fields)
    variables = drawn(model, jnp.zeros((1, 32, 32, 3)), train=False)
    c4 = jnp.asarray(RNG.normal(size=(1, 8, 8, 8)), jnp.float32)  # of 128 x 128 pixels
    rois = jnp.asarray([[[10, 20, 90, 70], [3, 5, 128, 100], [60, 60, 80, 90]]], jnp.float32)
    classes = jnp.asarray([[2, 1]], jnp.int32)
    last_stage = lambda module, regions: module.layer4(regions, False)

    @jax.jit
    def compute(variables):
        heads = model.apply(
            variables, (c4,), rois, classes, sizes=None, train=False, method='heads'
        )
        regions = ops.roi_align(
            c4[0], rois[0], output_size=14, spatial_scale=1 / 16, sampling_ratio=0, aligned=True
        )
        return heads, model.apply(variables, regions, method=last_stage)

    heads, maps = jax.tree.map(np.asarray, compute(variables))
    assert maps.shape == (3, 7, 7, 16)
    layers = jax.tree.map(np.asarray, variables['params'])
    logits = _dense(maps.mean(axis=(1, 2)), layers['box_predictor']['cls_score'])
    np.testing.assert_allclose(heads.logits[0], logits, atol=1e-5)
    masks = _mask_logits(maps[:2], layers['mask_head'])
    for i, channel in enumerate([1, 0]):
        np.testing.assert_allclose(heads.masks[0, i, :, :, 0], masks[i, :, :, channel], atol=1e-5)
