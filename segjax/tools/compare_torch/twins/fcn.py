"""`segjax.models.FCN(num_classes)`: FCN-8s over VGG16, padding 'same', without dropout."""

from __future__ import annotations

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

CONVS = (2, 2, 3, 3, 3)
WIDTHS = (64, 128, 256, 512, 512)


class VGGStage(nn.Module):
    """3x3 convolutions with ReLU, then 2x2 max pooling."""

    def __init__(self, stage: int, convs: int, inputs: int, features: int):
        super().__init__()
        for i in range(convs):
            conv = nn.Conv2d(features if i else inputs, features, 3, padding=1)
            self.add_module(f'conv{stage}_{i + 1}', conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b c h w` to `b features h/2 w/2`."""
        for conv in self.children():
            x = F.relu(conv(x))
        return F.max_pool2d(x, 2, ceil_mode=True)


class FullyConnected(nn.Module):
    """A fully connected layer as a convolution with ReLU."""

    def __init__(self, inputs: int, features: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, features, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b c h w` to `b features h w`."""
        return F.relu(self.conv(x))


def enlarge(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Bilinear up-sampling."""
    return F.interpolate(x, scale_factor=factor, mode='bilinear', align_corners=False)


class FCN8s(nn.Module):
    """Image to logits."""

    def __init__(self, num_classes: int):
        super().__init__()
        stages = {
            f'stage{k}': VGGStage(k, convs, inputs, features)
            for k, (convs, inputs, features) in enumerate(
                zip(CONVS, (3, *WIDTHS), WIDTHS, strict=False), start=1
            )
        }
        self.vgg16 = nn.ModuleDict(stages)
        self.fc6 = FullyConnected(512, 4096, 7)
        self.fc7 = FullyConnected(4096, 4096, 1)
        self.score_fr = nn.Conv2d(4096, num_classes, 1)
        self.score_pool4 = nn.Conv2d(512, num_classes, 1)
        self.score_pool3 = nn.Conv2d(256, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b 3 h w` to logits `b k h w`; sides that are multiples of 32."""
        pools = []
        for stage in self.vgg16.values():
            x = stage(x)
            pools.append(x)
        x = self.score_fr(self.fc7(self.fc6(x)))
        x = enlarge(x, 2) + self.score_pool4(pools[3])
        x = enlarge(x, 2) + self.score_pool3(pools[2])
        return enlarge(x, 8)
