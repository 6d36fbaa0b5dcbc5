"""What torchvision's networks compute, in a small file that tests read without torch.

    python -m segjax.tools.torchvision_golden tests/pretrained/torchvision_golden.npz

needs torch and torchvision. Weights are not stored: they follow from each array's name and shape by
`weights`. The file holds, for each network, the names and shapes of its state dict and, of each
feature map of a classifier and each output of a segmentation network, `SAMPLES` values spread
evenly over `h w c`, and the root of its mean square.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

SAMPLES = 64
SIZE = 64  # pixels a side of the picture

# network -> our name of a feature map -> torchvision's module whose output it is
FEATURES = {
    'vgg11': {f'c{k}': f'features.{n}' for k, n in enumerate((2, 5, 10, 15, 20), start=1)},
    'vgg16': {f'c{k}': f'features.{n}' for k, n in enumerate((4, 9, 16, 23, 30), start=1)},
    'alexnet': {'c2': 'features.1', 'c3': 'features.4', 'c4': 'features.11', 'c5': 'features.12'},
    'googlenet': {
        'c1': 'conv1', 'c2': 'conv3', 'c3': 'inception3b', 'c4': 'inception4e', 'c5': 'inception5b',
    },
    **{
        f'resnet{depth}': {'c1': 'relu', **{f'c{k}': f'layer{k - 1}' for k in (2, 3, 4, 5)}}
        for depth in (18, 34, 50, 101)
    },
    'mobilenet_v2': {
        f'c{k}': f'features.{n}' for k, n in zip((1, 2, 3, 4, 5), (1, 3, 6, 13, 18), strict=True)
    },
    'mobilenet_v3_large': {
        f'c{k}': f'features.{n}' for k, n in zip((1, 2, 3, 4, 5), (1, 3, 6, 12, 16), strict=True)
    },
}  # fmt: skip
SEGMENTATION = {  # network -> its outputs
    'fcn_resnet50': ('out', 'aux'),
    'deeplabv3_resnet50': ('out', 'aux'),
    'deeplabv3_mobilenet_v3_large': ('out', 'aux'),
    'lraspp_mobilenet_v3_large': ('out',),
}


def picture() -> np.ndarray:
    """The picture that all networks see: `h w 3` float32, roughly normalised."""
    return np.random.default_rng(0).normal(size=(SIZE, SIZE, 3)).astype(np.float32)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays that depend on their own name and shape alone, and keep activations of order one."""
    arrays = {}
    for name, shape in shapes.items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        if name.endswith('num_batches_tracked'):
            array = np.zeros(shape, np.int64)
        elif len(shape) > 1:  # He: a normal of variance 2 over fan in
            array = random.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5
        elif name.endswith('running_var'):
            array = 0.5 + random.random(shape)
        elif name.endswith('weight'):  # of BatchNorm; near 1, rounding errors grow with the depth
            array = 0.2 + 0.4 * random.random(shape)
        else:
            array = 0.2 * random.normal(size=shape)
        arrays[name] = array if array.dtype == np.int64 else array.astype(np.float32)
    return arrays


def sample(feature: np.ndarray) -> np.ndarray:
    """SAMPLES values of a map `h w c`, then the root of its mean square."""
    places = np.linspace(0, feature.size - 1, SAMPLES).astype(int)
    scale = np.sqrt(np.mean(np.square(feature, dtype=np.float64)))
    return np.append(feature.reshape(-1)[places], np.float32(scale)).astype(np.float32)


def filled(model: Any) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """A model of torchvision with our weights, and the shapes of its state dict."""
    import torch  # pyright: ignore[reportMissingImports]

    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    arrays = {name: torch.from_numpy(array) for name, array in weights(shapes).items()}
    model.load_state_dict(arrays)
    return model.eval().double(), shapes  # double: so that rounding is ours alone


def run(model: Any) -> Any:
    """What the model makes of the picture."""
    import torch  # pyright: ignore[reportMissingImports]

    with torch.no_grad():
        return model(torch.from_numpy(picture()).permute(2, 0, 1)[None].double())


def map_of(output: Any) -> np.ndarray:
    """`1 c h w` as `h w c`. A copy: the ReLU that may follow works in place."""
    return output[0].permute(1, 2, 0).contiguous().numpy().copy()


def _features(network: str) -> tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]]:
    """Shapes of the state dict, and a sample of each feature map, by torchvision."""
    import torchvision  # pyright: ignore[reportMissingImports]

    options = {'aux_logits': True, 'init_weights': False} if network == 'googlenet' else {}
    model, shapes = filled(getattr(torchvision.models, network)(weights=None, **options))
    found: dict[str, np.ndarray] = {}

    def keep(name):
        def hook(module, inputs, output):
            found.setdefault(name, sample(map_of(output)))

        return hook

    for name, path in FEATURES[network].items():
        model.get_submodule(path).register_forward_hook(keep(name))
    run(model)
    return shapes, found


def _outputs(network: str) -> tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]]:
    """Shapes of the state dict, and a sample of each output, by torchvision."""
    from torchvision.models import segmentation  # pyright: ignore[reportMissingImports]

    options = {'aux_loss': True} if 'aux' in SEGMENTATION[network] else {}
    build = getattr(segmentation, network)
    model, shapes = filled(build(weights=None, weights_backbone=None, **options))
    outputs = run(model)
    return shapes, {name: sample(map_of(outputs[name])) for name in SEGMENTATION[network]}


def main(path: str) -> None:
    """Write the file."""
    content = {}
    for network in (*FEATURES, *SEGMENTATION):
        shapes, found = _features(network) if network in FEATURES else _outputs(network)
        content[f'{network}/shapes'] = np.array(json.dumps(shapes))
        content |= {f'{network}/{name}': values for name, values in found.items()}
    np.savez_compressed(path, **content)


if __name__ == '__main__':
    main(sys.argv[1])
