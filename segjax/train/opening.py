"""What a run says of itself before it begins."""

from __future__ import annotations

import jax

from segjax.layers.cost import layer_costs
from segjax.train import provenance
from segjax.train.job import Job
from segjax.train.screen import Screen, quantity

# Images that share their statistics. Chen et al., "Rethinking Atrous Convolution for Semantic Image
# Segmentation", table 9: mean IoU 64.4, 75.8, 76.5 and 77.2 with batches of 4, 8, 12 and 16.
ENOUGH = 8


def describe_devices(screen: Screen) -> None:
    """The devices, and how to get at a card that JAX does not see."""
    devices = jax.devices()
    kind = devices[0].device_kind if devices[0].platform != 'cpu' else 'CPU'
    text = f'{len(devices)} x {kind}' if len(devices) > 1 else kind
    if (count := jax.process_count()) > 1:
        text += f' in {count} processes'
    screen.facts({'device': text})
    if hint := provenance.nvidia_hint():
        screen.warn(hint)


def describe_job(screen: Screen, job: Job) -> None:
    """Data and model."""
    e = job.experiment
    costs = layer_costs(e.model, job.image_shape)
    params, macs = sum(c.params for c in costs), sum(c.macs for c in costs)
    size = 'x'.join(map(str, job.image_shape[1:3]))
    split, bad = e.eval.split, len(job.train_source.bad)
    replaced = f' ({bad} of them bad, replaced)' if bad else ''
    screen.facts(
        {
            'data': f'{type(e.dataset).__name__}: {len(job.train_source)} images to train'
            f'{replaced}, {len(job.eval_source)} to evaluate ({split}), '
            f'{len(job.info.class_names)} classes',
            'model': f'{type(e.model).__name__}: {quantity(params)} parameters, '
            f'{macs / 1e9:.3g} GMAC at {size}',
        }
    )
    seen = e.train.batch_size // e.accumulate
    if seen < ENOUGH and not e.freeze_batch_norm and any(c.kind == 'BatchNorm' for c in costs):
        screen.warn(
            f'batch normalisation learns from {seen} images at a time; fewer than {ENOUGH} are '
            'known to cost accuracy. A larger --train.batch_size mends that, and '
            '--freeze_batch_norm=true where trained weights are loaded.'
        )


def describe_plan(screen: Screen, job: Job) -> None:
    """How long training is."""
    e = job.experiment
    epochs = e.num_steps / job.steps_per_epoch
    screen.facts(
        {
            'plan': f'{e.num_steps} steps of {e.train.batch_size} images ({epochs:.1f} epochs), '
            f'evaluated every {e.eval_every} steps'
        }
    )
