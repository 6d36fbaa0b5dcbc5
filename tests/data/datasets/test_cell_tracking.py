"""Films of the Cell Tracking Challenge: a film a split, 16-bit numbers of cells."""

import numpy as np
import pytest
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.cell_tracking import CellTracking
from segjax.types import UserError

CELLS = np.array([[0, 300, 300], [7, 0, 0]], np.uint16)


@pytest.fixture
def roots(tmp_path):
    """Three frames a film, two of them segmented."""
    for film in ('01', '02'):
        folder = tmp_path / 'cell_tracking' / 'PhC-C2DH-U373'
        (folder / film).mkdir(parents=True)
        (folder / f'{film}_GT' / 'SEG').mkdir(parents=True)
        for frame in range(3):
            image = np.full((2, 3), 10 * int(film) + frame, np.uint8)
            Image.fromarray(image).save(folder / film / f't{frame:03}.tif')
        for frame in (0, 2):
            file = folder / f'{film}_GT' / 'SEG' / f'man_seg{frame:03}.tif'
            Image.fromarray(CELLS).save(file)
    return Roots(tmp_path, tmp_path / 'data')


def test_segmented_frames_of_a_film(roots):
    train, val = (CellTracking().source(split, roots) for split in ('train', 'val'))
    assert [int(train[i].image[0, 0, 0]) for i in range(len(train))] == [10, 12]
    assert [int(val[i].image[0, 0, 0]) for i in range(len(val))] == [20, 22]
    np.testing.assert_array_equal(train[0].label, CELLS > 0)
    assert [int(mask.sum()) for mask in train[0].instances.masks] == [1, 2]
    assert CellTracking(val_film='01').pairs('val', roots) == CellTracking().pairs('train', roots)


def test_the_separation_weights_reach_the_sample(roots):
    weight = CellTracking(separation=10.0, sigma=5.0).source('train', roots)[0].weight
    assert weight.shape == (2, 3) and weight.dtype == np.float32
    near = 1 + 10 * np.exp(-((1 + 1) ** 2) / 50)  # beside a pixel of either cell
    np.testing.assert_allclose(weight[0, 0], near, rtol=1e-6)
    np.testing.assert_array_equal(weight[CELLS > 0], 1)
    assert CellTracking().source('train', roots)[0].weight is None


def test_weights_of_cells_and_background_reach_the_sample(roots):
    def weight(**fields):
        return CellTracking(cell_weights=(0.5, 2.0), **fields).source('train', roots)[0].weight

    np.testing.assert_array_equal(weight(), np.where(CELLS > 0, 2, 0.5))
    near = 0.5 + 10 * np.exp(-((1 + 1) ** 2) / 50)  # a sum: the separation is not multiplied
    np.testing.assert_allclose(weight(separation=10.0)[0, 0], near, rtol=1e-6)
    with pytest.raises(UserError, match=r'--cell_weights=1\.0,-1\.0: must be at least 0'):
        CellTracking(cell_weights=(1.0, -1.0))
    with pytest.raises(UserError, match=r'--sigma=0\.0'):
        CellTracking(separation=10.0, sigma=0.0)


def test_a_missing_frame_is_named(roots):
    (roots.raw_dir / 'cell_tracking' / 'PhC-C2DH-U373' / '01' / 't002.tif').unlink()
    with pytest.raises(UserError, match=r't002\.tif is missing'):
        CellTracking().source('train', roots)


def test_absent_data_says_what_to_do(roots):
    with pytest.raises(UserError, match='DIC-C2DH-HeLa of the Cell Tracking Challenge') as error:
        CellTracking(film_set='DIC-C2DH-HeLa').source('train', roots)
    assert 'DIC-C2DH-HeLa.zip' in str(error.value)
