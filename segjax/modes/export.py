"""--mode=export: a finished run as a folder to publish.

    python launch.py --mode=export RUN [--sizes=512x512,1024x768] [--prune=2]     or --exp=NAME

    model.safetensors, model.json   for segjax.load, fine-tuning, other programs
    network.zip                     the same as a program of JAX (export/); no segjax is needed
    README.md                       the model card: what it is, how it was measured, how to call it

Several runs become one network.zip that averages them. --layout=torchvision (milesial, torch_em,
smp, ...) adds torch.safetensors, the same values under the names and axes of that project.
Detectors need --sizes; each is that of the largest picture a program takes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import segjax
from segjax import config, export
from segjax.config import RunOptions
from segjax.data import normalize
from segjax.files import write_whole
from segjax.predictor import Predictor
from segjax.pretrained.convert import export_arrays
from segjax.pretrained.safetensors_io import save_variables
from segjax.train.experiment import Experiment
from segjax.train.model_folder import find_model_folder
from segjax.train.rundir import chosen_runs, output_folder, read_result, write_json
from segjax.train.screen import Screen, quantity
from segjax.types import UserError

ARCHIVE = 'network.zip'


def picture_type(preprocessing: dict[str, Any]) -> str:
    """The type of the pictures that a network was trained on: that whose statistics were noted.

    uint8 where each picture was normalised by itself, which serves all.
    """
    name, channels = preprocessing['normalize'], preprocessing['channels']
    for dtype in ('uint8', 'uint16', 'float32'):
        expected = normalize.statistics(name, np.dtype(dtype), channels=channels)
        noted = preprocessing['mean'], preprocessing['std']
        if all(np.allclose(a, b) for a, b in zip(expected, noted, strict=True)):
            return dtype
    return 'uint8'


def _sizes(options: RunOptions) -> list[tuple[int, int]]:
    pairs = (size.split('x') for size in options.sizes)
    return [(int(height), int(width)) for height, width in pairs]


# --- The model card ------------------------------------------------------------------------------


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


def _measured(run: Path) -> str:
    """What result.json of a run says; nothing without one."""
    result = read_result(run)
    if result is None:
        return ''
    rows = [
        (f'{name.replace("_", " ")} ({split})', f'{value:.4f}')
        for split, metrics in result['metrics'].items()
        for name, value in metrics.items()
        if isinstance(value, float) and '/' not in name
    ]
    protocol = [(name, config.show(value)) for name, value in result['protocol'].items()]
    return (
        f'\n## How good it is\n\nAfter {result["step"]} steps of training:\n\n'
        f'{_table(("metric", "value"), rows)}\n\nMeasured so:\n\n'
        f'{_table(("what", "how"), protocol)}\n'
    )


def _call(predictor: Predictor, sizes: Sequence[tuple[int, int]], dtype: str) -> str:
    lines = export.recipe(ARCHIVE, predictor, sizes).splitlines()
    what = f'`picture` is {dtype} `h w {predictor.channels}`'
    listed = ', '.join(f'{h}x{w}' for h, w in sizes)
    if export.detector(predictor):
        what += (
            f', no larger than the size (height x width) that names the program: {listed}. One '
            'that, resized, would reach over the canvas of the largest is made smaller.'
        )
    elif sizes:
        what += f', of one of the sizes (height x width) {listed}, each a program of that name.'
    else:
        what += f', of any size from {export.LEAST_SIDE} pixels a side; each is compiled once.'
    return '\n'.join(f'    {line}'.rstrip() for line in lines) + f'\n\n{what}'


def _tags(predictor: Predictor) -> str:
    network = export.detector(predictor)
    segments = network is None or getattr(network.model, 'with_mask', True)
    found = ['image-segmentation'] * segments + ['object-detection'] * (network is not None)
    return ', '.join([*found, 'jax'])


def model_card(
    predictor: Predictor, run: Path, sizes: Sequence[tuple[int, int]], said: dict[str, Any]
) -> str:
    """README.md of a published folder.

    Args:
      run: the run directory, whose results are told where it has some.
      said: what model.json says.
    """
    preprocessing = said['preprocessing']
    params = sum(leaf.size for leaf in jax.tree.leaves(predictor.variables))
    colors = [
        (i, name, '#{:02x}{:02x}{:02x}'.format(*color))
        for i, (name, color) in enumerate(
            zip(predictor.info.class_names, predictor.info.palette, strict=True)
        )
    ]
    model = said['model']['class'].rpartition('.')[2]
    fields = [(k, config.show(v)) for k, v in said['model'].items() if not k.endswith('class')]
    return (
        f'---\ntags: [{_tags(predictor)}]\n---\n\n'
        f'# {model}: {len(colors)} classes\n\n{quantity(params)} numbers in '
        f'{len(predictor.networks)} network(s), trained with segjax.\n\n'
        f'{_table(("id", "class", "colour"), colors)}\n\n'
        '## How to use it\n\nWith segjax, in this folder:\n\n'
        "    import segjax\n    segjax.load('.').predict('picture.png').show()\n\n"
        f'With nothing but jax, flatbuffers and numpy:\n\n'
        f'{_call(predictor, sizes, picture_type(preprocessing))}\n\n'
        f'Pictures are normalised inside ({preprocessing["normalize"]}, '
        f'{preprocessing["channels"]} channels).\n'
        f'{_measured(run)}\n## The network\n\n{_table(("field", "value"), fields)}\n'
    )


# --- The folder ----------------------------------------------------------------------------------


def _write_network(folder: Path, predictor: Predictor, said: dict[str, Any]) -> None:
    """model.safetensors and model.json of a single network, last so that the folder is whole."""
    (network,), (variables,) = predictor.networks, predictor.variables
    own = {'model': config.flatten(network.model), 'task': config.flatten(network.task)}
    save_variables(folder / 'model.safetensors', variables)
    write_json(folder / 'model.json', said | own)


def _write_torch(path: Path, predictor: Predictor, layout: str) -> None:
    """The values of a single network as another project names them."""
    (network,), (variables,) = predictor.networks, predictor.variables
    save_variables(path, dict(export_arrays(network.model, variables, layout=layout)))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(experiment: Experiment | None, options: RunOptions) -> int:
    """Write the folder and say what is in it; the exit code.

    Raises:
      UserError: no finished run, a network that cannot be exported so, a folder that cannot be
        written.
    """
    del experiment  # the model/ folder says it all
    screen, sizes = Screen(), _sizes(options)
    runs = chosen_runs(options, 'model/model.json')
    predictor = segjax.load(*map(str, runs))
    if options.layout and len(predictor.networks) > 1:
        raise UserError('--layout: one network has names in other projects, not a mean of several.')
    if options.prune:
        predictor = export.pruned(predictor, options.prune)
    screen.facts({'network': repr(predictor)})
    source = find_model_folder(runs[0])
    assert source is not None  # it was loaded
    said = json.loads((source / 'model.json').read_text('utf-8'))
    name = f'export_L{options.prune}' if options.prune else 'export'
    folder = output_folder(options) if options.output else runs[0] / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        dtype = picture_type(said['preprocessing'])
        export.write_archive(folder / ARCHIVE, predictor, sizes=sizes, dtype=dtype)
        if len(predictor.networks) == 1:
            _write_network(folder, predictor, said)
            said = json.loads((folder / 'model.json').read_text('utf-8'))
            if options.layout:
                _write_torch(folder / 'torch.safetensors', predictor, options.layout)
        card = model_card(predictor, runs[0], sizes, said)
        write_whole(folder / 'README.md', card.encode())
    except OSError as error:
        raise UserError(f'{folder} cannot be written: {error.strerror}; see --output.') from error
    for file in sorted(folder.iterdir()):
        screen.line(f'  {file.name:<18} {quantity(file.stat().st_size):>7}B  {_sha256(file)[:16]}')
    what = 'any size, compiled once for each' if not sizes else ', '.join(options.sizes)
    screen.facts({'pictures': what, 'written to': str(folder)})
    return 0
