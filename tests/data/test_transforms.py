"""Each augmentation does what its name says, and nothing else."""

import dataclasses

import numpy as np
import pytest

from segjax.data.resample import Warp, warp_image
from segjax.data.transforms import (
    Blur,
    ColorJitter,
    Flip,
    Gamma,
    Invert,
    Noise,
    Rotate,
    ScaleJitter,
    Turn,
)

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


def test_an_exponent_below_one_lifts_what_is_dim_and_keeps_mean_and_deviation():
    image = np.tile(np.array([0.0, 1.0, 2.0, 10.0], np.float32)[None, :, None], (4, 1, 3))
    out = Gamma(0.5, 0.5, 1.0).color(image, rng())
    dim = lambda x: (x[0, 1, 0] - x[0, 0, 0]) / np.ptp(x)
    np.testing.assert_allclose(dim(out), (1 / 10) ** 0.5, rtol=1e-5)
    np.testing.assert_allclose([out.mean(), out.std()], [image.mean(), image.std()], rtol=1e-5)
    np.testing.assert_array_equal(Gamma(0.5, 0.5, 1.0).color(image * 0, rng()), image * 0)


def test_a_blur_spreads_a_point_and_keeps_its_sum():
    image = np.zeros((15, 15, 1), np.float32)
    image[7, 7] = 1
    out = Blur(1.0, 1.0, 1.0).color(image, rng())
    assert out.shape == image.shape
    np.testing.assert_allclose(out.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(out[7, 8] / out[7, 7], np.exp(-0.5), rtol=1e-4)


def test_noise_is_a_part_of_the_deviation():
    image = np.tile(np.array([-1, 1], np.float32).repeat(200)[None, :, None], (100, 1, 1))
    added = Noise(0.3, 1.0).color(image, np.random.default_rng(3)) - image
    draw = np.random.default_rng(3)
    draw.random()
    np.testing.assert_allclose(added.std(), draw.uniform(0, 0.3), rtol=0.02)


@pytest.mark.parametrize('transform', [Gamma(0.5, 2.0, 1.0), Blur(1.0, 2.0, 1.0), Noise(1.0, 1.0)])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
@pytest.mark.parametrize('channels', [1, 3])
def test_colours_keep_type_and_shape(transform, dtype, channels):
    image = (IMAGE[:, :, :channels]).astype(dtype)
    out = transform.color(image, rng())
    assert out.dtype == image.dtype and out.shape == image.shape
    assert (out != image).any()
    none = dataclasses.replace(transform, probability=0.0).color(image, rng())
    np.testing.assert_array_equal(none, image)
