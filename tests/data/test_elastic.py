"""Elastic deformation: one smooth field that image, label, weight and objects follow."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from segjax.data import resample
from segjax.data.cells import make_instances
from segjax.data.pipeline import TrainPipeline
from segjax.data.resample import Warp
from segjax.data.transforms import Elastic, Flip, Rotate, ScaleJitter, Turn
from segjax.types import IGNORE_LABEL, Batch, UserError

SHAPE = (72, 96)
BLOCKS = np.kron(np.arange(48).reshape(6, 8) % 7, np.ones((12, 12), int)).astype(np.int32)


def bent(seed=0, *, sigma=4.0, grid=3, size=SHAPE):
    return Elastic(grid=grid, sigma=sigma).warp(Warp.identity(size), np.random.default_rng(seed))


def coordinates(size):
    """An image whose value is the place: channels x and y of the pixel's centre."""
    y, x = np.indices(size, np.float32) + 0.5
    return np.stack([x, y], -1)


def by_hand(shifts, size):
    """Where each pixel's centre comes from: the spline along y, then the one along x."""
    h, w = size
    n = len(shifts)
    x, y = (np.arange(w) + 0.5) / w * (n - 1), (np.arange(h) + 0.5) / h * (n - 1)
    along_y = CubicSpline(np.arange(n), shifts, axis=0, bc_type='natural')(y)  # h n 2
    u = CubicSpline(np.arange(n), along_y, axis=1, bc_type='natural')(x)  # h w 2
    return coordinates(size) + u


@pytest.mark.parametrize('grid', [2, 3, 5])
def test_the_field_is_the_bicubic_spline_through_the_grid(grid):
    warp = bent(grid=grid, sigma=2.0)
    shifts = warp.bends[0].shifts
    assert shifts.shape == (grid, grid, 2)
    expected = by_hand(shifts, SHAPE)
    inside = ((expected > 0.5) & (expected < np.array(SHAPE[::-1]) - 0.5)).all(-1)
    found = resample.warp_image(coordinates(SHAPE), warp)
    assert inside.mean() > 0.8
    np.testing.assert_allclose(found[inside], expected[inside], atol=1 / 16)  # OpenCV's steps


def test_displacements_have_the_spread_that_is_asked_for():
    shifts = np.stack([bent(seed, sigma=10.0).bends[0].shifts for seed in range(400)])
    assert abs(shifts.mean()) < 0.5 and abs(shifts.std() - 10) < 0.3


def test_no_displacement_changes_nothing():
    image = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
    warp = bent(sigma=0.0)
    np.testing.assert_array_equal(resample.warp_image(image, warp), image)
    np.testing.assert_array_equal(resample.warp_label(BLOCKS, warp), BLOCKS)


@pytest.mark.parametrize('border', ['constant', 'reflect'])
def test_the_same_displacement_everywhere_is_a_shift(border):
    shifts = np.broadcast_to([3.0, -2.0], (3, 3, 2))
    warp, shift = Warp.identity(SHAPE).bent(shifts), Warp.identity(SHAPE).cropped(-2, 3, SHAPE)
    for part in (resample.warp_label, resample.warp_weight):
        array = BLOCKS.astype(np.float32) if part is resample.warp_weight else BLOCKS
        np.testing.assert_array_equal(
            part(array, warp, border=border), part(array, shift, border=border)
        )
    np.testing.assert_array_equal(resample.outside(SHAPE, warp), resample.outside(SHAPE, shift))


def test_image_label_and_weight_move_together():
    rng = np.random.default_rng(1)
    warp = Warp.identity(SHAPE)
    for transform in (ScaleJitter(0.8, 1.6), Elastic(sigma=5.0), Flip(), Rotate(20.0), Turn()):
        warp = transform.warp(warp, rng)
    warp = warp.cropped(-5, 4, (60, 60))
    label = resample.warp_label(BLOCKS, warp)
    image = resample.warp_image((BLOCKS * 30.0).astype(np.float32)[:, :, None], warp)[:, :, 0]
    weight = resample.warp_weight((BLOCKS * 30.0).astype(np.float32), warp)
    known = label != IGNORE_LABEL
    flat = known.copy()
    for axis in (0, 1):
        for shift in (-3, -2, -1, 1, 2, 3):
            flat &= np.roll(label, shift, axis) == label
    flat[:3], flat[-3:], flat[:, :3], flat[:, -3:] = False, False, False, False
    assert flat.sum() > 300
    np.testing.assert_allclose(image[flat], label[flat] * 30.0, atol=1e-3)
    np.testing.assert_array_equal(weight[known], image[known])
    assert (weight[~known] == 0).all() and (~known).any()


def test_a_later_flip_and_crop_move_whole_pixels():
    warp = bent()
    flip = np.array([[-1.0, 0, SHAPE[1]], [0, 1, 0], [0, 0, 1]])
    whole = resample.warp_image(coordinates(SHAPE), warp)
    seen = resample.warp_image(coordinates(SHAPE), warp.then(flip, SHAPE).cropped(7, 9, (40, 50)))
    np.testing.assert_allclose(seen, whole[:, ::-1][7:47, 9:59], atol=1 / 16)


def test_two_deformations_follow_each_other():
    first, second = bent(1), bent(2)
    once = first.bent(second.bends[0].shifts)
    middle = resample.warp_image(coordinates(SHAPE), first)
    expected = resample.warp_image(middle, second)
    found = resample.warp_image(coordinates(SHAPE), once)
    inner = (slice(20, -20), slice(20, -20))
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.2)


def test_a_bent_picture_shrinks_by_means_too():
    board = (np.indices((160, 200)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    seen = resample.warp_image(board, bent(size=(160, 200)).resized((40, 50)))
    assert abs(seen.astype(int) - 127.5).max() < 40


def test_objects_follow_the_label():
    objects = np.zeros(SHAPE, np.int32)
    objects[10:30, 10:40], objects[35:60, 20:50], objects[5:65, 70:90] = 1, 2, 3
    instances = make_instances(objects)
    for seed in range(5):
        warp = bent(seed, sigma=6.0).cropped(3, 4, (60, 80))
        expected = resample.warp_label(objects, warp)
        seen = resample.warp_instances(instances, warp)
        for number, (box, mask) in enumerate(zip(seen.boxes, seen.masks, strict=True), start=1):
            canvas = resample._paste(box, mask, (60, 80)) > 0
            np.testing.assert_array_equal(canvas, expected == number)


def test_displacements_stay_below_what_objects_are_searched_with():
    for n in (2, 3, 4, 8, 20):
        shares = np.abs(resample._spline(n)(np.linspace(0, n - 1, 2000))).sum(-1)
        assert shares.max() ** 2 < resample._OVERSHOOT


def test_a_pipeline_bends_what_it_cuts():
    class One:
        normalize = 'unit'

        def __len__(self):
            return 1

        def __getitem__(self, index):
            image = np.repeat((BLOCKS * 30).astype(np.uint8)[:, :, None], 3, 2)
            return Batch(image, BLOCKS, weight=np.ones(SHAPE, np.float32))

    pipeline = TrainPipeline(
        crop=(80, 80), pad='reflect', margin=10, transforms=(Elastic(sigma=5.0),)
    )
    first, again = (pipeline.sample(One(), seed=3, number=0) for _ in range(2))
    other = pipeline.sample(One(), seed=4, number=0)
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.image != other.image).any()
    assert first.image.shape == (80, 80, 3) and first.label.shape == (80, 80)
    assert (first.label < 7).all() and (first.weight == 1).all()
    assert ((first.image[:, :, 0] == first.label * 30).mean()) > 0.7


def test_one_point_is_no_grid():
    with pytest.raises(UserError, match='--grid=1'):
        Elastic(grid=1)
