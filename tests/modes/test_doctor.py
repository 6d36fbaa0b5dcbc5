"""--mode=doctor: what it says of this machine, and that it notices what is wrong."""

import pytest

import launch
from segjax.config import RunOptions
from segjax.modes import doctor
from segjax.train import provenance


def test_all_is_well_with_an_experiment_and_without(tmp_path, capsys, tiny):
    workdir = tmp_path / 'not' / 'there'
    assert doctor.run(None, RunOptions(mode='doctor', workdir=workdir)) == 0
    assert doctor.run(tiny, RunOptions(mode='doctor', workdir=workdir)) == 0
    said = capsys.readouterr().out
    assert 'process 0 on' in said and 'sum       8 devices' in said
    assert said.count('All is well.') == 2
    assert f'{tmp_path}: ' in said and not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written_is_a_problem(tmp_path, capsys, monkeypatch):
    def refuse(path, content):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(doctor, 'write_whole', refuse)
    assert doctor.run(None, RunOptions(mode='doctor', workdir=tmp_path)) == 1
    spoken = capsys.readouterr()
    assert f'{tmp_path} cannot be written: Permission denied' in spoken.err
    assert '1 of 7 checks failed' in spoken.out


def test_a_card_that_jax_passes_over_is_a_problem(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(provenance, 'nvidia_hint', lambda: 'install it')
    assert doctor.run(None, RunOptions(mode='doctor', workdir=tmp_path)) == 1
    assert 'WARNING: traps: install it' in capsys.readouterr().err


def test_it_needs_no_experiment_but_its_fields_do(capsys, tmp_path):
    assert launch.main(['--mode=doctor', f'--workdir={tmp_path}']) == 0
    assert launch.main(['--mode=doctor', '--num_steps=3']) == 2
    assert '--num_steps=3 belongs to an experiment' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [[], ['--help'], ['--mode=doctor', '--help']])
def test_without_an_experiment_help_says_how_to_name_one(arguments, capsys):
    assert launch.main(arguments) == 0
    assert '--exp=fcn8s_shapes' in capsys.readouterr().out
