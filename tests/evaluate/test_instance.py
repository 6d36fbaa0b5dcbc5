"""Evaluation of objects: pictures at their own size, masks as run lengths, no picture twice."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segjax.data.detection import DetectionEval
from segjax.evaluate.instance import (
    InstanceEvaluation,
    InstanceEvaluator,
    encode_masks,
    from_coco,
    rescale,
)
from segjax.types import Detections
from tests.data.test_detection import Pictures

pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
BOX = (4, 6, 10, 8)  # x, y, w, h of the white rectangle in the pictures


class Nothing(nn.Module):
    """A model without parameters."""

    with_mask: bool = True


@dataclasses.dataclass(frozen=True)
class FindsWhite:
    """Detects the box around white pixels, and with a lower score the whole canvas."""

    def predict(self, model, variables, image, *, sizes=None):
        white = image[..., 0] > 0.69  # half way from gray to white
        h, w = white.shape[1:]
        ends = lambda seen, n: (jnp.argmax(seen, axis=1), n - jnp.argmax(seen[:, ::-1], axis=1))
        (top, bottom), (left, right) = ends(white.any(2), h), ends(white.any(1), w)
        there = jnp.stack([left, top, right, bottom], axis=-1).astype(jnp.float32)
        whole = jnp.broadcast_to(jnp.asarray([[0.0, 0.0, w, h]]), there.shape)
        b = len(image)
        return Detections(
            boxes=jnp.stack([there, whole, there], axis=1),
            scores=jnp.broadcast_to(jnp.asarray([[0.9, 0.3, 0.2]]), (b, 3)),
            classes=jnp.ones((b, 3), jnp.int32),
            masks=jnp.ones((b, 3, 4, 4)) if model.with_mask else None,
            valid=jnp.broadcast_to(jnp.asarray([[True, True, False]]), (b, 3)),
            dropped=jnp.full(b, 2, jnp.int32),
        )

    def losses(self, model, variables, batch):
        size = batch.size.astype(jnp.float32)
        return {'box': (size[:, 0], jnp.ones(len(size))), 'mask': (size[:, 1], size[:, 1])}


FINDS_WHITE = FindsWhite()


def evaluation(source, *, with_mask=True, task=FINDS_WHITE, **changes):
    options = {'mean': (0.0,) * 3, 'std': (255.0,) * 3, 'num_classes': 2, 'source': source}
    return InstanceEvaluation(Nothing(with_mask=with_mask), task, **options | changes)


@pytest.fixture(scope='module')
def found():
    """Three pictures of two sizes, doubled for the network."""
    source = Pictures([(20, 30), (20, 30), (20, 24)])
    how = DetectionEval(short=40, long=80, instances=2, mask_size=4)
    evaluate = evaluation(source, devices=jax.local_devices()[:2])
    batches = how.batches(source, rows=evaluate.rows(8))
    return evaluate({}, batches, sample_ids=frozenset({2}))


def test_a_perfect_detector_has_the_precision_of_its_boxes(found):
    """Those of its masks up to an IoU of .75: torchvision's pasting adds pixels at two sides."""
    metrics = found.metrics
    assert found.num_images == 3
    assert metrics['box_ap'] == pytest.approx(1) and metrics['box_ap50'] == pytest.approx(1)
    assert metrics['mask_ap50'] == pytest.approx(1) and metrics['mask_ap75'] == pytest.approx(1)
    assert metrics['box/ar1'] == pytest.approx(1) and np.isnan(metrics['box/ap_large'])
    assert metrics['dropped/candidates'] == 6


def test_losses_are_sums_over_counts(found):
    """Sizes seen: 40 x 60 twice, 40 x 48."""
    assert found.metrics['loss/box'] == pytest.approx(40)
    assert found.metrics['loss/mask'] == pytest.approx(1)
    assert found.metrics['loss'] == pytest.approx(41)


def test_samples_are_in_the_pixels_of_their_pictures(found):
    (sample,) = found.samples
    assert sample.image.shape == (20, 24, 3) and sample.image_id == 2
    x, y, w, h = BOX
    assert len(sample.found.boxes) == 2  # the third is not valid
    np.testing.assert_allclose(sample.found.boxes[0], [x, y, x + w, y + h], atol=0.01)
    np.testing.assert_allclose(sample.found.boxes[1], [0, 0, 24, 20], atol=0.01)
    assert all(mask['size'] == [20, 24] for mask in sample.found.masks)


def test_a_detector_without_masks_is_scored_by_its_boxes():
    source = Pictures([(32, 32)])
    evaluate = evaluation(source, with_mask=False, devices=jax.local_devices()[:1])
    assert evaluate.best_metric == 'box_ap'
    found = evaluate({}, DetectionEval(instances=1).batches(source, rows=1))
    assert found.metrics['box_ap'] == pytest.approx(1) and 'mask_ap' not in found.metrics


def test_objects_without_a_place_in_the_batch_are_counted_and_scored_all_the_same():
    source = Pictures([(20, 30)] * 2, objects=5)
    batches = DetectionEval(instances=2, mask_size=4).batches(source, rows=1)
    found = evaluation(source, devices=jax.local_devices()[:1])({}, batches)
    assert found.metrics['dropped/objects'] == 6
    assert [len(known) for known in found.evaluator.annotations.values()] == [5, 5]


def test_pictures_without_anything():
    evaluator = InstanceEvaluator(2, ('box',), (10,))
    evaluator.update(0, (8, 8), [], [])
    assert np.isnan(evaluator.compute()['box_ap'])
    known = {'category_id': 1, 'bbox': [0, 0, 4, 4], 'area': 16, 'iscrowd': 0}
    evaluator.update(1, (8, 8), [known], [])
    assert evaluator.compute()['box_ap'] == 0


def test_no_picture_counts_twice():
    source = Pictures([(32, 32)])
    batches = [*DetectionEval(instances=1).batches(source, rows=1)] * 2
    with pytest.raises(ValueError, match='came twice'):
        evaluation(source, devices=jax.local_devices()[:1])({}, batches)


def test_parts_of_several_processes_are_one():
    known = {'category_id': 1, 'bbox': [0.0, 0.0, 4.0, 4.0], 'area': 16.0, 'iscrowd': 0}
    guess = {'category_id': 1, 'bbox': [0.0, 0.0, 4.0, 4.0], 'score': 0.5}
    whole = InstanceEvaluator(2, ('box',), (10,))
    parts = [InstanceEvaluator(2, ('box',), (10,)) for _ in range(2)]
    for i in range(4):
        own = (8, 8), [known], [guess | {'image_id': i}] * (i % 2)
        losses = {'box': [float(i), 1.0]}
        whole.update(i, *own, losses=losses, dropped=1, cut=i)
        parts[i % 2].update(i, *own, losses=losses, dropped=1, cut=i)
    parts[0].merge(parts[1].arrays)
    assert (whole.dropped, whole.cut) == (4, 6)
    np.testing.assert_equal(parts[0].compute(), whole.compute())  # NaN equals NaN
    with pytest.raises(ValueError, match='came twice'):
        parts[0].merge(parts[1].arrays)


def detections(boxes, masks=None):
    n = len(boxes)
    masks = np.ones((n, 4, 4), np.float32) if masks is None else masks
    valid = np.ones(n, bool)
    own = np.asarray(boxes, np.float32), np.linspace(1, 0.5, n), np.ones(n, np.int32), masks, valid
    return Detections(*own, np.int32(0))


def test_boxes_are_scaled_clipped_and_dropped_when_empty():
    found = rescale(
        detections([[2, 4, 10, 12], [60, 0, 90, 10], [30, 0, 40, 9]]), (20, 30), (40, 90)
    )
    np.testing.assert_allclose(found.boxes, [[6, 8, 30, 24]])
    assert found.scores.tolist() == [1.0] and len(found.masks) == 1


def test_masks_in_portions_are_those_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    masks = rng.random((5, 4, 4)).astype(np.float32)
    corner = rng.uniform(0, 30, (5, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 20, (5, 2))], 1).astype(np.float32)
    at_once = encode_masks(masks, boxes, (50, 40))
    monkeypatch.setattr('segjax.evaluate.instance.PASTED', 2 * 64 * 64)
    assert encode_masks(masks, boxes, (50, 40)) == at_once
    assert coco_mask.decode(dict(at_once[0])).shape == (50, 40)
    assert encode_masks(masks[:0], boxes[:0], (50, 40)) == ()


def test_results_lead_back_to_detections():
    found = from_coco([{'bbox': [1, 2, 3, 4], 'score': 0.2, 'category_id': 3}] * 2)
    np.testing.assert_array_equal(found.boxes, [[1, 2, 4, 6]] * 2)
    assert found.masks is None and found.classes.tolist() == [3, 3]
