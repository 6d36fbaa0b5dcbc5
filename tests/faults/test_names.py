"""Lists of names, from whoever wrote them, reach no file outside their data set."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segjax.data.dataset import Roots
from segjax.data.datasets.folder import Folder
from segjax.data.datasets.voc import Voc
from segjax.types import UserError

NAMES = ('../a', '../../outside', '/etc/passwd', 'images/../../../outside', '..', './../a')
fuzz = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', (3, 2)).save(path)


@pytest.fixture(scope='module')
def lists(tmp_path_factory):
    """Two trees, and {kind: (data set, file with the names of its split train)}."""
    home = tmp_path_factory.mktemp('trees')
    save(home / 'outside.png')
    save(home / 'outside.jpg')
    own, voc = home / 'own', home / 'voc2012/VOC2012'
    for name in 'ab':
        save(own / f'images/{name}.png')
        save(own / f'masks/{name}.png')
        save(voc / f'JPEGImages/{name}.jpg')
        save(voc / f'SegmentationClass/{name}.png')
    (own / 'classes.txt').write_text('ground\ncell\n')
    found = {
        'folder': (Folder(folder=str(own)), own / 'splits/train.txt'),
        'voc': (Voc(), voc / 'ImageSets/Segmentation/train.txt'),
    }
    for _, path in found.values():
        path.parent.mkdir(parents=True)
        path.with_name('val.txt').write_text('b\n')
    return Roots(home, home / 'records'), found


def pairs(lists, kind, content: bytes):
    """The pairs of the split train, given its list; each lies inside the data set."""
    roots, found = lists
    dataset, path = found[kind]
    path.write_bytes(content)
    pairs = dataset.pairs('train', roots)
    for pair in pairs:
        for file in (pair.image, pair.mask):
            assert file.resolve().is_relative_to(dataset.raw_folder(roots).resolve())
    return pairs


@pytest.mark.parametrize('kind', ['folder', 'voc'])
@pytest.mark.parametrize('name', NAMES)
def test_names_outside_are_refused(lists, kind, name):
    with pytest.raises(UserError, match=r'not there|missing'):
        pairs(lists, kind, f'a\n{name}\n'.encode())


@pytest.mark.parametrize('kind', ['folder', 'voc'])
def test_any_bytes_are_names_or_refused(lists, kind):
    assert [pair.name for pair in pairs(lists, kind, b'a\r\n\r\nb')] == ['a', 'b']
    with pytest.raises(UserError, match='line 2: is not UTF-8'):
        pairs(lists, kind, b'a\n\xff\xfe')

    @fuzz
    @given(st.binary(max_size=30) | st.text('ab./\\\n\0', max_size=12).map(str.encode))
    def check(content):
        try:
            pairs(lists, kind, content)
        except UserError as error:
            assert str(error)

    check()
