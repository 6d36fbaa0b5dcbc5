"""Prepared records: what is written is read back, and damage is noticed."""

import subprocess
import sys

import numpy as np
import pytest

from segjax.data import records
from segjax.data.records import Record, Records
from segjax.types import UserError


def make(split: str, number: int):
    for i in range(number):
        payload = bytes([255, i, 0]) * 1000
        yield Record(
            size=(i + 1, 7), features={'name': f'{split} é {i}'.encode(), 'image': payload}
        )


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / 'demo' / 'abc'
    splits = {'train': make('train', 5), 'val': make('val', 2)}
    records.prepare(target, name='demo', features=('name', 'image'), splits=splits)
    return target


def test_records_come_back_in_order(folder):
    assert records.is_complete(folder)
    train = Records(folder, 'train')
    assert len(train) == 5
    assert train.sizes == [(i + 1, 7) for i in range(5)]
    for i, record in enumerate(make('train', 5)):
        assert train[i] == record.features
    assert Records(folder, 'val')[1]['name'].decode() == 'val é 1'


def test_nothing_but_the_records_is_left(folder):
    assert [f.name for f in folder.parent.iterdir()] == ['abc']


def test_reading_imports_neither_tfds_nor_jax(folder):
    code = (
        'import sys; from pathlib import Path; from segjax.data.records import Records\n'
        f'Records(Path({str(folder)!r}), "train")[0]\n'
        'print([m for m in ("tensorflow_datasets", "jax") if m in sys.modules])'
    )
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == '[]'


def test_tfds_opens_the_folder(folder):
    with records._quiet_tfds() as tfds:
        builder = tfds.builder_from_directory(folder / records.VERSION)
        assert builder.info.splits['train'].num_examples == 5
        assert builder.as_data_source('train')[3]['name'] == 'train é 3'.encode()


def test_a_truncated_file_is_not_complete(folder):
    file = next((folder / records.VERSION).glob('*train*'))
    file.write_bytes(file.read_bytes()[:-100])
    assert not records.is_complete(folder)
    splits = {'train': make('train', 5)}
    records.prepare(folder, name='demo', features=('name', 'image'), splits=splits)
    assert records.is_complete(folder)


def test_a_flipped_bit_is_noticed(tmp_path):
    payload = np.random.default_rng(0).bytes(100_000)  # fills its block, so no flip hits padding
    splits = {'train': [Record(size=(1, 1), features={'image': payload})]}
    records.prepare(tmp_path / 'a', name='demo', features=('image',), splits=splits)
    file = next((tmp_path / 'a' / records.VERSION).glob('*train*'))
    data = bytearray(file.read_bytes())
    data[50_000] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=r'prepared record 0 cannot be read.*Remove this folder'):
        Records(tmp_path / 'a', 'train')[0]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def broken():
        yield from make('train', 2)
        raise UserError('frame 3 is bad')

    target = tmp_path / 'demo' / 'abc'
    with pytest.raises(UserError, match='frame 3 is bad'):
        records.prepare(target, name='demo', features=('name', 'image'), splits={'train': broken()})
    assert list(target.parent.iterdir()) == []


def test_the_first_of_two_at_once_wins(folder):
    splits = {'train': make('train', 1)}
    records.prepare(folder, name='demo', features=('name', 'image'), splits=splits)
    assert len(Records(folder, 'train')) == 5


def test_fingerprint_changes_with_a_file(tmp_path):
    file = tmp_path / 'a.png'
    file.write_bytes(b'1')
    first = records.fingerprint([file])
    assert records.fingerprint([file]) == first
    file.write_bytes(b'12')
    assert records.fingerprint([file]) != first
