"""Log files of a run: what stands in them, what a resume takes away, what a full disk costs."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from segjax.train import writers as writers_module
from segjax.train.writers import Writers, plain


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def events_of(workdir):
    """(step, tag, value) of every event, and the steps at which TensorBoard purges."""
    from tensorboardX.proto import event_pb2

    scalars, purges = [], []
    for path in sorted((workdir / 'tensorboard').iterdir(), key=lambda p: p.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):  # length, its checksum, event, its checksum
            size = int.from_bytes(content[at : at + 8], 'little')
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + size])
            at += 16 + size
            if event.HasField('session_log'):
                purges.append(event.step)
            for value in event.summary.value:
                scalars.append((event.step, value.tag, value.simple_value))
    return scalars, purges


def break_appending(monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(writers_module, '_append', full)


def test_plain_gives_valid_json():
    given = {
        'float32': np.float32(0.1),
        'jax': jnp.float32(0.1),
        'bfloat16': jnp.asarray(0.5, jnp.bfloat16),
        'float64': np.float64(0.1) + np.float64(0.2),
        'int': np.int64(3),
        'bool': np.bool_(True),
        'nan': float('nan'),
        'inf': jnp.float32(-np.inf),
        'list': np.array([1.0, np.nan], np.float32),
        'nested': ({'a': (1, 'text', None)},),
    }
    expected = {
        'float32': 0.1,
        'jax': 0.1,
        'bfloat16': 0.5,
        'float64': 0.30000000000000004,
        'int': 3,
        'bool': True,
        'nan': None,
        'inf': None,
        'list': [1.0, None],
        'nested': [{'a': [1, 'text', None]}],
    }
    assert plain(given) == expected
    assert json.loads(json.dumps(plain(given), allow_nan=False)) == expected


def test_plain_keeps_float32_exactly():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(np.array(plain(values), np.float32), values)


def test_scalars_are_lines_and_events(tmp_path):
    with Writers(tmp_path) as writers:
        writers.scalars(100, 'train', {'loss': np.float32(0.5), 'epoch': 1.6, 'lr': float('nan')})
        assert lines_of(tmp_path)[0]['loss'] == 0.5  # there at once, not only after close
        writers.scalars(100, 'val', {'iou/Straße': 0.25})
    assert lines_of(tmp_path) == [
        {'step': 100, 'epoch': 1.6, 'split': 'train', 'loss': 0.5, 'lr': None},
        {'step': 100, 'split': 'val', 'iou/Straße': 0.25},
    ]
    assert list(lines_of(tmp_path)[0]) == ['step', 'epoch', 'split', 'loss', 'lr']
    scalars, purges = events_of(tmp_path)
    assert scalars == [(100, 'train/loss', 0.5), (100, 'val/iou/Straße', 0.25)]
    assert purges == []


def test_without_tensorboard_there_is_no_folder(tmp_path):
    with Writers(tmp_path, tensorboard=False) as writers:
        writers.scalars(1, 'train', {'loss': 1.0})
        writers.pictures(1, {'a': np.zeros((2, 2, 3), np.uint8)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ['metrics.jsonl', 'predictions']


def test_resume_drops_what_came_after_the_checkpoint(tmp_path):
    with Writers(tmp_path) as writers:
        for step in (10, 20, 30):
            writers.scalars(step, 'train', {'loss': float(step)})
    with open(tmp_path / 'metrics.jsonl', 'a') as file:
        file.write('not json\n{"step": 40, "spl')  # killed in the middle of a line
    with Writers(tmp_path) as writers:
        writers.truncate_after(20)
        writers.scalars(30, 'train', {'loss': 33.0})
    assert [line['loss'] for line in lines_of(tmp_path)] == [10.0, 20.0, 33.0]
    scalars, purges = events_of(tmp_path)
    assert purges == [21] and scalars[-1] == (30, 'train/loss', 33.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['metrics.jsonl', 'tensorboard']


def test_truncate_reaches_an_open_event_file(tmp_path):
    with Writers(tmp_path) as writers:
        writers.scalars(10, 'train', {'loss': 1.0})
        writers.truncate_after(5)
        writers.scalars(10, 'train', {'loss': 2.0})
    scalars, purges = events_of(tmp_path)
    assert scalars == [(10, 'train/loss', 1.0), (10, 'train/loss', 2.0)]
    assert purges == [6]
    assert [line['loss'] for line in lines_of(tmp_path)] == [2.0]


def test_a_half_line_is_cut_before_anything_is_added(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "split": "train"}\n{"step": 2')
    with Writers(tmp_path, tensorboard=False) as writers:
        writers.scalars(3, 'train', {})
    assert [line['step'] for line in lines_of(tmp_path)] == [1, 3]


def test_a_full_disk_costs_one_warning_and_no_line(tmp_path, monkeypatch):
    told = []
    writers = Writers(tmp_path, tensorboard=False, warn=told.append)
    with monkeypatch.context() as patch:
        break_appending(patch)
        writers.scalars(1, 'train', {'loss': 1.0})
        writers.scalars(2, 'train', {'loss': 2.0})
    assert len(told) == 1 and 'metrics.jsonl' in told[0] and 'No space left' in told[0]
    writers.scalars(3, 'train', {'loss': 3.0})
    writers.close()
    assert [line['step'] for line in lines_of(tmp_path)] == [1, 2, 3]


def test_append_adds_all_or_nothing(tmp_path):
    resource = pytest.importorskip('resource')
    path = tmp_path / 'lines'
    path.write_bytes(b'x' * 90)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError):
            writers_module._append(path, b'y' * 20)  # the first ten bytes would fit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b'x' * 90


def test_a_broken_tensorboard_is_switched_off(tmp_path):
    (tmp_path / 'tensorboard').write_text('a file where a folder should be')
    told = []
    with Writers(tmp_path, warn=told.append) as writers:
        for step in (1, 2):
            writers.scalars(step, 'train', {'loss': 1.0})
            writers.pictures(step, {'a': np.zeros((2, 2, 3), np.uint8)})
    assert len(told) == 1 and 'TensorBoard' in told[0]
    assert len(lines_of(tmp_path)) == 2


def test_pictures_are_files_with_tame_names(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    with Writers(tmp_path) as writers:
        folder = writers.pictures(200, {'val/7 ä': picture, 'panel': picture})
    assert folder == tmp_path / 'predictions' / '200'
    assert sorted(os.listdir(folder)) == ['panel.png', 'val_7_ä.png']
    np.testing.assert_array_equal(np.asarray(Image.open(folder / 'panel.png')), picture)
    scalars, _ = events_of(tmp_path)
    assert [tag for _, tag, _ in scalars] == ['predictions/val/7 ä', 'predictions/panel']


def test_result_is_whole_or_raises(tmp_path):
    with Writers(tmp_path, tensorboard=False) as writers:
        writers.result({'metrics': {'val': {'mean_iou': np.float64('nan')}}, 'step': np.int32(5)})
        assert json.loads((tmp_path / 'result.json').read_text()) == {
            'metrics': {'val': {'mean_iou': None}},
            'step': 5,
        }
        (tmp_path / 'result.json').unlink()
        (tmp_path / 'result.json').mkdir()
        with pytest.raises(OSError):
            writers.result({})
