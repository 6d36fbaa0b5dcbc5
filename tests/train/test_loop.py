"""A whole training in a directory: files, resume, NaN, damage."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest

from segjax import config
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.data.datasets.shapes import Shapes, ShapesSource
from segjax.data.pipeline import EvalPipeline
from segjax.modes import train
from segjax.train.interrupt import Interruption
from tests.train.test_step import small


def tiny(**changes):
    """Six steps of eight pictures with places for one object each, two evaluations."""
    e = config.replace(small(), {'train.instances': 1})
    return dataclasses.replace(e, num_steps=6, eval_every=3, **changes)


def options(workdir, **changes) -> RunOptions:
    return RunOptions(
        exp='tiny', workdir=workdir, checkpoint_every=2, log_every=1, tensorboard=False, **changes
    )


def result(workdir) -> dict:
    return json.loads((workdir / 'result.json').read_text())


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """The directory of a finished run."""
    workdir = tmp_path_factory.mktemp('run')
    assert train.run(tiny(), options(workdir)) == 0
    return workdir


def test_a_run_directory_holds_everything(done):
    there = {str(path.relative_to(done)) for path in done.rglob('*')}
    assert {
        'config.json', 'metrics.jsonl', 'result.json', 'progress.png', 'checkpoints/best.json',
        'model/model.safetensors', 'model/model.json', 'predictions/6/predictions.png',
    } <= there  # fmt: skip
    lines = [json.loads(line) for line in (done / 'metrics.jsonl').read_text().splitlines()]
    assert [line['step'] for line in lines if line['split'] == 'val'] == [3, 6]
    assert [line['step'] for line in lines if line['split'] == 'train'] == [2, 3, 4, 5, 6]
    assert {'loss', 'learning_rate', 'epoch', 'images_per_s'} <= lines[0].keys()
    found = result(done)
    assert found['step'] == 6 and found['metrics']['val']['mean_iou'] > 0
    assert len(found['state_sha256']) == len(found['params_sha256']) == 64
    assert found['protocol']['split'] == 'val'


def test_model_folder_describes_the_model_in_full(done):
    described = json.loads((done / 'model/model.json').read_text())
    assert described['model']['class'] == 'segjax.models.fcn.FCN'
    assert described['model']['widths'] == [4, 4, 8, 8, 8]
    assert len(described['class_names']) == len(described['palette']) == 6
    assert described['preprocessing']['normalize'] == 'unit'


def test_objects_without_a_place_are_summed_up_to_each_record(done):
    """The first record is of two batches."""
    e = tiny()
    batches = e.train.batches(e.dataset.source('train', Roots(done, done)), seed=e.seed)
    cut = [int(batch.instances.cut.sum()) for batch in itertools.islice(batches, 6)]
    lines = [json.loads(line) for line in (done / 'metrics.jsonl').read_text().splitlines()]
    found = [line['objects_cut'] for line in lines if line['split'] == 'train']
    assert found == [cut[0] + cut[1], *cut[2:]] and min(cut) > 0


def test_a_finished_run_is_left_alone(done, capsys):
    before = result(done)
    assert train.run(tiny(), options(done)) == 0
    assert 'finished' in capsys.readouterr().out
    assert result(done) == before


def test_interrupted_in_process_and_resumed_is_the_same_bits(done, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        real = train.fit

        def fit(job, state, **arguments):
            original = job.train_batches

            def batches(start):
                for number, batch in enumerate(original(start), start=start):
                    if number == 4:
                        arguments['stop'].requested = 'SIGTERM'
                    yield batch

            object.__setattr__(job, 'train_batches', batches)
            return real(job, state, **arguments)

        patch.setattr(train, 'fit', fit)
        assert train.run(tiny(), options(tmp_path)) == 75
    assert not (tmp_path / 'result.json').exists()
    assert train.run(tiny(), options(tmp_path)) == 0
    assert result(tmp_path)['state_sha256'] == result(done)['state_sha256']


def test_a_flipped_bit_in_the_latest_checkpoint_is_noticed(done, tmp_path, capsys):
    assert train.run(tiny(), options(tmp_path)) == 0
    (tmp_path / 'result.json').unlink()
    data = max(
        (path for path in (tmp_path / 'checkpoints/6').rglob('*') if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    assert train.run(tiny(), options(tmp_path)) == 0
    spoken = capsys.readouterr()
    assert 'damaged' in spoken.err and 'Carrying on after step 4' in spoken.out
    assert result(tmp_path)['state_sha256'] == result(done)['state_sha256']


class PoisonedSource(ShapesSource):
    """Float pictures; some of the training have a pixel that is no number."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        image = sample.image / np.float32(255)
        if self.name(index) in {f'shapes/train/{bad}' for bad in self._dataset.bad}:
            image[3, 5] = np.nan
        return sample._replace(image=image)


@dataclasses.dataclass(frozen=True)
class Poisoned(Shapes):
    bad: tuple[int, ...] = ()

    def source(self, split, roots):
        return PoisonedSource(self, split)


def poisoned(*bad):
    return tiny(dataset=Poisoned(size=32, radius=(5, 10), num_train=16, num_val=4, bad=bad))


def training(workdir):
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    return [line for line in lines if line['split'] == 'train']


def test_steps_with_a_broken_image_are_skipped_counted_and_said(tmp_path, capsys):
    """Two steps an epoch: one of the steps 1 and 2, of 3 and 4, of 5 and 6 has image 3."""
    assert train.run(poisoned(3), options(tmp_path, pictures=False)) == 0
    spoken = capsys.readouterr().err
    assert spoken.count('was skipped') == 3 and 'images: shapes/train/3\n' in spoken
    skipped = [line for line in training(tmp_path) if 'skipped' in line]
    assert [(line['step'] + 1) // 2 for line in skipped] == [1, 2, 3]
    assert all(line['loss'] is None and line['images'] == ['shapes/train/3'] for line in skipped)
    assert result(tmp_path)['step'] == 6 and result(tmp_path)['skipped_steps'] == 3
    assert result(tmp_path)['metrics']['val']['loss'] < 10


def test_too_many_skips_stop_with_the_images_and_keep_the_last_checkpoint(tmp_path, capsys):
    experiment = poisoned(*range(16))
    assert train.run(experiment, options(tmp_path, max_skips=4, pictures=False)) == 1
    spoken = capsys.readouterr().err
    assert spoken.count('was skipped') == 5 and 'step 5 was skipped (5 in a row)' in spoken
    assert spoken.count('shapes/train/') == 5 * 8
    assert [line['skipped'] for line in training(tmp_path)] == [1, 2, 3, 4, 5]
    kept = sorted(int(p.name) for p in (tmp_path / 'checkpoints').iterdir() if p.name.isdecimal())
    assert kept[-1] == 4 and not (tmp_path / 'result.json').exists()
    # The count of skips is a part of the state: the same command stops at the same step.
    assert train.run(experiment, options(tmp_path, max_skips=4, pictures=False)) == 1
    assert 'step 5 was skipped (5 in a row)' in capsys.readouterr().err


def test_weights_of_a_run_start_another(done, tmp_path, capsys):
    assert train.run(tiny(), options(tmp_path, weights=str(done))) == 0
    output = capsys.readouterr().out
    assert f'Starting from {done}' in output


def test_pmap_trains_too(done, tmp_path):
    assert train.run(tiny(), options(tmp_path, parallelism='pmap')) == 0
    np.testing.assert_allclose(
        result(tmp_path)['metrics']['val']['loss'],
        result(done)['metrics']['val']['loss'],
        rtol=1e-4,
    )


def test_a_signal_only_sets_a_flag_until_the_second():
    import signal

    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == 'SIGTERM'
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before


def test_config_restores_the_experiment():
    experiment = tiny()
    flat = json.loads(json.dumps(config.flatten(experiment)))
    assert config.restore(tiny(seed=5), flat) == experiment
    assert isinstance(experiment.eval, EvalPipeline) and isinstance(experiment.dataset, Shapes)
