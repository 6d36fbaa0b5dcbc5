"""One's own folder: the layouts, the splits, what mask values mean, and every refusal's remedy."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.data import folds
from segjax.data.check import check
from segjax.data.dataset import Roots
from segjax.data.datasets.folder import Folder
from segjax.types import UserError


def save(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def fill(folder: Path, names, *, images='images', masks='masks', ending='', mask=((0, 1, 255),)):
    for name in names:
        save(folder / images / f'{name}.png', np.zeros((*np.shape(mask)[:2], 3)))
        save(folder / masks / f'{name}{ending}.png', mask)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'classes.txt').write_text('ground\ncell\n')
    return tmp_path


@pytest.fixture
def roots(tmp_path_factory):
    return Roots(Path('/nonexistent'), tmp_path_factory.mktemp('data'))


def names(folder, roots, **fields):
    dataset = Folder(folder=str(folder), **fields)
    return {s: [p.name for p in dataset.pairs(s, roots)] for s in dataset.splits(roots)}


def test_from_folder_to_sample(folder, roots):
    fill(folder, [f'p{i}' for i in range(10)])
    dataset = Folder(folder=str(folder))
    assert dataset.info(roots).class_names == ('ground', 'cell')
    assert dataset.info(roots).palette == ((0, 0, 0), (128, 0, 0))
    sample = dataset.source('train', roots)[0]
    np.testing.assert_array_equal(sample.label, [[0, 1, 255]])
    assert sum(len(dataset.source(s, roots)) for s in ('train', 'val')) == 10


def test_split_by_hash_is_a_fifth_and_stays(folder, roots):
    fill(folder, [f'p{i}' for i in range(200)])
    before = names(folder, roots)
    assert 25 <= len(before['val']) <= 55
    assert not set(before['val']) & set(before['train'])
    fill(folder, [f'q{i}' for i in range(50)])
    after = names(folder, roots)
    assert set(before['val']) <= set(after['val']) and set(before['train']) <= set(after['train'])


@pytest.mark.parametrize('number', [2, 3, 5])
def test_no_split_is_empty(folder, roots, number):
    for start in range(20):
        split = names_of_fresh(folder / f's{start}', roots, [f'{start}-{i}' for i in range(number)])
        assert split['train'] and split['val']


def names_of_fresh(folder, roots, pictures):
    folder.mkdir()
    (folder / 'classes.txt').write_text('ground\ncell\n')
    fill(folder, pictures)
    return names(folder, roots)


def test_a_group_stays_together(folder, roots):
    fill(folder, [f'patient{p}_{i}' for p in range(20) for i in range(3)])
    split = names(folder, roots, group=r'patient(\d+)_')
    patients = {s: {n.split('_')[0] for n in members} for s, members in split.items()}
    assert not patients['train'] & patients['val']
    with pytest.raises(UserError, match='--group=slide finds nothing'):
        names(folder, roots, group='slide')
    with pytest.raises(UserError, match='no regular expression'):
        names(folder, roots, group='(')


def test_a_group_is_in_one_fold(folder, roots):
    fill(folder, [f'patient{p}_{i}' for p in range(9) for i in range(3)])
    source = Folder(folder=str(folder), group=r'(patient\d+)_').source('train', roots)
    for fold in range(4):  # blocks of neighbours would cut patients
        parts = folds.cut(source, folds=4, fold=fold)
        train, held_out = ({p.look(i) for i in range(len(p))} for p in parts)
        assert train and held_out and not train & held_out
        assert all(look.startswith('patient') for look in train)


def test_split_files_decide(folder, roots):
    fill(folder, 'abcd')
    (folder / 'splits').mkdir()
    (folder / 'splits' / 'train.txt').write_text('c\na.png\n\n')
    with pytest.raises(UserError, match=r'val\.txt is missing'):
        names(folder, roots)
    (folder / 'splits' / 'val.txt').write_text('b\n')
    assert names(folder, roots) == {'train': ['a', 'c'], 'val': ['b']}
    (folder / 'splits' / 'val.txt').write_text('b\nz\n')
    with pytest.raises(UserError, match='not there: z'):
        names(folder, roots)


@pytest.mark.parametrize('layout', ['{}/images {}/masks', 'images/{} masks/{}'])
def test_folders_of_splits(folder, roots, layout):
    for split, members in (('train', 'ab'), ('val', 'c')):
        images, masks = layout.format(split, split).split()
        fill(folder, members, images=images, masks=masks, ending='_mask')
    assert names(folder, roots) == {'train': ['a', 'b'], 'val': ['c']}


def test_masks_beside_their_pictures(folder, roots):
    fill(folder, 'abc', masks='images', ending='_mask')
    split = names(folder, roots)
    assert sorted(split['train'] + split['val']) == ['a', 'b', 'c']


def save_stack(path: Path, pages) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(path, save_all=True, append_images=others)


@pytest.fixture
def volumes(folder):
    """Two stacks of 11 and 3 slices, whose pixels and masks tell them apart."""
    for name, number in (('large', 11), ('small', 3)):
        pages = np.arange(number, dtype=np.uint8)[:, None, None] + np.zeros((1, 4, 5), np.uint8)
        save_stack(folder / 'images' / f'{name}.tif', pages)
        save_stack(folder / 'masks' / f'{name}_mask.tif', pages % 2)
    return folder


def test_stacks_are_read_slice_by_slice(volumes, roots):
    split = names(volumes, roots)
    large, small = [f'large/{i:02}' for i in range(11)], [f'small/{i}' for i in range(3)]
    assert sorted(split.values()) == [large, small]  # no stack is divided by hash
    (volumes / 'splits').mkdir()
    (volumes / 'splits' / 'train.txt').write_text('large.tif\n')
    (volumes / 'splits' / 'val.txt').write_text('small/1\n')
    assert names(volumes, roots) == {'train': large, 'val': ['small/1']}
    dataset = Folder(folder=str(volumes), channels=1)
    source = dataset.source('train', roots)
    for i in range(11):
        assert (source[i].image == i).all() and (source[i].label == i % 2).all()
    assert source.name(7).endswith('large.tif/07')
    assert check(dataset, roots).counts == {'train': 11, 'val': 1}


def test_a_group_may_divide_a_stack(volumes, roots):
    for small in volumes.glob('*/small*.tif'):
        small.unlink()
    with pytest.raises(UserError, match='11 pictures in 1 group cannot be split'):
        names(volumes, roots)
    blocks = sorted(names(volumes, roots, group=r'/(\d)').values())
    assert blocks == [[f'large/0{i}' for i in range(10)], ['large/10']]


def test_a_changed_stack_is_prepared_again(volumes, roots, capsys):
    dataset = Folder(folder=str(volumes))
    for _ in range(2):
        dataset.source('train', roots)
    assert capsys.readouterr().out.count('Preparing') == 1
    save_stack(volumes / 'images' / 'large.tif', np.full((11, 4, 5), 9, np.uint8))
    dataset.source('train', roots)
    assert capsys.readouterr().out.count('Preparing') == 1


def test_a_stack_and_its_mask_of_other_length_are_refused(volumes, roots):
    save_stack(volumes / 'masks' / 'large_mask.tif', np.zeros((10, 4, 5), np.uint8))
    with pytest.raises(UserError, match=r'large\.tif holds 11 pictures, its mask .* 10; slices'):
        names(volumes, roots)
    (volumes / 'masks' / 'large_mask.tif').write_bytes(b'II*')
    with pytest.raises(UserError, match=r'large_mask\.tif: cannot be read'):
        names(volumes, roots)


def test_suffixes_may_differ_and_hidden_files_are_passed_over(folder, roots):
    fill(folder, 'ab')
    (folder / 'images' / 'a.png').rename(folder / 'images' / 'a.PNG')
    (folder / 'images' / '._a.png').write_bytes(b'x')
    (folder / 'images' / 'notes.txt').write_text('x')
    split = names(folder, roots)
    assert sorted(split['train'] + split['val']) == ['a', 'b']


BINARY = ((0, 255, 255),)


def label_of(folder, roots, **fields):
    return Folder(folder=str(folder), **fields).source('train', roots)[0].label.tolist()


def test_0_and_255_are_refused_until_their_meaning_is_given(folder, roots):
    fill(folder, 'abc', mask=BINARY)
    with pytest.raises(UserError, match=r'--mask_values=0,255.*--mask_values=0 '):
        label_of(folder, roots)
    assert label_of(folder, roots, mask_values=(0, 255)) == [[0, 1, 1]]
    assert label_of(folder, roots, mask_values=(0,)) == [[0, 255, 255]]


def test_0_and_255_are_clear_where_255_stands_beside_a_class(folder, roots):
    fill(folder, 'abc', mask=((0, 1, 255),))
    fill(folder, 'd', mask=BINARY)
    Folder(folder=str(folder)).source('train', roots)


def test_one_mask_of_0_and_255_among_masks_of_ids_is_refused(folder, roots):
    fill(folder, 'abc', mask=((0, 1, 1),))
    fill(folder, 'd', mask=BINARY)
    with pytest.raises(UserError, match=r'd\.png: its values are exactly 0 and 255'):
        label_of(folder, roots)


def test_other_mask_values(folder, roots):
    fill(folder, 'abc', mask=((0, 127, 255),))
    assert label_of(folder, roots, mask_values=(0, 127)) == [[0, 1, 255]]
    with pytest.raises(UserError, match='does not name: 127'):
        label_of(folder, roots, mask_values=(0, 1))


def test_coloured_masks(folder, roots):
    fill(folder, 'abc', mask=[[[0, 0, 0], [200, 0, 0], [9, 9, 9]]])
    with pytest.raises(UserError, match='is in colour'):
        label_of(folder, roots)
    (folder / 'classes.txt').write_text('ground 0 0 0\nred cell 200 0 0\nvoid 9 9 9\n')
    assert label_of(folder, roots) == [[0, 1, 255]]
    info = Folder(folder=str(folder)).info(roots)
    assert info.class_names == ('ground', 'red cell') and info.palette[1] == (200, 0, 0)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('cell\n', 'lists 1 classes'),
        ('a\nb\na\n', 'names twice: a'),
        ('a 1 2 3\nb\n', 'for all, or none'),
        ('a 1 2 3\nb 1 2 3\n', 'one colour to two'),
        ('a 1 2 3\nb 1 2 300\n', 'line 1: colours go from 0 to 255'),
    ],
)
def test_bad_lists_of_classes(folder, roots, text, message):
    fill(folder, 'ab')
    (folder / 'classes.txt').write_text(text)
    with pytest.raises(UserError, match=message):
        Folder(folder=str(folder)).info(roots)


def test_refusals_say_what_and_where(folder, roots):
    with pytest.raises(UserError, match='--folder=FOLDER'):
        Folder().info(roots)
    with pytest.raises(UserError, match='is not a folder'):
        Folder(folder=str(folder / 'cels')).info(roots)
    with pytest.raises(UserError, match='neither images/ nor train/images/'):
        Folder(folder=str(folder)).source('train', roots)
    fill(folder, 'abc')
    (folder / 'masks' / 'b.png').unlink()
    with pytest.raises(UserError, match=r'1 of 3 pictures have no mask in .*: b'):
        Folder(folder=str(folder)).source('train', roots)
    for mask in (folder / 'masks').iterdir():
        mask.rename(mask.with_stem(mask.stem + 'x'))
    with pytest.raises(UserError, match='no picture has a mask'):
        Folder(folder=str(folder)).source('train', roots)
    (folder / 'classes.txt').unlink()
    with pytest.raises(UserError, match=r'classes\.txt is missing.*line 0 is the background'):
        Folder(folder=str(folder)).info(roots)


def test_home_is_expanded(folder, roots, monkeypatch):
    fill(folder, 'abc')
    monkeypatch.setenv('HOME', str(folder.parent))
    assert Folder(folder=f'~/{folder.name}').info(roots).class_names == ('ground', 'cell')


def test_16_bit_pictures_stay_16_bit(folder, roots):
    fill(folder, 'abc')
    for path in (folder / 'images').iterdir():
        Image.fromarray(np.full((1, 3), 40_000, np.uint16)).save(path)
    sample = Folder(folder=str(folder), channels=1).source('train', roots)[0]
    assert sample.image.dtype == np.uint16 and (sample.image == 40_000).all()
    sample = Folder(folder=str(folder), channels=1, normalize='zscore').source('train', roots)[0]
    assert sample.image.dtype == np.float32 and (sample.image == 0).all()


def test_a_damaged_picture_is_named(folder, roots):
    fill(folder, 'abc')
    (folder / 'images' / 'b.png').write_bytes(b'')
    with pytest.raises(UserError, match=r'images/b\.png: the file is empty'):
        Folder(folder=str(folder)).source('train', roots)


def test_pictures_of_two_types_are_refused(folder, roots):
    fill(folder, 'abc')
    Image.fromarray(np.full((1, 3), 40_000, np.uint16)).save(folder / 'images' / 'b.png')
    with pytest.raises(UserError, match=r'holds uint(8|16) values, but .* uint(8|16)'):
        Folder(folder=str(folder)).source('train', roots)
    assert len(check(Folder(folder=str(folder)), roots).problems) >= 1
    source = Folder(folder=str(folder), normalize='zscore').source('train', roots)
    assert source[0].image.dtype == np.float32


def test_void_values_are_ignored(folder, roots):
    fill(folder, ['a', 'b'], mask=((0, 1, 11),))
    with pytest.raises(UserError, match=r'11 \(1 pixels\).*--void_values=11'):
        label_of(folder, roots)
    assert label_of(folder, roots, void_values=(11,)) == [[0, 1, 255]]
    assert label_of(folder, roots, void_values=(11,), mask_values=(1, 0)) == [[1, 0, 255]]
