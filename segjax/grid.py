"""--mode=sweep: what was typed becomes arms.

A field may be given several values: `--deep_supervision=true,false`. A tuple, whose own values
have commas, is given several times: `--widths=8,16 --widths=16,32`. Seeds multiply everything; any
other field with several values makes a grid of the experiment in the place of its own sweep().
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from segjax import commandline, config
from segjax.ablation.arm import Arm
from segjax.commandline import Argument, Override
from segjax.config import RunOptions
from segjax.types import UserError

Pairs = Sequence[tuple[str, Any]]  # what sweep() yields: names and experiments


def _choices(experiment: Any, arguments: Sequence[Argument]) -> list[list[Override]]:
    """For each field that is named the overrides that its values are."""
    leaves = config.leaves(experiment)
    found: dict[tuple[str, ...], list[Override]] = {}
    for name, texts in arguments:
        paths = commandline.resolve(name, leaves)
        whole = isinstance(leaves[paths[0]].value, tuple)
        words = [texts] if whole else [(word,) for text in texts for word in text.split(',')]
        for word in words or [()]:
            (override,) = commandline.overrides(experiment, [Argument(name, word)])
            if override not in (known := found.setdefault(paths, [])):
                known.append(override)
    return list(found.values())


def _is_seed(choice: list[Override]) -> bool:
    return choice[0].paths == ('seed',)


def _overridden(pairs: Pairs, arguments: Sequence[Argument]) -> Pairs:
    """The arms of a sweep() with the values that hold for all of them."""
    found = []
    for name, experiment in pairs:
        try:
            changes = commandline.overrides(experiment, arguments)
            found.append((name, commandline.apply(experiment, changes)))
        except UserError as error:
            raise UserError(f'arm {name}: {error}') from error
    return found


def _grid(experiment: Any, varied: list[list[Override]]) -> Pairs:
    """One arm for each combination of values, named by them."""
    return [
        (commandline.run_name(changes), commandline.apply(experiment, changes))
        for changes in itertools.product(*varied)
    ]


def _chosen(pairs: Pairs, names: Sequence[str]) -> Pairs:
    """The arms of these names, in this order; all of them without."""
    known = dict(pairs)
    for name in names:
        if name not in known:
            hint = commandline.suggest(name, known)
            raise UserError(f'--arms: there is no {name}.{hint} There are: {", ".join(known)}.')
    return [(name, e) for wanted in names for name, e in pairs if name == wanted] or pairs


def _seeded(pairs: Pairs, seeds: Sequence[int]) -> list[Arm]:
    """Every arm with every seed, seed by seed; without seeds, as the experiments say."""
    if not seeds:
        return [Arm(name, experiment) for name, experiment in pairs]
    reseeded = lambda experiment, seed: dataclasses.replace(experiment, seed=seed)
    return [Arm(name, reseeded(e, seed)) for seed in seeds for name, e in dict(pairs).items()]


def _arms(
    experiment: Any, pairs: Pairs, options: RunOptions, arguments: Sequence[Argument]
) -> tuple[list[Arm], RunOptions]:
    choices = _choices(experiment, arguments)
    seeds = [override.values[0] for c in choices if _is_seed(c) for override in c]
    varied = [c for c in choices if len(c) > 1 and not _is_seed(c)]
    fixed = [c[0] for c in choices if len(c) == 1 and not _is_seed(c)]
    if pairs and not varied:
        leaves = config.leaves(experiment)
        others = [it for it in arguments if commandline.resolve(it.name, leaves) != ('seed',)]
        pairs = _overridden(pairs, others)
    elif varied or seeds:
        base = commandline.apply(experiment, fixed)
        pairs = _grid(base, varied) if varied else [(options.exp, base)]
    else:
        raise UserError(
            f'{options.exp} has no sweep() of its own; vary a field, as in --seed=0,1,2 or '
            '--learning_rate=1e-3,1e-4'
        )
    if options.workdir == RunOptions.workdir:
        trained = dataclasses.replace(options, mode='train')
        workdir = commandline.find_workdir(experiment, trained, fixed)
        options = dataclasses.replace(options, workdir=workdir)
    return _seeded(_chosen(pairs, options.arms), seeds), options


def configure(
    experiment: Any,
    sweep: Callable[[], Iterable[tuple[str, Any]]],
    options: RunOptions,
    arguments: Sequence[Argument],
) -> tuple[Any, RunOptions]:
    """What a mode works with: the experiment with its overrides, or the arms of a sweep.

    Args:
      sweep: the experiment's own; one that yields nothing where it has none.

    Raises:
      UserError: a field or value that does not exist, or nothing to vary.
    """
    if options.mode != 'sweep':
        return commandline.configure(experiment, options, arguments)
    return _arms(experiment, list(sweep()), options, arguments)
