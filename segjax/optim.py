"""Optimizers and learning-rate schedules: frozen dataclasses that build optax objects.

Parameters are seen as a flat dict from path ('vgg16/stage1/conv1_1/kernel') to array, so that every
choice between parameters is a regular expression on the path.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from segjax.types import Array, UserError

Tree = Any
Params = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the learning rate runs over a training: a factor of the peak rate for each step."""

    def factor(self, step: Array, num_steps: int) -> Array:
        """The factor at `step`, counted from 0."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout."""

    def factor(self, step: Array, num_steps: int) -> Array:
        return jnp.ones((), jnp.float32)


@dataclasses.dataclass(frozen=True)
class Step(Schedule):
    """Multiply by `gamma` at each boundary, after a linear warm-up.

    Attributes:
      boundaries: shares of the training at which the rate falls.
      gamma: factor at each boundary.
      warmup_steps: steps over which the rate rises linearly.
      warmup_start: share of the peak rate at step 0.
    """

    boundaries: tuple[float, ...] = (2 / 3, 8 / 9)  # the 1x schedule of detection
    gamma: float = 0.1
    warmup_steps: int = 0
    warmup_start: float = 0.001

    def factor(self, step: Array, num_steps: int) -> Array:
        fallen = sum((step >= round(b * num_steps)).astype(jnp.float32) for b in self.boundaries)
        rise = jnp.minimum(step / max(self.warmup_steps, 1), 1.0) if self.warmup_steps else 1.0
        warmup = self.warmup_start + (1 - self.warmup_start) * rise
        return jnp.asarray(warmup * self.gamma ** jnp.asarray(fallen, jnp.float32), jnp.float32)


@dataclasses.dataclass(frozen=True)
class Poly(Schedule):
    """`(1 - step / num_steps)^power`, but not less than `end`. ParseNet; DeepLab, section 4.1.

    Attributes:
      power: 0.9 in DeepLab.
      end: least share of the peak rate.
    """

    power: float = 0.9
    end: float = 0.0

    def factor(self, step: Array, num_steps: int) -> Array:
        left = jnp.maximum(1 - step / num_steps, 0.0)
        return jnp.maximum(left**self.power, self.end).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class WarmupCosine(Schedule):
    """A linear rise, then half a cosine down to `end`. Loshchilov and Hutter, SGDR.

    Attributes:
      warmup: share of the training in which the rate rises from 0.
      end: share of the peak rate at the last step.
    """

    warmup: float = 0.1
    end: float = 0.0

    def factor(self, step: Array, num_steps: int) -> Array:
        warm = max(round(self.warmup * num_steps), 1)
        progress = jnp.clip((step - warm) / max(num_steps - warm, 1), 0.0, 1.0)
        cosine = self.end + (1 - self.end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return jnp.minimum((step + 1) / warm, cosine).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What all optimizers share.

    Attributes:
      learning_rate: the peak rate.
      schedule: its course.
      weight_decay: pulls parameters to zero.
      decay_all: decay biases and normalisation parameters too, not only kernels.
      bias_multiplier: factor of the learning rate of biases; 2 in Caffe's recipes.
      multipliers: (pattern, factor) pairs: the learning rate of parameters whose path matches, e.g.
        'vgg16' 0.1 for a pretrained encoder.
      frozen: patterns of parameters that are not trained; they are not differentiated either.
        Batch normalisation among them uses and keeps its running averages.
      clip_norm: gradients are scaled down to this global norm; 0 leaves them.
      ema: decay of a moving average of all variables, with which one evaluates; 0 keeps none.
      for_batch: the rate holds for batches of this size, and grows with the size of the batch in
        proportion (Goyal et al., "Accurate, Large Minibatch SGD"); 0 takes it as it is. The number
        of steps is not changed.
    """

    learning_rate: float
    schedule: Schedule = Poly()
    weight_decay: float = 0.0
    decay_all: bool = False
    bias_multiplier: float = 1.0
    multipliers: tuple[tuple[str, float], ...] = ()
    frozen: tuple[str, ...] = ()
    clip_norm: float = 0.0
    ema: float = 0.0
    for_batch: int = 0

    def __post_init__(self):
        if not 0 <= self.ema < 1:
            raise UserError(f'--ema={self.ema}: a decay below 1, as 0.999, or 0 for no average.')

    def scaled(self, batch_size: int) -> Optimizer:
        """With the rate for batches of this size."""
        if not self.for_batch:
            return self
        rate = self.learning_rate * batch_size / self.for_batch
        return dataclasses.replace(self, learning_rate=rate, for_batch=0)

    def rate(self, step: Array, num_steps: int) -> Array:
        """The learning rate at `step`."""
        return self.learning_rate * self.schedule.factor(step, num_steps)

    def is_frozen(self, path: str) -> bool:
        """Whether the parameter at `path` is kept as it is."""
        return any(re.search(pattern, path) for pattern in self.frozen)

    def keeps_norm(self, path: tuple[str, ...]) -> bool:
        """Whether the batch normalisation at `path` is kept as it is, running averages and all."""
        return self.is_frozen('/'.join((*path, 'scale')))

    def build(self, num_steps: int) -> optax.GradientTransformation:
        """The optax transformation of a flat dict of trainable parameters."""
        clip = optax.clip_by_global_norm(self.clip_norm) if self.clip_norm else optax.identity()
        return optax.chain(
            clip,
            self._rule(),
            optax.stateless(lambda updates, _: self._scale(updates)),
            optax.scale_by_schedule(lambda step: -self.rate(step, num_steps)),
        )

    def average(self, average: Tree, variables: Tree, step: Array) -> Tree:
        """The moving average after another update: `a += (1 - d) (v - a)`; {} stays {}.

        Parameters and the running statistics of normalisation alike, as in Torchvision's references
        and timm. Early on d is `(1 + step) / (10 + step)`, TensorFlow's rule for
        `ExponentialMovingAverage(num_updates=step)`, so that initial values are soon forgotten.
        """
        if not average:
            return average
        keep = jnp.minimum(self.ema, (1 + step) / (10 + step)).astype(jnp.float32)
        return jax.tree.map(lambda a, v: a + (1 - keep) * (v - a), average, variables)

    def _rule(self) -> optax.GradientTransformation:
        raise NotImplementedError

    def _decay(self) -> optax.GradientTransformation:
        """Add `weight_decay * parameter` where it is due."""
        mask = lambda params: {p: self.decay_all or p.endswith('kernel') for p in params}
        return (
            optax.add_decayed_weights(self.weight_decay, mask)
            if self.weight_decay
            else optax.identity()
        )

    def _scale(self, updates: Any) -> Params:
        return {
            path: u * jnp.asarray(self._multiplier(path), u.dtype) for path, u in updates.items()
        }

    def _multiplier(self, path: str) -> float:
        factor = self.bias_multiplier if path.endswith('bias') else 1.0
        for pattern, value in self.multipliers:
            factor *= value if re.search(pattern, path) else 1.0
        return factor


@dataclasses.dataclass(frozen=True)
class Sgd(Optimizer):
    """Gradient descent with momentum: `v = momentum v + g + decay p`, `p -= rate v`, as Caffe and
    Torch.

    Attributes:
      momentum: 0.9; 0.99 in FCN's and U-Net's recipes with single images.
      nesterov: look ahead, as nnU-Net does.
    """

    momentum: float = 0.9
    nesterov: bool = False

    def _rule(self) -> optax.GradientTransformation:
        return optax.chain(self._decay(), optax.trace(self.momentum, self.nesterov))


@dataclasses.dataclass(frozen=True)
class Adam(Optimizer):
    """Adam with decay added to the gradient. Kingma and Ba, algorithm 1.

    Attributes:
      b1, b2: decay of the first and the second moment.
      epsilon: added to the root of the second moment.
    """

    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8

    def _rule(self) -> optax.GradientTransformation:
        return optax.chain(self._decay(), optax.scale_by_adam(self.b1, self.b2, self.epsilon))


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled decay. Loshchilov and Hutter, "Decoupled Weight Decay Regularization"."""

    def _rule(self) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_adam(self.b1, self.b2, self.epsilon), self._decay())
