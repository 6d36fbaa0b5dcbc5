"""What was typed: arguments to run options, to an experiment with its overrides, to a run's name.

Names are resolved here, values are read by tyro, one field at a time, so that a mistake is one line
that says which field, what it takes and what it was given. Imports no JAX.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import io
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from segjax import config
from segjax.config import Leaf, RunOptions
from segjax.types import UserError

NEED_A_RUN = ('eval', 'predict', 'report', 'export')  # modes that are of no use without a run
TAKE_RUNS = ('compare', 'report', 'export')  # --mode=compare RUN1 RUN2; they need no --exp
OPTIONS_OF_MODES = {  # options that say nothing to any other mode
    'arms': ('sweep',),
    'from_runs': ('sweep',),
    'runs': (*TAKE_RUNS, 'eval'),
    'prune': ('eval', 'export'),
    'layout': ('export',),
    'sizes': ('export',),
    'input': ('predict', 'summary', 'benchmark'),
    'probabilities': ('predict',),
    'like': ('new',),
    'name': ('new',),
    'compile': ('summary',),
}


class Argument(NamedTuple):
    """`--name=value`, `--name value ...` or `--name`, as typed; in the name `-` became `_`."""

    name: str
    texts: tuple[str, ...]

    def __str__(self):
        return f'--{self.name}' + ('=' + ','.join(self.texts) if self.texts else '')


class Override(NamedTuple):
    """A value for a field of the experiment, or for one that both pipelines share."""

    paths: tuple[str, ...]
    values: tuple[Any, ...]
    label: str  # the shortest name that means `paths`


def suggest(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' with the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, set(known), n=3, cutoff=0.6)
    return f' Did you mean {" or ".join(near)}?' if near else ''


def split(argv: Sequence[str]) -> list[Argument]:
    """Arguments by name; words of their own are the runs of a mode that takes some.

    Raises UserError for a word that belongs to nothing.
    """
    arguments: list[Argument] = []
    takes_runs = any(f'--mode={mode}' in argv for mode in TAKE_RUNS)
    for word in ('--help' if word == '-h' else word for word in argv):
        if word.startswith('--') and len(word) > 2:
            name, equals, text = word[2:].partition('=')
            arguments.append(Argument(name.replace('-', '_'), (text,) if equals else ()))
            complete = bool(equals)
        elif arguments and not complete:
            arguments[-1] = Argument(arguments[-1].name, (*arguments[-1].texts, word))
        elif takes_runs:
            arguments.append(Argument('runs', (word,)))
            complete = False
        else:
            after = f' after {arguments[-1]}' if arguments else ''
            raise UserError(f'Unexpected {word!r}{after}: write --name=value, or --name=4,8.')
    return arguments


# --- One value -----------------------------------------------------------------------------------


def _describe(hint: Any) -> str:
    """A type in words: 'an int', 'one of none, batch', 'int values, as in 4,8'."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return 'one of ' + ', '.join(map(config.show, arguments))
    if typing.get_origin(hint) is tuple and arguments[-1] is Ellipsis:
        return f'a list of {getattr(arguments[0], "__name__", arguments[0])}, as in --name=A,B,C'
    if typing.get_origin(hint) is tuple:
        kinds = ', '.join(getattr(kind, '__name__', str(kind)) for kind in arguments)
        return f'{len(arguments)} values ({kinds})'
    if hint is bool:
        return 'true or false'
    names = {int: 'an int', float: 'a float', str: 'a text', Path: 'a path'}
    return names.get(hint, str(hint))


def _words(leaf: Leaf, texts: tuple[str, ...]) -> list[str]:
    """The words that tyro expects for what a person types."""
    if isinstance(leaf.value, tuple):
        words = [
            word.strip()
            for text in texts
            for word in re.sub(r'^[(\[](.*)[)\]]$', r'\1', text).split(',')
            if word.strip()
        ]
        pair = typing.get_args(leaf.hint) == (int, int)
        return words * 2 if pair and len(words) == 1 else words
    if isinstance(leaf.value, bool):
        return [text.capitalize() for text in texts or ('true',)]
    return list(texts)


@contextlib.contextmanager
def _torch_not_named() -> Iterator[None]:
    """Hides a None under 'torch' in sys.modules, the usual way to block an import.

    tyro imports torch whenever sys.modules names it, to support its types.
    """
    blocked = 'torch' in sys.modules and sys.modules['torch'] is None
    if blocked:
        del sys.modules['torch']
    try:
        yield
    finally:
        if blocked:
            sys.modules['torch'] = None  # pyright: ignore[reportArgumentType]


def parse_value(name: str, leaf: Leaf, texts: tuple[str, ...]) -> Any:
    """The typed value of a field. Raises UserError naming field, type and what was given."""
    import tyro

    words = _words(leaf, texts)
    field = dataclasses.make_dataclass('Field', [('value', leaf.hint)])
    args = [f'--value={words[0]}'] if len(words) == 1 else ['--value', *words]
    try:
        with contextlib.redirect_stderr(io.StringIO()), _torch_not_named():
            return tyro.cli(field, args=args, config=(tyro.conf.FlagConversionOff,)).value
    except SystemExit:
        pass
    given = 'nothing' if not texts else repr(' '.join(texts))
    choices = typing.get_args(leaf.hint) if typing.get_origin(leaf.hint) is Literal else ()
    hint = suggest(' '.join(texts), map(str, choices))
    raise UserError(f'--{name} takes {_describe(leaf.hint)}; given {given}.{hint}')


# --- Names ---------------------------------------------------------------------------------------


def _matches(name: str, leaves: dict[str, Leaf]) -> tuple[str, ...]:
    """Paths that a name may mean: itself, else all that end with it."""
    if name in leaves:
        return (name,)
    return tuple(path for path in leaves if path.endswith(f'.{name}'))


def _is_shared(name: str, paths: tuple[str, ...]) -> bool:
    """True for a field that the training and the evaluation pipeline share."""
    return set(paths) == {f'train.{name}', f'eval.{name}'}


def resolve(name: str, leaves: dict[str, Leaf]) -> tuple[str, ...]:
    """The dotted paths that a typed name sets. Raises UserError when unknown or ambiguous."""
    paths = _matches(name, leaves)
    if len(paths) == 1 or _is_shared(name, paths):
        return paths
    if paths:
        raise UserError(
            f'--{name} is ambiguous. Write one of: ' + ', '.join(f'--{p}' for p in paths)
        )
    if inside := [path for path in leaves if f'.{name}.' in f'.{path}']:
        raise UserError(f'--{name} is a group of fields: ' + ', '.join(f'--{p}' for p in inside))
    ends = {path.rpartition('.')[2] for path in leaves}
    options = [field.name for field in dataclasses.fields(RunOptions)]
    known = [*ends, *leaves, *options, 'list', 'help']
    raise UserError(
        f'--{name}: no such field or option.{suggest(name, known)} All of them: --exp=NAME --help.'
    )


def _label(paths: tuple[str, ...], leaves: dict[str, Leaf]) -> str:
    parts = paths[0].split('.')
    names = ('.'.join(parts[-n:]) for n in range(1, len(parts) + 1))
    return next(name for name in names if _matches(name, leaves) == paths)


def overrides(experiment: Any, arguments: Sequence[Argument]) -> list[Override]:
    """The fields that arguments set; of two arguments for one field the later wins."""
    leaves = config.leaves(experiment)
    found: dict[tuple[str, ...], Override] = {}
    for name, texts in arguments:
        paths = resolve(name, leaves)
        values = tuple(parse_value(name, leaves[path], texts) for path in paths)
        found.pop(paths, None)
        found[paths] = Override(paths, values, _label(paths, leaves))
    return list(found.values())


def apply(experiment: Any, changes: Iterable[Override]) -> Any:
    """The experiment with its overrides. Raises UserError with what a constructor refuses."""
    changes = list(changes)
    values = {
        path: value for it in changes for path, value in zip(it.paths, it.values, strict=True)
    }
    try:
        return config.replace(experiment, values)
    except (ValueError, TypeError) as error:
        given = ' '.join(f'--{it.label}={config.show(it.values[0])}' for it in changes)
        raise UserError(f'{given}: {error}') from error


# --- The run that is meant -----------------------------------------------------------------------


def run_name(changes: Iterable[Override]) -> str:
    """'field=value,...' in order of the names, safe as a file name, at most 120 characters."""
    exact = ','.join(sorted(f'{it.label}={config.show(it.values[0])}' for it in changes))
    safe = re.sub(r'[^\w.,=+-]', '_', exact)
    if safe == exact and len(safe) <= 120:
        return safe
    return f'{safe[:110]}-{hashlib.sha256(exact.encode()).hexdigest()[:8]}'


def _means_eval(change: Override, mode: str) -> bool:
    """In `--mode=eval --batch_size=3` a field of both pipelines may mean the evaluation alone."""
    return mode in NEED_A_RUN and len(change.paths) == 2


def _is_free(path: str) -> bool:
    """Evaluation settings belong to the run when it is trained, and are free afterwards."""
    return path.startswith(('eval.', 'task.'))


def find_workdir(experiment: Any, options: RunOptions, changes: Sequence[Override]) -> Path:
    """The default run directory: runs/NAME, with overrides runs/NAME/field=value,...

    Outside training, overrides of `eval.*` and `task.*` do not name the run. A mode that needs a
    trained run then looks further: for one trained without the fields that both pipelines share,
    and for one trained with all overrides.
    """
    silent = config.uncompared(experiment)
    every = [change for change in changes if change.paths[0] not in silent]
    candidates = [every]
    if options.mode != 'train':
        named = [it for it in every if len(it.paths) == 2 or not _is_free(it.paths[0])]
        candidates = [named]
        if options.mode in NEED_A_RUN:
            alone = [it for it in named if not _means_eval(it, options.mode)]
            candidates = [named, alone, every]
    root = Path('runs') / options.exp
    found = [root / run_name(naming) if naming else root for naming in candidates]
    return next((path for path in found if (path / 'config.json').exists()), found[0])


def _of_run(experiment: Any, options: RunOptions, changes: Sequence[Override]) -> Any:
    """The run's own experiment, with the overrides that are free after training."""
    from segjax.train.rundir import read_config

    run = config.restore(experiment, read_config(options.workdir).fields)
    leaves = config.leaves(run)
    free, fixed = [], []
    for change in changes:
        for path, value in zip(change.paths, change.values, strict=True):
            if _is_free(path) or not leaves[path].compared:
                free.append(Override((path,), (value,), change.label))
            elif value != leaves[path].value and not _means_eval(change, options.mode):
                fixed.append(f'{path}: {config.show(leaves[path].value)} -> {config.show(value)}')
    if fixed:
        raise UserError(
            f'{options.workdir} was trained with other fields:\n  '
            + '\n  '.join(fixed)
            + '\nLeave them out to use the run as it is, or name another with --workdir=DIR.'
        )
    return apply(run, free)


def _of_data(changes: Sequence[Override]) -> Sequence[Override]:
    """The overrides, if they say what the data is; --mode=new chooses everything else."""
    for change in changes:
        if not change.paths[0].startswith('dataset.'):
            raise UserError(
                f'--{change.label}: --mode=new takes fields of the data set alone and chooses the '
                'others; change them in the file that it writes, or on the command line afterwards.'
            )
    return changes


# --- The whole -----------------------------------------------------------------------------------


def parse_options(arguments: Sequence[Argument]) -> tuple[RunOptions, list[Argument]]:
    """The run options among the arguments, and the others.

    Raises UserError without --exp, where the mode needs one, and for another mode's option.
    """
    leaves = config.leaves(RunOptions())
    names = {name.replace('_', ''): name for name in leaves}  # --work-dir means --workdir
    values, others = {}, []
    for argument in arguments:
        if name := names.get(argument.name.replace('_', '')):
            value = parse_value(name, leaves[name], argument.texts)
            values[name] = (*values.get(name, ()), *value) if name == 'runs' else value
        else:
            others.append(argument)
    options = config.replace(RunOptions(), values)
    for name in values:
        if options.mode not in (modes := OPTIONS_OF_MODES.get(name, (options.mode,))):
            belongs = ' and '.join(f'--mode={mode}' for mode in modes)
            raise UserError(f'--{name} is for {belongs}; --mode={options.mode} takes no notice.')
    if options.mode == 'new' and not options.exp:
        options = dataclasses.replace(options, exp=options.like)
    if not options.exp and options.mode not in ('doctor', 'predict', *TAKE_RUNS):
        raise UserError('Which experiment? Write --exp=NAME; --list names them.')
    return options, others


def configure(
    experiment: Any, options: RunOptions, arguments: Sequence[Argument]
) -> tuple[Any, RunOptions]:
    """The experiment with its overrides, and the options with the run directory.

    Every mode but train reads the run's own configuration, where there is a run, and lays the
    overrides of `eval.*` and `task.*` over it. Raises UserError.
    """
    if experiment is None:
        if arguments:
            raise UserError(f'{arguments[0]} belongs to an experiment: name one with --exp=NAME.')
        return None, options
    changes = overrides(experiment, arguments)
    if options.mode == 'new':
        return apply(experiment, _of_data(changes)), options
    if options.workdir == RunOptions.workdir:
        options = dataclasses.replace(options, workdir=find_workdir(experiment, options, changes))
    if options.mode != 'train' and (options.workdir / 'config.json').exists():
        return _of_run(experiment, options, changes), options
    return apply(experiment, changes), options


def _classes(experiment: Any) -> str:
    """'model FCN, train.transforms.0 Flip, ...': which class stands where."""
    return ', '.join(
        f'{path.removesuffix(".class")} {name.rpartition(".")[2]}'
        for path, name in config.flatten(experiment).items()
        if path.endswith('.class')
    )


def print_help(experiment: Any, options: RunOptions) -> None:
    """Prints all run options and all fields with type, default and doc."""
    import tyro

    fields = (
        f'Fields of {options.exp}: what is computed. The last part of a name is enough where it is '
        'unique, or shared by train and eval alone. Made of: ' + _classes(experiment) + '.'
    )
    parts = [
        (options, 'python launch.py', 'Run options: how it is carried out.'),
        (experiment, f'python launch.py --exp={options.exp}', fields),
    ]
    for node, prog, description in parts:
        with contextlib.suppress(SystemExit), _torch_not_named():
            tyro.cli(
                type(node),
                default=node,
                args=['--help'],
                prog=prog,
                description=description,
                use_underscores=True,
                config=(tyro.conf.FlagConversionOff,),
            )
