"""The network as a whole: canvases, variants, types; and by hand what is chosen of its answers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.layers.cost import layer_costs
from segjax.models import FasterRCNN, MaskRCNN
from segjax.models.mask_rcnn.box_head import select_detections
from segjax.models.mask_rcnn.mask_head import mask_probabilities
from segjax.models.mask_rcnn.mask_rcnn import STRIDES, Proposals
from segjax.models.mask_rcnn.rpn import Levels, select_proposals
from segjax.tools import detection_golden as golden
from segjax.tools.torchvision_golden import sample
from segjax.types import Detections, UserError

SMALL = {'backbone': 'resnet18', 'backbone_width': 4, 'width': 8, 'fc_features': 8}


def test_an_image_gives_the_same_detections_in_any_canvas_and_batch(narrow, stages, detect):
    """Beside another picture, in a larger canvas full of other numbers: as torchvision alone."""
    model, variables = narrow('mask1')
    picture, expected = golden.picture(), stages('mask1')
    canvas = np.full((2, 160, 192, 3), 7, np.float32)
    canvas[0, :160, :100] = 0.5
    canvas[1, : picture.shape[0], : picture.shape[1]] = picture
    sizes = jnp.asarray([[160, 100], picture.shape[:2]], jnp.int32)
    _, found = detect(model, variables, jnp.asarray(canvas), sizes)
    found = jax.tree.map(lambda x: np.asarray(x)[1], found)
    assert found.valid.all()
    np.testing.assert_array_equal(found.classes, expected['labels'])
    np.testing.assert_allclose(found.boxes, expected['boxes'], atol=2e-4)
    np.testing.assert_allclose(found.scores, expected['scores'], atol=1e-5)
    masks = np.stack([sample(mask) for mask in found.masks])
    np.testing.assert_allclose(masks, expected['masks'], atol=1e-5)


@pytest.mark.parametrize('trunk', ['fpn', 'c4'])
def test_heads_and_detections_see_nothing_beyond_a_picture(trunk, drawn):
    """One ends at a multiple of 32 pixels, the other one within its last 32; from given maps."""
    options = {'score_threshold': 0.0, 'nms_threshold': 1.0, 'max_detections': 8}
    model = MaskRCNN(3, **SMALL, **options, trunk=trunk)
    variables = drawn(model, jnp.zeros((1, 32, 32, 3)), train=False)
    sizes = jnp.asarray([[448, 480], [440, 470]], jnp.int32)
    ends = jnp.tile(sizes[:, ::-1], 2)[:, None].astype(jnp.float32)
    corners = [[0, 0], [200, 180], [320, 300], [430, 410]]  # of p5, p4, p3 and p2
    rois = jnp.asarray([[*corner, 480, 448] for corner in corners], jnp.float32)
    rois = jnp.minimum(rois[None], ends)

    @jax.jit
    def run(maps):
        found = Proposals(maps, None, rois, jnp.ones((2, 4), bool))
        given = lambda run, args, kwargs, context: (
            found if context.method_name == 'proposals' else run(*args, **kwargs)
        )
        classes = jnp.asarray([[1, 2, 1, 2]] * 2, jnp.int32)
        with nn.intercept_methods(given):
            return model.apply(
                variables, maps, rois, classes, sizes=sizes, train=False, method='heads'
            ), model.apply(variables, jnp.zeros((2, 512, 640, 3)), sizes=sizes)

    rng, channels = np.random.default_rng(0), 8 if trunk == 'fpn' else 16
    sides = [(448 // s, 480 // s, 64 // s, 160 // s) for s in STRIDES[trunk][:4]]
    maps = [rng.normal(size=(2, h, w, channels)).astype(np.float32) for h, w, _, _ in sides]
    wide = [
        np.pad(x, ((0, 0), (0, down), (0, right), (0, 0)), constant_values=9)
        for x, (_, _, down, right) in zip(maps, sides, strict=True)
    ]
    (heads, expected), found = (jax.tree.map(np.asarray, run(tuple(x))) for x in (maps, wide))
    assert expected.valid.all() and expected.masks.std() > 0
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())
    jax.tree.map(close, found, (heads, expected))


VARIANTS = {
    'fpn': ({}, 28),
    'c4': ({'trunk': 'c4'}, 14),
    'c5': ({'trunk': 'c5'}, 28),
    'mlp': ({'mask_head': 'mlp', 'mask_loss': 'softmax'}, 28),
    'agnostic': ({'class_agnostic_mask': True, 'mask_loss': 'softmax'}, 28),
    'pool': ({'roi_op': 'pool'}, 28),
    'warp': ({'roi_op': 'warp', 'trunk': 'c4'}, 14),
    'detectron2': ({'flavor': 'detectron2', 'class_agnostic_mask': True}, 28),
    'second': ({'version': 2}, 28),
    'bfloat16': ({'dtype': 'bfloat16', 'remat': True}, 28),
    'boxes': ({'with_mask': False}, 0),
}


@pytest.mark.parametrize('name', VARIANTS)
def test_every_variant_detects(name):
    fields, side = VARIANTS[name]
    model = MaskRCNN(3, **SMALL, pre_nms=10, post_nms=8, max_detections=5, **fields)
    image = jax.ShapeDtypeStruct((2, 64, 50, 3), jnp.float32)
    options = {'sizes': jnp.asarray([[64, 50], [40, 33]], jnp.int32), 'train': False}
    init = lambda image: model.init_with_output(jax.random.key(0), image, **options)
    found, variables = jax.eval_shape(init, image)
    shapes = {
        'boxes': ((2, 5, 4), jnp.float32),
        'scores': ((2, 5), jnp.float32),
        'classes': ((2, 5), jnp.int32),
        'masks': ((2, 5, side, side), jnp.float32),
        'valid': ((2, 5), jnp.bool_),
        'dropped': ((2,), jnp.int32),
    }
    if not side:
        assert found.masks is None
        del shapes['masks']
    assert {n: (getattr(found, n).shape, getattr(found, n).dtype) for n in shapes} == shapes
    assert ('frozen' in variables) == (name != 'second')


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'anchor_sizes': (8, 16)}, 'anchor_sizes=8,16: FPN has 5 levels'),
        ({'trunk': 'c4', 'mask_head': 'mlp'}, 'masks of c4 come from layer4'),
        ({'num_classes': 1}, 'num_classes=1: must be at least 2'),
        ({'width': 0}, 'width=0: must be at least 1'),
        ({'max_detections': -3}, 'max_detections=-3: must be at least 1'),
        ({'anchor_ratios': (0.0, 1.0)}, 'anchor_ratios=0.0,1.0: must be from 0.01 to 100'),
        ({'nms_threshold': float('nan')}, 'nms_threshold=nan: must be from 0 to 1'),
        ({'anchor_ratios': ()}, 'anchor_ratios=: must be one number or more'),
        ({'trunk': 'c4', 'anchor_sizes': ()}, 'anchor_sizes=: must be one number or more'),
    ],
)
def test_fields_beyond_their_range_or_that_do_not_go_together_are_refused(fields, message):
    model = MaskRCNN(**{'num_classes': 3, **SMALL, **fields})
    with pytest.raises(UserError, match=message):
        model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)


@pytest.mark.parametrize(
    'model, parameters',
    [
        (MaskRCNN(91, backbone='resnet101'), 63_341_297),
        (FasterRCNN(81, flavor='detectron2'), 41_699_936),
        (MaskRCNN(91, norm='batch'), 44_454_513),
    ],
)
def test_other_published_sizes(model, parameters):
    """Torchvision's over ResNet-50 are in test_torchvision.py."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    init = lambda image: model.init(jax.random.key(0), image, train=False)['params']
    assert sum(x.size for x in jax.tree.leaves(jax.eval_shape(init, image))) == parameters


@pytest.mark.parametrize(
    'version, backbone, rpn, boxes', [(1, 148.5, 53.1, 14.4), (2, 148.5, 105.9, 128.9)]
)
def test_multiply_adds_of_torchvisions_networks(version, backbone, rpn, boxes):
    """GMAC at 800 x 1344 with 1000 proposals and 100 detections; masks of one class, not of 91."""
    rows = layer_costs(MaskRCNN(91, version=version), (1, 800, 1344, 3))
    found = dict.fromkeys(('resnet50', 'fpn', 'rpn', 'box_head', 'box_predictor', 'mask_head'), 0.0)
    for row in rows:
        found[row.path.split('/')[0]] += row.macs / 1e9
    assert round(found['resnet50'] + found['fpn'], 1) == backbone
    assert round(found['rpn'], 1) == rpn
    assert round(found['box_head'] + found['box_predictor'], 1) == boxes
    assert round(found['mask_head'] + 100 * 28**2 * 256 * 90 / 1e9, 1) == 53.2
    assert sum(row.params for row in rows) == (44_401_393 if version == 1 else 46_359_409)


def test_proposals_by_hand():
    """Of each level the best that do not overlap, of all levels the best; none outside."""
    at = lambda *corner: [*corner, corner[0] + 10, corner[1] + 10]
    fine = Levels(
        logits=jnp.asarray([1.0, 3.0, 2.0, 9.0]),
        codes=jnp.zeros((4, 4)),
        anchors=jnp.asarray([at(0, 0), at(20, 20), at(21, 20), at(40, 40)], jnp.float32),
        inside=jnp.asarray([True, True, True, False]),
    )
    coarse = Levels(
        logits=jnp.asarray([2.5, 0.5, 4.0]),
        codes=jnp.zeros((3, 4)),
        anchors=jnp.asarray([at(20, 20), at(28, 28), at(30, 0)], jnp.float32),
        inside=jnp.ones(3, bool),
    )
    for flavor in ('torchvision', 'detectron2'):
        found = select_proposals(
            (fine, coarse),
            jnp.asarray([30, 30], jnp.int32),
            candidates=3,
            outputs=4,
            threshold=0.7,
            flavor=flavor,
        )
        # at(30, 0) is empty once it is clipped, at(40, 40) is of no cell of the picture, and
        # at(21, 20) overlaps at(20, 20) of its level by 9 of 11.
        assert found.boxes.tolist() == [at(20, 20), at(20, 20), at(0, 0), [28, 28, 30, 30]]
        assert found.logits.tolist() == [3.0, 2.5, 1.0, 0.5]
        assert found.valid.all()


def _level(boxes, logits):
    n = len(boxes)
    boxes = jnp.asarray(boxes, jnp.float32)
    return Levels(jnp.asarray(logits), jnp.zeros((n, 4)), boxes, jnp.ones(n, bool))


@pytest.mark.parametrize('flavor, logits', [('torchvision', [2.0]), ('detectron2', [3.0, 2.0])])
def test_the_narrowest_proposals(flavor, logits):
    """torchvision wants a thousandth of a pixel, detectron2 any extent at all."""
    level = _level([[0, 0, 5e-4, 9], [0, 0, 9, 9], [3, 3, 3, 9]], [3.0, 2.0, 1.0])
    size, options = jnp.asarray([30, 30]), {'candidates': 3, 'outputs': 3, 'threshold': 0.7}
    found = select_proposals((level,), size, **options, flavor=flavor)
    assert found.logits[found.valid].tolist() == logits


@pytest.mark.parametrize('flavor, logits', [('torchvision', [20, 30]), ('detectron2', [30, 20])])
def test_what_levels_are_compared_by(flavor, logits):
    """The sigmoids of 20 and 30 are both 1 in float32: torchvision takes the first level first."""
    levels = _level([[0, 0, 9, 9]], [20.0]), _level([[0, 0, 20, 20]], [30.0])
    size, options = jnp.asarray([30, 30]), {'candidates': 1, 'outputs': 2, 'threshold': 0.7}
    assert select_proposals(levels, size, **options, flavor=flavor).logits.tolist() == logits


@pytest.mark.parametrize('flavor, number', [('torchvision', 1), ('detectron2', 2)])
def test_the_narrowest_detections(flavor, number):
    """torchvision wants a hundredth of a pixel."""
    found = select_detections(
        jnp.asarray([[0.0, 3.0], [0.0, 2.0]]),
        jnp.zeros((2, 1, 4)),
        jnp.asarray([[0, 0, 5e-3, 8], [0, 0, 8, 8]]),
        jnp.ones(2, bool),
        jnp.asarray([8, 20], jnp.int32),
        score_threshold=0.05,
        nms_threshold=0.5,
        candidates=9,
        max_detections=2,
        flavor=flavor,
    )
    assert found.valid.sum() == number


def test_detections_by_hand():
    """Suppressed within a class alone; what a capacity has no room for is counted."""
    log = lambda *p: [float(np.log(x)) for x in p]
    logits = jnp.asarray([log(0.1, 0.5, 0.4), log(0.35, 0.6, 0.05), log(0.97, 0.01, 0.02)])
    rois = jnp.asarray([[0, 0, 10, 10], [0, 0, 10, 9], [5, 5, 9, 9]], jnp.float32)

    def select(valid=(True, True, True), candidates=9):
        return select_detections(
            logits,
            jnp.zeros((3, 2, 4)),
            rois,
            jnp.asarray(valid),
            jnp.asarray([8, 20], jnp.int32),
            score_threshold=0.051,
            nms_threshold=0.5,
            candidates=candidates,
            max_detections=4,
            flavor='torchvision',
        )

    found = select()
    assert found.valid.tolist() == [True, True, False, False]
    assert found.classes.tolist() == [1, 2, 0, 0]
    np.testing.assert_allclose(found.scores, [0.6, 0.4, 0, 0], rtol=1e-6)
    # the code of a box without steps is the box, clipped to 8 rows
    assert found.boxes.tolist()[:2] == [[0, 0, 10, 8], [0, 0, 10, 8]]
    assert found.dropped == 0
    assert select(candidates=2).dropped == 1
    np.testing.assert_allclose(select((True, False, True)).scores, [0.5, 0.4, 0, 0], rtol=1e-6)


def test_no_detection_is_no_box():
    found = select_detections(
        jnp.asarray([[9.0, 0.0]]),
        jnp.zeros((1, 1, 4)),
        jnp.ones((1, 4)),
        jnp.ones(1, bool),
        jnp.asarray([8, 8], jnp.int32),
        score_threshold=0.05,
        nms_threshold=0.5,
        candidates=9,
        max_detections=2,
        flavor='detectron2',
    )
    found = Detections(found.boxes, found.scores, found.classes, None, found.valid)
    assert not any(np.any(part) for part in found if part is not None)


def test_masks_that_compete_and_masks_that_do_not():
    logits = jnp.log(jnp.asarray([1.0, 2.0, 5.0])).reshape(1, 1, 1, 3)
    of = lambda logits, loss, agnostic: mask_probabilities(
        logits, jnp.asarray([2]), loss, agnostic
    ).item()
    np.testing.assert_allclose(of(logits, 'softmax', False), 5 / 8, rtol=1e-6)
    np.testing.assert_allclose(of(logits[..., :2], 'softmax', True), 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(of(logits[..., 2:], 'sigmoid', False), 5 / 6, rtol=1e-6)
