"""Run directories: made once, locked, compared, set aside."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.fcn8s_shapes import experiment
from segjax import config
from segjax.config import RunOptions
from segjax.train import provenance, rundir
from segjax.types import UserError

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Model:
    widths: tuple[int, ...] = (4, 8)


@dataclasses.dataclass(frozen=True)
class Experiment:
    model: Model = Model()
    num_steps: int = 10
    seed: int = 7
    eval_every: int = dataclasses.field(default=5, metadata={'compared': False})


@pytest.fixture
def options(tmp_path):
    return RunOptions(exp='tiny', workdir=tmp_path / 'runs' / 'tiny')


def start(options, experiment=Experiment()):
    """Opens and closes a run."""
    with rundir.open_run(options, experiment) as run:
        return run


def begin(options, experiment=Experiment()):
    """Leaves a run as it is after its first results."""
    run = start(options, experiment)
    (options.workdir / 'metrics.jsonl').write_text('{}\n')
    return run


def test_a_new_run_records_fields_and_origin(options):
    run = start(options)
    assert (run.is_new, run.result, run.kept) == (True, None, None)
    written = json.loads((options.workdir / 'config.json').read_text())
    assert written['model.widths'] == [4, 8]
    assert written['seed'] == 7
    origin = written['run']
    assert origin['exp'] == 'tiny'
    assert origin['versions']['jax']
    assert origin['devices']['count'] == 8
    assert origin['command'] == shlex.join(sys.orig_argv)
    assert {'git_sha', 'python', 'time', 'host'} <= origin.keys()


def test_the_same_run_is_continued_and_says_by_whom(options):
    begin(options)
    run = start(options)
    assert not run.is_new
    fields, origin = rundir.read_config(options.workdir)
    assert fields['num_steps'] == 10
    assert len(origin['resumed']) == 1


def test_changed_fields_are_refused_with_a_diff_and_two_remedies(options):
    begin(options)
    with pytest.raises(UserError) as refused:
        start(options, Experiment(num_steps=20, model=Model(widths=(1,))))
    text = str(refused.value)
    assert 'num_steps: 10 -> 20' in text
    assert 'model.widths: 4,8 -> 1' in text
    assert '--fresh' in text
    assert '--workdir' in text
    assert rundir.read_config(options.workdir).fields['num_steps'] == 10


def test_uncompared_fields_may_change(options):
    begin(options)
    assert not start(options, Experiment(eval_every=1)).is_new


def test_a_finished_run_is_recognised_and_left_alone(options):
    begin(options)
    rundir.write_json(options.workdir / 'result.json', {'step': 10})
    before = (options.workdir / 'config.json').read_bytes()
    assert start(options).result == {'step': 10}
    assert (options.workdir / 'config.json').read_bytes() == before


def test_fresh_keeps_the_old_run_beside_and_leaves_runs_inside_in_place(options):
    begin(options)
    (options.workdir / 'checkpoints' / '5').mkdir(parents=True)
    inner = dataclasses.replace(options, workdir=options.workdir / 'num_steps=20')
    begin(inner, Experiment(num_steps=20))
    arm = options.workdir / 'sweep' / 'tiny,seed=0'
    begin(dataclasses.replace(options, workdir=arm))
    fresh = dataclasses.replace(options, fresh=True)
    for number in (1, 2):
        run = begin(fresh, Experiment(num_steps=30 + number))
        assert run.is_new
        assert run.kept == options.workdir.with_name(f'tiny.{number}')
    first = options.workdir.with_name('tiny.1')
    assert {path.name for path in first.iterdir()} == {
        'config.json',
        'checkpoints',
        'metrics.jsonl',
    }
    assert rundir.read_config(first).fields['num_steps'] == 10
    assert {path.name for path in options.workdir.iterdir()} == {
        'config.json',
        'lock',
        'metrics.jsonl',
        'num_steps=20',
        'sweep',
    }
    assert rundir.read_config(arm).fields['num_steps'] == 10
    assert rundir.read_config(options.workdir).fields['num_steps'] == 32
    assert not start(inner, Experiment(num_steps=20)).is_new


def test_a_run_that_never_began_takes_other_fields(options):
    start(options)
    run = start(options, Experiment(num_steps=20))
    assert run.is_new
    assert rundir.read_config(options.workdir).fields['num_steps'] == 20
    assert start(dataclasses.replace(options, fresh=True)).kept is None


def test_fresh_in_an_empty_directory_is_a_plain_start(options):
    run = start(dataclasses.replace(options, fresh=True))
    assert run.is_new
    assert run.kept is None


def test_checkpoints_of_unknown_origin_are_not_continued(options):
    (options.workdir / 'checkpoints' / '5').mkdir(parents=True)
    with pytest.raises(UserError, match='no config'):
        start(options)


@pytest.mark.parametrize('text', ['{"architectures": ["Bert"]}', '{"num_st', '[]', '{"run": 3}'])
def test_a_config_that_is_not_a_runs_is_named_and_never_moved(options, text):
    options.workdir.mkdir(parents=True)
    (options.workdir / 'config.json').write_text(text)
    with pytest.raises(UserError, match=r'config\.json is damaged, or is not'):
        start(dataclasses.replace(options, fresh=True))
    assert (options.workdir / 'config.json').read_text() == text


def test_reading_the_config_of_no_run(tmp_path):
    with pytest.raises(UserError, match='holds no run'):
        rundir.read_config(tmp_path)


def test_a_run_that_is_not_finished_is_no_missing_one(tmp_path):
    (tmp_path / 'begun').mkdir()
    (tmp_path / 'begun/config.json').write_text('{}')
    with pytest.raises(UserError, match=r'begun is a run that is not finished: it has no model/'):
        rundir.find_runs([str(tmp_path / 'begun')], 'model/model.json')
    with pytest.raises(UserError, match=r'no config\.json'):
        rundir.find_runs([str(tmp_path / 'nowhere')])


def test_a_mode_that_needs_a_run_asks_which(tmp_path):
    with pytest.raises(UserError, match=r'Which run\? --mode=export RUN, or --exp=NAME'):
        rundir.chosen_runs(RunOptions(mode='export'))
    assert rundir.chosen_runs(RunOptions(workdir=tmp_path)) == [tmp_path]
    (tmp_path / 'config.json').write_text('{}')
    assert rundir.chosen_runs(RunOptions(runs=(str(tmp_path),))) == [tmp_path]


def test_an_experiment_that_this_code_cannot_make_names_its_file(tmp_path):
    own = config.flatten(experiment())
    lost = {path: value for path, value in own.items() if not path.startswith('task')}
    odd = [own | {'model.nope': 1}, own | {'model.class': 'segjax.models.gone.Gone'}, lost]
    odd.append(own | {'model.class': 7})
    for fields in odd:
        (tmp_path / 'config.json').write_text(json.dumps(fields | {'run': {}}))
        with pytest.raises(UserError, match=r'config\.json was changed, or written by other code'):
            rundir.read_experiment(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps(own | {'run': {}}))
    assert rundir.read_experiment(tmp_path) == experiment()


def test_a_directory_that_cannot_be_made_is_the_users_mistake(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot hold a run: Not a directory'):
        start(RunOptions(exp='tiny', workdir=tmp_path / 'file' / 'run'))


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_directory_without_write_permission(options):
    options.workdir.mkdir(parents=True)
    options.workdir.chmod(0o500)
    with pytest.raises(UserError, match='Permission denied'):
        start(options)


def test_an_error_while_opening_lets_go_of_the_lock(options):
    begin(options)
    with pytest.raises(UserError, match='other fields'):
        start(options, Experiment(num_steps=11))
    start(options)


def test_two_processes_cannot_share_a_run_and_a_killed_one_frees_it(options):
    options.workdir.mkdir(parents=True)
    code = (
        'import pathlib, sys, time\n'
        'from segjax.train import rundir\n'
        'held = rundir._lock(pathlib.Path(sys.argv[1]))\n'
        'print("held", flush=True)\n'
        'time.sleep(60)\n'
    )
    holder = subprocess.Popen(
        [sys.executable, '-c', code, str(options.workdir)],
        stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b'held\n'
        with pytest.raises(UserError, match=rf'in use by process {holder.pid} on .* since 20'):
            start(options)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    assert start(options).is_new


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'result.json'
    rundir.write_json(path, {'a': 1})
    with pytest.raises(TypeError):
        rundir.write_json(path, {'a': object()})
    assert json.loads(path.read_text()) == {'a': 1}


def test_provenance_without_git(monkeypatch):
    monkeypatch.setenv('PATH', '')
    assert provenance.git_revision() == ''


def test_a_repository_around_an_installed_package_is_not_its_revision(monkeypatch, tmp_path):
    inside = tmp_path / 'site-packages'
    inside.mkdir()
    for command in (['init', '-q'], ['-c', 'user.name=a', '-c', 'user.email=a@b', 'commit',
                    '-q', '--allow-empty', '-m', 'x']):  # fmt: skip
        subprocess.run(['git', '-C', str(tmp_path), *command], check=True)
    monkeypatch.setattr(provenance, 'REPOSITORY', tmp_path)
    assert len(provenance.git_revision()) == 40
    monkeypatch.setattr(provenance, 'REPOSITORY', inside)
    assert provenance.git_revision() == ''


@pytest.mark.parametrize(
    ('card', 'platforms', 'hinted'),
    [(True, '', True), (False, '', False), (True, 'cpu', False)],
)
def test_nvidia_hint(monkeypatch, card, platforms, hinted):
    monkeypatch.setattr(provenance, '_has_nvidia_card', lambda: card)
    monkeypatch.setenv('JAX_PLATFORMS', platforms)
    assert ('pip install' in provenance.nvidia_hint()) == hinted


def test_a_comma_parts_two_runs_or_belongs_to_one(tmp_path):
    for name in ('a,seed=1', 'b'):
        start(RunOptions(exp='tiny', workdir=tmp_path / name))
    words = (f'{tmp_path}/a', 'seed=1', f'{tmp_path}/b')
    assert rundir.find_runs(words) == [tmp_path / 'a,seed=1', tmp_path / 'b']
    with pytest.raises(UserError, match=r'--runs: .*/c holds no run: it has no config\.json'):
        rundir.find_runs((*words, f'{tmp_path}/c'))
