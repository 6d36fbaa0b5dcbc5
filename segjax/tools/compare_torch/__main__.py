"""Speed beside Torch on the CPU: ratios, time of JAX over time of Torch; below 1, JAX is faster.

python -m segjax.tools.compare_torch                          everything, several minutes
python -m segjax.tools.compare_torch --nets=unet_64 --ops=    one network, no operation
python -m segjax.tools.compare_torch --json=ratios.json       also to a file

Both sides have the same weights, float32 and all cores, and take turns in one process; Torch keeps
its channels last. RoIAlign and suppression race plain C++ of one thread instead, which needs g++;
`taskset -c 0` before the command gives this side one core, too. Networks are also compiled with
torch.compile. What differs is not compared.
Quiet the machine first: the work of other processes is shown, and it slows Torch more than XLA.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import torch  # pyright: ignore[reportMissingImports]

from segjax.tools.compare_torch.kernels import KERNELS
from segjax.tools.compare_torch.networks import NETWORKS, compare_network
from segjax.tools.compare_torch.operations import OPERATIONS, compare_operation
from segjax.tools.race import OtherLoad
from segjax.train import machine, provenance
from segjax.train.rundir import write_json

NETWORK_HEADER = '| network | inference vs eager | vs compile | train vs eager | vs compile |'
OPERATION_HEADER = '| operation | forward | with gradients |'


def _names(text: str, known: Collection[str]) -> list[str]:
    names = [name for name in text.split(',') if name]
    if unknown := sorted(set(names) - set(known)):
        raise argparse.ArgumentTypeError(f'{", ".join(unknown)}; there are {", ".join(known)}')
    return names


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='segjax.tools.compare_torch',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option, known in (('--nets', NETWORKS), ('--ops', {**OPERATIONS, **KERNELS})):
        parser.add_argument(
            option,
            type=lambda text, known=known: _names(text, known),
            default=list(known),
            metavar='A,B',
            help=f'of {", ".join(known)}; default: all',
        )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the ratios here, too')
    return parser.parse_args(arguments)


def _row(name: str, found: dict[str, dict[str, float]]) -> str:
    ratios = [
        f'{ratio:.2f}'
        for part in found.values()
        for key, ratio in part.items()
        if key.startswith('vs_')
    ]
    if found.keys() == {'inference'}:
        ratios += ['-', '-']  # was not trained
    elif found.keys() == {'forward'}:
        ratios += ['-']  # has no gradient
    return f'| `{name}` | {" | ".join(ratios)} |'


def _table(header: str, rows: dict[str, Any]) -> None:
    """In Markdown."""
    if rows:
        print(f'\n{header}\n{"|---" * (header.count("|") - 1)}|')
        print('\n'.join(_row(name, found) for name, found in rows.items()), flush=True)


def main(arguments: list[str]) -> None:
    """Compare what is asked for, print tables, write the file."""
    options = _parse(arguments)
    jax.config.update('jax_platforms', 'cpu')  # as Torch here, whatever the machine has
    machine.prepare()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    load, found = OtherLoad(), {'nets': {}, 'ops': {}}
    say = lambda text: print(text, flush=True)
    for name in options.ops:
        try:
            kernel = KERNELS.get(name)
            found['ops'][name] = kernel() if kernel else compare_operation(OPERATIONS[name])
        except OSError as error:
            say(f'{name}: left out, as there is no working C++ compiler: {error}')
            continue
        say(_row(name, found['ops'][name]))
    for name in options.nets:
        say(name)
        found['nets'][name] = compare_network(NETWORKS[name], say=say)
        say(_row(name, found['nets'][name]))
    cores = load.cores()
    _table(NETWORK_HEADER, found['nets'])
    _table(OPERATION_HEADER, found['ops'])
    versions = (
        f'jax {jax.__version__}, torch {torch.__version__}, Python {platform.python_version()}'
    )
    others = 'unknown' if cores is None else f'{cores:.2f} cores'
    say(f'\n{versions}; {torch.get_num_threads()} threads; work of other processes: {others}')
    if options.json:
        made_with = {**provenance.collect(), 'torch': torch.__version__, 'other_load': cores}
        write_json(options.json, {**found, 'made_with': made_with})


if __name__ == '__main__':
    main(sys.argv[1:])
