"""Every command that the texts show can be given: the experiment exists, its fields parse."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from launch import EXPERIMENTS, load_experiment
from segjax import commandline, grid

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [ROOT / 'README.md', *sorted((ROOT / 'experiments').glob('*'))]
TEXTS += sorted((ROOT / 'segjax').rglob('README.md'))


def commands() -> list[str]:
    """`python launch.py ...` in any text, up to a comment or the explanation beside it."""
    found = []
    for path in (path for path in TEXTS if path.is_file()):
        for line in re.findall(r'python launch\.py[^\n`#]*', path.read_text('utf-8')):
            found.append(re.split(r'\s{2,}|, ', line.strip())[0])
    return sorted({line for line in found if 'NAME' not in line and '--exp' in line})


def written() -> dict[str, str]:
    """{NAME: LIKE} of the experiments that `--mode=new` writes in the texts."""
    text = (ROOT / 'README.md').read_text('utf-8')
    return dict(re.findall(r'--mode=new --folder=(\w+) --like=(\w+)', text))


def test_there_are_commands():
    assert 'python launch.py --exp=fcn8s_shapes' in commands()


@pytest.mark.parametrize('command', commands())
def test_command(command):
    arguments = commandline.split(shlex.split(command)[2:])
    options, fields = commandline.parse_options(arguments)
    name = written().get(options.exp, options.exp)
    experiment = load_experiment(EXPERIMENTS, name)
    sweep = getattr(sys.modules[f'experiments.{name}'], 'sweep', None)
    if dict(arguments).get('help') is None:
        grid.configure(experiment, sweep, options, fields)
