"""runs/NAME/model: all that prediction and export need, whatever becomes of the experiment file.

model.safetensors   every variable under its path: params/vgg16/stage1/conv1_1/kernel
model.json          the class of segjax.models and its fields, the task, how a picture becomes what
                    the network is fed and back (EvalPipeline), class names, palette
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn

from segjax import config
from segjax.data.dataset import Info
from segjax.data.pipeline import EvalPipeline
from segjax.pretrained.safetensors_io import save_variables
from segjax.tasks import Instance, Semantic
from segjax.train.rundir import write_json
from segjax.types import UserError

if TYPE_CHECKING:
    from segjax.train.job import Job


class Description(NamedTuple):
    """What model.json says."""

    model: nn.Module
    task: Semantic | Instance
    pipeline: EvalPipeline  # as the run was evaluated
    normalize: str  # data/normalize.py
    channels: int
    info: Info
    step: int


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
        },
        'evaluation': config.flatten(e.eval),
        'class_names': job.info.class_names,
        'palette': job.info.palette,
        'step': step,
    }
    write_json(folder / 'model.json', description)


def find_model_folder(source: str | Path) -> Path | None:
    """The model/ folder that a run, the folder itself, one of its files or a name in runs/ means;
    None where there is none."""
    path = Path(source).expanduser()
    folders = [path / 'model', path, Path('runs') / path / 'model']
    folders += [path.parent] if path.is_file() else []
    return next((folder for folder in folders if (folder / 'model.json').is_file()), None)


def read_model_folder(folder: Path) -> Description:
    """What model.json in `folder` describes; the weights are read by pretrained.load_weights.

    Raises:
      UserError: the file cannot be read, is damaged, or names what this code does not have.
    """
    path = folder / 'model.json'
    try:
        said = json.loads(path.read_text('utf-8'))
        palette = tuple((r, g, b) for r, g, b in said['palette'])
        return Description(
            model=config.build(said['model']),
            task=config.build(said['task']),
            pipeline=config.build(said['evaluation']),
            normalize=said['preprocessing']['normalize'],
            channels=said['preprocessing']['channels'],
            info=Info(tuple(said['class_names']), palette),
            step=said['step'],
        )
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path} is damaged, or was written by other code than this ({error!r}): copy it '
            'again, or train again.'
        ) from None
