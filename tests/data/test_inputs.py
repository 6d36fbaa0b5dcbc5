"""What --input means, and that no result overwrites another."""

import pytest
from PIL import Image

from segjax.data.inputs import Input, find_inputs
from segjax.types import UserError


@pytest.fixture
def folder(tmp_path):
    names = ['a.jpg', 'a.png', 'b.tif', 'c.png', 'c.png.jpg', 'sub/a.jpg', 'sub/deep/b.v2.tif']
    names += ['.hidden.png', '.git/x.png', 'notes.txt', 'out/labels/a.png', 'c.jpg']
    for name in names:
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    return tmp_path / 'in'


def names(found):
    return {str(item.path): item.name for item in found}


def test_a_folder_means_all_below_it_and_keeps_stems(folder):
    found = names(find_inputs(str(folder), output=folder / 'out'))
    assert {path.removeprefix(f'{folder}/'): name for path, name in found.items()} == {
        'a.jpg': 'a.jpg',  # two of one stem
        'a.png': 'a.png',
        'b.tif': 'b',
        'c.jpg': 'c.jpg',
        'c.png': 'c.png',
        'c.png.jpg': 'c.png-2',
        'notes.txt': 'notes',
        'sub/a.jpg': 'sub/a',
        'sub/deep/b.v2.tif': 'sub/deep/b.v2',
    }
    assert len(set(found.values())) == len(found)
    assert list(found) == sorted(found)
    files = [item.file for item in find_inputs(str(folder), output=folder / 'out')]
    assert files[-1] == 'sub/deep/b.v2.tif'


def test_a_file_and_a_pattern(folder):
    output = folder / 'out'
    assert names(find_inputs(f'{folder}/b.tif', output=output)) == {f'{folder}/b.tif': 'b'}
    found = names(find_inputs(f'{folder}/**/*.jpg', output=output))
    assert set(found.values()) == {'a', 'c', 'c.png', 'sub/a'}
    found = names(find_inputs(f'{folder}/s*/a.jpg', output=output))
    assert found == {f'{folder}/sub/a.jpg': 'sub/a'}


def test_slices_have_names_of_their_own(tmp_path):
    first, *others = [Image.new('L', (3, 2))] * 11
    for name in ('in/em.tif', 'in/sub/em.tif', 'in/sub/em.tiff'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        first.save(tmp_path / name, save_all=True, append_images=others)
    first.save(tmp_path / 'in' / 'em.png')
    found = find_inputs(str(tmp_path / 'in'), output=tmp_path / 'out')
    assert len(found) == 34 == len({item.name for item in found})
    assert found[:2] == [
        Input(tmp_path / 'in/em.png', 'em.png', 'em'),
        Input(tmp_path / 'in/em.tif/00', 'em.tif/00', 'em/00'),
    ]
    assert [found[12].name, found[23].name] == ['sub/em.tif/00', 'sub/em.tiff/00']
    (one, *_, last) = find_inputs(str(tmp_path / 'in' / 'em.tif'), output=tmp_path / 'out')
    assert (one.name, last.file) == ('em/00', 'em.tif/10')


@pytest.mark.parametrize('text', ['nowhere', 'nowhere/*.png', '{folder}/out', '{folder}/*.gif'])
def test_nothing_is_an_error(folder, text):
    text = text.format(folder=folder)
    with pytest.raises(UserError, match='no file'):
        find_inputs(text, output=folder / 'out')


def test_a_pattern_in_this_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [item.name for item in find_inputs('*.tif', output=folder / 'out')] == ['b']
