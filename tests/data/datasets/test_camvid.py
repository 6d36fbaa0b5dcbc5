"""CamVid: the layout, the void class, and what is said when it is absent."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.camvid import CLASSES, CamVid
from segjax.types import UserError

SHARED = Path(__file__).parents[3] / '..' / 'shared' / 'data'


def write(folder: Path, name: str, mask: np.ndarray):
    for directory, array in (('', np.zeros((*mask.shape, 3), np.uint8)), ('annot', mask)):
        path = Path(f'{folder}{directory}') / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


@pytest.fixture
def roots(tmp_path):
    for split in ('train', 'val'):
        for i in (2, 1):
            write(
                tmp_path / 'raw' / 'camvid' / split, f'f{i}.png', np.array([[i, 11, 10]], np.uint8)
            )
    return Roots(tmp_path / 'raw', tmp_path / 'data')


def test_void_is_ignored_and_records_are_sorted(roots):
    source = CamVid().source('train', roots)
    assert [Path(source.name(i)).name for i in range(2)] == ['f1.png', 'f2.png']
    np.testing.assert_array_equal(source[0].label, [[1, 255, 10]])
    assert source[0].label.dtype == np.int32
    assert source.size(0) == (1, 3)


def test_prepared_once_and_again_when_a_file_changes(roots, capsys):
    CamVid().source('train', roots)
    assert 'Preparing' in capsys.readouterr().out
    CamVid(normalize='unit', channels=1).source('val', roots)  # neither changes the records
    assert capsys.readouterr().out == ''
    write(roots.raw_dir / 'camvid' / 'val', 'f1.png', np.array([[5, 5, 5, 5]], np.uint8))
    np.testing.assert_array_equal(CamVid().source('val', roots)[0].label, [[5, 5, 5, 5]])
    assert 'Preparing' in capsys.readouterr().out
    assert len(list((roots.data_dir / 'camvid').iterdir())) == 1  # the old records are gone


def test_records_outlive_the_raw_files(roots):
    CamVid().source('train', roots)
    (roots.raw_dir / 'camvid').rename(roots.raw_dir / 'elsewhere')
    assert len(CamVid().source('train', roots)) == 2


def test_truncated_records_are_prepared_again(roots):
    CamVid().source('train', roots)
    file = next(roots.data_dir.rglob('*train.array_record*'))
    file.write_bytes(file.read_bytes()[:-10])
    assert len(CamVid().source('train', roots)) == 2


def test_absent_data_says_what_to_do(tmp_path):
    with pytest.raises(UserError) as error:
        CamVid().source('train', Roots(tmp_path, tmp_path / 'data'))
    message = str(error.value)
    for part in ('CamVid is not in', str(tmp_path / 'camvid'), 'github.com', 'fcn8s_shapes'):
        assert part in message


def test_a_bad_mask_is_named(roots):
    folder = roots.raw_dir / 'camvid' / 'train'
    write(folder, 'f1.png', np.array([[1, 12, 12]], np.uint8))
    with pytest.raises(UserError, match=r'f1\.png: ids outside 0\.\.10 and 255.*12 \(2 pixels\)'):
        CamVid().source('train', roots)
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(Path(f'{folder}annot') / 'f1.png')
    with pytest.raises(UserError, match=r'f1\.png is 3x1 but its mask .* is 3x2'):
        CamVid().source('train', roots)


def test_unknown_split(roots):
    with pytest.raises(UserError, match="no split 'test', only train, val"):
        CamVid().source('test', roots)


@pytest.mark.skipif(not (SHARED / 'camvid').is_dir(), reason='no CamVid in ../shared/data')
def test_the_real_frames(tmp_path):
    dataset = CamVid()
    roots = Roots(SHARED, tmp_path)
    assert [len(dataset.pairs(split, roots)) for split in ('train', 'val')] == [367, 101]
    pair = dataset.pairs('val', roots)[0]
    label = dataset.read_label(pair, roots)
    assert label.shape == (360, 480)
    assert set(np.unique(label).tolist()) <= {*range(len(CLASSES)), 255}
