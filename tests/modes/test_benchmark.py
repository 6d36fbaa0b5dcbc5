"""--mode=benchmark: its numbers fit together. Nothing here asks how fast anything is."""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from segjax import config
from segjax.config import RunOptions
from segjax.data.datasets.camvid import CamVid
from segjax.modes import benchmark, summary
from segjax.train.rundir import open_run
from segjax.types import UserError


@pytest.fixture(scope='module')
def measured(tiny, tmp_path_factory):
    """The run directory that a benchmark of as few runs as possible wrote to."""
    workdir = tmp_path_factory.mktemp('runs') / 'tiny'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, 'TIMED_S', 0.0)
        assert benchmark.run(tiny, RunOptions(exp='tiny', workdir=workdir)) == 0
    return workdir


@pytest.fixture(scope='module')
def found(measured):
    """benchmark.json."""
    return json.loads((measured / 'benchmark.json').read_text())


def test_rates_follow_from_medians(found):
    batch, single = found['inference']['batch'], found['inference']['single']
    for part, images, passes in (
        (found['train_step'], 8, 3),
        (batch, 8, 1),
        (single, 1, 1),
    ):
        assert part['batch_size'] == images
        assert part['runs'] == 10
        assert 0 < part['p10_s'] <= part['median_s'] <= part['p90_s'] <= part['p95_s']
        assert part['images_per_s'] == images / part['median_s']
        flop = 2 * passes * found['macs_per_image']
        assert part['flop_per_s'] == pytest.approx(flop * part['images_per_s'], rel=1e-12)
        assert part['trace_and_lower_s'] > 0 and part['compile_s'] > 0


def test_what_is_measured_is_the_experiments_own_batch(tiny, found, tmp_path):
    assert found['input_shape'] == [8, 16, 16, 3]
    summary.run(tiny, RunOptions(workdir=tmp_path))
    assert (
        found['macs_per_image']
        == json.loads((tmp_path / 'summary.json').read_text())['macs_per_image']
    )


def test_reading_alone_and_beside_training(found):
    assert found['input_pipeline']['batches'] >= 10
    assert found['input_pipeline']['num_threads'] == 2
    assert found['input_pipeline']['images_per_s'] > 0
    assert found['input_pipeline']['images_per_cpu_s'] > 0
    assert found['loop']['steps'] == 5
    assert found['loop']['images_per_s'] > 0
    assert 0 <= found['loop']['wait'] <= 1


def test_memory(found):
    memory = found['step_memory']
    # the state is donated: it is updated in place, and only the scalars come out beside it
    assert 0 <= memory['outputs'] - memory['outputs_in_place'] < 1024
    assert memory['arguments'] > memory['outputs_in_place'] > 0
    assert memory['temporary'] > 0
    peak = found['peak_memory']
    assert peak['device_bytes'] is None  # a CPU keeps no account
    assert 50e6 < peak['host_bytes'] < 64e9  # bytes, not kibibytes


def test_the_record_says_what_machine_and_command(found):
    assert found['exp'] == 'tiny'
    assert found['parallelism'] == 'jit'
    assert found['made_with']['devices'] == {'platform': 'cpu', 'kind': 'cpu', 'count': 8}
    assert found['made_with']['versions']['jax'] == jax.__version__
    assert {'command', 'git_sha', 'host'} <= found['made_with'].keys()
    assert found['cores'] >= 1


def test_a_run_may_begin_where_a_benchmark_was(tiny, measured):
    assert not (measured / 'config.json').exists()
    with open_run(RunOptions(exp='tiny', workdir=measured), tiny) as opened:
        assert opened.is_new
    assert (measured / 'benchmark.json').exists()


def test_another_size_needs_no_data(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, 'TIMED_S', 0.0)
    absent = dataclasses.replace(tiny, dataset=CamVid(), model=tiny.model.clone(num_classes=11))
    workdir = tmp_path / 'run'
    options = RunOptions(workdir=workdir, raw_dir=tmp_path, data_dir=tmp_path, parallelism='pmap')
    with pytest.raises(UserError, match='CamVid is not in'):
        benchmark.run(absent, options)
    sized = dataclasses.replace(options, input='24x32', output=str(tmp_path / 'elsewhere'))
    assert benchmark.run(absent, sized) == 0
    found = json.loads((tmp_path / 'elsewhere' / 'benchmark.json').read_text())
    assert found['input_shape'] == [8, 24, 32, 3]
    assert found['parallelism'] == 'pmap'
    assert found['input_pipeline'] is None and found['loop'] is None
    assert 'elsewhere/benchmark.json' in capsys.readouterr().out


def test_noise_takes_the_classes_of_the_model_or_else_of_the_data(tiny):
    roots = None  # Shapes need none
    for given, noise in ((21, 21), (1, 2), (0, 6)):
        e = config.replace(tiny, {'model.num_classes': given, 'train.scale': 0.5})
        e = benchmark._on_noise(e, (24, 32), roots)
        assert len(e.dataset.info(roots).class_names) == noise
        sample = next(e.train.batches(e.dataset.source('train', roots), seed=0, num_threads=0))
        assert sample.image.shape == (8, 24, 32, 3) and sample.image.dtype == np.uint8
        assert sample.label.shape == (8, 24, 32)
        assert np.unique(sample.label).tolist() == list(range(noise))


def test_speed_by_hand():
    speed = benchmark._speed(np.array([4.0, 1.0, 2.0, 3.0, 5.0]), images=6, macs=10, passes=3)
    assert speed['runs'] == 5
    assert speed['median_s'] == 3.0
    assert speed['p10_s'] == pytest.approx(1.4)  # linear between the order statistics
    assert speed['p90_s'] == pytest.approx(4.6)
    assert speed['p95_s'] == pytest.approx(4.8)
    assert speed['images_per_s'] == 2.0
    assert speed['flop_per_s'] == 120.0  # 2 for a multiply-accumulate, 3 passes, 10 each, 2 images


def test_ten_seconds_of_runs_but_ten_to_two_hundred():
    assert [benchmark._times((10, 200), s) for s in (30.0, 0.1, 1e-4, 0.0)] == [10, 100, 200, 200]


def test_the_loop_trains_on_a_new_batch_each_step():
    class Recorder(benchmark._Training):
        def __init__(self):
            pipeline = SimpleNamespace(batch_size=8)
            self._job = SimpleNamespace(
                train_batches=itertools.count,  # batch i is the number i
                parallel=SimpleNamespace(first=lambda scalars: scalars),
                experiment=SimpleNamespace(train=pipeline),
            )
            self._state, self.taken = np.zeros(()), []

        def once(self, batch):
            self.taken.append(batch)
            return self._state, {'loss': np.float32(batch)}

    training = Recorder()
    assert training.in_loop(3)['steps'] == 3
    assert training.taken == list(range(benchmark.WARM_UP + 3))


def test_compilation_is_not_read_from_the_cache(tmp_path, monkeypatch):
    names = {
        'jax_compilation_cache_dir': str(tmp_path),
        'jax_persistent_cache_min_compile_time_secs': 0.0,
        'jax_persistent_cache_min_entry_size_bytes': -1,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    try:
        double, took = benchmark._compile(jax.jit(lambda x: 2 * x), np.ones(3, np.float32))
        assert not list(tmp_path.iterdir())
        assert double(np.ones(3, np.float32)).tolist() == [2.0, 2.0, 2.0]
        assert took.keys() == {'trace_and_lower_s', 'compile_s'}
        jax.jit(lambda x: 3 * x)(np.ones(3, np.float32))
        assert list(tmp_path.iterdir())  # on again afterwards
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
