"""Pascal VOC: lists, palettes, void, SBD, the official tar, and what is said when it is absent."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from segjax.data.check import check
from segjax.data.dataset import Roots
from segjax.data.datasets import voc
from segjax.data.datasets.voc import CLASSES, Voc
from segjax.types import UserError

SAMPLES = Path(__file__).parents[3] / '..' / 'shared' / 'data' / 'voc_samples'
LISTS = {'train': ('b', 'a'), 'val': ('c', 'd')}


def write_mask(path: Path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(ids, np.uint8))
    image.putpalette(np.array(voc.color_map(256), np.uint8).tobytes())
    assert image.mode == 'P'
    image.save(path)


def write_image(path: Path, size=(1, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)


def write_list(path: Path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(names) + '\n')


def make_tree(tree: Path):
    """Pictures a, b in train, c, d in val; e and f have no mask of VOC's."""
    for split, names in LISTS.items():
        write_list(tree / 'ImageSets/Segmentation' / f'{split}.txt', names)
    write_list(tree / 'ImageSets/Segmentation/trainval.txt', 'abcd')
    for i, name in enumerate('abcdef', start=1):
        write_image(tree / 'JPEGImages' / f'{name}.jpg')
        if name < 'e':
            write_mask(tree / 'SegmentationClass' / f'{name}.png', [[0, 255, 20, i]])


def make_sbd(tree: Path):
    """All of SBD's masks say 7; its train is a, c, e and its val d, f."""
    for split, names in (('train', 'ace'), ('val', 'df')):
        write_list(tree / f'{split}.txt', names)
        for name in names:
            write_image(tree / 'img' / f'{name}.jpg')
            (tree / 'cls').mkdir(exist_ok=True)
            mask = np.full((1, 4), 7, np.uint8)
            struct = {'GTcls': {'Segmentation': mask, 'CategoriesPresent': np.array([7])}}
            scipy.io.savemat(tree / 'cls' / f'{name}.mat', struct)


@pytest.fixture
def roots(tmp_path):
    make_tree(tmp_path / 'raw/voc2012/VOCdevkit/VOC2012')
    return Roots(tmp_path / 'raw', tmp_path / 'data')


@pytest.fixture
def with_sbd(roots):
    make_sbd(roots.raw_dir / 'sbd/benchmark_RELEASE/dataset')
    return roots


def names(split, roots, dataset=None):
    return [pair.name for pair in (dataset or Voc(sbd='sbd')).pairs(split, roots)]


def test_palette_indices_are_ids_and_255_is_void(roots):
    source = Voc().source('train', roots)
    assert [Path(source.name(i)).stem for i in range(2)] == ['a', 'b']
    np.testing.assert_array_equal(source[0].label, [[0, 255, 20, 1]])
    assert source[0].label.dtype == np.int32
    assert source.normalize == 'imagenet'


def test_a_small_tree_is_taken_with_a_note(roots, capsys):
    Voc().source('val', roots)
    assert 'holds 2 pictures, the complete one 1449' in capsys.readouterr().out


def test_splits_without_and_with_sbd(with_sbd):
    assert Voc().splits(with_sbd) == ('train', 'val', 'trainval')
    dataset = Voc(sbd='sbd')
    assert dataset.splits(with_sbd) == ('train', 'val', 'trainval', 'sbdtrain', 'trainaug')
    assert len(Voc().source('trainval', with_sbd)) == 4
    assert names('sbdtrain', with_sbd) == ['a', 'c', 'e']
    assert names('trainaug', with_sbd) == ['a', 'b', 'e', 'f']  # no picture of val


def test_trainaug_prefers_the_masks_of_voc(with_sbd):
    source = Voc(sbd='sbd').source('trainaug', with_sbd)
    np.testing.assert_array_equal(source[0].label, [[0, 255, 20, 1]])
    np.testing.assert_array_equal(source[2].label, [[7, 7, 7, 7]])
    own = Voc(sbd='sbd').source('sbdtrain', with_sbd)
    np.testing.assert_array_equal(own[0].label, [[7, 7, 7, 7]])


def test_seg11valid_is_computed_or_read(with_sbd):
    tree = with_sbd.raw_dir / 'voc2012/VOCdevkit'
    write_list(tree / 'VOC2011/ImageSets/Segmentation/val.txt', 'acd')
    assert 'seg11valid' in Voc(sbd='sbd').splits(with_sbd)
    assert names('seg11valid', with_sbd) == ['d']  # a and c are in SBD's train
    assert 'seg11valid' not in Voc().splits(with_sbd)
    write_list(tree / 'VOC2012/ImageSets/Segmentation/seg11valid.txt', 'cd')
    assert names('seg11valid', with_sbd, Voc()) == ['c', 'd']
    assert len(Voc().source('seg11valid', with_sbd)) == 2


def test_a_changed_list_is_noticed(roots):
    assert len(Voc().source('train', roots)) == 2
    lists = roots.raw_dir / 'voc2012/VOCdevkit/VOC2012/ImageSets/Segmentation'
    write_list(lists / 'train.txt', 'abc')
    assert len(Voc().source('train', roots)) == 3


def test_the_tree_may_lie_higher(tmp_path):
    make_tree(tmp_path / 'voc2012/VOC2012')
    assert len(Voc().source('train', Roots(tmp_path, tmp_path / 'data'))) == 2


def test_a_missing_picture_or_mask_is_named(roots):
    tree = roots.raw_dir / 'voc2012/VOCdevkit/VOC2012'
    (tree / 'SegmentationClass/b.png').unlink()
    with pytest.raises(UserError, match='1 of 2 masks of the split train are missing: b'):
        Voc().source('train', roots)
    (tree / 'JPEGImages/a.jpg').unlink()
    with pytest.raises(UserError, match='1 of 2 pictures of the split train are missing: a'):
        Voc().source('train', roots)


def test_bad_masks_are_named(with_sbd):
    tree = with_sbd.raw_dir / 'voc2012/VOCdevkit/VOC2012'
    write_mask(tree / 'SegmentationClass/b.png', [[21, 21, 0, 0]])
    with pytest.raises(UserError, match=r'b\.png: ids outside 0\.\.20 and 255.*21 \(2 pixels\)'):
        Voc().source('train', with_sbd)
    write_mask(tree / 'SegmentationClass/b.png', [[1, 1, 0, 0]])
    (with_sbd.raw_dir / 'sbd/benchmark_RELEASE/dataset/cls/e.mat').write_bytes(b'MATLAB 5.0')
    with pytest.raises(UserError, match=r"e\.mat: is not one of SBD's"):
        Voc(sbd='sbd').source('sbdtrain', with_sbd)


def test_absent_data_says_what_to_do(tmp_path, roots):
    with pytest.raises(UserError) as error:
        Voc().source('train', Roots(tmp_path, tmp_path / 'data'))
    for part in ('VOC 2012 is not in', str(tmp_path / 'voc2012'), voc.TAR_URL, 'fcn8s_shapes'):
        assert part in str(error.value)
    with pytest.raises(UserError) as error:
        Voc(sbd='sbd').source('train', roots)
    for part in ('SBD is not in', str(roots.raw_dir / 'sbd'), 'benchmark.tgz', '--sbd='):
        assert part in str(error.value)
    with pytest.raises(UserError, match="no split 'seg11valid', only train, val, trainval"):
        Voc().source('seg11valid', roots)


def pack(tar: Path, tree: Path, *members: tarfile.TarInfo):
    with tarfile.open(tar, 'w') as archive:
        archive.add(tree, 'VOCdevkit')
        for member in members:
            archive.addfile(member, io.BytesIO(b'x' * member.size))


def accept(monkeypatch, tar: Path):
    monkeypatch.setattr(voc, 'TAR_SHA256', hashlib.sha256(tar.read_bytes()).hexdigest())


def test_the_official_tar_is_unpacked(tmp_path, roots, monkeypatch):
    other = tmp_path / 'other/voc2012'
    other.mkdir(parents=True)
    pack(other / voc.TAR, roots.raw_dir / 'voc2012/VOCdevkit')
    elsewhere = Roots(tmp_path / 'other', tmp_path / 'data')
    with pytest.raises(UserError, match=rf'its SHA-256 is \w+, not {voc.TAR_SHA256}'):
        Voc().source('train', elsewhere)
    accept(monkeypatch, other / voc.TAR)
    assert len(Voc().source('train', elsewhere)) == 2
    assert sorted(p.name for p in other.iterdir()) == ['VOCdevkit', voc.TAR]


def test_a_tar_that_reaches_outside_is_refused(tmp_path, roots, monkeypatch):
    other = tmp_path / 'other/voc2012'
    other.mkdir(parents=True)
    bad = tarfile.TarInfo('../../escaped')
    bad.size = 1
    pack(other / voc.TAR, roots.raw_dir / 'voc2012/VOCdevkit', bad)
    accept(monkeypatch, other / voc.TAR)
    with pytest.raises(UserError, match='cannot be unpacked'):
        Voc().source('train', Roots(tmp_path / 'other', tmp_path / 'data'))
    assert not list(tmp_path.rglob('escaped'))
    assert [p.name for p in other.iterdir()] == [voc.TAR]


def test_check_finds_nothing_wrong_with_a_good_tree(roots):
    report = check(Voc(), roots)
    assert report.problems == []
    assert report.counts == {'train': 2, 'val': 2, 'trainval': 4}
    assert report.ignored == 2


@pytest.mark.skipif(not SAMPLES.is_dir(), reason='no VOC pictures in ../shared/data')
def test_real_pictures(tmp_path):
    folder = SAMPLES / 'light-weight-refinenet/imgs/VOC'
    tree = tmp_path / 'voc2012/VOC2012'
    stems = sorted(p.stem for p in folder.glob('*.jpg'))
    assert len(stems) == 4
    for part, suffix in (('JPEGImages', 'jpg'), ('SegmentationClass', 'png')):
        (tree / part).mkdir(parents=True)
        for stem in stems:
            (tree / part / f'{stem}.{suffix}').symlink_to((folder / f'{stem}.{suffix}').resolve())
    for split in ('train', 'val'):
        write_list(tree / 'ImageSets/Segmentation' / f'{split}.txt', stems)
    roots = Roots(tmp_path, tmp_path / 'data')
    assert check(Voc(), roots).problems == []
    source = Voc().source('train', roots)
    ids = set()
    for i in range(4):
        assert source[i].image.shape[:2] == source[i].label.shape == source.size(i)
        assert max(source.size(i)) <= 500
        ids |= set(np.unique(source[i].label).tolist())
    assert 0 in ids
    assert 255 in ids
    assert ids <= {*range(len(CLASSES)), 255}


def test_colours_are_those_of_the_development_kit():
    palette = Voc().info(Roots(Path(), Path())).palette
    assert len(CLASSES) == len(palette) == 21
    assert palette[CLASSES.index('person')] == (192, 128, 128)
    assert palette[CLASSES.index('tvmonitor')] == (0, 64, 128)
