"""`segjax.models.UNetPlusPlus(num_classes, deep_supervision=False)`, without dropout."""

from __future__ import annotations

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]


class DoubleConv(nn.Module):
    """Two 3x3 convolutions with ReLU."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b c h w` to `b features h w`."""
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class UNetPlusPlus(nn.Module):
    """Image to the logits of the deepest head."""

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (32, 64, 128, 256, 512)):
        super().__init__()
        self.depth = len(widths) - 1
        for i, (inputs, width) in enumerate(zip((3, *widths), widths, strict=False)):
            self.add_module(f'x_{i}_0', DoubleConv(inputs, width))
            for j in range(1, self.depth + 1 - i):
                self.add_module(f'up_{i}_{j}', nn.ConvTranspose2d(widths[i + 1], width, 2, 2))
                self.add_module(f'x_{i}_{j}', DoubleConv((j + 1) * width, width))
        self.add_module(f'score_{self.depth}', nn.Conv2d(widths[0], num_classes, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """`b 3 h w` to logits `b k h w`."""
        x = {}
        for i in range(self.depth + 1):
            below = F.max_pool2d(x[i - 1, 0], 2) if i else image
            x[i, 0] = self.get_submodule(f'x_{i}_0')(below)
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                up = self.get_submodule(f'up_{i}_{j}')(x[i + 1, j - 1])
                joined = torch.cat([up, *(x[i, k] for k in range(j))], dim=1)
                x[i, j] = self.get_submodule(f'x_{i}_{j}')(joined)
        return self.get_submodule(f'score_{self.depth}')(x[0, self.depth])
