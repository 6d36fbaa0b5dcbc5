"""Each augmentation does what its name says, and nothing else."""

import numpy as np
import pytest

from segjax.data.resample import Warp, warp_image
from segjax.data.transforms import ColorJitter, Flip, Invert, Rotate, ScaleJitter, Turn

IMAGE = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def apply(transform, image, seed=0):
    return warp_image(image, transform.warp(Warp.identity(image.shape[:2]), rng(seed)))


@pytest.mark.parametrize(
    ('axis', 'expected'), [('horizontal', IMAGE[:, ::-1]), ('vertical', IMAGE[::-1])]
)
def test_flip(axis, expected):
    np.testing.assert_array_equal(apply(Flip(axis=axis, probability=1.0), IMAGE), expected)
    np.testing.assert_array_equal(apply(Flip(axis=axis, probability=0.0), IMAGE), IMAGE)


def test_flip_happens_half_the_time():
    flipped = sum(apply(Flip(), IMAGE, seed)[0, 0, 0] != IMAGE[0, 0, 0] for seed in range(400))
    assert 150 < flipped < 250


def test_turn_gives_the_four_quarter_turns():
    seen = {apply(Turn(), IMAGE, seed).tobytes() for seed in range(40)}
    assert seen == {np.rot90(IMAGE, k).tobytes() for k in range(4)}


def test_scale_jitter_stays_in_its_range():
    sizes = [ScaleJitter(0.5, 2).warp(Warp.identity((100, 200)), rng(s)).size for s in range(200)]
    heights, widths = np.array(sizes).T
    assert 50 <= heights.min() < 60 and 190 < heights.max() <= 200
    assert abs(widths - 2 * heights).max() <= 1


def test_rotation_by_hand():
    # a quarter turn about the centre of a square
    image = IMAGE[:, :6]
    angle = rng(3).uniform(-90, 90)
    quarter = Rotate(degrees=90 * 90 / abs(angle))
    out = apply(quarter, image, 3)
    np.testing.assert_array_equal(out, np.rot90(image, 1 if angle > 0 else 3))


def test_rotation_keeps_the_canvas_and_the_centre():
    warp = Rotate(30).warp(Warp.identity((40, 60)), rng())
    assert warp.size == (40, 60)
    np.testing.assert_allclose(warp.matrix @ [30, 20, 1], [30, 20, 1])
    np.testing.assert_allclose(np.linalg.det(warp.matrix), 1)


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_no_colour_jitter_changes_nothing(dtype):
    image = IMAGE.astype(dtype)
    out = ColorJitter(0.0, 0.0, 0.0).color(image, rng())
    assert out.dtype == image.dtype
    np.testing.assert_allclose(out, image, rtol=1e-6)


def test_brightness_multiplies():
    factor = rng().uniform([0.5, 1, 1], [1.5, 1, 1])[0]
    out = ColorJitter(0.5, 0.0, 0.0).color(IMAGE.astype(np.float32), rng())
    np.testing.assert_allclose(out, IMAGE * factor, rtol=1e-5)


def test_contrast_keeps_the_mean_and_saturation_the_luma():
    image = IMAGE.astype(np.float32)
    luma = image @ [0.299, 0.587, 0.114]
    contrasted = ColorJitter(0.0, 0.5, 0.0).color(image, rng())
    assert abs(contrasted - image).max() > 5
    np.testing.assert_allclose((contrasted @ [0.299, 0.587, 0.114]).mean(), luma.mean(), rtol=1e-5)
    saturated = ColorJitter(0.0, 0.0, 0.5).color(image, rng())
    assert abs(saturated - image).max() > 5
    np.testing.assert_allclose(saturated @ [0.299, 0.587, 0.114], luma, rtol=1e-5)


def test_hue_keeps_luma_and_gray_and_turns_the_chroma():
    image = IMAGE.astype(np.float32)
    turned = ColorJitter(0.0, 0.0, 0.0, hue=0.5).color(image, rng())
    assert abs(turned - image).max() > 5
    luma = lambda x: x @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(luma(turned), luma(image), rtol=1e-4)
    gray = np.repeat(image[..., :1], 3, axis=2)
    np.testing.assert_allclose(
        ColorJitter(0.0, 0.0, 0.0, hue=0.5).color(gray, rng()), gray, atol=0.1
    )


def test_colour_jitter_of_one_channel():
    assert ColorJitter(0.3, 0.3, 0.3, hue=0.5).color(IMAGE[:, :, :1], rng()).shape == (6, 9, 1)


@pytest.mark.parametrize(
    ('dtype', 'middle'), [('uint8', 127.5), ('uint16', 32767.5), ('float32', 0)]
)
def test_inverting_mirrors_values_about_the_middle(dtype, middle):
    image = IMAGE.astype(dtype)
    out = Invert(1.0).color(image, rng())
    assert out.dtype == image.dtype
    np.testing.assert_array_equal((image.astype(np.float64) + out) / 2, middle)
    np.testing.assert_array_equal(Invert(0.0).color(image, rng()), image)
