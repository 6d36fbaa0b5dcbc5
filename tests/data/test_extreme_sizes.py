"""Pictures of one pixel, of one row and of one column pass through every part of the pipelines."""

import numpy as np
import pytest
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.folder import Folder
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, Rotate, ScaleJitter, Turn

SIZES = ((1, 1), (1, 100), (100, 1), (2, 200))


@pytest.fixture
def source(tmp_path):
    for kind in ('images', 'masks', 'splits'):
        (tmp_path / kind).mkdir()
    (tmp_path / 'classes.txt').write_text('ground\ncell\n')
    for split in ('train', 'val'):
        (tmp_path / f'splits/{split}.txt').write_text('\n'.join(map(str, range(len(SIZES)))))
    for number, size in enumerate(SIZES):
        Image.fromarray(np.full((*size, 3), 200, np.uint8)).save(tmp_path / f'images/{number}.png')
        Image.fromarray(np.ones(size, np.uint8)).save(tmp_path / f'masks/{number}.png')
    return Folder(folder=str(tmp_path)).source('train', Roots(tmp_path, tmp_path / 'records'))


@pytest.mark.parametrize('pad', ['constant', 'reflect'])
def test_training_pads_and_crops_them(source, pad):
    transforms = (ScaleJitter(0.3, 2.0), Flip(), Turn(), Rotate(30))
    pipeline = TrainPipeline(batch_size=4, crop=(8, 16), transforms=transforms, pad=pad, margin=2)
    batches = pipeline.batches(source, seed=0, num_threads=0)
    for _ in range(5):
        batch = next(batches)
        assert batch.image.shape == (4, 8, 16, 3) and batch.label.shape == (4, 8, 16)
        assert set(np.unique(batch.label)) <= {1, 255}
        inside = batch.label == 1
        assert inside.any() and (batch.image[inside] >= 100).all()


@pytest.mark.parametrize('round_to', [1, 32])
@pytest.mark.parametrize('scale', [0.25, 1])
def test_evaluation_keeps_every_pixel_of_their_labels(source, round_to, scale):
    pipeline = EvalPipeline(round_to=round_to, scale=scale)
    sizes = []
    for batch in pipeline.batches(source, rows=1, num_threads=0):
        height, width = batch.size[0]
        sizes.append((height, width))
        assert min(batch.image.shape[1:3]) >= 1
        assert (batch.label == 1).sum() == height * width
    assert sorted(sizes) == sorted(SIZES)
