"""A training step on both sides, with stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch  # pyright: ignore[reportMissingImports]

from segjax.optim import Constant, Sgd
from segjax.tools.compare_torch import torch_side
from segjax.tools.compare_torch.setting import Setting
from segjax.train.state import state_from
from segjax.train.step import make_train_step
from segjax.types import Batch

LEARNING_RATE, MOMENTUM = 1e-4, 0.9


class OurTraining:
    """The training step of segjax, as `--mode=train` runs it."""

    def __init__(self, model: nn.Module, task: Any, variables: dict[str, Any], batch: Batch):
        optimizer = Sgd(LEARNING_RATE, Constant(), momentum=MOMENTUM)
        extra = {name: tree for name, tree in variables.items() if name != 'params'}
        step = make_train_step(model, task, optimizer, num_steps=1000, mean=(0.0,), std=(1.0,))
        self._state = jax.tree.map(
            jnp.array,
            state_from(extra, variables['params'], optimizer, num_steps=1000, seed=0),
        )
        self._step = jax.jit(step, donate_argnums=0)
        self._batch = jax.tree.map(jnp.asarray, batch)

    def step(self) -> float:
        """One step; its loss."""
        self._state, scalars = self._step(self._state, self._batch)
        jax.block_until_ready(self._state)
        return float(scalars['loss'])

    def gradients(self) -> dict[str, np.ndarray]:
        """Of the first step: what momentum holds after it."""
        momentum = optax.tree.get(self._state.opt_state, 'trace')
        return {name: np.asarray(array) for name, array in momentum.items()}


class TheirTraining:
    """The usual training step of Torch: autocast over float32 weights."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        loss: Callable[[], torch.Tensor],
        setting: Setting,
    ):
        self._optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM)
        self._loss, self._setting = loss, setting
        self.step = torch_side.waiting(self._one_step, setting)  # one step; its loss

    def _one_step(self) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        with torch_side.autocast(self._setting):
            loss = self._loss()
        loss.backward()
        self._optimizer.step()
        return loss.item()
