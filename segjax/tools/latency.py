"""How long a single picture takes: the networks made for mobile devices, on this machine.

    python -m segjax.tools.latency
    python -m segjax.tools.latency --sizes=257,513,1025 --classes=19

Prints the table of experiments/README.md: parameters, multiply-adds and the median time from a
uint8 picture in memory to its class map, one picture at a time; compilation does not count. The
networks take turns, so that whatever slows the machine for a while slows all of them. Weights are
random: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax import ops
from segjax.layers.cost import layer_costs
from segjax.models import LRASPP, DeepLabV3, DeepLabV3Plus
from segjax.tools.race import race
from segjax.train import machine

SECONDS = 20.0  # of all networks at one size


def mobile_networks(num_classes: int) -> dict[str, nn.Module]:
    """By the name that the table gives them."""
    mobile = DeepLabV3Plus(num_classes, 'mobilenet_v2', decoder=False, atrous=False)
    decoder = DeepLabV3Plus(num_classes, 'mobilenet_v2')
    large = DeepLabV3(num_classes, 'mobilenet_v3_large', 'torchvision')
    return {
        'DeepLab, MobileNetV2, width .5': mobile.clone(width=0.5),
        'DeepLab, MobileNetV2': mobile,
        'DeepLabV3+, MobileNetV2': decoder,
        'DeepLabV3, MobileNetV3-Large': large,
        'LR-ASPP, MobileNetV3-Large': LRASPP(num_classes),
    }


def classifier(model: nn.Module, side: int) -> Callable[[], jax.Array]:
    """Labels one picture `side side 3` uint8, and waits for it."""
    image = jax.random.randint(jax.random.key(1), (1, side, side, 3), 0, 256).astype(jnp.uint8)
    start = jax.jit(lambda x: model.init(jax.random.key(0), x.astype(jnp.float32), train=False))
    variables = start(image)

    @jax.jit
    def label(variables: dict, image: jax.Array) -> jax.Array:
        pixels = ops.normalize(image, (127.5,), (127.5,))
        return jnp.argmax(model.apply(variables, pixels, train=False).logits, axis=-1)  # pyright: ignore

    return lambda: label(variables, image).block_until_ready()


def main(arguments: list[str]) -> None:
    """Time every network at every size, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--sizes', default='257,513', help='sides of the pictures')
    parser.add_argument('--classes', type=int, default=21)
    options = parser.parse_args(arguments)
    machine.prepare()
    sides = [int(side) for side in options.sizes.split(',')]
    networks = mobile_networks(options.classes)
    print('| network | parameters |' + ''.join(f' GMAC, ms at {side} |' for side in sides))
    print('|---|---|' + '---|' * len(sides))
    times = {
        side: race({name: classifier(net, side) for name, net in networks.items()}, seconds=SECONDS)
        for side in sides
    }
    for name, net in networks.items():
        costs = {side: layer_costs(net, (1, side, side, 3)) for side in sides}
        params = sum(row.params for row in costs[sides[0]])
        cells = [
            f'{sum(row.macs for row in costs[side]) / 1e9:.2f}, {1e3 * times[side][name]:.1f}'
            for side in sides
        ]
        print(f'| {name} | {params:,} | {" | ".join(cells)} |')
    device = jax.local_devices()[0]
    print(f'\n{device.device_kind}, {len(jax.local_devices())} device, jax {jax.__version__}')


if __name__ == '__main__':
    main(sys.argv[1:])
