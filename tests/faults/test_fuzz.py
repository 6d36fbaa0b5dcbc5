"""Any bytes and any words are either read or refused with a UserError; nothing is ever executed."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from launch import EXPERIMENTS, load_experiment
from segjax import commandline
from segjax.data import coco_json, records
from segjax.data.dataset import Roots
from segjax.data.datasets import coco_voc
from segjax.data.images import read_image, read_mask
from segjax.data.segmentations import draw_segmentation
from segjax.pretrained.pickle_reader import read_pickle
from segjax.pretrained.safetensors_io import load_flat, save_variables
from segjax.pretrained.torch_file import ALLOWED, load_torch
from segjax.types import UserError
from tests.pretrained import torch_writer

fuzz = settings(
    max_examples=300,
    derandomize=True,  # the same examples every time
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def damaged(draw, contents: list[bytes]) -> bytes:
    """One of some valid files with bytes exchanged, put in, cut out and cut off; or any bytes."""
    content = bytearray(draw(st.sampled_from([*contents, b''])))
    if not content:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        kind = draw(st.sampled_from(['exchange', 'insert', 'remove', 'cut']))
        if kind == 'cut':
            del content[place:]
        else:
            end = place + (0 if kind == 'insert' else draw(st.integers(1, 8)))
            new = b'' if kind == 'remove' else draw(st.binary(min_size=1, max_size=8))
            content[place:end] = new
    return bytes(content)


def refused(call, *arguments) -> bool:
    """Whether it was refused as it should be; anything else that is raised fails the test."""
    try:
        call(*arguments)
    except UserError as error:
        assert str(error)
        return True
    return False


def encode(image: Image.Image, file_format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


def pictures() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    image = Image.fromarray(noise)
    files = [encode(image, kind) for kind in ('PNG', 'JPEG', 'TIFF', 'BMP', 'GIF', 'PPM', 'WEBP')]
    deep = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    return [*files, encode(image.convert('P'), 'PNG'), encode(deep, 'PNG'), encode(deep, 'TIFF')]


@fuzz
@given(damaged(pictures()))
def test_pictures_and_masks(content):
    refused(read_image, content)
    refused(read_mask, content)
    refused(lambda: read_mask(content, palette=[(0, 0, 0), (255, 0, 0)]))


number = st.floats() | st.integers() | st.integers(-50, 50)
anything = st.recursive(
    st.none() | st.booleans() | number | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
runs = st.fixed_dictionaries(
    {
        'size': st.just([12, 9]) | anything,
        'counts': st.lists(st.integers(-5, 60), max_size=9)
        | st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=12)
        | anything,
    }
)
polygons = st.lists(st.lists(st.integers(-30, 40) | number, max_size=10), max_size=3)


@fuzz
@given(runs | polygons | anything)
def test_outlines(segmentation):
    def draw():
        assert draw_segmentation(segmentation, (12, 9), name='object').shape == (12, 9)

    refused(draw)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """A COCO tree of one picture; its annotation file is written by each test."""
    root = tmp_path_factory.mktemp('coco')
    for folder in ('annotations', 'train2017', 'val2017'):
        (root / 'coco2017' / folder).mkdir(parents=True)
    for split in ('train', 'val'):
        Image.new('RGB', (9, 12)).save(root / f'coco2017/{split}2017/a.jpg')
    return root


IMAGE = {'id': 1, 'file_name': 'a.jpg', 'height': 12, 'width': 9}
OBJECT = {
    'id': 5,
    'image_id': 1,
    'category_id': 5,
    'area': 2000,
    'segmentation': [[1, 1, 5, 1, 5, 6]],
}


def read_coco(root, content: bytes) -> None:
    dataset, roots = coco_voc.CocoVoc(), Roots(root, root)
    for split in ('train', 'val'):
        (root / f'coco2017/annotations/instances_{split}2017.json').write_bytes(content)
    coco_json.clear_cache()
    for pair in dataset.pairs('train', roots):
        assert pair.image.parent == root / 'coco2017/train2017'
        dataset.read_label(pair, roots)


@fuzz
@given(content=damaged([json.dumps({'images': [IMAGE], 'annotations': [OBJECT]}).encode()]))
def test_bytes_of_annotations(coco, content):
    refused(read_coco, coco, content)


def changed(record: dict):
    """The record with some values exchanged for anything."""
    return st.fixed_dictionaries({k: st.just(v) | anything for k, v in record.items()})


@fuzz
@given(
    images=st.lists(changed(IMAGE) | st.just(IMAGE), max_size=3) | anything,
    objects=st.lists(changed(OBJECT) | st.just(OBJECT), max_size=3) | anything,
)
def test_values_of_annotations(coco, images, objects):
    refused(read_coco, coco, json.dumps({'images': images, 'annotations': objects}).encode())


@pytest.mark.parametrize('name', ['../train2017/a.jpg', '/etc/passwd', 'b/../a.jpg', '..', ''])
def test_a_name_in_another_folder_is_refused(coco, name):
    content = json.dumps({'images': [{**IMAGE, 'file_name': name}], 'annotations': [OBJECT]})
    with pytest.raises(UserError, match='no name of a file'):
        read_coco(coco, content.encode())


@pytest.mark.parametrize('name', ['a/b', '.', ''])
def test_an_id_that_is_no_name_is_refused(coco, name):
    content = json.dumps({'images': [{**IMAGE, 'id': name}], 'annotations': []})
    with pytest.raises(UserError, match='is no id'):
        read_coco(coco, content.encode())


def experiment():
    return load_experiment(EXPERIMENTS, 'fcn8s_shapes')


FIELDS = sorted(commandline.config.leaves(experiment()))
OPTIONS = ('exp', 'mode', 'workdir', 'log_every', 'checkpoint', 'input', 'parallelism', 'fresh')
name = st.sampled_from([*FIELDS, *OPTIONS, *(field.rpartition('.')[2] for field in FIELDS)])
value = (
    st.text(max_size=12) | number.map(str) | st.sampled_from(['true', '1,2', '(3,', '1e999', ''])
)
word = st.builds('--{}={}'.format, name, value) | st.builds('--{}'.format, name) | value


@fuzz
@given(st.lists(word, min_size=1, max_size=4))
def test_command_lines(words):
    def read():
        arguments = commandline.split(['--exp=fcn8s_shapes', *words])
        options, fields = commandline.parse_options(arguments)
        commandline.configure(experiment(), options, fields)

    refused(read)


def pickles() -> list[bytes]:
    value = {'a': [1, 2.5, None, True], 'b': ('text', b'bytes', {3}), 'c': 10**30}
    return [pickle.dumps(value, protocol=protocol) for protocol in (2, 3, 4)]


@fuzz
@given(damaged(pickles()))
def test_pickles(content):
    refused(lambda: read_pickle(io.BytesIO(content), allowed=ALLOWED))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A file for each example to write."""
    return tmp_path_factory.mktemp('weights') / 'file'


@pytest.fixture(scope='module')
def whole_weights(weights):
    """{kind: (reader, content)} of small files of weights."""
    arrays = {'w': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': np.zeros(2, np.int64)}
    found = {}
    save_variables(weights, arrays)
    found['safetensors'] = load_flat, weights.read_bytes()
    for kind, save in (('zip', torch_writer.save_zip), ('legacy', torch_writer.save_legacy)):
        save(weights, {name: torch_writer.tensor(name, array) for name, array in arrays.items()})
        found[kind] = load_torch, weights.read_bytes()
    return found


@pytest.mark.parametrize('kind', ['safetensors', 'zip', 'legacy'])
def test_files_of_weights(weights, whole_weights, kind):
    read, whole = whole_weights[kind]

    @fuzz
    @given(damaged([whole]))
    def check(content):
        weights.write_bytes(content)
        refused(read, weights)

    check()


def test_truncated_records(tmp_path):
    """Cut anywhere, a file of records is not complete, so it is prepared again."""
    record = records.Record((1, 1), {'name': b'a', 'image': bytes(range(256)) * 8})
    target = tmp_path / 'demo' / 'abc'
    records.prepare(target, name='demo', features=('name', 'image'), splits={'train': [record] * 5})
    (file,) = target.rglob('*.array_record-*')
    content = file.read_bytes()
    for length in np.linspace(0, len(content) - 1, 25).astype(int):
        file.write_bytes(content[:length])
        assert not records.is_complete(target)
    file.write_bytes(content)
    assert records.is_complete(target)
