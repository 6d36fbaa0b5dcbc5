"""Boxes: numbers by hand, inverses, and a loop in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

pairwise_iou = jax.jit(ops.pairwise_iou)
encode = jax.jit(ops.encode_boxes, static_argnames='weights')
decode = jax.jit(ops.decode_boxes, static_argnames='weights')

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def _random_boxes(n, seed=0, side=100):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, side, (n, 2)), rng.uniform(1, side / 2, (n, 2))
    return jnp.asarray(np.concatenate([corner, corner + size], -1), jnp.float32)


def test_overlaps_by_hand():
    a = jnp.asarray([[0, 0, 4, 2], [1, 1, 3, 3]], jnp.float32)
    b = jnp.asarray([[2, 0, 6, 2], [4, 0, 8, 2], [1, 1, 3, 3]], jnp.float32)
    # 8 and 8 share 4; touching share nothing; 8 and 4 share 2.  4 and 8 share 1; nothing; the same.
    expected = [[4 / 12, 0, 2 / 10], [1 / 11, 0, 1]]
    np.testing.assert_allclose(pairwise_iou(a, b), expected, rtol=1e-6)
    assert ops.box_area(a).tolist() == [8, 4]


def test_overlaps_equal_the_loop():
    a, b = _random_boxes(9), _random_boxes(13, seed=1)
    iou = np.zeros((9, 13))
    for i, j in np.ndindex(iou.shape):
        (x1, y1), (x2, y2) = np.maximum(a[i, :2], b[j, :2]), np.minimum(a[i, 2:], b[j, 2:])
        shared = max(x2 - x1, 0) * max(y2 - y1, 0)
        iou[i, j] = shared / (np.prod(a[i, 2:] - a[i, :2]) + np.prod(b[j, 2:] - b[j, :2]) - shared)
    assert (iou > 0).sum() > 10
    np.testing.assert_allclose(pairwise_iou(a, b), iou, rtol=1e-4, atol=1e-6)


def test_empty_boxes_overlap_with_nothing():
    empty = jnp.zeros((2, 4))
    assert not np.any(pairwise_iou(empty, empty))
    assert not np.any(pairwise_iou(empty, _random_boxes(3)))


def test_clipping_by_hand():
    boxes = jnp.asarray([[-3, -2, 50, 10], [7, 9, 9, 30], [30, 30, 40, 40]], jnp.float32)
    clipped = ops.clip_boxes(boxes, jnp.asarray([20, 10]))  # 20 rows, 10 columns
    assert clipped.tolist() == [[0, 0, 10, 10], [7, 9, 9, 20], [10, 20, 10, 20]]


def test_a_code_by_hand():
    anchor = jnp.asarray([[0, 0, 10, 20]], jnp.float32)  # centre 5, 10
    box = jnp.asarray([[4, 5, 24, 15]], jnp.float32)  # centre 14, 10; 20 wide, 10 high
    code = [0.9, 0.0, math.log(2), -math.log(2)]
    np.testing.assert_allclose(encode(box, anchor)[0], code, rtol=1e-6)
    weighted = encode(box, anchor, weights=WEIGHTS)[0]
    np.testing.assert_allclose(weighted, np.multiply(code, WEIGHTS), rtol=1e-6)


def test_decoding_undoes_encoding():
    boxes, anchors = _random_boxes(50), _random_boxes(50, seed=1)
    codes = encode(boxes, anchors, weights=WEIGHTS)
    decoded = decode(codes, anchors, weights=WEIGHTS)
    np.testing.assert_allclose(decoded, boxes, atol=2e-4)


def test_growth_ends_at_1000_16ths_and_shrinking_does_not():
    anchor = jnp.asarray([[0, 0, 16, 16]], jnp.float32)
    codes = jnp.asarray([[0, 0, 50, -50]], jnp.float32)
    (x1, y1, x2, y2) = decode(codes, anchor)[0]
    np.testing.assert_allclose([x1, x2], [8 - 500, 8 + 500], rtol=1e-5)
    assert y1 == y2 == 8
    # The clamp is on dw itself, after the weight is taken off.
    wide = decode(codes, anchor, weights=(1.0, 1.0, 100.0, 1.0))[0]
    np.testing.assert_allclose(wide[2] - wide[0], 16 * math.exp(0.5), rtol=1e-5)


def test_codes_of_several_classes_share_an_anchor():
    anchors = _random_boxes(5)
    codes = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3, 4)), jnp.float32)
    together = decode(codes, anchors[:, None])
    assert together.shape == (5, 3, 4)
    for k in range(3):
        np.testing.assert_array_equal(together[:, k], decode(codes[:, k], anchors))


def test_the_code_of_padding_is_finite():
    empty = jnp.zeros((1, 4))
    assert np.isfinite(encode(empty, _random_boxes(1))).all()
    assert np.isfinite(encode(empty, empty)).all()


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_boxes_are_float32_whatever_the_codes_are(dtype):
    codes, anchors = jnp.zeros((4, 4), dtype), _random_boxes(4, side=1000)
    decoded = decode(codes, anchors)
    assert decoded.dtype == jnp.float32
    np.testing.assert_allclose(decoded, anchors, atol=2e-4)
