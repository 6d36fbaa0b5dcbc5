"""A model/ folder and a picture are enough to predict; nothing depends on how."""

import dataclasses
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import segjax
from segjax import ops
from segjax.data import normalize
from segjax.data.dataset import Info
from segjax.data.detection import DetectionEval
from segjax.data.pipeline import EvalPipeline
from segjax.evaluate import blocks, probabilities
from segjax.evaluate.instance import Found
from segjax.models import FCN
from segjax.prediction import paint
from segjax.predictor import Detector, Network, make_predictor
from segjax.tasks import Instance, Semantic
from segjax.types import Detections, UserError
from tests.model_folders import INFO, SAME, VALID, draw, picture, write_run


def expected(model, image, seed=3, channels=3):
    """The probabilities of one pass over the whole picture."""
    mean, std = normalize.statistics('centered', image.dtype, channels=channels)
    size = image.shape[:2]
    once = jax.jit(lambda variables, x: probabilities(model, Semantic(), variables, x, size))
    normalized = ops.normalize(jnp.asarray(image)[None], mean, std)
    return np.asarray(once(draw(model, channels, seed), normalized)[0])


def test_a_prediction_is_one_pass_over_the_picture(tmp_path):
    image = picture((37, 50))
    found = segjax.load(write_run(tmp_path)).predict(image, probabilities=True)
    wanted = expected(SAME, image)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)
    np.testing.assert_array_equal(found.label, wanted.argmax(-1))
    assert found.label.dtype == np.uint8 and len(found.shares) > 1
    assert sum(found.shares.values()) == pytest.approx(1)
    assert segjax.load(tmp_path).predict(image).probabilities is None


def test_files_and_arrays_of_any_depth(tmp_path):
    network = segjax.load(write_run(tmp_path))
    image = picture((20, 30))
    wanted = network.predict(image).label
    Image.fromarray(image).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(network.predict(tmp_path / 'a.png').label, wanted)
    np.testing.assert_array_equal(network.predict(str(tmp_path / 'a.png')).label, wanted)
    np.testing.assert_array_equal(network.predict((tmp_path / 'a.png').read_bytes()).label, wanted)
    deep = image.astype(np.uint16) * 257
    np.testing.assert_array_equal(network.predict(deep).label, wanted)
    floats = image.astype(np.float64) / 255
    assert np.mean(network.predict(floats).label == wanted) > 0.99
    alpha = np.dstack([image, image[..., 0]])
    np.testing.assert_array_equal(network.predict(alpha).label, wanted)
    gray = network.predict(image[..., 0]).label
    np.testing.assert_array_equal(network.predict(np.dstack([image[..., :1]] * 3)).label, gray)


def test_what_is_no_picture_is_refused(tmp_path):
    network = segjax.load(write_run(tmp_path))
    for array in (np.zeros((2, 3, 4, 5)), np.zeros((4, 4), np.int64), np.zeros((0, 4), np.uint8)):
        with pytest.raises(UserError, match='no picture'):
            network.predict(array)
    with pytest.raises(UserError, match='cannot be opened'):
        network.predict(tmp_path / 'nowhere.png')


@pytest.mark.parametrize(
    'changes',
    [
        {'round_to': 32},
        {'scale': 0.5},
        {'tile': (16, 16)},
        {'orientations': 2},
        {'scales': (0.5, 1.0), 'flip': True},
        {'stretch': (32, 32)},
        {'normalize': 'zscore'},
        {'channels': 1},
    ],
    ids=str,
)
def test_a_picture_is_predicted_as_it_is_evaluated(tmp_path, changes):
    """All that decides about it is in model/: the labels are those of the run's evaluation."""
    from segjax.data.dataset import Source, make_sample
    from segjax.evaluate import Inference, SemanticEvaluation

    how = {'normalize': 'centered', 'channels': 3} | changes
    normalization, channels = how.pop('normalize'), how.pop('channels')
    image = picture((29, 46), channels)
    pipeline = EvalPipeline(batch_size=1, **how)

    class One(Source):
        normalize = normalization

        def __len__(self):
            return 1

        def __getitem__(self, index):
            label = np.zeros(image.shape[:2], np.int32)
            return make_sample(image, label, index=index, normalize=normalization)

        def name(self, index):
            return 'it'

        def size(self, index):
            return image.shape[:2]

    mean, std = normalize.statistics(normalization, image.dtype, channels=channels)
    evaluation = SemanticEvaluation(
        SAME,
        Semantic(),
        mean=mean,
        std=std,
        num_classes=3,
        inference=Inference.of(pipeline),
        devices=jax.devices()[:1],
    )
    batches = pipeline.batches(One(), rows=1, fill=mean)
    found = evaluation(draw(SAME, channels), batches, sample_ids=frozenset([0])).samples[0]
    network = segjax.load(write_run(tmp_path, normalize=normalization, channels=channels, **how))
    np.testing.assert_array_equal(network.predict(image).label, found.prediction)
    assert len(np.unique(found.prediction)) > 1


@pytest.mark.parametrize('normalization', ['centered', 'zscore'])
def test_blocks_of_an_unpadded_network_are_the_whole_picture(tmp_path, monkeypatch, normalization):
    """Cut where nothing is seen of the cut."""
    import segjax.predictor

    image = picture((300, 170))
    network = segjax.load(write_run(tmp_path, VALID, normalize=normalization))
    whole = network.predict(image).label
    monkeypatch.setattr(blocks, 'WINDOW', 192)
    monkeypatch.setattr(blocks, 'HALO', 64)
    monkeypatch.setattr(segjax.predictor, 'LIMIT', 1000)
    assert network.is_large(image.shape[:2])
    found = network.predict(image, probabilities=True)
    assert found.probabilities is None
    assert len(np.unique(whole)) > 1
    assert np.mean(found.label == whole) > 0.9998  # the last digits decide between equals


def test_blocks_cover_every_pixel_once():
    image = np.arange(2500 * 1100, dtype=np.float32).reshape(2500, 1100, 1)
    shapes = set()

    def itself(window):
        shapes.add(window.shape)
        return window[..., 0]

    np.testing.assert_array_equal(blocks.predict_in_blocks(image, itself), image[..., 0])
    assert shapes == {(1024, 1024, 1)}
    narrow = image[:, :7]
    np.testing.assert_array_equal(blocks.predict_in_blocks(narrow, itself), narrow[..., 0])
    assert (1024, 7, 1) in shapes


def test_several_runs_are_averaged(tmp_path):
    """Networks of other kinds, sizes and colours, too."""
    image = picture((40, 24))
    first = write_run(tmp_path / 'a', seed=1)
    second = write_run(tmp_path / 'b', VALID, seed=4, channels=1, round_to=16)
    gray = np.asarray(Image.fromarray(image).convert('L'))[..., None]
    wide = np.full((48, 32, 1), 128, np.uint8)
    wide[:40, :24] = gray
    wanted = expected(SAME, image, seed=1) + expected(VALID, wide, seed=4, channels=1)[:40, :24]
    found = segjax.load(first, second).predict(image, probabilities=True)
    np.testing.assert_allclose(found.probabilities, wanted / 2, atol=1e-5)
    other = write_run(tmp_path / 'c', info=Info(('a', 'b', 'c'), INFO.palette))
    with pytest.raises(UserError, match='other classes'):
        segjax.load(first, other)


class Square(nn.Module):
    """A detector that always finds the upper left quarter of the picture, and nothing beside it."""

    @nn.compact
    def __call__(self, image, *, train, sizes=None):
        self.param('brightness', nn.initializers.zeros, ())
        if sizes is None:
            sizes = jnp.asarray([image.shape[1:3]])
        h, w = sizes.astype(jnp.float32).T / 2
        box = jnp.stack([jnp.zeros_like(w), jnp.zeros_like(h), w, h], axis=-1)
        score = jnp.mean(image, axis=(1, 2, 3))
        two = lambda part: jnp.stack([part, part], axis=1)
        return Detections(
            boxes=two(box),
            scores=two(score),
            classes=jnp.full((len(image), 2), 2),
            masks=jnp.ones((len(image), 2, 4, 4)),
            valid=jnp.asarray([[True, False]] * len(image)),
        )


def test_a_detector_finds_objects_in_pixels_of_the_picture():
    """Seen twice as large and in a canvas, found at its own size; masks are pasted."""
    pipeline = DetectionEval(short=40, round_to=64)
    network = Network(Square(), Instance(), pipeline, 'unit', 3)
    variables = {'params': {'brightness': jnp.zeros(())}}
    image = np.full((20, 30, 3), 255, np.uint8)
    found = make_predictor([network], [variables], INFO, name='it').predict(image)
    np.testing.assert_allclose(found.boxes, [[0, 0, 15, 10]], atol=1e-4)
    np.testing.assert_allclose(found.scores, 40 * 60 / 64**2, atol=1e-5)  # the rest is black
    (mask,) = found.masks
    assert mask[2:8, 3:12].all() and not mask[12:].any() and not mask[:, 17:].any()
    np.testing.assert_array_equal(found.label, 2 * mask)
    assert found.classes.tolist() == [2] and list(found.shares) == ['background', 'wall']
    (object_,) = found.as_coco(7)
    assert object_['image_id'] == 7 and object_['bbox'] == [0, 0, 15, 10]
    assert (found.overlay() != 255).any() and found._repr_png_().startswith(b'\x89PNG')


def test_a_run_of_a_detector_is_loaded_and_not_averaged(tmp_path):
    run = write_run(tmp_path, Square(), task=Instance(), pipeline=DetectionEval())
    found = segjax.load(run)
    assert isinstance(found, Detector) and 'Square' in repr(found)
    with pytest.raises(UserError, match='for class maps'):
        found.predict(picture((50, 60)), probabilities=True)
    with pytest.raises(UserError, match='not averaged'):
        make_predictor(found.networks * 2, found.variables * 2, INFO, name='two')


def test_the_best_object_is_on_top():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 4, 2], [0, 0, 4, 2]], np.float32)
    found = Found(boxes, np.array([0.9, 0.8, 0.1]), np.array([1, 2, 3]), None)
    assert paint(found, (3, 4)).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [0, 0, 0, 0]]


def test_pictures_for_people(tmp_path):
    found = segjax.load(write_run(tmp_path)).predict(picture((20, 30)))
    assert found.overlay().shape == (20, 30, 3)
    assert found._repr_png_().startswith(b'\x89PNG')
    assert 'cell' in repr(segjax.load(tmp_path)) and 'UNet' in repr(segjax.load(tmp_path))


def test_importing_segjax_is_light():
    code = 'import segjax, sys; assert "load" in segjax.__all__ and "jax" not in sys.modules'
    subprocess.run([sys.executable, '-c', code], check=True)


def test_a_network_of_one_foreground_channel(tmp_path):
    model = dataclasses.replace(SAME, num_classes=1)
    info = Info(INFO.class_names[:2], INFO.palette[:2])
    found = segjax.load(write_run(tmp_path, model, info=info)).predict(picture((16, 16)))
    assert set(np.unique(found.label).tolist()) <= {0, 1}


def test_fcn_takes_any_size(tmp_path):
    model = FCN(3, stride=32, widths=(2, 2, 2, 2, 2), fc_features=4)
    network = segjax.load(write_run(tmp_path, model))
    assert network.predict(picture((33, 41))).label.shape == (33, 41)
