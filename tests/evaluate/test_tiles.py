"""Tiles are what one pass over the whole picture gives; turned pictures are averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segjax.data.pipeline import EvalPipeline
from segjax.evaluate import Inference, SemanticEvaluation, probabilities
from segjax.evaluate.tiles import _orient, _orient_back, predict_picture
from segjax.models import UNet
from segjax.tasks import Semantic
from segjax.types import Batch, SegmentationOutput, UserError

CLASSES = 3


def draw(model, side, channels=2):
    """Random variables of a useful size."""
    image = jnp.zeros((1, side, side, channels))
    shapes = jax.eval_shape(lambda k: model.init(k, image, train=False), jax.random.key(0))
    rng = np.random.default_rng(5)
    value = lambda leaf: rng.normal(size=leaf.shape) / np.sqrt(max(np.prod(leaf.shape[:-1]) / 2, 1))
    return jax.tree.map(lambda leaf: jnp.asarray(value(leaf), jnp.float32), shapes)


def picture(size, channels=2, seed=0):
    values = np.random.default_rng(seed).normal(size=(1, *size, channels))
    return jnp.asarray(values.astype(np.float32))


VALID = UNet(CLASSES, widths=(4, 4, 6))  # two poolings: margin 20, sides 4 apart
SAME = UNet(CLASSES, widths=(4, 4, 6), padding='same')


@pytest.fixture(scope='module')
def valid():
    variables = draw(VALID, 44)
    return jax.jit(lambda x: Semantic().predict(VALID, variables, x))


@pytest.fixture(scope='module')
def same():
    variables = draw(SAME, 16)
    return jax.jit(lambda x: Semantic().predict(SAME, variables, x))


class Spy:
    """A forward pass that notes what it is given."""

    def __init__(self, predict):
        self.predict, self.shapes = predict, set()

    def __call__(self, image):
        self.shapes.add(image.shape[1:3])
        return self.predict(image)


@pytest.mark.parametrize(
    ('size', 'tile'),
    [((40, 45), (16, 16)), ((40, 45), (24, 7)), ((9, 50), (16, 16)), ((33, 32), (32, 32))],
)
def test_tiles_of_a_valid_network_are_one_pass_over_the_mirrored_picture(valid, size, tile):
    image = picture(size)
    whole = predict_picture(VALID, valid, image, Inference())
    spy = Spy(valid)
    found = predict_picture(VALID, spy, image, Inference(tile=tile))
    assert found.shape == (1, *size, CLASSES)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    most = VALID.input_size(tile)
    assert all(h <= most[0] and w <= most[1] for h, w in spy.shapes)  # memory is a tile's


def test_far_from_the_border_no_mirror_is_seen(valid):
    """There the tiles are the network's output on the raw picture, pooled at the same places."""
    image, margin, unit = picture((72, 68)), VALID.margin, 4
    first = -margin % unit
    side = next(s for s in range(60, 40, -1) if VALID.input_size((s - 40, s - 40)) == (s, s))
    raw = valid(image[:, first : first + side, first : first + side])
    found = predict_picture(VALID, valid, image, Inference(tile=(16, 16)))
    inner = slice(first + margin, first + side - margin)
    np.testing.assert_allclose(found[:, inner, inner], raw, atol=1e-5)


@pytest.mark.parametrize('model', [VALID, SAME])
def test_memory_is_that_of_a_tile(model):
    """Of a picture 16 times as large only the probabilities and the image take more."""
    variables = jax.eval_shape(lambda: draw(model, 44))

    def memory(side, inference):
        run = lambda v, x: probabilities(model, Semantic(), v, x, (side, side), inference=inference)
        image = jax.ShapeDtypeStruct((1, side, side, 2), jnp.float32)
        return jax.jit(run).lower(variables, image).compile().memory_analysis().temp_size_in_bytes

    small, large = (memory(side, Inference((32, 32))) for side in (64, 256))
    pictures = 4 * (256 + 92) ** 2 * (2 + 2 * CLASSES)  # bytes: padded image, two canvases
    assert large < small + pictures
    assert large < memory(256, Inference()) / 2


def test_memory_is_that_of_the_largest_pass():
    variables = jax.eval_shape(lambda: draw(SAME, 16))

    def memory(inference):
        predict = lambda v: lambda x: Semantic().predict(SAME, v, x)
        run = jax.jit(lambda v, x: predict_picture(SAME, predict(v), x, inference))
        image = jax.ShapeDtypeStruct((1, 64, 64, 2), jnp.float32)
        return run.lower(variables, image).compile().memory_analysis().temp_size_in_bytes

    largest = memory(Inference(scales=(2.0,)))
    four = memory(Inference(scales=(1.5, 2.0), flip=True))
    assert four < 2 * largest  # side by side they would add up


def test_the_paper_s_tile_is_predicted_at_its_own_size():
    """388 pixels of output are no multiple of 16: tiles step by 384, to pool at the same places."""
    net = UNet(2)
    shapes = []

    def predict(image):
        shapes.append(image.shape[1:3])
        return jnp.zeros((1, image.shape[1] - 184, image.shape[2] - 184, 2))

    run = lambda image: predict_picture(net, predict, image, Inference(tile=(388, 388)))
    found = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 1000, 700, 1), jnp.float32))
    assert found.shape == (1, 1000, 700, 2)
    assert set(shapes) == {(572, 572)}


def sliding_mean(predict, image, side, starts):
    """Gaussian-weighted means, window by window."""
    line = np.exp(-0.5 * (((np.arange(side) + 0.5) / side - 0.5) * 8) ** 2)
    weight = np.outer(line, line)[None, :, :, None]
    total, weights = 0.0, np.zeros((1, *image.shape[1:3], 1))
    total = np.zeros((1, *image.shape[1:3], CLASSES))
    for y in starts[0]:
        for x in starts[1]:
            place = (slice(None), slice(y, y + side), slice(x, x + side))
            total[place] += weight * np.asarray(predict(image[place]))
            weights[place] += weight
    return total / weights


def test_windows_of_a_padding_network_are_blended_by_a_gaussian(same):
    image = picture((32, 29))
    spy = Spy(same)
    found = predict_picture(SAME, spy, image, Inference(tile=(16, 16), overlap=0.5))
    expected = sliding_mean(same, image, 16, ([0, 8, 16], [0, 6, 13]))  # 6.5 rounds to even
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert spy.shapes == {(16, 16)}


def test_a_picture_within_a_tile_takes_one_pass(same, valid):
    for model, predict in ((SAME, same), (VALID, valid)):
        image = picture((13, 9))
        found = predict_picture(model, predict, image, Inference(tile=(16, 16)))
        expected = predict_picture(model, predict, image, Inference())
        np.testing.assert_array_equal(found, expected)


def test_a_strip_lower_than_a_tile(same):
    found = predict_picture(SAME, same, picture((5, 40)), Inference(tile=(16, 16)))
    assert found.shape == (1, 5, 40, CLASSES)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_there_are_eight_orientations_and_each_is_undone():
    image = picture((4, 5))
    turned = [_orient(image, number) for number in range(8)]
    assert len({np.asarray(t).tobytes() + bytes(t.shape[1:3]) for t in turned}) == 8
    for number, t in enumerate(turned):
        np.testing.assert_array_equal(_orient_back(t, number), image)
    np.testing.assert_array_equal(turned[1], np.rot90(image, 1, (1, 2)))
    np.testing.assert_array_equal(turned[4], image[:, :, ::-1])


class Filter(nn.Module):
    """One convolution of `side` pixels; of 1 pixel, windows and turns can change nothing."""

    side: int
    margin = 0

    def input_size(self, size):
        return size

    @nn.compact
    def __call__(self, image, *, train):
        return SegmentationOutput(nn.Dense(CLASSES)(image) if self.side == 1 else self._wide(image))

    def _wide(self, image):
        shape = (self.side, self.side, image.shape[-1], CLASSES)
        kernel = self.param('kernel', nn.initializers.normal(1.0), shape)
        dimensions = ('NHWC', 'HWIO', 'NHWC')
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), 'SAME', dimension_numbers=dimensions
        )


FILTER = Filter(3)


@pytest.fixture(scope='module')
def filtered():
    variables = draw(FILTER, 4)
    return jax.jit(lambda x: Semantic().predict(FILTER, variables, x))


def test_seven_orientations_are_averaged(filtered):
    image = picture((16, 16))
    found = predict_picture(FILTER, filtered, image, Inference(orientations=7))
    passes = [_orient_back(filtered(_orient(image, number)), number) for number in range(7)]
    np.testing.assert_allclose(found, np.mean(passes, 0), atol=1e-6)
    assert np.abs(np.asarray(found) - np.asarray(passes[0])).max() > 0.01


def test_all_orientations_make_a_prediction_that_turns_with_the_picture(filtered):
    image, inference = picture((24, 16)), Inference(orientations=8)
    found = predict_picture(FILTER, filtered, image, inference)
    again = predict_picture(FILTER, filtered, _orient(image, 5), inference)
    np.testing.assert_allclose(_orient_back(again, 5), found, atol=1e-5)


def _resized(image, size):
    """Bilinear interpolation as written down: pixel by pixel, two neighbours a side, no blur."""
    for axis, length in zip((1, 2), size, strict=True):
        have = image.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * have / length - 0.5, 0, have - 1)
        low = np.floor(at).astype(int)
        high, part = np.minimum(low + 1, have - 1), (at - low).astype(np.float32)
        part = part.reshape([-1 if i == axis else 1 for i in range(4)])
        image = np.take(image, low, axis) * (1 - part) + np.take(image, high, axis) * part
    return image


def test_scales_and_mirror_images_are_a_plain_loop(filtered):
    """The mean of the softmaxes of each scale and its mirror image, each resized back."""
    image, scales = picture((18, 14)), (0.5, 1.0, 1.75)
    found = predict_picture(FILTER, filtered, image, Inference(scales=scales, flip=True))
    total = np.zeros(found.shape, np.float32)
    for scale in scales:
        scaled = _resized(np.asarray(image), (round(18 * scale), round(14 * scale)))
        for step in (1, -1):
            passed = np.asarray(filtered(jnp.asarray(scaled[:, :, ::step])))[:, :, ::step]
            total += _resized(passed, (18, 14))
    np.testing.assert_allclose(found, total / 6, atol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_a_mirror_image_is_a_pass_of_its_own(filtered):
    image = picture((8, 10))
    found = predict_picture(FILTER, filtered, image, Inference(flip=True))
    expected = (filtered(image) + filtered(image[:, :, ::-1])[:, :, ::-1]) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
    how = EvalPipeline(tile=(4, 6), overlap=0.25, scales=(0.5, 2.0), flip=True)
    assert Inference.of(how) == Inference((4, 6), 0.25, 1, (0.5, 2.0), flip=True)
    one = predict_picture(FILTER, filtered, image, Inference.of(EvalPipeline()))
    np.testing.assert_array_equal(one, filtered(image))


def test_a_scaled_picture_is_cut_into_tiles_of_the_same_size(filtered):
    spy = Spy(filtered)
    predict_picture(FILTER, spy, picture((16, 16)), Inference((16, 16), scales=(0.5, 1.0, 2.0)))
    assert spy.shapes == {(8, 8), (16, 16)}


def test_tiles_turn_with_the_picture(filtered):
    image, turned = picture((24, 16)), Inference((8, 16))
    found = predict_picture(FILTER, filtered, image, Inference((16, 8), orientations=2))
    first = predict_picture(FILTER, filtered, image, Inference((16, 8)))
    second = predict_picture(FILTER, filtered, _orient(image, 1), turned)
    expected = (np.asarray(first) + np.asarray(_orient_back(second, 1))) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)


def evaluate(variables, batch, inference, devices):
    """The confusion matrix of the batch, `devices` pictures at a time."""
    evaluation = SemanticEvaluation(
        Filter(1),
        Semantic(),
        mean=(0.0,),
        std=(1.0,),
        num_classes=CLASSES,
        inference=inference,
        devices=jax.devices()[:devices],
    )
    cut = lambda i: jax.tree.map(lambda x: x[i : i + devices], batch)
    groups = [cut(i) for i in range(0, len(batch.valid), devices)]
    return evaluation(variables, groups).evaluator.confusion.counts


def test_counts_are_the_same_bits_on_any_number_of_devices():
    rng = np.random.default_rng(0)
    batch = Batch(
        image=rng.normal(size=(4, 20, 14, 1)).astype(np.float32),
        label=rng.integers(0, CLASSES, (4, 20, 14)).astype(np.int32),
        size=np.array([[20, 14]] * 4, np.int32),
        image_id=np.arange(4, dtype=np.int32),
        valid=np.ones(4, bool),
    )
    variables = draw(Filter(1), 4, channels=1)
    expected = evaluate(variables, batch, Inference(), 1)
    for devices in (1, 4):
        found = evaluate(variables, batch, Inference((12, 12), 0.25, 2), devices)
        np.testing.assert_array_equal(found, expected)


def test_probabilities_are_resized_after_tiling():
    variables = draw(FILTER, 4)
    size, inference = (40, 36), Inference(tile=(20, 10))
    image = picture((20, 18))
    found = probabilities(FILTER, Semantic(), variables, image, size, inference=inference)
    assert found.shape == (1, *size, CLASSES)


@pytest.mark.parametrize(
    'wrong',
    [
        {'overlap': 1.0},
        {'orientations': 9},
        {'orientations': 0},
        {'tile': (0, 64)},
        {'flip': True, 'orientations': 2},
        {'scales': ()},
        {'scales': (1.0, 0.0)},
    ],
)
def test_fields_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match=f'--{next(iter(wrong))}='):
        EvalPipeline(**wrong)
