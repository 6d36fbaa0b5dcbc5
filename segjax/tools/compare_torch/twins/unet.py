"""`segjax.models.UNet(num_classes, padding='same', norm='batch')`, without dropout."""

from __future__ import annotations

from itertools import pairwise

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]


class DoubleConv(nn.Module):
    """Two 3x3 convolutions with batch normalisation and ReLU."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b c h w` to `b features h w`."""
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class UNet(nn.Module):
    """Image to logits."""

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (64, 128, 256, 512, 1024)):
        super().__init__()
        self.depth = len(widths) - 1
        for i, (inputs, width) in enumerate(zip((3, *widths), widths, strict=False), start=1):
            self.add_module(f'down{i}', DoubleConv(inputs, width))
        for i, (width, below) in enumerate(pairwise(widths), start=1):
            self.add_module(f'upconv{i}', nn.ConvTranspose2d(below, width, 2, stride=2))
            self.add_module(f'up{i}', DoubleConv(2 * width, width))
        self.score = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b 3 h w` to logits `b k h w`."""
        skips = []
        for i in range(1, self.depth + 1):
            skips.append(self.get_submodule(f'down{i}')(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.get_submodule(f'down{self.depth + 1}')(x)
        for i in range(self.depth, 0, -1):
            x = self.get_submodule(f'upconv{i}')(x)
            x = self.get_submodule(f'up{i}')(torch.cat([x, skips[i - 1]], dim=1))
        return self.score(x)
