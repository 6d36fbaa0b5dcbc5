"""Evaluation: tiling of valid networks, and counts that do not depend on grouping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from segjax import ops
from segjax.evaluate import SemanticEvaluation, probabilities
from segjax.models import FCN, UNet
from segjax.tasks import Semantic
from segjax.types import Batch

CLASSES = 4
MEAN, STD = (120.0,), (60.0,)


def _draw(model, size):
    """Random variables, the running averages of a batch normalisation among them."""
    image = jnp.zeros((1, *size, 3))
    init = lambda key: model.init(key, image, train=False)
    rng, flat = np.random.default_rng(5), {}
    for path, leaf in flatten_dict(jax.eval_shape(init, jax.random.key(0)), sep='/').items():
        fan_in = np.prod(leaf.shape[:-1]) if path.endswith('kernel') else 100
        value = rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in)
        flat[path] = np.abs(value) + 0.5 if path.endswith(('scale', 'var')) else value
    return unflatten_dict({p: jnp.asarray(v, jnp.float32) for p, v in flat.items()}, sep='/')


def _pictures():
    """Eleven pictures of two sizes with labels, some of them void."""
    rng = np.random.default_rng(1)
    sizes = [(24, 32) if i % 3 else (32, 16) for i in range(11)]
    return [
        Batch(
            image=rng.integers(0, 256, (*size, 3)).astype(np.uint8),
            label=rng.choice([*range(CLASSES), 255], size).astype(np.int32),
            size=np.array(size, np.int32),
            image_id=np.int32(i),
            valid=np.bool_(True),
        )
        for i, size in enumerate(sizes)
    ]


def _batches(pictures, rows):
    """Batches of `rows` pictures of one size; the last of a size is filled up."""
    for size in sorted({tuple(p.size.tolist()) for p in pictures}):
        members = [p for p in pictures if tuple(p.size.tolist()) == size]
        for i in range(0, len(members), rows):
            part = members[i : i + rows]
            blank = part[0]._replace(
                label=np.full(size, 255, np.int32), image_id=np.int32(-1), valid=np.bool_(False)
            )
            yield jax.tree.map(
                lambda *leaves: np.stack(leaves), *part, *[blank] * (rows - len(part))
            )


@pytest.fixture(scope='module')
def network():
    """A random FCN whose running averages are the statistics of random images."""
    model = FCN(CLASSES, 8, widths=(8,) * 5, fc_features=8, norm='batch', dropout=0.0)
    variables = _draw(model, (32, 32))
    images = jnp.asarray(np.random.default_rng(2).normal(size=(8, 32, 32, 3)).astype(np.float32))
    variables['batch_stats'] = jax.tree.map(jnp.zeros_like, variables['batch_stats'])
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=['batch_stats']))
    _, updates = apply(variables, images)  # 0.9 * 0 + 0.1 * statistics
    averages = jax.tree.map(lambda x: 10 * x, updates['batch_stats'])
    return model, {**variables, 'batch_stats': averages}


def _evaluation(model, devices):
    return SemanticEvaluation(
        model, Semantic(), mean=MEAN, std=STD, num_classes=CLASSES, devices=jax.devices()[:devices]
    )


@pytest.fixture(scope='module')
def alone(network):
    """An evaluation on one device; sharing it shares its compiled programs."""
    return _evaluation(network[0], 1)


@pytest.fixture(scope='module')
def logits(network):
    """The logits of one raw image `h w c`, without any code of ours but the model's."""
    model, variables = network
    apply = jax.jit(lambda x: model.apply(variables, x, train=False).logits)
    return lambda image: apply(jnp.asarray((image.astype(np.float32)[None] - 120) / 60))[0]


@pytest.fixture(scope='module')
def by_hand(logits):
    """The confusion matrix of the pictures, one by one in NumPy, from the model's own logits."""
    counts = 0
    for picture in _pictures():
        prediction = np.asarray(logits(picture.image)).argmax(-1)
        known = picture.label < CLASSES
        cells = CLASSES * picture.label[known] + prediction[known]
        counts = counts + np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    return counts


@pytest.fixture(scope='module')
def one_by_one(network, alone):
    return alone(network[1], _batches(_pictures(), 1))


def test_counts_are_those_of_the_pictures_one_by_one(one_by_one, by_hand):
    counts = one_by_one.evaluator.confusion.counts
    # Normalisation rounds differently here and there: a pixel on the edge may fall either way.
    assert np.abs(counts - by_hand).sum() <= 4
    assert counts.sum() == sum((p.label < CLASSES).sum() for p in _pictures())
    assert (counts.sum(0) > 100).all()  # every class is predicted
    assert one_by_one.num_images == 11


def test_counts_and_scores_are_those_of_a_loop_over_every_predicted_pixel(network, alone):
    """n_ij by the definition, then FCN's four scores written out (Shelhamer et al., section 5)."""
    ids = frozenset(range(11))
    found = alone(network[1], _batches(_pictures(), 1), sample_ids=ids)
    n = [[0] * CLASSES for _ in range(CLASSES)]
    for sample in found.samples:
        np.testing.assert_array_equal(sample.label, _pictures()[sample.image_id].label)
        for i, j in zip(sample.label.flat, sample.prediction.flat, strict=True):
            if i != 255:
                n[i][j] += 1
    assert found.evaluator.confusion.counts.tolist() == n
    classes = range(CLASSES)
    t = [sum(n[i]) for i in classes]  # pixels of class i
    p = [sum(n[j][i] for j in classes) for i in classes]  # predicted as class i
    iou = [n[i][i] / (t[i] + p[i] - n[i][i]) for i in classes]
    expected = {
        'pixel_accuracy': sum(n[i][i] for i in classes) / sum(t),
        'mean_accuracy': sum(n[i][i] / t[i] for i in classes) / CLASSES,
        'mean_iou': sum(iou) / CLASSES,
        'fw_iou': sum(t[i] * iou[i] for i in classes) / sum(t),
    }
    assert {name: found.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('devices', [1, 2, 4, 8])
def test_counts_do_not_depend_on_batch_size_or_devices(devices, network, alone, one_by_one):
    model, variables = network
    evaluation = _evaluation(model, devices) if devices > 1 else alone
    groupings = {evaluation.rows(batch_size) for batch_size in (1, 3, 8)}
    for rows in groupings:
        found = evaluation(variables, _batches(_pictures(), rows))
        expected = one_by_one.evaluator.confusion.counts
        np.testing.assert_array_equal(found.evaluator.confusion.counts, expected)
        found_metrics, expected_metrics = dict(found.metrics), dict(one_by_one.metrics)
        loss, expected_loss = found_metrics.pop('loss'), expected_metrics.pop('loss')
        assert found_metrics == expected_metrics
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        assert found.num_images == 11


def test_on_a_cpu_each_device_computes_one_image_whatever_the_batch(network):
    for devices in (1, 4):
        evaluation = _evaluation(network[0], devices)
        assert [evaluation.rows(batch_size) for batch_size in (1, 3, 8)] == [devices] * 3


def test_rows_that_are_not_valid_count_nowhere_whatever_they_hold(network, alone):
    model, variables = network
    first, second = _pictures()[1:3]
    pair = [first, second._replace(valid=np.bool_(False))]
    filled = jax.tree.map(lambda *leaves: np.stack(leaves), *pair)
    found = _evaluation(model, 2)(variables, [filled], sample_ids=frozenset({1, 2}))
    assert found.metrics == alone(variables, _batches([first], 1)).metrics
    assert found.num_images == 1
    assert [sample.image_id for sample in found.samples] == [1]


def test_an_image_that_comes_twice_is_refused(network, alone):
    pictures = _pictures()[1:3]
    twice = [*_batches(pictures, 1), *_batches(pictures[1:], 1)]
    with pytest.raises(ValueError, match=r'images \[2\] came twice'):
        alone(network[1], twice)


def test_check_is_called_between_batches_and_may_stop(network, alone):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(network[1], _batches(_pictures(), 1), check=check)
    assert len(calls) == 3


def test_wanted_samples_are_cut_to_the_picture_in_its_canvas(network, alone, logits):
    whole = _pictures()[1]
    image, label = whole.image[:, :16], whole.label[:, :16]  # 24 x 16, in a canvas of 24 x 32
    canvas = whole._replace(
        image=np.pad(image, ((0, 0), (0, 16), (0, 0))),
        label=np.pad(label, ((0, 0), (0, 16)), constant_values=255),
        size=np.array([24, 16], np.int32),
    )
    batch = jax.tree.map(lambda x: np.asarray(x)[None], canvas)
    (sample,) = alone(network[1], [batch], sample_ids=frozenset({1, 77})).samples
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.label, label)
    assert sample.image_id == 1
    assert sample.prediction.shape == (24, 16)
    expected = np.asarray(logits(canvas.image)).argmax(-1)[:, :16]
    assert (sample.prediction != expected).mean() < 0.01  # but for rounding
    assert alone(network[1], [batch]).samples == []
    assert alone(network[1], [batch], sample_ids=frozenset({2})).samples == []


def test_labels_of_another_size_than_the_image_are_met_by_resizing(network, alone, logits):
    """A shrunken image: probabilities are resized, scores taken at the labels' own resolution."""
    small = _pictures()[1]  # 24 x 32
    label = np.kron(small.label, np.ones((2, 2), np.int32))
    large = small._replace(label=label, size=np.array(label.shape, np.int32))
    batch = jax.tree.map(lambda x: np.asarray(x)[None], large)
    found = alone(network[1], [batch], sample_ids=frozenset({1}))
    assert found.evaluator.confusion.counts.sum() == (label < CLASSES).sum()
    (sample,) = found.samples
    assert sample.prediction.shape == sample.label.shape == (48, 64)
    assert sample.image.shape == (24, 32, 3)
    probs = jax.nn.softmax(logits(small.image))[None]
    expected = ops.resize_bilinear(probs, (48, 64))[0].argmax(-1)
    assert (sample.prediction != expected).mean() < 0.01  # but for rounding


@pytest.mark.parametrize('size', [(4, 4), (10, 23), (30, 5)])
def test_a_valid_network_sees_the_mirrored_surroundings(size):
    model = UNet(CLASSES, widths=(4, 4, 4))
    variables = _draw(model, (44, 44))
    image = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    found = probabilities(model, Semantic(), variables, jnp.asarray(image), size)
    assert found.shape == (2, *size, CLASSES)
    need = model.input_size(size)
    margin = 20  # two poolings: 2 (2 (1 + 2) + 4)
    pads = [(margin, n - side - margin) for n, side in zip(need, size, strict=True)]
    padded = np.pad(image, [(0, 0), *pads, (0, 0)], mode='reflect')
    logits = model.apply(variables, jnp.asarray(padded), train=False).logits
    expected = np.asarray(jax.nn.softmax(logits))[:, : size[0], : size[1]]
    np.testing.assert_array_equal(found, expected)


def test_a_same_padded_network_is_rounded_up_by_mirroring():
    model = UNet(CLASSES, widths=(4, 4, 4), padding='same')
    variables = _draw(model, (16, 16))
    image = np.random.default_rng(0).normal(size=(1, 13, 6, 3)).astype(np.float32)
    found = probabilities(model, Semantic(), variables, jnp.asarray(image), (13, 6))
    padded = np.pad(image, ((0, 0), (0, 3), (0, 2), (0, 0)), mode='reflect')
    logits = model.apply(variables, jnp.asarray(padded), train=False).logits
    np.testing.assert_array_equal(found, jax.nn.softmax(logits)[:, :13, :6])
