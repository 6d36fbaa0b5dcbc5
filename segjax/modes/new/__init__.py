"""--mode=new: looks at a folder of pictures, and writes an experiment that fits it.

    python launch.py --mode=new --folder=PATH [--like=unet_folder] [--name=NAME]
    python launch.py --mode=new --folder=PATH --like=maskrcnn_folder [--weights=NAME]

The experiment is that of --like with what the folder asks for: resolution, windows, batch,
normalisation, length of training, and what belongs to its task, each with a comment why. The rules
of each task are a file of this package, a function a field.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from segjax import config
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.data.datasets.coco import CocoFolder
from segjax.data.datasets.folder import Folder
from segjax.files import write_whole
from segjax.modes.new import detection, semantic
from segjax.modes.new.plan import Plan
from segjax.pretrained.initial import require_weights
from segjax.train.experiment import Experiment
from segjax.train.screen import Screen
from segjax.train.source_code import experiment_source
from segjax.types import UserError

FEW_PICTURES = 30  # of which a fifth says little


def _experiments(options: RunOptions) -> Path:
    """The folder in which --exp finds its experiments."""
    return Path(str(sys.modules[f'experiments.{options.exp}'].__file__)).parent


def _target(folder: Path, options: RunOptions) -> Path:
    """The file to write for the data in `folder`; UserError when the name is none or taken."""
    home = Path(options.output) if options.output else _experiments(options)
    name = options.name
    if not name:
        name = re.sub(r'\W+', '_', folder.name.lower()).strip('_')
    if not re.fullmatch(r'[a-z][a-z0-9_]*', name):
        raise UserError(f'--name={name}: small letters, digits and _, beginning with a letter.')
    if (home / f'{name}.py').exists():
        raise UserError(f'{home / f"{name}.py"} is there already; give another --name=NAME.')
    return home / f'{name}.py'


def _command(name: str, words: str) -> str:
    return f'python launch.py --exp={name} {words}'.rstrip()


def _begins(options: RunOptions) -> bool:
    """Whether the training begins with weights."""
    return options.weights not in ('', 'none')


def _training(options: RunOptions) -> str:
    """The command that trains the experiment, from the weights that were named."""
    return _command(options.name, f'--weights={options.weights}' if _begins(options) else '')


def _facts(found: dict[str, str]) -> str:
    width = max(map(len, found)) + 2
    return '\n'.join(
        textwrap.fill(
            f'{key:<{width}}{value}',
            100,
            initial_indent='    ',
            subsequent_indent=' ' * (width + 4),
        )
        for key, value in found.items()
    )


def _text(plan: Plan, folder: Path, options: RunOptions) -> str:
    """The docstring of the file."""
    others = [f'{what}:\n\n    {command}\n\n' for what, command in plan.other]
    folds = '\nFew pictures: --folds=5 --mode=sweep trains and scores five divisions of them.\n'
    number = int(plan.found['pictures'].split()[1].strip(','))
    return (
        f'{type(plan.experiment.model).__name__} on the pictures of {folder.name}/; begun by '
        f'--mode=new like {options.exp}.\n\n'
        f'    {_command(options.name, "--mode=check_data")}\n'
        f'    {_training(options)}\n\n{"".join(others)}'
        f'What was found:\n\n{_facts(plan.found)}\n{folds if number < FEW_PICTURES else ""}'
    )


def _task(dataset: Any) -> Any:
    """The module with the rules for what the data set holds."""
    if isinstance(dataset, Folder):
        return semantic
    if isinstance(dataset, CocoFolder):
        return detection
    raise UserError(
        f'--like: reads {type(dataset).__name__}, not a folder of your own. Take unet_folder, '
        'unetpp_folder, fcn8s_folder or deeplabv3plus_folder; for objects with annotations in '
        "COCO's form maskrcnn_folder."
    )


def _source(plan: Plan, folder: Path, options: RunOptions) -> str:
    """The file."""
    return experiment_source(
        config.replace(plan.experiment, {c.path: c.value for c in plan.choices}),
        text=_text(plan, folder, options),
        summary=f'Like {options.exp}, fitted to the data by --mode=new; yours to change.',
        notes={c.path: c.why for c in plan.choices} | plan.notes,
    )


def _say_next(screen: Screen, target: Path, options: RunOptions) -> None:
    check, train = _command(options.name, '--mode=check_data'), _training(options)
    width = max(len(check), len(train)) + 3
    lines = f'{check:<{width}}look at what it will see\n{train:<{width}}train'
    home = _experiments(options)
    if target.parent.resolve() != home.resolve():
        lines = f'mv {target} {home}/   where --exp looks for it\n{lines}'
    screen.facts({'written to': str(target), 'next': lines})


def run(experiment: Experiment, options: RunOptions) -> int:
    """Look at the data, write the file, say what was chosen and what comes next; the exit code.

    Raises:
      UserError: the folder or --weights cannot be used, or the file is there already.
    """
    screen, roots = Screen(), Roots(options.raw_dir, options.data_dir)
    dataset: Any = experiment.dataset
    task = _task(dataset)
    dataset.require(roots)
    if _begins(options):
        require_weights(options.weights)
    folder = dataset.raw_folder(roots).resolve()
    target = _target(folder, options)
    screen.facts({'data': f'{folder}; reading every picture and mask'})
    options = dataclasses.replace(options, name=target.stem)
    plan: Plan = task.plan(experiment, roots, options)
    screen.facts(plan.found)
    source = _source(plan, folder, options)
    try:
        write_whole(target, source.encode())
    except OSError as error:
        raise UserError(f'{target} cannot be written: {error.strerror}; see --output.') from error
    screen.heading('Chosen')
    screen.facts({c.path: f'{config.show(c.value) or "none"}: {c.why}' for c in plan.choices})
    screen.line()
    _say_next(screen, target, options)
    return 0
