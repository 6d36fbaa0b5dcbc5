"""Oxford-IIIT Pet: lists, trimaps, and the tenth that is val."""

import numpy as np
import pytest
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.pets import Pets
from segjax.types import UserError

TRIMAP = np.array([[1, 2, 3], [2, 2, 3]], np.uint8)


@pytest.fixture
def roots(tmp_path):
    """Thirty pictures for training, three for the test; others that no list names."""
    folder = tmp_path / 'raw' / 'pets'
    (folder / 'images').mkdir(parents=True)
    (folder / 'annotations' / 'trimaps').mkdir(parents=True)
    names = {'trainval': [f'Sphynx_{i}' for i in range(30)], 'test': [f'pug_{i}' for i in range(3)]}
    for split, listed in names.items():
        lines = ['#Image CLASS-ID SPECIES BREED ID', *(f'{name} 1 1 1' for name in listed)]
        (folder / 'annotations' / f'{split}.txt').write_text('\n'.join(lines) + '\n')
        for name in [*listed, f'._{split}']:
            Image.new('RGB', (3, 2), (90, 60, 30)).save(folder / 'images' / f'{name}.jpg')
            Image.fromarray(TRIMAP).save(folder / 'annotations' / 'trimaps' / f'{name}.png')
    return Roots(tmp_path / 'raw', tmp_path / 'data')


def test_splits(roots):
    names = {s: {pair.name for pair in Pets().pairs(s, roots)} for s in Pets().splits(roots)}
    assert {split: len(n) for split, n in names.items()} == {
        'train': 27, 'val': 3, 'trainval': 30, 'test': 3
    }  # fmt: skip
    assert names['train'] | names['val'] == names['trainval']
    assert len(Pets().source('val', roots)) == 3


@pytest.mark.parametrize(
    'border, expected, classes',
    [
        ('pet', [[1, 0, 1], [0, 0, 1]], 2),
        ('ignored', [[1, 0, 255], [0, 0, 255]], 2),
        ('class', [[1, 0, 2], [0, 0, 2]], 3),
    ],
)
def test_the_border_of_a_trimap(roots, border, expected, classes):
    dataset = Pets(border=border)
    np.testing.assert_array_equal(dataset.source('test', roots)[0].label, expected)
    assert len(dataset.info(roots).class_names) == classes


def test_other_values_and_missing_files_are_named(roots):
    trimaps = roots.raw_dir / 'pets' / 'annotations' / 'trimaps'
    Image.fromarray(TRIMAP + 1).save(trimaps / 'pug_1.png')
    with pytest.raises(UserError, match=r'pug_1\.png: holds other values'):
        Pets().source('test', roots)
    (trimaps / 'pug_1.png').unlink()
    with pytest.raises(UserError, match=r'pug_1\.png is missing'):
        Pets().source('test', roots)


def test_absent_data_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r'Pet is not in .*pets') as error:
        Pets().source('train', Roots(tmp_path, tmp_path / 'data'))
    assert 'curl -L https://' in str(error.value)
