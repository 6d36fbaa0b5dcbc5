"""ADE20K: ids, void, names, the two trees, and what is said when it is absent."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data.check import check
from segjax.data.dataset import Roots
from segjax.data.datasets import ade20k
from segjax.data.datasets.ade20k import Ade20k
from segjax.types import UserError

SHARED = Path(__file__).parents[3] / '../shared/data'
WORDS = {1: 'building, edifice', 58: 'screen door, screen', 150: 'flag'}


def write(images: Path, masks: Path, name: str, ids):
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    mask = np.array(ids, np.uint8)
    Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(images / f'{name}.jpg')
    Image.fromarray(mask).save(masks / f'{name}.png')


def write_names(path: Path, tab: str):
    rows = [tab.join(('Idx', 'Ratio', 'Name'))]
    rows += [tab.join((str(i), '0.1', WORDS.get(i, f'word{i}'))) for i in range(1, 151)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(rows))


@pytest.fixture
def roots(tmp_path):
    tree = tmp_path / 'raw/ade20k/ADEChallengeData2016'
    for part, names in (('training', 'ab'), ('validation', 'c')):
        for name in names:
            write(tree / 'images' / part, tree / 'annotations' / part, name, [[0, 1, 150, 13]])
    write_names(tree / 'objectInfo150.txt', '\t')
    return Roots(tmp_path / 'raw', tmp_path / 'data')


def test_classes_count_from_zero_and_other_objects_are_ignored(roots):
    source = Ade20k().source('train', roots)
    assert len(source) == 2
    np.testing.assert_array_equal(source[0].label, [[255, 0, 149, 12]])
    assert len(Ade20k().source('val', roots)) == 1
    assert check(Ade20k(), roots).problems == []


def test_names_are_the_first_words(roots):
    info = Ade20k().info(roots)
    assert info.class_names[0] == 'building'
    assert info.class_names[57] == 'screen door'
    assert info.class_names[149] == 'flag'
    assert len(set(info.class_names)) == len(set(info.palette)) == 150
    assert (0, 0, 0) not in info.palette


def test_counts_of_an_incomplete_tree_are_told(roots, capsys):
    Ade20k().source('train', roots)
    assert 'holds 2 pictures, the complete one 20210' in capsys.readouterr().out


def test_bad_masks_and_missing_ones_are_named(roots):
    tree = roots.raw_dir / 'ade20k/ADEChallengeData2016'
    write(tree / 'images/training', tree / 'annotations/training', 'b', [[151, 151, 0]])
    with pytest.raises(UserError, match=r'b\.png: ids outside 0\.\.150 .*151 \(2 pixels\)'):
        Ade20k().source('train', roots)
    (tree / 'annotations/training/b.png').unlink()
    with pytest.raises(UserError, match=r'1 of 2 masks are missing: b\.png'):
        Ade20k().source('train', roots)


def test_a_damaged_list_of_names_is_named(roots):
    path = roots.raw_dir / 'ade20k/ADEChallengeData2016/objectInfo150.txt'
    path.write_text('\n'.join(path.read_text().splitlines()[:80]))
    with pytest.raises(UserError, match=r'objectInfo150\.txt: is not the list of the 150 classes'):
        Ade20k().info(roots)


def test_a_list_of_names_in_another_encoding_is_named(roots):
    path = roots.raw_dir / 'ade20k/ADEChallengeData2016/objectInfo150.txt'
    path.write_bytes(path.read_bytes().replace(b'Name', b'Nam\xe9'))
    with pytest.raises(UserError, match=r'objectInfo150\.txt, line 1: is not UTF-8'):
        Ade20k().info(roots)


def test_absent_data_says_what_to_do(tmp_path):
    with pytest.raises(UserError) as error:
        Ade20k().source('train', Roots(tmp_path, tmp_path / 'data'))
    for part in ('ADE20K is not in', str(tmp_path / 'ade20k'), ade20k.URL, 'fcn8s_shapes'):
        assert part in str(error.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason='no ADE20K samples in ../shared/data')
def test_the_samples_are_read(tmp_path):
    roots, dataset = Roots(SHARED, tmp_path), Ade20k(raw='ade20k_samples')
    assert dataset.splits(roots) == ('val',)
    assert check(dataset, roots).problems == []
    source = dataset.source('val', roots)
    assert [source.size(i) for i in range(3)] == [(512, 683), (364, 500), (300, 400)]
    ids = set().union(*(np.unique(source[i].label).tolist() for i in range(3)))
    assert len(ids - {255}) == 15
    names = dataset.info(roots).class_names  # the list of the samples has ; for every blank
    assert names[:3] == ('wall', 'building', 'sky')
    assert (names[58], names[130]) == ('screen 59', 'screen 131')
    assert len(set(names)) == 150
