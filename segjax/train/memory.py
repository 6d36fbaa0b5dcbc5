"""How much memory a compiled program takes, and what to do when a device has none left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.stages import Compiled

from segjax import config
from segjax.data.detection import DetectionEval
from segjax.train.experiment import Experiment
from segjax.types import UserError


def compiled_memory(program: Compiled) -> dict[str, int] | None:
    """XLA's account of a compiled program, bytes on each device; None where it gives none."""
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    return {
        'arguments': analysis.argument_size_in_bytes,
        'outputs': analysis.output_size_in_bytes,
        'outputs_in_place': analysis.alias_size_in_bytes,  # of donated arguments
        'temporary': analysis.temp_size_in_bytes,
        'code': analysis.generated_code_size_in_bytes,
    }


def _remedies(experiment: Experiment, rows: int) -> list[str]:
    """Fields that lower the memory of a step, the ones that change no result first."""
    leaves, batch_size = config.leaves(experiment), experiment.train.batch_size
    remedies = []
    if 'model.remat' in leaves and leaves['model.remat'].value is False:
        remedies.append('--remat=true')
    if rows > 1 and 'accumulate' in leaves:
        remedies.append(f'--accumulate={2 * leaves["accumulate"].value}')
    if experiment.eval.batch_size > 1:
        remedies.append(f'--eval.batch_size={experiment.eval.batch_size // 2} (in evaluation)')
    detects = isinstance(experiment.eval, DetectionEval)  # which sees whole pictures, no tiles
    if not detects and not any(experiment.eval.tile):
        height, width = experiment.train.crop
        remedies.append(f'--tile={height},{width} (in evaluation)')
    if 'model.dtype' in leaves and leaves['model.dtype'].value == 'float32':
        remedies.append('--dtype=bfloat16')
    if rows > 1:
        remedies.append(f'--train.batch_size={batch_size // 2}')
    return [*remedies, 'smaller --short, --long and --crop' if detects else 'a smaller --crop']


@contextmanager
def explain_out_of_memory(experiment: Experiment, num_devices: int) -> Iterator[None]:
    """Turns XLA's RESOURCE_EXHAUSTED within the block into a UserError.

    The message says what a device held, what XLA could not allocate, and which fields help.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        height, width = experiment.train.crop
        rows = max(experiment.train.batch_size // num_devices, 1)
        reason = str(error).splitlines()[0].partition('RESOURCE_EXHAUSTED: ')[2][:200]
        raise UserError(
            f'A device has no memory left for {rows} pictures of {height}x{width} (batch per '
            f'device): {reason} What helps: {", ".join(_remedies(experiment, rows))}. '
            f'--mode=summary --compile=true tells how much a step needs.'
        ) from error
