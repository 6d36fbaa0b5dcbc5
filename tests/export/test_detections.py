"""A detector as a file for JAX alone: the same objects as segjax's own prediction."""

import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import segjax
from segjax.config import RunOptions
from segjax.data import normalize
from segjax.data.detection import DetectionEval
from segjax.export import detections
from segjax.export.archive import make_programs
from segjax.models import MaskRCNN
from segjax.modes import export as export_mode
from segjax.predictor import Network, make_predictor
from segjax.tasks import Instance
from segjax.types import UserError
from tests.model_folders import INFO, picture, write_run

SMALL = MaskRCNN(
    3,
    backbone='resnet18',
    backbone_width=2,
    width=4,
    fc_features=4,
    norm='batch',
    anchor_sizes=(8, 16, 32, 64, 128),
    pre_nms=10,
    post_nms=8,
    max_detections=5,
    detection_candidates=12,
)
SIZE = (52, 70)

BLOCKED = """
import sys
for name in ('segjax', 'flax', 'optax', 'orbax', 'grain', 'cv2', 'PIL', 'pycocotools'):
    sys.modules[name] = None
import numpy as np
for number in (0, 1):
    picture = np.load(f'picture{number}.npy')
"""
SAVE = "\n    np.savez(f'found{number}.npz', **found, pasted=masks)\n"


def test_the_recipe_of_a_published_folder_finds_what_segjax_finds(tmp_path):
    """A picture that fills the program's array, and a smaller one; where segjax is not."""
    run = write_run(tmp_path / 'run', SMALL, task=Instance(), pipeline=DetectionEval())
    options = RunOptions(mode='export', workdir=run, sizes=('52x70',))
    assert export_mode.run(None, options) == 0
    folder = run / 'export'
    text = (folder / 'README.md').read_text().partition('flatbuffers and numpy:\n\n')[2]
    recipe = text.partition('\n\n`picture` is uint8 `h w 3`, no larger than')[0]
    pictures = [picture(SIZE), picture((40, 66), seed=5)]
    for number, image in enumerate(pictures):
        np.save(folder / f'picture{number}.npy', image)
    script = BLOCKED + recipe + SAVE
    subprocess.run([sys.executable, '-c', script], cwd=folder, check=True, capture_output=True)
    published = segjax.load(folder)
    for number, image in enumerate(pictures):
        expected, found = published.predict(image), np.load(folder / f'found{number}.npz')
        assert len(expected.boxes) > 1
        np.testing.assert_array_equal(found['classes'], expected.classes)
        np.testing.assert_array_equal(found['pasted'], expected.masks)
        np.testing.assert_allclose(found['boxes'], expected.boxes, atol=1e-4)
        np.testing.assert_allclose(found['scores'], expected.scores, atol=1e-6)
        assert found['valid'].all() and found['masks'].shape[1:] == (28, 28)
    with zipfile.ZipFile(folder / 'network.zip') as file:
        about = json.loads(file.read('about.json'))
    assert about['programs'] == ['52x70', '52x70.mask']
    assert about['capacities']['max_detections'] == 5
    assert about['canvases'] == {'52x70': [64, 96]}


def network(pipeline, normalization='caffe'):
    return Network(SMALL, Instance(), pipeline, normalization, channels=3)


FEEDS = {
    'as it is': (DetectionEval(), SIZE, (40, 33)),
    'larger': (DetectionEval(short=80), SIZE, SIZE),
    'larger, a part': (DetectionEval(short=80), SIZE, (40, 45)),
    'smaller': (DetectionEval(short=32, rounding='nearest'), SIZE, (51, 69)),
    'means of blocks': (DetectionEval(short=16), SIZE, (49, 68)),
    'by the longer side': (DetectionEval(long=33), SIZE, (40, 66)),
    'canvases': (DetectionEval(short=30, canvases=((64, 64), (32, 64))), SIZE, (37, 69)),
}


@pytest.mark.parametrize('normalization', ['caffe', 'zscore'])
@pytest.mark.parametrize(('pipeline', 'largest', 'size'), FEEDS.values(), ids=FEEDS.keys())
def test_pictures_are_resized_inside_within_a_grey_level(pipeline, largest, size, normalization):
    """What lies beside the picture does not matter."""
    array = np.random.default_rng(1).integers(0, 256, (*largest, 3), np.uint8)
    image = array[: size[0], : size[1]] = picture(size)
    feed = jax.jit(detections.feed, static_argnums=0)
    fed, seen = feed(network(pipeline, normalization), array, np.array(size, np.int32))
    assert tuple(seen.tolist()) == pipeline.fitted(size)
    if normalization == 'zscore':
        image = normalize.zscore(image)
    fill = normalize.fill(normalization, image.dtype)
    expected = pipeline.place_image(image, pipeline.canvas(largest), fill)
    assert fed.dtype == expected.dtype
    level = 1 if normalization == 'caffe' else 1 / picture(size).std(axis=(0, 1)).min()
    np.testing.assert_allclose(np.asarray(fed, float), expected.astype(float), atol=level)


def test_sizes_are_those_of_the_host_to_the_pixel():
    """Also where floating point numbers, not arithmetic, decide: 97 * (800 / 97) < 800."""
    for rounding in ('down', 'nearest'):
        pipeline = DetectionEval(short=800, rounding=rounding)
        place = jax.jit(lambda size, how=pipeline: detections._fitted(how, size, (1344, 1344))[0])
        sizes = [
            (97, 161),
            (322, 305),
            (480, 640),
            (1, 9),
            (97, 400),
            *[(100, n) for n in range(298, 330)],
        ]
        for size in sizes:
            found = place(np.array(size, np.int32))
            assert tuple(found.tolist()) == pipeline.fitted(size)


def test_an_upright_picture_on_a_canvas_that_lies_is_made_smaller():
    """640 x 480 would be 1066 x 800; 800 rows leave 600 columns. 100 x 400 is cut nowhere."""
    pipeline = DetectionEval(short=800)
    place = jax.jit(lambda size: detections._fitted(pipeline, size, (800, 1088)))
    assert place(np.array((640, 480), np.int32))[0].tolist() == [800, 600]
    assert place(np.array((100, 400), np.int32))[0].tolist() == [272, 1088]


def test_boxes_are_scaled_and_clipped_and_may_vanish():
    boxes = jnp.array([[0, 2, 8, 6], [9, 0, 12, 4], [12, 0, 13, 4]], jnp.float32)
    found, some = detections._rescale(boxes, jnp.array([10, 12]), jnp.array([5, 24]))
    assert found.tolist() == [[0, 1, 16, 3], [18, 0, 24, 2], [24, 0, 24, 2]]
    assert some.tolist() == [True, True, False]


def test_a_detector_without_sizes_is_refused_with_the_reason():
    predictor = make_predictor([network(DetectionEval())], [{}], INFO, name='it')
    with pytest.raises(UserError, match='anchors and regions are counted when it is made'):
        make_programs(predictor, [])
