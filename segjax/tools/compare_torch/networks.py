"""Whole networks: inference to logits, and training steps, on weights that both sides share."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

from segjax.models import FCN, DeepLabV3Plus, UNet, UNetPlusPlus
from segjax.optim import Constant, Sgd
from segjax.tasks import Semantic
from segjax.tools.compare_torch.agreement import difference, require
from segjax.tools.compare_torch.twins import deeplabv3plus, fcn, unet, unetplusplus
from segjax.tools.compare_torch.weights import gradients, load, random_variables
from segjax.tools.race import race_against
from segjax.train.state import state_from
from segjax.train.step import make_train_step
from segjax.types import Batch

LEARNING_RATE, MOMENTUM = 1e-4, 0.9
SECONDS = {'inference': 5.0, 'train': 10.0}
TOLERANCE = 1e-3  # of logits and loss
GRADIENT_TOLERANCE = 3e-2  # rounding that turns a ReLU on or off adds up through a network


class Network(NamedTuple):
    """A model, its twin, and what they are given.

    Attributes:
      model: semantic.
      twin: makes the Torch module, `b c h w` to logits `b k h w`.
      num_classes: k.
      shape: of a batch of images, `b h w c`.
      trains: False where there is dropout: the sides draw different numbers.
    """

    model: nn.Module
    twin: Callable[[], torch.nn.Module]
    num_classes: int
    shape: tuple[int, int, int, int] = (1, 256, 256, 3)
    trains: bool = True


def _deeplabv3plus(backbone: Literal['mobilenet_v2', 'resnet50', 'xception65']) -> Network:
    twin = partial(deeplabv3plus.DeepLabV3Plus, 21, backbone)
    return Network(DeepLabV3Plus(21, backbone), twin, 21, (1, 257, 257, 3), trains=False)


NETWORKS = {
    'fcn8s_vgg16': Network(FCN(21, dropout=0.0), partial(fcn.FCN8s, 21), 21),
    'unet_64': Network(
        UNet(2, padding='same', norm='batch', dropout=0.0), partial(unet.UNet, 2), 2
    ),
    'unetpp_32': Network(
        UNetPlusPlus(2, deep_supervision=False, dropout=0.0),
        partial(unetplusplus.UNetPlusPlus, 2),
        2,
    ),
    'deeplabv3plus_mobilenetv2': _deeplabv3plus('mobilenet_v2'),
    'deeplabv3plus_resnet50': _deeplabv3plus('resnet50'),
    'deeplabv3plus_xception65': _deeplabv3plus('xception65'),
}


class OurTraining:
    """The training step of segjax, as `--mode=train` runs it."""

    def __init__(self, network: Network, variables: dict[str, Any], batch: Batch):
        optimizer = Sgd(LEARNING_RATE, Constant(), momentum=MOMENTUM)
        extra = {name: tree for name, tree in variables.items() if name != 'params'}
        step = make_train_step(
            network.model, Semantic(), optimizer, num_steps=1000, mean=(0.0,), std=(1.0,)
        )
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
    """The usual training step of Torch; `net` may be compiled."""

    def __init__(self, net: torch.nn.Module, image: torch.Tensor, label: torch.Tensor):
        self.net, self.image, self.label = net, image, label
        self._optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def step(self) -> float:
        """One step; its loss."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.net(self.image), self.label)
        loss.backward()
        self._optimizer.step()
        return loss.item()


def compare_network(network: Network, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Ratios `{'inference': {'vs_eager': r, 'vs_compile': r}, 'train': {...}}`, and milliseconds.

    Of a network with dropout there is no 'train'.

    Raises:
      ValueError: the two sides compute different things.
    """
    rng = np.random.default_rng(1)
    image = rng.standard_normal(network.shape, np.float32)
    label = rng.integers(0, network.num_classes, network.shape[:3], np.int32)
    variables = random_variables(network.model, image)
    twin = network.twin()
    load(twin, variables)
    twin = twin.to(memory_format=torch.channels_last)
    theirs = torch.from_numpy(image).permute(0, 3, 1, 2)  # channels last in memory
    found = {'inference': _race_inference(network, variables, twin, image, theirs, say)}
    if network.trains:
        ours, truth = Batch(image, label), torch.from_numpy(label).long()
        training = OurTraining(network, variables, ours), TheirTraining(twin, theirs, truth)
        found['train'] = _race_training(*training, variables, say)
    torch.compiler.reset()
    gc.collect()
    return found


def _race_inference(
    network: Network,
    variables: dict[str, Any],
    twin: torch.nn.Module,
    image: np.ndarray,
    theirs: torch.Tensor,
    say: Callable[[str], None],
) -> dict[str, float]:
    twin.eval()
    compiled = torch.compile(twin)
    placed, ours = jax.tree.map(jnp.asarray, variables), jnp.asarray(image)

    @jax.jit
    def forward(variables: dict[str, Any], x: jax.Array) -> jax.Array:
        output: Any = network.model.apply(variables, x, train=False)
        return output.logits

    with torch.inference_mode():
        logits = forward(placed, ours)
        expected = twin(theirs).permute(0, 2, 3, 1).numpy()
        apart = difference(np.asarray(logits), expected)
        say(f'  logits differ by {apart:.1e}')
        require(apart, TOLERANCE, 'logits')
        candidates = {
            'jax': lambda: forward(placed, ours).block_until_ready(),
            'eager': lambda: twin(theirs),
            'compile': lambda: compiled(theirs),
        }
        return race_against(candidates, seconds=SECONDS['inference'])


def _race_training(
    ours: OurTraining,
    theirs: TheirTraining,
    variables: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, float]:
    twin = theirs.net.train()
    our_loss, their_loss = ours.step(), theirs.step()
    found, expected = ours.gradients(), gradients(twin, variables)
    losses, slopes = difference(our_loss, their_loss), difference(found, expected)
    say(f'  losses differ by {losses:.1e}, gradients by {slopes:.1e}')
    require(losses, TOLERANCE, 'losses')
    require(slopes, GRADIENT_TOLERANCE, 'gradients')
    compiled = TheirTraining(torch.compile(twin), theirs.image, theirs.label)
    candidates = {'jax': ours.step, 'eager': theirs.step, 'compile': compiled.step}
    return race_against(candidates, seconds=SECONDS['train'])
