"""Our detectors compute what torchvision's do, stage by stage, with the same weights.

The numbers are torchvision's own (segjax/tools/detection_golden.py), of narrow networks.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.models import FasterRCNN, MaskRCNN
from segjax.pretrained import convert, export_arrays, layouts
from segjax.pretrained.convert import fit
from segjax.tasks.instance import (
    Anchors,
    Objects,
    Regions,
    head_terms,
    mask_targets,
    mask_terms,
    rpn_terms,
)
from segjax.tools import detection_golden as golden
from segjax.tools.torchvision_golden import sample
from segjax.types import Instances

FULL = {
    'mask1': (MaskRCNN(91), 307, 44_401_393),
    'mask2': (MaskRCNN(91, version=2), 432, 46_359_409),
    'faster1': (FasterRCNN(91), 295, 41_755_286),
    'faster2': (FasterRCNN(91, version=2), 404, 43_712_278),
}


def pairs(found, expected, classes=None):
    """For each found row the nearest of the expected; and how far the sets of rows are apart."""
    assert len(found) == len(expected)
    apart = np.abs(found[:, None] - expected[None]).max(-1)
    if classes is not None:
        apart = np.where(classes[0][:, None] == classes[1][None], apart, np.inf)
    return apart.argmin(axis=1), max(apart.min(axis=1).max(), apart.min(axis=0).max())


@pytest.mark.parametrize(
    'name',
    [
        'mask1',
        'mask2',
        pytest.param('faster1', marks=pytest.mark.slow),
        pytest.param('faster2', marks=pytest.mark.slow),
    ],
)
def test_every_stage_equals_torchvisions(name, narrow, stages, detect):
    model, variables = narrow(name)
    image = jnp.asarray(golden.picture())[None]
    proposals, detections = jax.tree.map(np.asarray, detect(model, variables, image, None))
    expected = stages(name)
    for k, level in zip((2, 3, 4, 5), proposals.features, strict=True):
        *values, scale = expected[f'p{k}']
        np.testing.assert_allclose(sample(level[0])[:-1], values, atol=1e-4 * scale)
    *values, scale = expected['logits']
    np.testing.assert_allclose(sample(proposals.rpn.logits[0])[:-1], values, atol=1e-4 * scale)
    boxes = proposals.boxes[0][proposals.valid[0]]
    assert pairs(boxes, expected['proposals'])[1] < 2e-4
    assert detections.valid.all() and detections.dropped.tolist() == [0]
    classes = detections.classes[0], expected['labels']
    order, apart = pairs(detections.boxes[0], expected['boxes'], classes)
    assert apart < 2e-4
    np.testing.assert_allclose(detections.scores[0], expected['scores'][order], atol=1e-5)
    if name.startswith('mask'):
        masks = np.stack([sample(mask) for mask in detections.masks[0]])
        np.testing.assert_allclose(masks, expected['masks'][order], atol=1e-5)


def test_losses_equal_torchvisions_of_the_same_samples(narrow, stages):
    """Its sampled anchors and regions are given; what they are to find we match ourselves."""
    model, variables = narrow('mask1')
    given, known = stages('losses'), golden.objects()
    boxes, valid = jnp.asarray(known['boxes']), jnp.ones(3, bool)
    objects = Objects(boxes, jnp.asarray(known['labels'], jnp.int32), valid)
    masks = jnp.asarray(known['masks'])
    instances = Instances(boxes, objects.classes, masks, jnp.zeros(3, bool), valid)
    index = np.concatenate([given['foreground'], given['background']])
    of_object = jnp.asarray(given['matched'], jnp.int32)
    classes, rois = jnp.asarray(given['classes'], jnp.int32), jnp.asarray(given['rois'])
    regions = Regions(rois, classes, jnp.ones(len(rois), bool), of_object)

    @jax.jit
    def compute(variables, image):
        first = model.apply(variables, image, train=True, method='proposals')
        rpn = jax.tree.map(lambda x: x[0], first.rpn)
        iou = ops.pairwise_iou(boxes, rpn.anchors)
        matches = ops.match(iou, valid, foreground=0.7, background=0.3, low_quality=True)
        anchors = Anchors(
            index=jnp.asarray(index),
            foreground=jnp.arange(len(index)) < len(given['foreground']),
            sampled=jnp.ones(len(index), bool),
            boxes=boxes[matches.index[index]],
        )
        heads = model.apply(
            variables,
            first.features,
            rois[None],
            classes[None],
            sizes=None,
            train=True,
            method='heads',
        )
        heads = jax.tree.map(lambda x: x[0], heads)
        target = mask_targets(
            instances, regions, slots=len(rois), side=28, whole=True, flavor='torchvision'
        )
        terms = rpn_terms(rpn, anchors, flavor='torchvision', size=256)
        terms |= head_terms(heads, regions, objects, flavor='torchvision')
        terms |= mask_terms(heads.masks, target, classes, agnostic=False)
        return matches, {name: s / c for name, (s, c) in terms.items()}

    matches, losses = compute(variables, jnp.asarray(golden.picture())[None])
    assert matches.foreground[given['foreground']].all()
    assert matches.background[given['background']].all()
    names = {
        'rpn_class': 'loss_objectness',
        'rpn_box': 'loss_rpn_box_reg',
        'class': 'loss_classifier',
        'box': 'loss_box_reg',
        'mask': 'loss_mask',
    }
    expected = {ours: given[theirs] for ours, theirs in names.items()}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), losses, expected)


@pytest.fixture(scope='module')
def variables_of():
    """`variables_of(model)`: their shapes, flat."""

    def of(model):
        image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        init = lambda key, image: model.init(key, image, train=False)
        return jax.eval_shape(init, jax.random.key(0), image)

    return of


@pytest.mark.parametrize('name', FULL)
def test_every_array_of_torchvision_has_its_place_in_the_published_sizes(
    name, stages, variables_of
):
    model, arrays, parameters = FULL[name]
    variables = variables_of(model)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables['params'])) == parameters
    ours = {jax.tree_util.keystr(p, simple=True, separator='/'): x.shape for p, x in leaves}
    shapes = json.loads(str(stages(name)['full']))
    # torchvision's without published weights counts batches, its frozen layers do not.
    shapes = {n: tuple(s) for n, s in shapes.items() if not n.endswith('num_batches_tracked')}
    table = layouts.name_map(ours, 'torchvision', shapes)
    theirs = {c.name: c.axes.their_shape(ours[n]) for n, c in table.counterparts.items()}
    assert theirs == shapes
    norms = sum(n.endswith('running_mean') for n in shapes)
    assert len(shapes) + (norms if name.endswith('2') else 0) == arrays


def test_files_with_the_first_names_are_read_too(narrow):
    """torchvision's published files of version 1 name FPN, RPN and mask head otherwise."""
    model, variables = narrow('mask1')
    renamed = {'rpn.head.conv.0.0.': 'rpn.head.conv.'}
    for kind in ('inner', 'layer'):
        for i in range(4):
            new = f'backbone.fpn.{kind}_blocks.{i}.0.'
            renamed[new] = new.removesuffix('0.')
    renamed |= {
        f'roi_heads.mask_head.{i}.0.': f'roi_heads.mask_head.mask_fcn{i + 1}.' for i in range(4)
    }

    def old(name):
        new = next((new for new in renamed if name.startswith(new)), '')
        return renamed.get(new, '') + name.removeprefix(new)

    arrays = export_arrays(model, variables, layout='torchvision')
    assert sum(old(name) != name for name in arrays) == 26
    again = convert(model, {old(n): a for n, a in arrays.items()}, layout='torchvision')
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_faster_rcnn_reads_the_file_of_mask_rcnn(narrow):
    """And leaves its masks."""
    (model, variables), (faster, _) = narrow('mask1'), narrow('faster1')
    arrays = export_arrays(model, variables, layout='torchvision')
    found = convert(faster, arrays, layout='torchvision')
    kept = {n: part for n, part in variables['params'].items() if n != 'mask_head'}
    expected = {**variables, 'params': kept}
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_classifiers_file_fills_the_backbone(narrow):
    """`--weights=resnet50`: its statistics lie among the constants, the rest begins as it is."""
    model, variables = narrow('mask1')
    arrays = export_arrays(model, variables, layout='torchvision')
    body = 'backbone.body.'
    arrays = {n.removeprefix(body): a for n, a in arrays.items() if n.startswith(body)}
    arrays |= {'fc.weight': np.zeros((1000, 8), np.float32), 'fc.bias': np.zeros(1000, np.float32)}
    said = []
    zeros = lambda names: dict.fromkeys(names, np.float32(0))
    found = fit(variables, arrays, layout='torchvision', initial=zeros, say=said.append)
    jax.tree.map(np.testing.assert_array_equal, found['frozen'], variables['frozen'])
    own = lambda tree: tree['params']['resnet18']
    jax.tree.map(np.testing.assert_array_equal, own(found), own(variables))
    assert len(said) == 1 and 'rpn/cls_logits' in said[0] and 'resnet18' not in said[0]
