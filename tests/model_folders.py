"""Runs that nobody trained: a model/ folder with random values, and pictures for it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from segjax.data.dataset import Info
from segjax.data.pipeline import EvalPipeline
from segjax.models import UNet
from segjax.predictor import abstract_variables
from segjax.tasks import Semantic
from segjax.train.model_folder import write_model_folder

INFO = Info(('background', 'cell', 'wall'), ((0, 0, 0), (69, 170, 75), (230, 57, 70)))
SAME = UNet(3, widths=(4, 6), padding='same')
VALID = UNet(3, widths=(4, 6))
SEMANTIC = Semantic()


def draw(model, channels=3, seed=3):
    """Random variables of a useful size; variances and scales of normalisation from 1."""
    rng = np.random.default_rng(seed)
    scale = lambda leaf: np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1

    def value(path, leaf):
        drawn = jnp.float32(rng.normal(size=leaf.shape) * scale(leaf))
        return 1 + abs(drawn) if path[-1].key in ('var', 'scale') else drawn

    return jax.tree_util.tree_map_with_path(value, abstract_variables(model, channels))


def write_run(folder, model=SAME, *, seed=3, info=INFO, task=SEMANTIC, pipeline=None, **changes):
    """A run directory with model/; the directory. `changes`: fields of data set and evaluation."""
    given = {'normalize': 'centered', 'channels': 3} | changes
    dataset = SimpleNamespace(normalize=given.pop('normalize'), channels=given.pop('channels'))
    parts = SimpleNamespace(model=model, task=task, dataset=dataset, eval=EvalPipeline(**given))
    parts.eval = pipeline or parts.eval
    job = SimpleNamespace(experiment=parts, info=info, mean=(0.0,), std=(255.0,))
    variables = draw(model, dataset.channels, seed)
    write_model_folder(folder / 'model', job, variables, step=7)
    return folder


def picture(size, channels=3, seed=3):
    """Smooth noise, so that classes come in regions."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, channels), np.uint8)
    bands = [Image.fromarray(coarse[..., c]).resize(size[::-1]) for c in range(channels)]
    return np.stack([np.asarray(band) for band in bands], -1)
