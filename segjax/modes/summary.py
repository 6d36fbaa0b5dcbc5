"""--mode=summary: what each layer costs. Nothing is trained or allocated."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segjax.config import RunOptions
from segjax.data import normalize
from segjax.data.dataset import Roots
from segjax.layers.cost import LayerCost, layer_costs
from segjax.train.experiment import Experiment, bind
from segjax.train.memory import compiled_memory
from segjax.train.rundir import output_folder, write_json
from segjax.train.screen import Screen, quantity
from segjax.train.state import init_state, split_frozen
from segjax.train.step import make_train_step
from segjax.types import UserError


def run(experiment: Experiment, options: RunOptions) -> int:
    """Print the table and write `summary.json`; the exit code."""
    screen = Screen()
    experiment = _bind(experiment, options)
    size = options.input_size or experiment.train.crop
    shape = (1, *size, experiment.dataset.channels)
    rows = layer_costs(experiment.model, shape)
    _print(screen, rows)
    trainable, frozen = _count(experiment, shape)
    summary: dict[str, Any] = {
        'model': type(experiment.model).__name__,
        'params': trainable,
        'params_frozen': frozen,
        'macs_per_image': sum(row.macs for row in rows),
        'input_shape': list(shape),
    }
    screen.heading(f'{summary["model"]} at {size[0]}x{size[1]}')
    facts = {
        'parameters': f'{trainable:,} trained, {frozen:,} frozen',
        'multiply-accumulates': f'{summary["macs_per_image"] / 1e9:.3f} G an image (convolutions)',
    }
    if options.compile:
        summary['step_memory'] = memory = _step_memory(experiment, size)
        facts['memory of a step'] = ', '.join(
            f'{name.replace("_", " ")} {quantity(n)}B' for name, n in memory.items()
        )
    folder = output_folder(options)
    write_json(folder / 'summary.json', summary)
    screen.facts({**facts, 'written to': str(folder / 'summary.json')})
    return 0


def _bind(experiment: Experiment, options: RunOptions) -> Experiment:
    """With the number of classes of its data, needed only where the model leaves it open."""
    if experiment.model.num_classes:
        return experiment
    return bind(experiment, experiment.dataset.info(Roots(options.raw_dir, options.data_dir)))


def _count(experiment: Experiment, shape: tuple[int, ...]) -> tuple[int, int]:
    """Numbers of trained and of frozen parameters."""
    init = lambda: experiment.model.init(jax.random.key(0), jnp.zeros(shape), train=False)['params']
    parts = split_frozen(jax.eval_shape(init), experiment.optimizer)
    trainable, frozen = (sum(leaf.size for leaf in part.values()) for part in parts)
    return trainable, frozen


def _print(screen: Screen, rows: list[LayerCost]) -> None:
    shape = lambda s: 'x'.join(map(str, s[1:]))
    header = ('layer', 'kind', 'input', 'output', 'parameters', 'MMAC')
    cells = [
        (
            row.path,
            row.kind,
            shape(row.input_shape),
            shape(row.output_shape),
            f'{row.params:,}',
            f'{row.macs / 1e6:,.1f}',
        )
        for row in rows
    ]
    screen.table(header, cells)


def _step_memory(experiment: Experiment, size: tuple[int, int]) -> dict[str, int]:
    """XLA's own account of the compiled training step for a whole batch on one device, in bytes."""
    e = experiment
    mean, std = normalize.statistics(e.dataset.normalize, np.uint8, channels=e.dataset.channels)
    step = make_train_step(
        e.model,
        e.task,
        e.optimizer,
        num_steps=e.num_steps,
        mean=mean,
        std=std,
        accumulate=e.accumulate,
    )
    batch = dataclasses.replace(e.train, crop=size).empty_batch(e.dataset.channels)
    state = jax.eval_shape(
        lambda: init_state(e.model, e.optimizer, num_steps=e.num_steps, image=batch.image, seed=0)
    )
    program = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    memory = compiled_memory(program)
    if memory is None:
        raise UserError('this backend gives no account of the memory of a compiled program')
    return memory
