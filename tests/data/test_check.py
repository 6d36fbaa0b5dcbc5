"""check(): everything that is wrong with raw data, in one report."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data.check import check, median_frequency_weights
from segjax.data.dataset import Roots
from segjax.data.datasets.camvid import CamVid
from segjax.data.datasets.folder import Folder
from segjax.data.datasets.shapes import Shapes

SHARED = Path(__file__).parents[2] / '..' / 'shared' / 'data'


def save(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def test_median_frequency_by_hand():
    # class 0: 60 of 100, class 1: 30 of 100, class 2: 5 of 50; class 3 never occurs
    weights = median_frequency_weights(np.array([60, 30, 5, 0]), np.array([100, 100, 50, 0]))
    np.testing.assert_allclose(weights, [0.5, 1, 3, 0])


def test_all_that_is_bad_is_listed(tmp_path):
    folder = tmp_path / 'mine'
    folder.mkdir()
    (folder / 'classes.txt').write_text('ground\ncell\n')
    for split in ('train', 'val'):
        for name in 'abcdef':
            save(folder / split / 'images' / f'{name}.png', np.zeros((2, 2, 3)))
            save(folder / split / 'masks' / f'{name}.png', [[0, 0], [0, 1]])
    (folder / 'train/images/a.png').write_bytes(b'')
    save(folder / 'train/masks/b.png', [[0, 1, 0]])
    save(folder / 'train/masks/c.png', [[0, 7], [7, 1]])
    save(folder / 'train/masks/d.png', [[0, 255], [0, 255]])
    save(folder / 'val/masks/e.png', np.ones((2, 2, 3)))
    report = check(Folder(folder=str(folder)), Roots(tmp_path, tmp_path / 'data'))
    found = {str(Path(file).relative_to(folder)): text for file, text in report.problems}
    assert list(found) == [f'train/{f}.png' for f in ('images/a', 'masks/b', 'masks/c')] + [
        'val/masks/e.png',
        'train/masks/d.png',
    ]
    assert 'empty' in found['train/images/a.png']
    assert 'is 2x2 but its mask' in found['train/masks/b.png']
    assert '7 (2 pixels)' in found['train/masks/c.png']
    assert '--mask_values=0,255' in found['train/masks/d.png']
    assert 'in colour' in found['val/masks/e.png']
    assert report.counts == {'train': 6, 'val': 6}
    assert report.sizes == {(2, 2): 11}  # all but the unreadable one
    # the readable masks of train are those of a, d, e and f
    assert report.pixels.tolist() == [3 + 2 + 3 + 3, 3] and report.ignored == 2
    assert not (tmp_path / 'data').exists()  # nothing is prepared


def test_shapes_have_nothing_wrong():
    dataset = Shapes(size=32, radius=(4.0, 8.0), num_train=20, num_val=5)
    report = check(dataset, Roots(Path('/nonexistent'), Path('/nonexistent')))
    assert report.problems == []
    assert report.counts == {'train': 20, 'val': 5, 'test': 5}
    assert report.pixels.sum() == 20 * 32 * 32
    assert report.sizes == {(32, 32): 30}


@pytest.mark.skipif(not (SHARED / 'camvid').is_dir(), reason='no CamVid in ../shared/data')
def test_the_real_camvid_is_whole(tmp_path):
    report = check(CamVid(), Roots(SHARED, tmp_path))
    assert report.problems == []
    assert report.counts == {'train': 367, 'val': 101}
    assert report.sizes == {(360, 480): 468}
    # 367 frames of 480x360, void included
    assert report.pixels.sum() + report.ignored == 367 * 360 * 480
    # SegNet's published weights of the classes whose annotation has not changed since
    for name, weight in (
        ('Pole', 4.5640),
        ('Road', 0.1417),
        ('Fence', 1.8418),
        ('Pedestrian', 6.2478),
    ):
        ours = report.weights[report.class_names.index(name)]
        assert abs(ours / weight - 1) < 0.08
