"""Whole trainings in hostile surroundings end with the bits of one that nobody disturbed."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil

import jax
import numpy as np
import pytest

from segjax.data.dataset import Roots
from segjax.data.datasets.shapes import ShapesSource
from segjax.modes import train
from segjax.train import checkpoint
from segjax.train.hashing import leaf_paths
from segjax.types import UserError
from tests.train.test_loop import options as options_of_loop
from tests.train.test_loop import result, tiny

options = functools.partial(options_of_loop, pictures=False)


@pytest.fixture(scope='module', autouse=True)
def keep_programs():
    """Every run of this file compiles the same programs: once is enough."""
    name = 'jax_persistent_cache_min_compile_time_secs'
    before = getattr(jax.config, name)
    jax.config.update(name, 0.0)
    yield
    jax.config.update(name, before)


@pytest.fixture(autouse=True)
def devices(monkeypatch):
    """Sets how many devices there are: at first one."""

    def set_devices(number: int) -> None:
        some = functools.partial(train_make_job, devices=jax.devices()[:number])
        monkeypatch.setattr(train, 'make_job', some)

    train_make_job = train.make_job
    set_devices(1)
    return set_devices


@pytest.fixture(scope='module')
def undisturbed(keep_programs, tmp_path_factory):
    """The directory of a run of one device."""
    workdir = tmp_path_factory.mktemp('undisturbed')
    with pytest.MonkeyPatch.context() as patch:
        one = functools.partial(train.make_job, devices=jax.devices()[:1])
        patch.setattr(train, 'make_job', one)
        assert train.run(tiny(), options(workdir)) == 0
    return workdir


def steps_there(workdir) -> list[int]:
    names = (path.name for path in (workdir / 'checkpoints').iterdir())
    return sorted(int(name) for name in names if name.isdecimal())


def failing_save(monkeypatch, *failing_steps: int):
    """Lets saves of these steps fail as on a full disk."""
    real = checkpoint.write_manifest

    def write_manifest(directory, *, step, **arguments):
        if step in failing_steps:
            raise OSError(28, 'No space left on device')
        real(directory, step=step, **arguments)

    monkeypatch.setattr(checkpoint, 'write_manifest', write_manifest)


def test_a_full_disk_and_a_broken_tensorboard_do_not_touch_training(
    undisturbed, tmp_path, monkeypatch, capsys
):
    (tmp_path / 'tensorboard').write_text('a file where the folder should be')
    failing_save(monkeypatch, 2, 3)
    wanted = dataclasses.replace(options(tmp_path), tensorboard=True)
    assert train.run(tiny(), wanted) == 0
    assert result(tmp_path)['state_sha256'] == result(undisturbed)['state_sha256']
    warnings = capsys.readouterr().err
    assert warnings.count('No space left') == 2 and 'the next save tries again' in warnings
    assert warnings.count('TensorBoard is switched off') == 1


def test_a_last_save_that_fails_is_no_success_and_the_same_command_mends_it(
    undisturbed, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        failing_save(patch, 6)
        with pytest.raises(
            UserError, match=r'No space left.*Make room, then give the same command'
        ):
            train.run(tiny(), options(tmp_path))
    assert steps_there(tmp_path)[-1] == 4 and not (tmp_path / 'result.json').exists()
    assert train.run(tiny(), options(tmp_path)) == 0
    assert result(tmp_path)['state_sha256'] == result(undisturbed)['state_sha256']


def test_a_run_with_damaged_files_is_completed_without_training(undisturbed, tmp_path, capsys):
    """After the last step; best.json and the last lines of metrics.jsonl are broken."""
    workdir = shutil.copytree(undisturbed, tmp_path / 'run')
    (workdir / 'result.json').unlink()
    (workdir / 'checkpoints/best.json').write_bytes(b'{"step": ')
    with (workdir / 'metrics.jsonl').open('ab') as file:
        file.write(b'{"step": 6, "split": "tr\xff')
    assert train.run(tiny(), options(workdir)) == 0
    assert 'Carrying on after step 6' in capsys.readouterr().out
    assert result(workdir)['state_sha256'] == result(undisturbed)['state_sha256']
    assert result(workdir)['metrics'] == result(undisturbed)['metrics']
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    assert [line['step'] for line in lines if line['split'] == 'val'] == [3, 6]


def test_another_number_of_devices_goes_on_with_the_same_data(
    undisturbed, tmp_path, devices, monkeypatch
):
    workdir = shutil.copytree(undisturbed, tmp_path / 'run')
    (workdir / 'result.json').unlink()
    shutil.rmtree(workdir / 'checkpoints/6')
    devices(2)
    assert train.run(tiny(), options(workdir)) == 0
    states = []
    for folder in (undisturbed, workdir):
        with checkpoint.Checkpointer(folder / 'checkpoints') as checkpoints:
            one = functools.partial(train.make_job, devices=jax.devices()[:1])
            like = one(tiny(), Roots(folder, folder)).abstract_state()
            states.append(leaf_paths(checkpoints.restore('latest', like=like)[1]))
    for path, expected in states[0].items():
        np.testing.assert_allclose(states[1][path], expected, atol=1e-5, rtol=1e-5, err_msg=path)


def test_a_run_stopped_by_a_bad_sample_may_go_on_without_it(tmp_path, monkeypatch, capsys):
    """And ends as if it had always been allowed to; metrics.jsonl counts it."""
    fail = tiny()
    fail = dataclasses.replace(fail, dataset=dataclasses.replace(fail.dataset, num_train=64))
    skip = dataclasses.replace(
        fail, dataset=dataclasses.replace(fail.dataset, bad_samples='skip', max_bad=1)
    )
    batches = fail.train.batches(ShapesSource(fail.dataset, 'train'), seed=0, start=4)
    bad, real = int(next(batches).image_id[5]), ShapesSource.__getitem__

    def getitem(self, index):
        if index == bad:
            raise UserError(f'picture {index} cannot be read')
        return real(self, index)

    monkeypatch.setattr(ShapesSource, '__getitem__', getitem)
    with pytest.raises(UserError, match=f'picture {bad} cannot be read'):
        train.run(fail, options(tmp_path / 'stopped'))
    assert steps_there(tmp_path / 'stopped')[-1] in (2, 4)
    assert train.run(skip, options(tmp_path / 'stopped')) == 0
    assert f'replaced by the next one: picture {bad} cannot' in capsys.readouterr().err
    assert train.run(skip, options(tmp_path / 'always')) == 0
    states = [result(tmp_path / name)['state_sha256'] for name in ('stopped', 'always')]
    assert states[0] == states[1]
    text = (tmp_path / 'always/metrics.jsonl').read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if line['split'] == 'train']
    assert lines[-1]['bad_samples'] == 1


def test_a_device_without_memory_is_explained(tmp_path, monkeypatch):
    def fit(*_, **__):
        raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory: 17179869184 bytes.')

    monkeypatch.setattr(train, 'fit', fit)
    with pytest.raises(UserError, match=r'8 pictures of 32x32 .*17179869184 bytes.*--remat=true'):
        train.run(tiny(), options(tmp_path))
