"""The losses of detection by hand, with their flavours' denominators; a whole training step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.losses import smooth_l1
from segjax.models import MaskRCNN
from segjax.models.mask_rcnn import Heads
from segjax.models.mask_rcnn.rpn import Levels
from segjax.tasks import Instance
from segjax.tasks.instance import (
    Anchors,
    Objects,
    Regions,
    choose_anchors,
    choose_regions,
    head_terms,
    mask_targets,
    mask_terms,
    rpn_terms,
)
from segjax.types import Batch, Instances, UserError

LOG2 = np.log(2.0)


def test_smooth_l1():
    x = jnp.asarray([0.0, -0.1, 1 / 9, -2.0])
    np.testing.assert_allclose(smooth_l1(x, beta=1 / 9), [0, 0.045, 1 / 18, 2 - 1 / 18], rtol=1e-6)
    assert smooth_l1(x, beta=0.0).tolist() == jnp.abs(x).tolist()


def _rpn(boxes, logits=None, inside=None):
    """Anchors with codes of zeros."""
    n = len(boxes)
    return Levels(
        jnp.zeros(n) if logits is None else jnp.asarray(logits),
        jnp.zeros((n, 4)),
        jnp.asarray(boxes, jnp.float32),
        jnp.ones(n, bool) if inside is None else jnp.asarray(inside),
    )


def _objects(boxes, classes, valid):
    return Objects(jnp.asarray(boxes, jnp.float32), jnp.asarray(classes), jnp.asarray(valid))


def test_anchors_are_matched_and_sampled(key):
    """One is good enough, one is the best of its object, one is between, one is outside."""
    boxes = [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [20, 0, 24, 10], [50, 50, 60, 60]]
    rpn = _rpn([*boxes, [0, 0, 10, 10]], inside=[True] * 5 + [False])
    objects = _objects([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 9, 9]], [1, 2, 1], [1, 1, 0])
    objects = objects._replace(valid=objects.valid > 0)
    found = choose_anchors(key, rpn, objects, overlaps=(0.7, 0.3), size=6, max_foreground=4)
    chosen = dict(zip(found.index[found.sampled].tolist(), found.foreground.tolist(), strict=False))
    assert chosen == {0: True, 1: True, 3: True, 4: False}
    for place, box in zip(found.index.tolist(), found.boxes.tolist(), strict=True):
        if place in (0, 1, 3):
            assert box == ([20, 0, 30, 10] if place == 3 else [0, 0, 10, 10])


def test_without_objects_everything_is_background(key):
    objects = _objects([[0, 0, 9, 9]], [1], [False])
    rpn = _rpn([[0, 0, 9, 9], [1, 1, 4, 4]])
    anchors = choose_anchors(key, rpn, objects, overlaps=(0.7, 0.3), size=4, max_foreground=2)
    assert anchors.sampled.tolist() == [True, True, False, False] and not anchors.foreground.any()
    boxes, valid = rpn.anchors, jnp.asarray([True, False])
    regions = choose_regions(key, boxes, valid, objects, overlap=0.5, size=4, max_foreground=1)
    assert regions.sampled.tolist() == [True, False, False, False]
    assert regions.rois[0].tolist() == [0, 0, 9, 9] and not regions.classes.any()


def test_objects_themselves_are_regions(key):
    """Foreground first; a proposal of another object keeps its class."""
    objects = _objects([[0, 0, 10, 10], [20, 20, 40, 40]], [3, 5], [True, True])
    proposals = jnp.asarray([[20, 20, 40, 34], [60, 60, 70, 70]], jnp.float32)
    found = choose_regions(
        key, proposals, jnp.ones(2, bool), objects, overlap=0.5, size=5, max_foreground=3
    )
    assert found.sampled.tolist() == [True] * 4 + [False]
    foreground = {
        tuple(b): c for b, c in zip(found.rois.tolist()[:3], found.classes.tolist(), strict=False)
    }
    assert foreground == {(0, 0, 10, 10): 3, (20, 20, 40, 40): 5, (20, 20, 40, 34): 5}
    assert found.rois[3].tolist() == [60, 60, 70, 70] and found.classes[3] == 0


@pytest.mark.parametrize(
    'flavor, count, box', [('torchvision', 3, LOG2 - 1 / 18), ('detectron2', 8, LOG2)]
)
def test_the_rpns_losses_by_hand(flavor, count, box):
    """Three of eight places are sampled, one of them foreground, twice as wide as its anchor."""
    rpn = _rpn([[0, 0, 10, 10], [5, 5, 9, 9]], logits=[0.0, 9.0])
    anchors = Anchors(
        index=jnp.asarray([0, 0, 0, 1]),
        foreground=jnp.asarray([True, False, False, False]),
        sampled=jnp.asarray([True, True, True, False]),
        boxes=jnp.asarray([[-5, 0, 15, 10]] * 3 + [[0, 0, 0, 0]], jnp.float32),
    )
    terms = rpn_terms(rpn, anchors, flavor=flavor, size=8)
    np.testing.assert_allclose(terms['rpn_class'], (3 * LOG2, count), rtol=1e-6)
    np.testing.assert_allclose(terms['rpn_box'], (box, count), rtol=1e-6)


def test_the_heads_losses_by_hand():
    """Only the code of the region's own class counts; both sums go over all sampled regions."""
    objects = _objects([[0, 0, 20, 10]], [2], [True])
    regions = Regions(
        rois=jnp.asarray([[5, 0, 15, 10], [0, 0, 4, 4], [0, 0, 0, 0]], jnp.float32),
        classes=jnp.asarray([2, 0, 0]),
        sampled=jnp.asarray([True, True, False]),
        object=jnp.asarray([0, 0, 0]),
    )
    codes = jnp.full((3, 2, 4), 9.0).at[0, 1].set(0.0)
    heads = Heads(jnp.zeros((3, 3)), codes, None)
    terms = head_terms(heads, regions, objects, flavor='torchvision')
    np.testing.assert_allclose(terms['class'], (2 * np.log(3), 2), rtol=1e-6)
    np.testing.assert_allclose(terms['box'], (5 * LOG2 - 1 / 18, 2), rtol=1e-6)
    terms = head_terms(heads, regions, objects, flavor='detectron2')
    np.testing.assert_allclose(terms['box'], (5 * LOG2, 2), rtol=1e-6)


def test_mask_losses_by_hand():
    classes, target = jnp.asarray([2, 0]), jnp.asarray([[[1.0, 0.0]], [[1.0, 1.0]]])
    total, count = mask_terms(jnp.zeros((2, 1, 2, 1)), target, classes, agnostic=False)['mask']
    np.testing.assert_allclose((total, count), (2 * LOG2, 2), rtol=1e-6)
    logits = jnp.log(jnp.asarray([1.0, 1.0, 2.0]))  # background, class 1, class 2
    logits = jnp.broadcast_to(logits.reshape(1, 1, 1, 3), (2, 1, 2, 3))
    total, count = mask_terms(logits, target, classes, agnostic=False)['mask']
    np.testing.assert_allclose((total, count), (LOG2 + 2 * LOG2, 2), rtol=1e-6)
    total, _ = mask_terms(logits[..., :2], target, classes, agnostic=True)['mask']
    np.testing.assert_allclose(total, 2 * LOG2, rtol=1e-6)


@pytest.mark.parametrize('whole', [False, True])
def test_targets_of_a_box_that_sees_half_of_its_object(whole):
    """The object fills the left half of a canvas of 8 pixels; the box reaches beyond it."""
    box = jnp.asarray([[0, 0, 4, 8]], jnp.float32)
    canvas = jnp.zeros((1, 8, 8), jnp.uint8).at[:, :, :4].set(1)
    masks = canvas if whole else jnp.ones((1, 4, 4), jnp.uint8)
    instances = Instances(box, jnp.asarray([1]), masks, jnp.zeros(1, bool), jnp.ones(1, bool))
    rois = jnp.asarray([[0, 0, 8, 8]], jnp.float32)
    regions = Regions(rois, jnp.asarray([1]), jnp.ones(1, bool), jnp.zeros(1, jnp.int32))
    found = mask_targets(instances, regions, slots=1, side=4, whole=whole, flavor='detectron2')
    assert found[0].tolist() == [[1, 1, 0, 0]] * 4


# Corners half a pixel further up and left for torchvision, which reads half a pixel further on.
@pytest.mark.parametrize(
    'flavor, corner, target',
    [
        ('torchvision', 2.5, [[0.75, 0.25], [0.375, 0.125]]),
        ('detectron2', 3.0, [[1, 0], [0, 0]]),
        ('detectron2', 2.0, [[1, 1], [1, 1]]),  # a half is enough
    ],
)
def test_torchvisions_mask_targets_are_shares_and_detectron2s_0_or_1(flavor, corner, target):
    """Of an object in rows 2 to 5 and columns 4 to 7, in a box of 4 rows and 8 columns."""
    masks = jnp.zeros((1, 8, 12), jnp.uint8).at[:, 2:6, 4:8].set(1)
    box = jnp.asarray([[4.0, 2, 8, 6]])
    instances = Instances(box, jnp.asarray([1]), masks, jnp.zeros(1, bool), jnp.ones(1, bool))
    rois = jnp.asarray([[corner, corner, corner + 8, corner + 4]])
    regions = Regions(rois, jnp.asarray([1]), jnp.ones(1, bool), jnp.zeros(1, jnp.int32))
    found = mask_targets(instances, regions, slots=1, side=2, whole=True, flavor=flavor)
    assert found[0].tolist() == target


@pytest.fixture(scope='module')
def trained():
    """Two pictures, the second without objects; and a network's gradient and terms, of a batch."""
    model = MaskRCNN(
        3,
        backbone='resnet18',
        backbone_width=2,
        width=4,
        fc_features=4,
        norm='batch',
        anchor_sizes=(8, 16, 32, 64, 128),
        pre_nms_train=16,
        post_nms_train=12,
    )
    boxes = jnp.zeros((2, 3, 4)).at[0, :2].set(jnp.asarray([[4.0, 4, 30, 30], [20, 30, 60, 50]]))
    valid = jnp.asarray([[True, True, False], [False] * 3])
    instances = Instances(
        boxes=boxes,
        classes=jnp.asarray([[1, 2, 0], [0, 0, 0]]),
        masks=jnp.ones((2, 3, 7, 7), jnp.uint8),
        crowd=jnp.zeros((2, 3), bool),
        valid=valid,
    )
    batch = Batch(
        image=jax.random.normal(jax.random.key(1), (2, 64, 64, 3)),
        instances=instances,
        size=jnp.asarray([[64, 64], [50, 40]], jnp.int32),
        image_id=jnp.asarray([3, 5], jnp.int32),
        valid=jnp.ones(2, bool),
    )
    task = Instance(anchors=16, rois=8)
    init = lambda key: model.init(key, batch.image, train=False)
    rng = np.random.default_rng(0)

    def value(path, leaf):  # cheaper than to compile `init`
        if path[-1].key == 'kernel':
            drawn = rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return jnp.asarray(drawn, jnp.float32)
        return jnp.full(leaf.shape, path[-1].key in ('scale', 'var'), jnp.float32)

    shapes = jax.eval_shape(init, jax.random.key(0))
    variables = jax.tree_util.tree_map_with_path(value, shapes)
    extra = {name: part for name, part in variables.items() if name != 'params'}

    @partial(jax.jit, static_argnames='model')
    def differentiate(params, batch, model):
        def objective(params):
            terms, updates = task.loss(model, {'params': params, **extra}, batch, jax.random.key(2))
            return sum(s / jnp.maximum(c, 1) for s, c in terms.values()), (terms, updates)

        return jax.grad(objective, has_aux=True)(params)

    def of(batch, **fields):
        return differentiate(variables['params'], batch, model.clone(**fields))

    return batch, of


def test_a_step_reaches_every_parameter_and_statistic(trained):
    batch, differentiate = trained
    gradient, (terms, updates) = differentiate(batch)
    assert set(terms) == {'rpn_class', 'rpn_box', 'class', 'box', 'mask'}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    still = {
        jax.tree_util.keystr(path, simple=True, separator='/')
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
        if not np.any(leaf)
    }
    assert not {name for name in still if not name.startswith('fpn/p')}  # no region at that level
    assert set(updates) == {'batch_stats'}


def test_crowds_and_rows_that_fill_up_count_for_nothing(trained):
    batch, differentiate = trained
    known = batch.instances
    crowd = batch._replace(instances=known._replace(crowd=known.valid))
    terms = differentiate(crowd)[1][0]
    assert terms['mask'][1] == 0 and terms['rpn_box'][0] == 0 and terms['class'][1] > 0
    none = differentiate(batch._replace(valid=jnp.zeros(2, bool)))[1][0]
    assert not any(np.any(part) for part in jax.tree.leaves(none))


def test_samples_do_not_depend_on_the_place_in_the_batch(trained):
    batch, differentiate = trained
    terms = differentiate(batch)[1][0]
    turned = differentiate(jax.tree.map(lambda x: x[::-1], batch))[1][0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), turned, terms)


@pytest.mark.slow
def test_rematerialisation_changes_neither_losses_nor_gradients(trained):
    batch, differentiate = trained
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, differentiate(batch, remat=True), differentiate(batch))


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'rois': -1}, 'rois=-1: must be at least 1'),
        ({'anchor_share': float('nan')}, 'anchor_share=nan: must be from 0 to 1'),
        ({'roi_foreground': 1.5}, 'roi_foreground=1.5: must be from 0 to 1'),
    ],
)
def test_samples_of_no_size_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Instance(**fields)
