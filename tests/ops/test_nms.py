"""Non-maximum suppression: by hand, and beside the greedy loop, box for box."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

forms = importlib.import_module('segjax.ops.nms')

# Side by side, 10 wide and high: a box moved by d overlaps with IoU (10 - d) / (10 + d).


def _row(*moves):
    return jnp.asarray([[d, 0, d + 10, 10] for d in moves], jnp.float32)


def _random(n, seed, classes=1):
    """Boxes in clusters, scores with ties."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 200, (n // 8 + 1, 2))[rng.integers(0, n // 8 + 1, n)]
    centre = centre + rng.normal(0, 4, (n, 2))
    half = rng.uniform(5, 15, (n, 2))
    boxes = np.concatenate([centre - half, centre + half], -1).astype(np.float32)
    scores = np.round(rng.uniform(size=n), 2).astype(np.float32)
    return boxes, scores, rng.integers(0, classes, n).astype(np.int32)


def _greedy(boxes, scores, classes, threshold):
    """Indices, best first; the arithmetic of torchvision's kernel, threshold in double."""
    kept = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in np.argsort(-scores, kind='stable'):
        for j in kept:
            low = np.maximum(boxes[i, :2], boxes[j, :2])
            high = np.minimum(boxes[i, 2:], boxes[j, 2:])
            shared = np.prod(np.maximum(high - low, np.float32(0)))
            iou = shared / (area[i] + area[j] - shared)
            if classes[i] == classes[j] and float(iou) > threshold:
                break
        else:
            kept.append(int(i))
    return kept


@pytest.fixture(params=['_one_by_one', '_all_at_once'])
def classwise_nms(request, monkeypatch):
    """Either formulation, on this machine; compiled afresh, since a cache knows none of it."""
    monkeypatch.setattr(forms, '_greedy', getattr(forms, request.param))
    compiled = lambda *arguments, **settings: ops.classwise_nms(*arguments, **settings)
    return jax.jit(compiled, static_argnames=('iou_threshold', 'max_outputs'))


@pytest.fixture
def nms(classwise_nms):
    """Of one class."""

    def run(boxes, scores, **settings):
        return classwise_nms(boxes, scores, jnp.zeros(len(boxes), jnp.int32), **settings)[:2]

    return run


def test_by_hand(nms):
    boxes = _row(0, 2, 4, 6)
    scores = jnp.asarray([0.9, 0.8, 0.7, 0.6])
    run = lambda threshold: nms(boxes, scores, iou_threshold=threshold, max_outputs=4)
    # Above 1/2: 0 strikes out 2 (IoU 8/12), so that 4 stands (6/14 with 0), and strikes out 6.
    indices, valid = run(0.5)
    assert indices.tolist() == [0, 2, 0, 0]
    assert valid.tolist() == [True, True, False, False]
    # Above 0.2: 0 strikes out 2, 4 and 6 (4/16).  Above 0.7: none.
    assert run(0.2)[1].tolist() == [True, False, False, False]
    assert run(0.7)[0].tolist() == [0, 1, 2, 3]


def test_an_overlap_of_just_the_threshold_is_kept(nms):
    boxes, scores = _row(0, 0), jnp.asarray([0.5, 0.9])
    keep = lambda boxes, threshold: int(
        nms(boxes, scores, iou_threshold=threshold, max_outputs=2)[1].sum()
    )
    assert keep(boxes, 1.0) == 2
    assert keep(boxes, 0.99) == 1
    # 3 of 10 squares. The nearest float32 to 0.3 lies above it, and so does 3/10 computed in it.
    tenths = jnp.asarray([[0, 0, 10, 1], [0, 0, 3, 1]], jnp.float32)
    assert keep(tenths, 0.3) == 1
    assert keep(tenths, float(np.float32(0.3))) == 2


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
def test_equals_the_greedy_loop(classwise_nms, threshold):
    run = partial(classwise_nms, iou_threshold=threshold, max_outputs=120)
    for seed, classes in [(0, 1), (1, 1), (2, 3)]:
        boxes, scores, labels = _random(120, seed, classes)
        expected = _greedy(boxes, scores, labels, threshold)
        assert 15 < len(expected) < 115
        kept = run(jnp.asarray(boxes), jnp.asarray(scores), jnp.asarray(labels))
        assert np.asarray(kept.indices)[np.asarray(kept.valid)].tolist() == expected
        assert kept.overflow == 0


def test_what_finds_no_place_is_counted(classwise_nms):
    boxes = _row(0, 100, 200, 300, 301)
    scores = jnp.asarray([0.1, 0.5, 0.4, 0.9, 0.8])
    run = partial(classwise_nms, boxes, scores, iou_threshold=0.5)
    few = run(jnp.zeros(5, jnp.int32), max_outputs=2)
    assert few.indices.tolist() == [3, 1]
    assert few.overflow == 2  # of four survivors
    many = run(jnp.arange(5), max_outputs=8)
    assert many.indices.tolist() == [3, 4, 1, 2, 0, 0, 0, 0]
    assert many.valid.sum() == 5
    assert many.overflow == 0


def test_what_is_no_box_neither_stays_nor_suppresses(nms):
    boxes = _row(0, 0, 0, 100)
    scores = jnp.asarray([jnp.nan, 0.3, -jnp.inf, 0.2])
    indices, valid = nms(boxes, scores, iou_threshold=0.5, max_outputs=4)
    assert indices.tolist() == [1, 3, 0, 0]
    assert valid.tolist() == [True, True, False, False]


def test_a_chain_of_suppressions_is_followed_to_its_end(nms):
    """Each would strike out the next: every second one stays."""
    boxes, scores = _row(*range(0, 60, 3)), jnp.linspace(1, 0.1, 20)
    indices, valid = nms(boxes, scores, iou_threshold=0.5, max_outputs=20)
    assert np.asarray(indices)[np.asarray(valid)].tolist() == list(range(0, 20, 2))


def test_levels_of_a_pyramid_under_vmap(nms):
    samples = [_random(64, seed) for seed in range(3)]
    boxes, scores = (jnp.stack([jnp.asarray(s[i]) for s in samples]) for i in range(2))
    run = jax.jit(partial(nms, iou_threshold=0.5, max_outputs=16))
    together = jax.vmap(run)(boxes, scores)
    for i in range(3):
        for all_, one in zip(together, run(boxes[i], scores[i]), strict=True):
            np.testing.assert_array_equal(all_[i], one)


def test_the_plain_call_is_the_one_for_one_class():
    boxes, scores, classes = (jnp.asarray(x) for x in _random(50, 0))
    settings = {'iou_threshold': 0.5, 'max_outputs': 9}
    indices, valid = ops.nms(boxes, scores, **settings)
    kept = ops.classwise_nms(boxes, scores, classes, **settings)
    assert kept.overflow > 0
    np.testing.assert_array_equal(indices, kept.indices)
    np.testing.assert_array_equal(valid, kept.valid)
