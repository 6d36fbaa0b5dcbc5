"""Cityscapes: the layout, the ids that are evaluated, and what is said when it is absent."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.cityscapes import CLASSES, Cityscapes
from segjax.types import UserError

IDS = np.array([[7, 8, 33, 0, 9], [33, 24, 29, 30, 255]], np.uint8)  # 29, 30: caravan, trailer
LABEL = np.array([[0, 1, 18, 255, 255], [18, 11, 255, 255, 255]])


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def roots(tmp_path):
    folder = tmp_path / 'raw' / 'cityscapes'
    for split, cities in (('train', ('ulm', 'aachen')), ('val', ('munster',))):
        for city in cities:
            for i in (19, 18):
                stem = f'{city}_000000_0000{i}'
                picture = folder / 'leftImg8bit' / split / city / f'{stem}_leftImg8bit.png'
                write(picture, np.zeros((*IDS.shape, 3), np.uint8))
                masks = folder / 'gtFine' / split / city
                write(masks / f'{stem}_gtFine_labelIds.png', IDS)
                write(masks / f'{stem}_gtFine_color.png', np.zeros((*IDS.shape, 4), np.uint8))
    return Roots(tmp_path / 'raw', tmp_path / 'data')


def test_ids_become_train_ids_and_cities_are_sorted(roots, capsys):
    source = Cityscapes().source('train', roots)
    assert len(source) == 4
    assert 'aachen_000000_000018' in source.name(0) and 'ulm_000000_000019' in source.name(3)
    np.testing.assert_array_equal(source[0].label, LABEL)
    assert 'holds 4 pictures, the complete one 2975' in capsys.readouterr().out
    assert len(Cityscapes().source('val', roots)) == 2


def test_nineteen_classes_as_in_the_paper():
    names, palette = Cityscapes().info(Roots(Path(), Path()))
    assert len(names) == len(set(palette)) == 19
    assert (names[0], names[10], names[18]) == ('road', 'sky', 'bicycle')
    ids = [label_id for label_id, _ in CLASSES.values()]
    assert ids == sorted(set(ids))


def test_train_ids_serve_where_they_are_all_there_is(roots):
    folder = roots.raw_dir / 'cityscapes' / 'gtFine' / 'val' / 'munster'
    for path in folder.glob('*_labelIds.png'):
        path.unlink()
        write(
            path.with_name(path.name.replace('labelIds', 'labelTrainIds')), LABEL.astype(np.uint8)
        )
    np.testing.assert_array_equal(Cityscapes().source('val', roots)[1].label, LABEL)


def test_absent_data_says_what_to_do(tmp_path):
    with pytest.raises(UserError) as error:
        Cityscapes().source('train', Roots(tmp_path, tmp_path / 'data'))
    message = str(error.value)
    for part in (str(tmp_path / 'cityscapes'), 'cityscapes-dataset.com', 'unzip', 'gtFine/val'):
        assert part in message


def test_bad_and_missing_masks_are_named(roots):
    mask = next((roots.raw_dir / 'cityscapes/gtFine/val/munster').glob('*18_gtFine_labelIds.png'))
    write(mask, np.full(IDS.shape, 34, np.uint8))
    with pytest.raises(UserError, match=r'18_gtFine_labelIds\.png: ids outside 0\.\.33 and 255'):
        Cityscapes().source('val', roots)
    mask.unlink()
    with pytest.raises(UserError, match=r'18_gtFine_labelIds\.png is missing'):
        Cityscapes().source('val', roots)
