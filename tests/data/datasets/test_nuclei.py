"""Nuclei: objects from many masks, boundaries, and a split that keeps look-alikes together."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data import folds
from segjax.data.dataset import Roots
from segjax.data.datasets.nuclei import Nuclei, _Look, modality, split_by_look
from segjax.types import UserError

SHARED = Path(__file__).parents[3] / '..' / 'shared' / 'data'


def write(raw: Path, name: str, image: np.ndarray, masks: list[np.ndarray]):
    folder = raw / 'stage1_train' / name
    for part in ('images', 'masks'):
        (folder / part).mkdir(parents=True)
    Image.fromarray(image).convert('RGBA').save(folder / 'images' / f'{name}.png')
    for i, mask in enumerate(masks):
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / 'masks' / f'{i}.png')


def squares(*, overlap=False):
    """Two touching squares, 4x4 and 5x5 pixels, in a picture of 9x12; or one over the other."""
    large, small = np.zeros((2, 9, 12), bool)
    large[1:6, 1:6] = True
    small[1:5, 5 if overlap else 6 : 9 if overlap else 10] = True
    return [small, large]


@pytest.fixture
def roots(tmp_path):
    """Dark pictures of two kinds, and one of colour."""
    for i in range(4):
        bright = np.full((9, 12, 3), (10, 60)[i % 2], np.uint8)
        write(tmp_path / 'raw' / 'dsb2018', f'dark{i}', bright, squares(overlap=i == 0))
    coloured = np.full((9, 12, 3), (200, 120, 180), np.uint8)
    write(tmp_path / 'raw' / 'dsb2018', 'tissue', coloured, squares())
    return Roots(tmp_path / 'raw', tmp_path / 'data')


def by_name(source):
    return {Path(source.name(i)).stem: i for i in range(len(source))}


def test_objects_and_classes(roots):
    source = Nuclei(val_share=0.5).source('train', roots)
    assert {source.group(i) for i in range(len(source))} == {'fluorescence', 'stained'}
    sample = source[by_name(source)['tissue']]
    np.testing.assert_array_equal(sample.label, sum(squares()))
    assert [int(mask.sum()) for mask in sample.instances.masks] == [25, 16]


def test_the_smaller_of_two_has_the_pixels_of_both(roots):
    dataset = Nuclei()
    (pair,) = (p for s in ('train', 'val') for p in dataset.pairs(s, roots) if p.name == 'dark0')
    objects = dataset.read_objects(pair, roots)
    assert [(objects == number).sum() for number in (1, 2)] == [25 - 4, 16]


def test_the_boundary_is_a_class_of_its_own(roots):
    dataset = Nuclei(target='boundary', val_share=0.5)
    assert dataset.info(roots).class_names == ('background', 'nucleus', 'boundary')
    source = dataset.source('train', roots)
    label = source[by_name(source)['tissue']].label
    assert np.bincount(label.ravel()).tolist() == [9 * 12 - 41, 9 + 4, 41 - 13]


def test_look_alikes_stay_together(roots):
    train, val = (by_name(Nuclei(val_share=0.5).source(s, roots)) for s in ('train', 'val'))
    assert set(train) | set(val) == {'dark0', 'dark1', 'dark2', 'dark3', 'tissue'}
    assert set(val) in ({'dark0', 'dark2'}, {'dark1', 'dark3'})  # the one stained group is train's


def test_look_alikes_have_one_look(roots):
    looks = {}
    for split in ('train', 'val'):
        source = Nuclei(val_share=0.5).source(split, roots)
        looks |= {name: source.look(i) for name, i in by_name(source).items()}
    assert looks['dark0'] == looks['dark2'] != looks['dark1'] == looks['dark3']
    assert looks['tissue'] not in (looks['dark0'], looks['dark1'])


def test_look_alikes_are_in_one_fold(roots):
    source = Nuclei(val_share=0.01).source('train', roots)  # all five
    evaluated = [folds.cut(source, folds=3, fold=fold)[1] for fold in range(3)]
    assert [sorted(by_name(part)) for part in evaluated] == [
        ['dark0', 'dark2'],
        ['dark1', 'dark3'],
        ['tissue'],
    ]


def test_chains_of_near_pictures_are_one_group():
    looks = [_Look('fluorescence', (9, 9), (0.2 * i,)) for i in range(6)]
    far = [_Look('fluorescence', (9, 9), (5.0 + i,)) for i in range(6)]
    names = [f'{i}' for i in range(12)]
    val = split_by_look(names, looks + far, 0.4)
    assert len(val) == 4 and val <= set(names[6:])  # the chain of six is too long
    assert split_by_look(names, looks + far, 0.5) in (set(names[6:]), set(names[:6]))


def test_size_and_modality_part_pictures():
    looks = [
        _Look(part, (size, 9), (0.0,)) for part in ('stained', 'fluorescence') for size in (8, 9)
    ]
    val = split_by_look(list('abcd'), looks, 0.5)
    assert len(val & set('ab')) == len(val & set('cd')) == 1


def test_modalities():
    assert modality(np.full((4, 4, 3), 20, np.uint8)) == 'fluorescence'
    assert modality(np.full((4, 4, 3), 220, np.uint8)) == 'bright-field'
    assert modality(np.full((4, 4, 3), (200, 120, 180), np.uint8)) == 'stained'


def test_absent_data_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r'not in .*dsb2018') as error:
        Nuclei().source('train', Roots(tmp_path, tmp_path / 'data'))
    assert 'BBBC038' in str(error.value) and 'needs no data' in str(error.value)


def test_masks_that_do_not_fit_are_named(roots):
    folder = roots.raw_dir / 'dsb2018' / 'stage1_train' / 'dark1' / 'masks'
    Image.new('L', (3, 3)).save(folder / '0.png')
    with pytest.raises(UserError, match='dark1/masks: the masks are of different sizes'):
        Nuclei(val_share=0.5).source('train', roots)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(UserError, match='dark1/masks: holds no mask'):
        Nuclei(val_share=0.5).source('train', roots)


@pytest.mark.skipif(not (SHARED / 'dsb2018').is_dir(), reason='no dsb2018 in ../shared/data')
def test_a_real_picture(tmp_path):
    roots = Roots(SHARED, tmp_path)
    dataset = Nuclei()
    assert len(dataset.raw_files(roots)) == 100 + 4354
