"""Runs an experiment: python launch.py --exp=NAME [--mode=MODE] [--field=value ...].

Exit codes: 0 done, 2 the user's mistake, 3 some files unreadable, 75 resumable, 1 anything else."""

import ast
import importlib.util
import signal
import sys
from pathlib import Path

from segjax import commandline, grid
from segjax.types import UserError

EXPERIMENTS = Path(__file__).resolve().parent / 'experiments'
USAGE = """\
  python launch.py --exp=fcn8s_shapes                 train and evaluate; no download
  python launch.py --exp=fcn8s_shapes --mode=eval     evaluate its best checkpoint again
  python launch.py --exp=fcn8s_shapes --num_steps=50  any field by name
--list[=WORD] and --list_weights name what there is; --exp=NAME --help names all fields."""


def list_experiments(folder: Path, word: str) -> None:
    """Prints name and first docstring line of experiments that speak of `word`; imports none."""
    files = sorted(folder.glob('[!_]*.py'))
    width = max((len(file.stem) for file in files), default=0)
    for file in files:
        doc = ast.get_docstring(ast.parse(file.read_bytes(), str(file))) or ''
        if word.lower() in (line := f'{file.stem:{width}}  {doc.partition(chr(10))[0]}').lower():
            print(line)


def load_experiment(folder: Path, name: str):
    """What experiment() of folder/NAME.py returns. Raises UserError when there is none."""
    if name not in (names := [file.stem for file in folder.glob('[!_]*.py')]):
        hint = commandline.suggest(name, names)
        raise UserError(f'--exp={name}: no such experiment in {folder}.{hint} --list names them.')
    spec = importlib.util.spec_from_file_location(f'experiments.{name}', folder / f'{name}.py')
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.experiment()


def run(argv: list[str], experiments: Path) -> int:
    """Does what the arguments say; the exit code."""
    arguments = commandline.split(argv)
    words = {name: ' '.join(texts) for name, texts in arguments}
    if 'list' in words:
        list_experiments(experiments, words['list'])
    elif 'list_weights' in words:
        print(importlib.import_module('segjax.pretrained.table').listing())
    elif 'exp' not in words and ('help' in words or not words):
        print(USAGE)
    else:
        options, fields = commandline.parse_options(arguments)
        print(f'segjax: {options.mode} {options.exp}', flush=True)  # before the seconds JAX takes
        experiment = load_experiment(experiments, options.exp) if options.exp else None
        if 'help' not in words:
            sweep = getattr(sys.modules.get(f'experiments.{options.exp}'), 'sweep', None)
            experiment, options = grid.configure(experiment, sweep, options, fields)
            return importlib.import_module(f'segjax.modes.{options.mode}').run(experiment, options)
        commandline.print_help(experiment, options)
    return 0


def main(argv: list[str], *, experiments: Path = EXPERIMENTS) -> int:
    """The exit code of a command line; what is no user's mistake passes through, as exit code 1."""
    try:
        return run(argv, experiments)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('Stopped. The same command carries on.', file=sys.stderr)
        return 75


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the training loop has its own
    sys.exit(main(sys.argv[1:]))
