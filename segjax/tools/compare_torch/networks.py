"""Semantic networks: inference to logits, and training steps, on weights that both sides share."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

from segjax.models import FCN, DeepLabV3Plus, UNet, UNetPlusPlus
from segjax.tasks import Semantic
from segjax.tools.compare_torch import torch_side
from segjax.tools.compare_torch.agreement import difference, require
from segjax.tools.compare_torch.rates import rated
from segjax.tools.compare_torch.setting import Setting
from segjax.tools.compare_torch.training import OurTraining, TheirTraining
from segjax.tools.compare_torch.twins import deeplabv3plus, fcn, unet, unetplusplus
from segjax.tools.compare_torch.weights import gradients, kernels_in, load, random_variables
from segjax.tools.race import race_against
from segjax.types import Batch

SECONDS = {'inference': 5.0, 'train': 10.0}


class Network(NamedTuple):
    """A model, its twin, and what they are given.

    Attributes:
      model: semantic.
      twin: makes the Torch module, `b c h w` to logits `b k h w`.
      num_classes: k.
      size: of an image, `h w c`.
      trains: False where there is dropout: the sides draw different numbers.
      batch: images on a GPU.
    """

    model: nn.Module
    twin: Callable[[], torch.nn.Module]
    num_classes: int
    size: tuple[int, int, int] = (256, 256, 3)
    trains: bool = True
    batch: int = 32


def _deeplabv3plus(backbone: Literal['mobilenet_v2', 'resnet50', 'xception65']) -> Network:
    twin = partial(deeplabv3plus.DeepLabV3Plus, 21, backbone)
    return Network(DeepLabV3Plus(21, backbone), twin, 21, (257, 257, 3), trains=False)


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


def compare_network(
    network: Network, setting: Setting, *, say: Callable[[str], None]
) -> dict[str, Any]:
    """Ratios `{'inference': {'vs_eager': r, 'vs_compile': r, ...}, 'train': {...}}` and rates.

    Of a network with dropout there is no 'train'.

    Raises:
      ValueError: the two sides compute different things.
    """
    rng = np.random.default_rng(1)
    shape = (setting.images(network.batch), *network.size)
    image = rng.standard_normal(shape, np.float32)
    label = rng.integers(0, network.num_classes, shape[:3], np.int32)
    model = network.model.clone(dtype=setting.dtype)
    variables, twin = random_variables(model, image[:1]), network.twin()
    load(twin, variables)
    twin = torch_side.place(twin, setting)
    theirs = torch_side.place(torch.from_numpy(image).permute(0, 3, 1, 2), setting)
    parts = {'inference': _race_inference(model, variables, twin, image, theirs, setting, say)}
    if network.trains:
        ours = OurTraining(model, Semantic(), variables, Batch(image, label))
        truth = torch.from_numpy(label).long().to(torch_side.device(setting))
        parts['train'] = _race_training(ours, twin, theirs, truth, variables, setting, say)
    torch_side.release()
    gc.collect()
    return rated(parts, model, shape, setting.dtype)


def _race_inference(
    model: nn.Module,
    variables: dict[str, Any],
    twin: torch.nn.Module,
    image: np.ndarray,
    theirs: torch.Tensor,
    setting: Setting,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Kernels lie there in the setting's type."""
    dtype = getattr(torch, setting.dtype)
    twin, theirs = copy.deepcopy(twin).eval().to(dtype), theirs.to(dtype)
    compiled = torch.compile(twin)
    placed, ours = kernels_in(setting.dtype, variables), jnp.asarray(image)

    @jax.jit
    def forward(variables: dict[str, Any], x: jax.Array) -> jax.Array:
        output: Any = model.apply(variables, x, train=False)
        return output.logits

    with torch.inference_mode():
        expected = torch_side.to_numpy(twin(theirs), (0, 2, 3, 1))
        apart = difference(np.asarray(forward(placed, ours)), expected)
        say(f'  logits differ by {apart:.1e}')
        require(apart, setting.tolerance, 'logits')
        candidates = {
            'jax': lambda: forward(placed, ours).block_until_ready(),
            'eager': torch_side.waiting(lambda: twin(theirs), setting),
            'compile': torch_side.waiting(lambda: compiled(theirs), setting),
        }
        return race_against(candidates, seconds=SECONDS['inference'])


def _race_training(
    ours: OurTraining,
    twin: torch.nn.Module,
    image: torch.Tensor,
    label: torch.Tensor,
    variables: dict[str, Any],
    setting: Setting,
    say: Callable[[str], None],
) -> dict[str, float]:
    def training(net: torch.nn.Module) -> TheirTraining:
        loss = lambda: F.cross_entropy(net(image).float(), label)
        return TheirTraining(net.parameters(), loss, setting)

    theirs = training(twin.train())
    our_loss, their_loss = ours.step(), theirs.step()
    found, expected = ours.gradients(), gradients(twin, variables)
    losses, slopes = difference(our_loss, their_loss), difference(found, expected)
    say(f'  losses differ by {losses:.1e}, gradients by {slopes:.1e}')
    require(losses, setting.tolerance, 'losses')
    require(slopes, setting.gradient_tolerance, 'gradients')
    compiled = training(torch.compile(twin))
    candidates = {'jax': ours.step, 'eager': theirs.step, 'compile': compiled.step}
    return race_against(candidates, seconds=SECONDS['train'])
