"""What other projects' U-Nets compute, in a small file that tests read without torch.

    python -m segjax.tools.unet_golden tests/pretrained/unet_golden.npz

needs torch, torchvision and segmentation_models_pytorch, and on PYTHONPATH checkouts of
milesial/Pytorch-UNet (21d7850), 4uiiurz1/pytorch-nested-unet (557ea02) and ternaus/TernausNet
(243c7fe). Weights follow from names and shapes (`torchvision_golden.weights`). The file holds, for
each network, the names and shapes of its state dict and of each output, from shallow to deep, some
values and the root of its mean square (`torchvision_golden.sample`).
"""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np

from segjax.tools.torchvision_golden import picture, sample, weights

SMP = {'encoder_weights': None}
# network -> module, class, arguments
NETWORKS = {
    'milesial': ('unet', 'UNet', (3, 2), {}),
    'nested_unet': ('archs', 'NestedUNet', (1,), {'deep_supervision': True}),
    'ternausnet11': ('ternausnet.models', 'UNet11', (), {}),
    'ternausnet16': ('ternausnet.models', 'UNet16', (), {}),
    'ternausnet16_deconv': ('ternausnet.models', 'UNet16', (), {'is_deconv': True}),
    **{
        f'smp_{name.lower()}_{encoder}': ('segmentation_models_pytorch', name, (encoder,), SMP)
        for name in ('Unet', 'UnetPlusPlus')
        for encoder in ('resnet18', 'resnet34')
    },
}


def values(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights; where TernausNet has two names for an array, both hold that of `encoder`."""
    arrays = weights(shapes)
    if 'center.block.1.weight' not in shapes and 'center.block.1.conv.weight' not in shapes:
        return arrays
    encoder = [name for name in shapes if name.startswith('encoder.')]
    aliases = [name for name in shapes if name.startswith('conv')]
    return arrays | {alias: arrays[name] for name, alias in zip(encoder, aliases, strict=True)}


def _outputs(network: str) -> tuple[dict[str, tuple[int, ...]], list[np.ndarray]]:
    """Shapes of the state dict, and a sample of each output, by the other project."""
    import torch  # pyright: ignore[reportMissingImports]

    module, name, arguments, options = NETWORKS[network]
    model = getattr(importlib.import_module(module), name)(*arguments, **options).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    arrays = {name: torch.from_numpy(array) for name, array in values(shapes).items()}
    model.load_state_dict(arrays)
    model.double()  # so that rounding is ours alone
    image = torch.from_numpy(picture()).permute(2, 0, 1)[None].double()
    with torch.no_grad():
        found = model(image)
    maps = found if isinstance(found, list) else [found]
    return shapes, [sample(x[0].permute(1, 2, 0).contiguous().numpy()) for x in maps]


def main(path: str) -> None:
    """Write the file."""
    content = {}
    for network in NETWORKS:
        shapes, outputs = _outputs(network)
        content[f'{network}/shapes'] = np.array(json.dumps(shapes))
        content[f'{network}/outputs'] = np.stack(outputs)
    np.savez_compressed(path, **content)


if __name__ == '__main__':
    main(sys.argv[1])
