"""One map for image, label, weight and objects: exact where no pixel is blended."""

import numpy as np
import pytest

from segjax.data import resample
from segjax.data.resample import Warp
from segjax.types import IGNORE_LABEL, Instances

RAMP = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)
LABEL = np.arange(54, dtype=np.int32).reshape(6, 9) % 5
FLIP = np.array([[-1.0, 0, 9], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_identity_is_exact(dtype):
    image = (RAMP * 3.0).astype(dtype)
    warp = Warp.identity((6, 9))
    out = resample.warp_image(image, warp)
    assert out.dtype == image.dtype
    np.testing.assert_array_equal(out, image)
    np.testing.assert_array_equal(resample.warp_label(LABEL, warp), LABEL)


def test_flip_and_crop_move_whole_pixels():
    warp = Warp.identity((6, 9)).then(FLIP, (6, 9)).cropped(1, 2, (4, 5))
    np.testing.assert_array_equal(resample.warp_image(RAMP, warp), RAMP[:, ::-1][1:5, 2:7])
    np.testing.assert_array_equal(resample.warp_label(LABEL, warp), LABEL[:, ::-1][1:5, 2:7])


def test_a_window_over_the_border():
    warp = Warp.identity((6, 9)).cropped(-2, -1, (9, 11))
    label = resample.warp_label(LABEL, warp)
    np.testing.assert_array_equal(label[2:8, 1:10], LABEL)
    beyond = np.ones((9, 11), bool)
    beyond[2:8, 1:10] = False
    assert (label[beyond] == IGNORE_LABEL).all()
    np.testing.assert_array_equal(resample.outside((6, 9), warp), beyond)
    weight = resample.warp_weight(np.ones((6, 9), np.float32), warp)
    np.testing.assert_array_equal(weight, ~beyond)
    image = resample.warp_image(RAMP, warp)  # repeats the border, for the caller to overwrite
    np.testing.assert_array_equal(image[2:8, 1:10], RAMP)
    np.testing.assert_array_equal(image[0, 1:10], RAMP[0])


def test_reflection_is_numpys():
    warp = Warp.identity((6, 9)).cropped(-4, -8, (14, 25))
    expected = [(4, 4), (8, 8)]
    out = resample.warp_image(RAMP, warp, border='reflect')
    np.testing.assert_array_equal(out, np.pad(RAMP, [*expected, (0, 0)], 'reflect'))
    label = resample.warp_label(LABEL, warp, border='reflect')
    np.testing.assert_array_equal(label, np.pad(LABEL, expected, 'reflect'))


def test_nothing_is_outside_a_canvas_within():
    assert resample.outside((6, 9), Warp.identity((6, 9)).cropped(1, 1, (5, 8))) is None


def test_doubling_interpolates_halfway_points():
    # centres of the doubled pixels lie at .25, .75, 1.25, ... of the first ones': 0 and 8 blend as
    # 3:1 and 1:3, and the border repeats
    image = np.array([[[0], [8]]], np.float32)
    out = resample.warp_image(image, Warp.identity((1, 2)).resized((1, 4)))
    np.testing.assert_allclose(out[0, :, 0], [0, 2, 6, 8])


def test_halving_takes_means_of_blocks():
    image = np.arange(32, dtype=np.float32).reshape(4, 8, 1)
    out = resample.warp_image(image, Warp.identity((4, 8)).resized((2, 4)))
    np.testing.assert_allclose(out[:, :, 0], image.reshape(2, 2, 4, 2).mean((1, 3)))


@pytest.mark.parametrize('factor', [2.5, 3.7, 8.0])
def test_shrinking_does_not_alias(factor):
    # a checkerboard of single pixels is gray from afar
    board = (np.indices((160, 200)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    size = (int(160 / factor), int(200 / factor))
    out = resample.warp_image(board, Warp.identity((160, 200)).resized(size))
    assert abs(out.astype(int) - 127.5).max() < 40


def test_a_crop_reads_what_the_whole_canvas_reads():
    # only a region of the input is touched; the result must not depend on that
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (90, 120, 3)).astype(np.float32)
    for scale in (0.3, 0.5, 0.8, 1.7):
        canvas = Warp.identity((90, 120)).resized((round(90 * scale), round(120 * scale)))
        whole = resample.warp_image(image, canvas)
        window = resample.warp_image(image, canvas.cropped(7, 9, (15, 20)))
        # OpenCV rounds coordinates to 1/32 of a pixel, whose origin the region moves
        np.testing.assert_allclose(window, whole[7:22, 9:29], atol=255 / 16)
        assert abs(window - whole[7:22, 9:29]).mean() < 2


def test_label_painted_into_the_image_stays_on_it():
    """Image and label agree pixel by pixel under rotation, scale and crop together."""
    rng = np.random.default_rng(0)
    label = np.kron(rng.integers(0, 4, (6, 8)), np.ones((16, 16), int)).astype(np.int32)
    image = np.repeat((label * 60).astype(np.uint8)[:, :, None], 3, 2)
    cos, sin = np.cos(0.4), np.sin(0.4)
    turn = np.array([[cos, -sin, 20], [sin, cos, -10], [0, 0, 1]])
    warp = (
        Warp.identity((96, 128)).resized((140, 180)).then(turn, (140, 180)).cropped(9, 9, (70, 80))
    )
    seen = resample.warp_image(image, warp)
    moved = resample.warp_label(label, warp)
    interior = moved != IGNORE_LABEL
    for shift in (-2, 2):
        for axis in (0, 1):
            interior &= np.roll(moved, shift, axis) == moved
    interior[:2], interior[-2:], interior[:, :2], interior[:, -2:] = False, False, False, False
    assert interior.sum() > 1000
    np.testing.assert_array_equal(seen[interior][:, 0], moved[interior] * 60)


def two_objects():
    masks = (np.ones((2, 3), np.uint8), np.array([[1, 0], [1, 1], [0, 1]], np.uint8))
    return Instances(
        boxes=np.array([[1, 1, 4, 3], [6, 2, 8, 5]], np.float32),
        classes=np.array([1, 2], np.int32),
        masks=masks,
        crowd=np.array([False, True]),
        valid=np.array([True, True]),
    )


def test_objects_are_cut_and_dropped():
    # a window of rows 2..5, columns 2..6: the first object loses a row and a column, the second all
    # but its left column
    seen = resample.warp_instances(two_objects(), Warp.identity((6, 9)).cropped(2, 2, (4, 5)))
    np.testing.assert_array_equal(seen.boxes, [[0, 0, 2, 1], [4, 0, 5, 2]])
    np.testing.assert_array_equal(seen.masks[0], [[1, 1]])
    np.testing.assert_array_equal(seen.masks[1], [[1], [1]])
    seen = resample.warp_instances(two_objects(), Warp.identity((6, 9)).cropped(0, 5, (6, 4)))
    np.testing.assert_array_equal(seen.classes, [2])
    np.testing.assert_array_equal(seen.crowd, [True])
    none = resample.warp_instances(two_objects(), Warp.identity((6, 9)).cropped(0, 0, (1, 9)))
    assert none.boxes.shape == (0, 4) and none.masks == ()


def test_objects_move_with_the_label():
    label = np.zeros((40, 50), np.int32)
    label[5:20, 10:30] = 1
    label[15:35, 25:45] = 2
    boxes = np.array([[10, 5, 30, 20], [25, 15, 45, 35]], np.float32)
    masks = tuple((label[int(y0):int(y1), int(x0):int(x1)] == k).astype(np.uint8)
                  for k, (x0, y0, x1, y1) in enumerate(boxes, 1))  # fmt: skip
    ones = np.ones(2, bool)
    objects = Instances(boxes, np.array([1, 2], np.int32), masks, ~ones, ones)
    cos, sin = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cos, -sin, 5], [sin, cos, -5], [0, 0, 1]])
    warp = Warp.identity((40, 50)).resized((64, 80)).then(turn, (64, 80)).cropped(3, 5, (50, 60))
    moved = resample.warp_label(label, warp)
    seen = resample.warp_instances(objects, warp)
    packed = resample.pack_instances(seen, number=3, mask_size=0, size=(50, 60))
    np.testing.assert_array_equal(packed.valid, [True, True, False])
    for k in (1, 2):
        # equal but for pixels whose centre falls on an edge within 1/32 of a pixel
        assert (packed.masks[k - 1] != (moved == k)).sum() <= 3
        ys, xs = np.nonzero(packed.masks[k - 1])
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_array_equal(packed.boxes[k - 1], box)


def test_packing_keeps_the_largest():
    packed = resample.pack_instances(two_objects(), number=1, mask_size=4, size=(6, 9))
    np.testing.assert_array_equal(packed.classes, [1])  # 6 pixels against 4
    np.testing.assert_array_equal(packed.masks, np.ones((1, 4, 4)))
    assert packed.boxes.dtype == np.float32 and packed.classes.dtype == np.int32


def test_crowds_take_no_place_from_smaller_objects():
    objects = two_objects()._replace(crowd=np.array([True, False]))
    packed = resample.pack_instances(objects, number=1, mask_size=4, size=(6, 9))
    assert (packed.classes.tolist(), packed.crowd.tolist(), int(packed.cut)) == ([2], [False], 1)
    both = resample.pack_instances(objects, number=3, mask_size=4, size=(6, 9))
    assert both.classes.tolist() == [1, 2, 0] and both.crowd.tolist() == [True, False, False]
