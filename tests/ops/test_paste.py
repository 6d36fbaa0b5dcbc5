"""Pasting: small masks by hand, then loops over pixels for either rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

paste = jax.jit(ops.paste_masks, static_argnames=('size', 'flavor'))
paste_binary = jax.jit(ops.paste_binary_masks, static_argnames=('size', 'flavor'))

BOXES = [
    [2, 3, 9, 8],
    [2.6, 3.4, 9.2, 8.9],
    [-6.3, -2.2, 5.5, 20],  # over three sides
    [10.2, 4, 10.7, 11],  # thinner than a pixel
    [40, 40, 50, 60],  # outside
    [-0.9, -0.9, 14.9, 11.9],
]


def _masks(m=6):
    return np.random.default_rng(0).uniform(size=(len(BOXES), m, m)).astype(np.float32)


def _hat(source, cells):
    return np.maximum(1 - np.abs(source - np.arange(cells)), 0)


def _torchvision(mask, box, size):
    """Every pixel: the padded mask, stretched over a box of whole pixels."""
    m, out = len(mask), np.zeros(size)
    padded = np.pad(mask, 1)
    centre, half = (box[2:] + box[:2]) / 2, (box[2:] - box[:2]) / 2 * (m + 2) / m
    x1, y1 = (int(v) for v in centre - half)
    x2, y2 = (int(v) for v in centre + half)
    w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    for y in range(max(y1, 0), min(y2 + 1, size[0])):
        for x in range(max(x1, 0), min(x2 + 1, size[1])):
            sy = np.clip((y - y1 + 0.5) * (m + 2) / h - 0.5, 0, m + 1)
            sx = np.clip((x - x1 + 0.5) * (m + 2) / w - 0.5, 0, m + 1)
            out[y, x] = _hat(sy, m + 2) @ padded @ _hat(sx, m + 2)
    return out


def _detectron2(mask, box, size):
    """Every pixel: what lies under its middle, zeros around the mask."""
    m, out = len(mask), np.zeros(size)
    for y, x in np.ndindex(size):
        sx, sy = (np.asarray([x, y]) + 0.5 - box[:2]) / (box[2:] - box[:2]) * m - 0.5
        out[y, x] = _hat(sy, m) @ mask @ _hat(sx, m)
    return out


def test_a_mask_of_one_cell_by_hand():
    one, box = jnp.ones((1, 1, 1)), jnp.asarray([[2.0, 1.0, 6.0, 3.0]])
    found = {f: paste(one, box, size=(5, 9), flavor=f)[0] for f in ('torchvision', 'detectron2')}
    # Pixels 2.5, 3.5, ... of a cell 4 wide, whose middle is at 4; rows of one 2 high, at 2.
    across, down = [1 / 8, 3 / 8, 5 / 8, 7 / 8, 7 / 8, 5 / 8, 3 / 8, 1 / 8], [1 / 4, 3 / 4]
    expected = np.outer([*down, *down[::-1], 0], [*across, 0])
    np.testing.assert_allclose(found['detectron2'], expected, rtol=1e-5, atol=1e-6)
    # Three cells of 4 x 2: from -2 to 10 and from -1 to 5, both included: 13 and 7 pixels. Those at
    # (4.5 + k) 3/13 - 1/2 of three cells, 0 1 0.
    columns = 1 - np.abs((np.arange(9) + 2.5) * 3 / 13 - 1.5)
    rows = 1 - np.abs((np.arange(5) + 1.5) * 3 / 7 - 1.5)
    expected = np.outer(np.maximum(rows, 0), np.maximum(columns, 0))
    np.testing.assert_allclose(found['torchvision'], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'flavor, rule', [('torchvision', _torchvision), ('detectron2', _detectron2)]
)
def test_equals_the_loop(flavor, rule):
    masks, boxes, size = _masks(), np.asarray(BOXES, np.float32), (12, 15)
    found = paste(jnp.asarray(masks), jnp.asarray(boxes), size=size, flavor=flavor)
    expected = np.stack([rule(m, b, size) for m, b in zip(masks, boxes, strict=True)])
    assert (expected > 0).any((1, 2)).tolist() == [True, True, True, True, False, True]
    np.testing.assert_allclose(found, expected, atol=2e-5)
    binary = paste_binary(jnp.asarray(masks), jnp.asarray(boxes), size=size, flavor=flavor)
    np.testing.assert_array_equal(binary, np.asarray(found) >= 0.5)


def test_detectron2_pastes_nothing_of_an_empty_box():
    masks = jnp.ones((2, 4, 4))
    boxes = jnp.asarray([[3.0, 3.0, 3.0, 7.0], [5.0, 2.0, 1.0, 6.0]])
    assert not paste(masks, boxes, size=(8, 8), flavor='detectron2').any()
