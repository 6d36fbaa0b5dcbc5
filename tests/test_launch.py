"""The command line as a user meets it: files, screen, exit codes."""

import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TINY = '''
"""A tiny network, to try the command line with.

Second paragraph.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn


class Net(nn.Module):
    """A net.

    Attributes:
      widths: channels of each level.
    """

    widths: tuple[int, ...] = (4, 8)
    norm: Literal['none', 'batch'] = 'batch'


@dataclasses.dataclass(frozen=True)
class Experiment:
    model: nn.Module
    num_steps: int = 10
    """Number of optimiser steps."""


def experiment():
    return Experiment(model=Net())
'''


@pytest.fixture
def experiments(tmp_path):
    folder = tmp_path / 'experiments'
    folder.mkdir()
    (folder / 'tiny.py').write_text(TINY.lstrip())
    (folder / 'broken.py').write_text('"""Never imported by --list."""\nraise OSError("boom")\n')
    (folder / '_private.py').write_text('')
    return folder


@pytest.fixture
def launch(experiments, monkeypatch, tmp_path):
    """launch.main on the temporary experiments, in a temporary working directory."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)
    import launch

    return lambda *argv: launch.main(list(argv), experiments=experiments)


@pytest.fixture
def mode(monkeypatch):
    """Puts a function in the place of segjax.modes.train.run."""

    def put(run):
        module = types.SimpleNamespace(run=run)
        monkeypatch.setitem(sys.modules, 'segjax.modes.train', module)

    return put


def test_list_names_experiments_without_importing_them(launch, capsys):
    assert launch('--list') == 0
    assert capsys.readouterr().out.splitlines() == [
        'broken  Never imported by --list.',
        'tiny    A tiny network, to try the command line with.',
    ]


def test_list_with_a_word_looks_in_names_and_first_lines(launch, capsys):
    assert launch('--list=NETWORK') == 0
    assert capsys.readouterr().out.startswith('tiny ')
    assert launch('--list', 'brok') == 0
    assert capsys.readouterr().out.startswith('broken ')


def test_no_arguments_show_three_commands(launch, capsys):
    assert launch() == 0
    assert capsys.readouterr().out.count('python launch.py --exp=') == 3


@pytest.mark.parametrize('code', [0, 3, 75])
def test_a_mode_is_given_experiment_and_options_and_gives_the_exit_code(launch, mode, code, capsys):
    given = []
    mode(lambda *arguments: given.append(arguments) or code)
    assert launch('--exp', 'tiny', '--widths=1,2', '--num_steps=3', '--keep=5') == code
    ((experiment, options),) = given
    assert (experiment.model.widths, experiment.num_steps, options.keep) == ((1, 2), 3, 5)
    assert options.workdir == Path('runs/tiny/num_steps=3,widths=1,2')
    assert capsys.readouterr().out.startswith('segjax: train tiny\n')


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--exp=tinny'], 'no such experiment in {folder}. Did you mean tiny?'),
        (['--exp=_private'], 'no such experiment'),
        (['--num_steps=3'], 'Which experiment?'),
        (['--exp=tiny', '--num_step=3'], 'Did you mean num_steps'),
        (['--exp=tiny', '--mode=sumary'], 'Did you mean summary?'),
        (['--exp=tiny', 'summary'], "Unexpected 'summary'"),
    ],
)
def test_mistakes_are_one_line_on_stderr_and_exit_2(launch, argv, message, experiments, capsys):
    assert launch(*argv) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message.format(folder=experiments) in error
    assert error.count('\n') == 1


def test_other_errors_pass_through(launch, mode):
    with pytest.raises(OSError, match='boom'):
        launch('--exp=broken')
    mode(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        launch('--exp=tiny')


@pytest.fixture
def process(experiments):
    """Starts a copy of launch.py that lies beside the temporary experiments."""
    shutil.copy(ROOT / 'launch.py', experiments.parent)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}

    def start(*argv):
        return subprocess.Popen(
            [sys.executable, 'launch.py', *argv],
            cwd=experiments.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_process_help_lists_every_field_with_type_default_and_doc(process):
    with process('--exp=tiny', '--help') as child:
        out, err = child.communicate()
    assert (child.returncode, err) == (0, '')
    for part in (
        'Number of optimiser steps. (default: 10)',
        'channels of each level. (default: 4 8)',
        '--model.norm {none,batch}',
        '--workdir PATH',
    ):
        assert part in out


def test_process_exit_codes_of_a_mistake_and_of_a_failure(process):
    with process('--exp=tiny', '--mode=trian') as child:
        out, err = child.communicate()
    assert (child.returncode, out) == (2, '')
    assert 'Did you mean train?' in err
    with process('--exp=broken') as child:
        out, err = child.communicate()
    assert (child.returncode, out) == (1, 'segjax: train broken\n')
    assert err.rstrip().endswith('OSError: boom')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_process_stopped_while_starting_is_resumable(process, experiments, number):
    (experiments / 'slow.py').write_text('import time\nprint("there", flush=True)\ntime.sleep(60)')
    with process('--exp=slow') as child:
        assert child.stdout.readline() == 'segjax: train slow\n'
        assert child.stdout.readline() == 'there\n'
        child.send_signal(number)
        _, err = child.communicate()
    assert child.returncode == 75
    assert err == 'Stopped. The same command carries on.\n'


def test_list_and_mistakes_in_options_import_nothing_heavy(experiments):
    code = (
        'import sys, pathlib, launch\n'
        'folder = pathlib.Path(sys.argv[1])\n'
        'assert launch.main(["--list"], experiments=folder) == 0\n'
        'assert launch.main(["--exp=tinny"], experiments=folder) == 2\n'
        'heavy = {"jax", "flax", "numpy", "grain", "matplotlib"} & sys.modules.keys()\n'
        'assert not heavy, heavy\n'
    )
    subprocess.run([sys.executable, '-c', code, str(experiments)], cwd=ROOT, check=True)
