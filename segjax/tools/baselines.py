"""What no segmentation network should fall below, on the data of an experiment.

    python -m segjax.tools.baselines experiments/fcn8s_camvid.py --raw_dir=../shared/data

Prints mean IoU and pixel accuracy, at native resolution over the evaluated split, of
  - the commonest class everywhere;
  - a perceptron (two hidden layers of 64) that sees one pixel: its colour and where it lies.
What a network reaches beyond these it owes to the pixel's surroundings.
"""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from segjax.config import RunOptions
from segjax.data.dataset import Roots, Source
from segjax.metrics import Confusion, confusion
from segjax.types import IGNORE_LABEL

PIXELS_PER_IMAGE, BATCH, STEPS = 2000, 4096, 3000


class PixelPerceptron(nn.Module):
    """Colour and place of a pixel to class scores."""

    num_classes: int

    @nn.compact
    def __call__(self, pixel):
        for _ in range(2):
            pixel = nn.relu(nn.Dense(64)(pixel))
        return nn.Dense(self.num_classes)(pixel)


def describe(image: np.ndarray) -> np.ndarray:
    """`h w 5` numbers of -1..1: red, green, blue, row, column."""
    h, w = image.shape[:2]
    rows, columns = np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing='ij')
    colour = image[..., :3].astype(np.float32) / 127.5 - 1
    return np.concatenate([colour, rows[..., None], columns[..., None]], -1).astype(np.float32)


def sample_pixels(source: Source, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Descriptions and classes of some labelled pixels of every image."""
    rng = np.random.default_rng(seed)
    pixels, classes = [], []
    for i in range(len(source)):
        sample = source[i]
        places = np.flatnonzero(sample.label.ravel() != IGNORE_LABEL)
        if places.size:
            chosen = rng.choice(places, PIXELS_PER_IMAGE)
            pixels.append(describe(sample.image).reshape(-1, 5)[chosen])
            classes.append(sample.label.ravel()[chosen])
    return np.concatenate(pixels), np.concatenate(classes)


def _scores(model: PixelPerceptron, params: Any, x: Any) -> Any:
    return model.apply(params, x)


def fit(model: PixelPerceptron, pixels: np.ndarray, classes: np.ndarray, seed: int) -> Any:
    """Parameters after STEPS steps of Adam with cross-entropy."""
    rule = optax.adam(optax.cosine_decay_schedule(3e-3, STEPS))
    params = model.init(jax.random.key(seed), jnp.zeros((1, 5)))
    state = rule.init(params)

    @jax.jit
    def step(params, state, x, y):
        mean_loss = lambda p: optax.softmax_cross_entropy_with_integer_labels(
            _scores(model, p, x), y
        ).mean()
        updates, state = rule.update(jax.grad(mean_loss)(params), state)
        return optax.apply_updates(params, updates), state

    for chosen in _batches(len(pixels), seed):
        params, state = step(params, state, pixels[chosen], classes[chosen])
    return params


def _batches(length: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        yield rng.integers(0, length, BATCH)


def main() -> None:
    """Fit on the training split, print both rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('experiment', help='a file of experiments/')
    parser.add_argument('--raw_dir', type=Path, default=RunOptions().raw_dir)
    parser.add_argument('--data_dir', type=Path, default=RunOptions().data_dir)
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    experiment = runpy.run_path(arguments.experiment)['experiment']()
    roots = Roots(arguments.raw_dir, arguments.data_dir)
    k = len(experiment.dataset.info(roots).class_names)
    train = experiment.dataset.source(experiment.train.split, roots)
    val = experiment.dataset.source(experiment.eval.split, roots)
    pixels, classes = sample_pixels(train, arguments.seed)
    model = PixelPerceptron(k)
    params = fit(model, pixels, classes, arguments.seed)
    predict = jax.jit(lambda x: jnp.argmax(_scores(model, params, x), -1).astype(jnp.int32))
    majority = np.bincount(classes, minlength=k).argmax()
    found = {'commonest class': Confusion(k), 'colour and place': Confusion(k)}
    for i in range(len(val)):
        sample = val[i]
        guesses = (np.full(sample.label.shape, majority, np.int32), predict(describe(sample.image)))
        for counts, guess in zip(found.values(), guesses, strict=True):
            label, guess = jnp.asarray(sample.label)[None], jnp.asarray(guess)[None]
            counts.update(np.asarray(confusion(label, guess, num_classes=k)))
    for name, counts in found.items():
        scores = counts.compute()
        print(
            f'{name:18} mean IoU {scores["mean_iou"]:.3f}  accuracy {scores["pixel_accuracy"]:.3f}'
        )


if __name__ == '__main__':
    main()
