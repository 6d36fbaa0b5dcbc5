"""--mode=sweep: what was typed becomes arms.

A field may be given several values: `--deep_supervision=true,false`. A tuple, whose own values
have commas, is given several times: `--widths=8,16 --widths=16,32`. Seeds and folds repeat every
arm, with `--folds=5` alone all folds; any other field with several values makes a grid of the
experiment in the place of its own sweep(). Whole numbers may be given as `--seed=0..4`.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from segjax import commandline, config
from segjax.ablation.arm import Arm
from segjax.commandline import Argument, Override
from segjax.config import RunOptions
from segjax.types import UserError

REPEATED = (('seed',), ('fold',))
Pairs = Sequence[tuple[str, Any]]  # names and experiments
Sweep = Callable[..., Iterable[tuple[str, Any]]]  # the arms of an experiment, or of its own


def _split(text: str) -> list[str]:
    """'0..2,7' as 0, 1, 2, 7."""
    words = []
    for word in text.split(','):
        first, dots, last = word.partition('..')
        if dots and first.isdecimal() and last.isdecimal() and int(first) <= int(last):
            words += map(str, range(int(first), int(last) + 1))
        else:
            words.append(word)
    return words


def _choices(experiment: Any, arguments: Sequence[Argument]) -> list[list[Override]]:
    """For each field that is named the overrides that its values are."""
    leaves = config.leaves(experiment)
    found: dict[tuple[str, ...], list[Override]] = {}
    for name, texts in arguments:
        paths = commandline.resolve(name, leaves)
        whole = isinstance(leaves[paths[0]].value, tuple)
        words = [texts] if whole else [(word,) for text in texts for word in _split(text)]
        for word in words or [()]:
            (override,) = commandline.overrides(experiment, [Argument(name, word)])
            if override not in (known := found.setdefault(paths, [])):
                known.append(override)
    return list(found.values())


def _repeats(choice: list[Override]) -> bool:
    """Whether the values repeat an arm and make no other one."""
    return choice[0].paths in REPEATED


def _grid(experiment: Any, varied: list[list[Override]]) -> Pairs:
    """One arm for each combination of values, named by them."""
    return [
        (commandline.run_name(changes), commandline.apply(experiment, changes))
        for changes in itertools.product(*varied)
    ]


def _chosen(pairs: Pairs, words: Sequence[str]) -> Pairs:
    """The arms that --arms names, in this order; all of them without."""
    known = dict(pairs)
    names = dict.fromkeys(config.join_names(words, known.__contains__))
    for name in names:
        if name not in known:
            hint = commandline.suggest(name, known)
            raise UserError(f'--arms: there is no {name}.{hint} There are: {", ".join(known)}.')
    return [(name, known[name]) for name in names] or pairs


def _own_arms(sweep: Sweep, base: Any, fixed: Sequence[Override]) -> Pairs:
    """The arms of `base`, which has the values of `fixed`; a sweep that takes no experiment has
    them put into each of its arms."""
    if inspect.signature(sweep).parameters:
        return list(sweep(base))
    return [(name, commandline.apply(arm, fixed)) for name, arm in sweep()]


def _check_arms(pairs: Pairs, plain: Pairs, fixed: Sequence[Override]) -> None:
    """Raises UserError for a value that an arm does not take, and for two arms that are the same.

    Args:
      pairs: the arms of the experiment with the values of `fixed`.
      plain: the same arms of the experiment without.
    """
    for change, (name, arm) in itertools.product(fixed, pairs):
        leaves, before = config.leaves(arm), config.leaves(dict(plain)[name])
        for path, value in zip(change.paths, change.values, strict=True):
            if path in leaves and leaves[path].value == before[path].value != value:
                raise UserError(
                    f'--{change.label}={config.show(value)}: arm {name} has a value of its own, '
                    f'{config.show(leaves[path].value)}; leave it out, or choose other arms with '
                    '--arms.'
                )
    for (one, first), (other, second) in itertools.combinations(pairs, 2):
        if config.flatten(first) == config.flatten(second):
            apart = config.diff(*(config.flatten(dict(plain)[name]) for name in (one, other)))
            raise UserError(
                f'arms {one} and {other} are the same with the values that were given, and differ '
                f'without them in {"; ".join(apart)}. Leave out the value, or one of the arms: '
                '--arms.'
            )


def _check_fold(experiment: Any) -> None:
    """Raises UserError for a fold that there is not; whether there are pictures enough for all is
    seen later."""
    folds, fold = experiment.folds, experiment.fold
    if folds < 0 or folds == 1:
        raise UserError(f'--folds={folds}: takes 2 or more, or 0 for the splits as they are.')
    if not 0 <= fold < max(folds, 1):
        allowed = f'with --folds={folds} takes 0 to {folds - 1}' if folds else 'needs --folds'
        raise UserError(f'--fold={fold}: {allowed}.')


def _repeated(pairs: Pairs, seeds: Sequence[int], folds: Sequence[int]) -> list[Arm]:
    """Every arm with every seed, seed by seed, and every fold.

    Without seeds those of the experiments; without folds all that there are. Raises UserError for
    a fold that there is not.
    """
    if seeds:
        named = dict(pairs).items()
        pairs = [(name, dataclasses.replace(e, seed=s)) for s in seeds for name, e in named]
    arms = [
        Arm(name, dataclasses.replace(experiment, fold=fold))
        for name, experiment in pairs
        for fold in folds or range(experiment.folds) or [experiment.fold]
    ]
    for arm in arms:
        _check_fold(arm.experiment)
    return arms


def _arms(
    experiment: Any, sweep: Sweep | None, options: RunOptions, arguments: Sequence[Argument]
) -> tuple[list[Arm], RunOptions]:
    choices = _choices(experiment, arguments)
    seeds, folds = ([it.values[0] for c in choices for it in c if it.paths == p] for p in REPEATED)
    varied = [c for c in choices if len(c) > 1 and not _repeats(c)]
    fixed = [c[0] for c in choices if len(c) == 1 and not _repeats(c)]
    base = commandline.apply(experiment, fixed)
    if sweep and not varied:
        pairs = _chosen(_own_arms(sweep, base, fixed), options.arms)
        _check_arms(pairs, _own_arms(sweep, experiment, ()), fixed)
    elif varied or seeds or any(change.paths == ('folds',) for change in fixed):
        pairs = _grid(base, varied) if varied else [(options.exp, base)]
        pairs = _chosen(pairs, options.arms)
    else:
        raise UserError(
            f'{options.exp} has no sweep() of its own; vary a field, as in --seed=0,1,2 or '
            '--learning_rate=1e-3,1e-4'
        )
    if options.workdir == RunOptions.workdir:
        trained = dataclasses.replace(options, mode='train')
        workdir = commandline.find_workdir(experiment, trained, fixed)
        options = dataclasses.replace(options, workdir=workdir)
    return _repeated(pairs, seeds, folds), options


def configure(
    experiment: Any, sweep: Sweep | None, options: RunOptions, arguments: Sequence[Argument]
) -> tuple[Any, RunOptions]:
    """What a mode works with: the experiment with its overrides, or the arms of a sweep.

    Args:
      sweep: the arms of the experiment with its overrides, where it says some.

    Raises:
      UserError: a field or value that does not exist, nothing to vary, or arms that are the same.
    """
    if options.mode != 'sweep':
        return commandline.configure(experiment, options, arguments)
    return _arms(experiment, sweep, options, arguments)
