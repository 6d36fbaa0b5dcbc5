"""--mode=sweep: from arms to a table, resumed, drawn again."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from segjax import config
from segjax.ablation.arm import Arm
from segjax.config import RunOptions
from segjax.models import UNetPlusPlus
from segjax.modes import sweep
from segjax.tasks import Semantic
from segjax.train.screen import Screen
from segjax.types import UserError

NET = UNetPlusPlus(num_classes=6, widths=(2, 2, 2), depth=2, dropout=0.0)
FILES = ('table.md', 'table.csv', 'iou_vs_macs.png', 'iou_vs_latency.png', 'seeds.png')


def options(workdir, **changes):
    return RunOptions(
        exp='tiny', mode='sweep', workdir=workdir, pictures=False, tensorboard=False, **changes
    )


@pytest.fixture(scope='module')
def arms(tiny):
    short = config.replace(tiny, {'num_steps': 2, 'dataset.num_val': 4})
    alone = dataclasses.replace(short, model=NET.clone(deep_supervision=False, depth=1))
    deep = dataclasses.replace(short, model=NET, task=Semantic(supervision='mean'))
    pairs = (('alone', alone), ('deep', deep))
    return [Arm(name, dataclasses.replace(e, seed=s)) for s in (0, 1) for name, e in pairs]


@pytest.fixture(scope='module')
def done(arms, tmp_path_factory):
    """The directory of a finished sweep."""
    workdir = tmp_path_factory.mktemp('runs') / 'tiny'
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)  # seeds share programs
    try:
        assert sweep.run(arms, options(workdir)) == 0
    finally:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', least)
    return workdir / 'sweep'


def rows(folder, name='runs.jsonl'):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_every_seed_arm_level_and_image_has_a_row(done):
    found = {(r['arm'], r['seed'], r['level'], r['image']) for r in rows(done)}
    levels = (('alone', 'L1'), ('deep', 'L1'), ('deep', 'L2'), ('deep', 'mean'))
    images = {r['image'] for r in rows(done)}
    assert found == {(a, s, level, i) for a, level in levels for s in (0, 1) for i in images}
    assert len(images) == 4 and len(rows(done)) == 4 * 2 * 4
    assert all(0 <= r['iou'] <= r['dice'] <= 1 for r in rows(done))


def test_costs_are_those_of_the_pruned_networks(done):
    params = {(r['arm'], r['level']): r['params'] for r in rows(done, 'costs.jsonl')}
    assert params['deep', 'L1'] == params['alone', 'L1'] < params['deep', 'L2']
    assert params['deep', 'mean'] == params['deep', 'L2'] + 2 * 6 + 6  # one more head


def test_there_are_a_table_and_pictures_of_every_arm(done):
    assert all((done / name).stat().st_size for name in FILES)
    text = (done / 'table.md').read_text()
    assert text.count('\n| alone |') == 1 and text.count('\n| deep |') == 3
    assert '4 images, 2 seeds an arm' in text
    picture = np.asarray(Image.open(done / 'side_by_side.png'))
    assert picture.shape[1] > 4 * 160  # image, ground truth, two arms


def test_finished_runs_are_not_repeated(arms, done, capsys):
    before = {file: file.stat().st_mtime_ns for file in done.glob('*/*')}
    table = (done / 'table.csv').read_text()
    assert sweep.run(arms, options(done.parent)) == 0
    printed = capsys.readouterr().out
    assert '4 runs: alone, deep' in printed and printed.count('This run is finished') == 4
    assert 'estimate' not in printed and 'Timing' not in printed
    after = {file: file.stat().st_mtime_ns for file in done.glob('*/*') if file.name != 'lock'}
    assert all(before[file] == time for file, time in after.items())
    assert (done / 'table.csv').read_text() == table


def test_it_is_drawn_again_without_data_or_training(arms, done, tmp_path, monkeypatch):
    tables = {name: (done / name).read_bytes() for name in FILES}
    for name in FILES:
        (done / name).unlink()
    monkeypatch.setattr(sweep, 'make_job', None)
    assert sweep.run(arms, options(done.parent, from_runs=True)) == 0
    assert {name: (done / name).read_bytes() for name in FILES} == tables


def test_fewer_arms_make_a_smaller_table(arms, done, tmp_path):
    some = options(done.parent, from_runs=True)
    assert sweep.run([arm for arm in arms if arm.name == 'deep'], some) == 0
    assert '| alone |' not in (done / 'table.md').read_text()
    assert sweep.run(arms, some) == 0


def test_runs_that_are_missing_are_named(arms, done, tmp_path):
    third = Arm('deep', dataclasses.replace(arms[1].experiment, seed=2))
    with pytest.raises(UserError, match=r"not all runs .*'deep', 2.*leave out --from_runs"):
        sweep.run([*arms, third], options(done.parent, from_runs=True))
    with pytest.raises(UserError, match=r'runs.jsonl cannot be read'):
        sweep.run(arms, options(tmp_path, from_runs=True))


def test_rows_alone_give_the_table_and_say_which_picture_is_missing(arms, done, tmp_path, capsys):
    copied = tmp_path / 'sweep'
    copied.mkdir()
    for name in ('runs.jsonl', 'costs.jsonl'):
        (copied / name).write_bytes((done / name).read_bytes())
    assert sweep.run(arms, options(tmp_path, from_runs=True)) == 0
    assert (copied / 'table.md').read_bytes() == (done / 'table.md').read_bytes()
    assert not (copied / 'side_by_side.png').exists()
    assert 'side_by_side.png was not drawn' in capsys.readouterr().err
    (copied / 'costs.jsonl').write_text(json.dumps(rows(done, 'costs.jsonl')[0]) + '\n')
    with pytest.raises(UserError, match=r"costs.jsonl says nothing of \('deep', 'L1'\)"):
        sweep.run(arms, options(tmp_path, from_runs=True))


def test_what_was_timed_before_an_interruption_is_kept(arms, done, tmp_path, monkeypatch):
    shutil.copytree(done, tmp_path / 'sweep')
    (tmp_path / 'sweep' / 'costs.jsonl').unlink()
    costs = rows(done, 'costs.jsonl')

    def timed(self, arm):
        if arm.name == 'deep':
            raise KeyboardInterrupt
        return [row for row in costs if row['arm'] == arm.name]

    monkeypatch.setattr(sweep._Sweep, '_costs', timed)
    with pytest.raises(KeyboardInterrupt):
        sweep._Sweep(arms, options(tmp_path), Screen()).gather()
    assert {row['arm'] for row in rows(tmp_path / 'sweep', 'costs.jsonl')} == {'alone'}


def test_an_interrupted_run_ends_the_sweep_and_is_told_how_long_it_will_take(
    arms, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sweep.train, 'run', lambda experiment, options: 75)
    assert sweep.run(arms, options(tmp_path)) == 75
    printed = capsys.readouterr().out
    assert 'finished  0 runs' in printed and 'hours' in printed
    assert not (tmp_path / 'sweep/runs.jsonl').exists()
