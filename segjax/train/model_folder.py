"""runs/NAME/model: all that prediction and export need, whatever becomes of the experiment file.

model.safetensors   every variable under its path: params/vgg16/stage1/conv1_1/kernel
model.json          the class of segjax.models and its fields, preprocessing, class names, palette
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segjax import config
from segjax.pretrained.safetensors_io import save_variables
from segjax.train.job import Job
from segjax.train.rundir import write_json


def write_model_folder(folder: Path, job: Job, variables: dict[str, Any], *, step: int) -> None:
    """Write both files; model.json last, so that a folder with one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    save_variables(folder / 'model.safetensors', variables)
    e = job.experiment
    description = {
        'model': config.flatten(e.model),
        'task': config.flatten(e.task),
        'preprocessing': {
            'normalize': e.dataset.normalize,
            'channels': e.dataset.channels,
            'mean': job.mean,
            'std': job.std,
            'scale': e.eval.scale,
        },
        'class_names': job.info.class_names,
        'palette': job.info.palette,
        'step': step,
    }
    write_json(folder / 'model.json', description)
