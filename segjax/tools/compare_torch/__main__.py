"""Speed beside Torch: ratios, time of JAX over time of Torch; below 1, JAX is faster.

python -m segjax.tools.compare_torch                          everything, some minutes
python -m segjax.tools.compare_torch --nets=unet_64 --ops=    one network, no operation
python -m segjax.tools.compare_torch --json=ratios.json       also to a file
python -m segjax.tools.compare_torch --device=gpu --dtype=bfloat16 --batch=16

Both sides have the same weights and type and take turns in one process; Torch keeps its channels
last. Networks are also compiled with torch.compile. What differs is not compared.

Where both see a GPU they use it, in bfloat16: semantic networks with weights in that type for
inference, else Torch with autocast. MFU is the share of the card's peak: two operations for each
multiply-accumulate of the convolutions, thrice for a training step.

On a CPU they use float32 and all cores. RoIAlign and suppression race plain C++ of one thread
there, which needs g++; `taskset -c 0` before the command gives this side one core, too. Quiet the
machine first: the work of other processes is shown, and it slows Torch more than XLA.

maskrcnn_resnet50_fpn needs torchvision. On a CPU it is compared when it is named, and not trained.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
import torch  # pyright: ignore[reportMissingImports]

from segjax.tools.compare_torch import torch_side
from segjax.tools.compare_torch.detectors import DETECTORS, compare_detector
from segjax.tools.compare_torch.kernels import KERNELS
from segjax.tools.compare_torch.networks import NETWORKS, compare_network
from segjax.tools.compare_torch.operations import OPERATIONS, compare_operation
from segjax.tools.compare_torch.setting import Setting, choose_device
from segjax.tools.compare_torch.tables import network_row, operation_row, print_tables
from segjax.tools.race import OtherLoad
from segjax.train import machine, provenance
from segjax.train.rundir import write_json
from segjax.types import UserError


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
    choices = (('--nets', {**NETWORKS, **DETECTORS}), ('--ops', {**OPERATIONS, **KERNELS}))
    for option, known in choices:
        parser.add_argument(
            option,
            type=lambda text, known=known: _names(text, known),
            metavar='A,B',
            help=f'of {", ".join(known)}; default: what suits the device',
        )
    parser.add_argument('--device', choices=('cpu', 'gpu'), help='default: what is there')
    parser.add_argument(
        '--dtype', choices=('float32', 'bfloat16'), help='default: float32 on a CPU, else bfloat16'
    )
    parser.add_argument(
        '--batch', type=int, default=0, metavar='N', help='images; default: 1 on a CPU, else more'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the ratios here, too')
    return parser.parse_args(arguments)


def _set(options: argparse.Namespace) -> Setting:
    """Fills in what is left open."""
    device = choose_device(options.device, torch_sees_gpu=torch.cuda.is_available())
    on_gpu = device == 'gpu'
    if options.nets is None:
        options.nets = [*NETWORKS, *(DETECTORS if on_gpu else [])]
    if options.ops is None:
        options.ops = [*OPERATIONS, *([] if on_gpu else KERNELS)]
    dtype = options.dtype or ('bfloat16' if on_gpu else 'float32')
    return Setting(device, dtype, options.batch)


def compare_all(
    networks: list[str], operations: list[str], setting: Setting, *, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """`{'nets': {name: ...}, 'ops': {name: ...}}`; says a row of each.

    What cannot be run here is left out, and the reason is said.

    Raises:
      ValueError: the two sides compute different things.
    """
    found: dict[str, dict[str, Any]] = {'nets': {}, 'ops': {}}
    for name in operations:
        kernel = KERNELS.get(name)
        if kernel and setting.device == 'gpu':
            say(f'{name}: left out: a thread of C++ is no match for a GPU')
            continue
        try:
            ratios = kernel() if kernel else compare_operation(OPERATIONS[name], setting)
        except OSError as error:
            say(f'{name}: left out, as there is no working C++ compiler: {error}')
            continue
        found['ops'][name] = ratios
        say(operation_row(name, ratios))
    for name in networks:
        say(name)
        try:
            if name in DETECTORS:
                trains = setting.device == 'gpu'
                ratios = compare_detector(DETECTORS[name], setting, trains=trains, say=say)
            else:
                ratios = compare_network(NETWORKS[name], setting, say=say)
        except UserError as error:
            say(f'{name}: left out: {error}')
            continue
        found['nets'][name] = ratios
        say(network_row(name, ratios))
    return found


def main(arguments: list[str]) -> int:
    """Compare what is asked for, print tables, write the file; the exit code."""
    # Both live on one card: JAX must not take most of its memory at once.
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
    options = _parse(arguments)
    try:
        setting = _set(options)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    machine.prepare()
    torch_side.prepare(setting)
    load, say = OtherLoad(), lambda text: print(text, flush=True)
    found = compare_all(options.nets, options.ops, setting, say=say)
    cores = load.cores()
    print_tables(found, say=say)
    versions = (
        f'jax {jax.__version__}, torch {torch.__version__}, Python {platform.python_version()}'
    )
    where = f'{jax.local_devices()[0].device_kind}, {setting.dtype}'
    others = 'unknown' if cores is None else f'{cores:.2f} cores'
    say(f'\n{versions}; {where}, {torch.get_num_threads()} threads of Torch')
    say(f'work of other processes: {others}')
    if options.json:
        made_with = {**provenance.collect(), **setting._asdict(), 'torch': torch.__version__}
        write_json(options.json, {**found, 'made_with': {**made_with, 'other_load': cores}})
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
