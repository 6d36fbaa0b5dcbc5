"""ISBI 2012: PNGs and stacks give the same slices, split by blocks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data.check import check
from segjax.data.dataset import Roots
from segjax.data.datasets.isbi2012 import STACKS, Isbi2012
from segjax.types import UserError

SHARED = Path(__file__).parents[3] / '..' / 'shared' / 'data'
SLICES = np.random.default_rng(0).integers(0, 256, (12, 6, 8), np.uint8)
LABEL = np.array([[255, 255, 0, 255, 255, 255, 255, 255]] * 6, np.uint8)
LABEL[3, 3:] = 0  # three cells


def write_pngs(raw: Path):
    for part in ('image', 'label'):
        (raw / 'train' / part).mkdir(parents=True)
    for i, image in enumerate(SLICES):
        Image.fromarray(image).save(raw / 'train' / 'image' / f'{i}.png')
        Image.fromarray(LABEL).save(raw / 'train' / 'label' / f'{i}.png')


def write_stacks(raw: Path, *, labels=12):
    raw.mkdir(parents=True)
    for name, stack in zip(STACKS, (SLICES, [LABEL] * labels), strict=True):
        first, *others = (Image.fromarray(image) for image in stack)
        first.save(raw / name, save_all=True, append_images=others)


@pytest.fixture(params=[write_pngs, write_stacks])
def roots(request, tmp_path):
    request.param(tmp_path / 'raw' / 'isbi2012')
    return Roots(tmp_path / 'raw', tmp_path / 'data')


def test_slices_in_order_and_cells_apart(roots):
    dataset = Isbi2012(val_slices=(2, 4))
    train, val = (dataset.source(split, roots) for split in ('train', 'val'))
    assert (len(train), len(val)) == (10, 2)
    np.testing.assert_array_equal(val[1].image[..., 0], SLICES[3])
    np.testing.assert_array_equal(train[9].image[..., 0], SLICES[11])  # 10 comes after 9
    np.testing.assert_array_equal(val[0].label, LABEL > 0)
    assert [int(mask.sum()) for mask in val[0].instances.masks] == [12, 15, 10]
    assert dataset.info(roots).class_names == ('membrane', 'cell')


def test_a_changed_file_is_prepared_again(roots, capsys):
    dataset = Isbi2012(val_slices=(2, 4))
    dataset.source('train', roots)
    dataset.source('train', roots)
    assert capsys.readouterr().out.count('Preparing') == 1
    write = roots.raw_dir / 'isbi2012'
    if (write / 'train').is_dir():
        Image.fromarray(SLICES[0]).save(write / 'train' / 'image' / '3.png')
    else:
        (write / STACKS[0]).touch()
    dataset.source('train', roots)
    assert capsys.readouterr().out.count('Preparing') == 1


def test_check_reads_slices(roots):
    report = check(Isbi2012(val_slices=(2, 4)), roots)
    assert not report.problems
    assert report.counts == {'train': 10, 'val': 2}
    assert report.pixels.tolist() == [10 * 11, 10 * 37]


@pytest.mark.parametrize('slices', [(5, 5), (0, 12), (10, 13), (-1, 3)])
def test_a_block_that_is_no_split_is_refused(roots, slices):
    with pytest.raises(UserError, match='the slices 0 to 11'):
        Isbi2012(val_slices=slices).source('train', roots)


def test_stacks_of_different_length_are_refused(tmp_path):
    write_stacks(tmp_path / 'isbi2012', labels=11)
    with pytest.raises(UserError, match=r'train-volume\.tif has 12 slices, .* 11; copy both'):
        Isbi2012().source('train', Roots(tmp_path, tmp_path / 'data'))


def test_a_missing_label_is_named(tmp_path):
    write_pngs(tmp_path / 'isbi2012')
    (tmp_path / 'isbi2012' / 'train' / 'label' / '7.png').unlink()
    with pytest.raises(UserError, match=r'label/7\.png is missing'):
        Isbi2012().source('train', Roots(tmp_path, tmp_path / 'data'))


def test_a_broken_stack_is_named(tmp_path):
    write_stacks(tmp_path / 'isbi2012')
    (tmp_path / 'isbi2012' / STACKS[0]).write_bytes(b'II*\0 no stack')
    with pytest.raises(UserError, match=r'train-volume\.tif: cannot be read'):
        Isbi2012().source('train', Roots(tmp_path, tmp_path / 'data'))


def test_absent_data_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match='ISBI 2012 is not in') as error:
        Isbi2012().source('train', Roots(tmp_path, tmp_path / 'data'))
    for words in ('git clone', str(tmp_path / 'isbi2012'), '--exp=unet_shapes needs no data'):
        assert words in str(error.value)


@pytest.mark.skipif(not (SHARED / 'isbi2012').is_dir(), reason='no isbi2012 in ../shared/data')
def test_the_real_slices(tmp_path):
    dataset, roots = Isbi2012(), Roots(SHARED, tmp_path)
    train, val = (dataset.pairs(split, roots) for split in ('train', 'val'))
    assert [pair.name for pair in (train[-1], val[0], val[-1])] == ['17', '18', '23']
    label = dataset.read_label(val[0], roots)
    assert label.shape == (512, 512) and 0.18 < np.mean(label == 0) < 0.26
