"""`segjax.models.DeepLabV3Plus(num_classes, backbone)` of flavor 'tf' at output stride 16, without
dropout, over MobileNetV2, ResNet-50 and Xception-65."""

from __future__ import annotations

from itertools import pairwise

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

HEAD_EPSILON = 1e-5


def conv(inputs: int, features: int, kernel: int = 1, **options: int) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1, without a bias."""
    padding = options.get('dilation', 1) * (kernel // 2)
    return nn.Conv2d(inputs, features, kernel, padding=padding, bias=False, **options)


class ConvNormRelu(nn.Module):
    """A 1x1 convolution, normalised and activated."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        self.conv, self.bn = conv(inputs, features), nn.BatchNorm2d(features, HEAD_EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b c h w` to `b features h w`."""
        return F.relu(self.bn(self.conv(x)))


class SeparableConv(nn.Module):
    """A depthwise and a pointwise convolution, each normalised, and perhaps activated."""

    def __init__(
        self,
        inputs: int,
        features: int,
        *,
        epsilon: float = HEAD_EPSILON,
        activate: bool = True,
        **options: int,
    ):
        super().__init__()
        self.depthwise = conv(inputs, inputs, 3, groups=inputs, **options)
        self.depthwise_bn = nn.BatchNorm2d(inputs, epsilon)
        self.pointwise = conv(inputs, features)
        self.pointwise_bn = nn.BatchNorm2d(features, epsilon)
        self.act = nn.ReLU() if activate else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b c h w` to `b features h/stride w/stride`."""
        x = self.act(self.depthwise_bn(self.depthwise(x)))
        return self.act(self.pointwise_bn(self.pointwise(x)))


class InvertedResidual(nn.Module):
    """MobileNetV2's block, which also returns the output of its depthwise convolution."""

    def __init__(self, inputs: int, features: int, expansion: int, stride: int, dilation: int):
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(_relu6(conv(inputs, wide)))
        options = {'stride': stride, 'dilation': dilation, 'groups': wide}
        layers.append(_relu6(conv(wide, wide, 3, **options)))
        self.depthwise = len(layers) - 1
        self.conv = nn.ModuleList([*layers, conv(wide, features), _norm(features)])
        self.residual = stride == 1 and inputs == features

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`b c h w` to `b features h/stride w/stride`, and what is before the projection."""
        y = filtered = x
        for i, layer in enumerate(self.conv):
            y = layer(y)
            filtered = y if i == self.depthwise else filtered
        return x + y if self.residual else y, filtered


def _norm(features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features, 1e-3)


def _relu6(layer: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(layer, _norm(layer.out_channels), nn.ReLU6())


class MobileNetV2(nn.Module):
    """MobileNetV2 up to the block of 320 channels."""

    channels = 144, 320  # at stride 4, and at stride 16

    # expansion, channels, repeats, stride and dilation of the first, dilation of the others
    ROWS = (
        (1, 16, 1, 1, 1, 1),
        (6, 24, 2, 2, 1, 1),
        (6, 32, 3, 2, 1, 1),
        (6, 64, 4, 2, 1, 1),
        (6, 96, 3, 1, 1, 1),
        (6, 160, 3, 1, 1, 2),
        (6, 320, 1, 1, 2, 2),
    )

    def __init__(self):
        super().__init__()
        self.add_module('0', _relu6(conv(3, 32, 3, stride=2)))
        inputs, number = 32, 1
        for expansion, features, repeats, stride, first, rest in self.ROWS:
            for i in range(repeats):
                sampling = (1, rest) if i else (stride, first)
                self.add_module(
                    str(number), InvertedResidual(inputs, features, expansion, *sampling)
                )
                inputs, number = features, number + 1

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`b 3 h w` to features at strides 4 and 16."""
        stem, *blocks = self.children()
        x, low = stem(x), x
        for i, block in enumerate(blocks, start=1):
            x, filtered = block(x)
            low = filtered if i == 3 else low
        return low, x


class Bottleneck(nn.Module):
    """ResNet's block, which also returns what it adds to the short cut."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, width), nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride=stride, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width), nn.BatchNorm2d(4 * width)
        self.stride = stride
        self.downsample = None
        if inputs != 4 * width:
            projection = conv(inputs, 4 * width, stride=stride)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(4 * width))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`b c h w` to `b 4width h/stride w/stride`, and its second summand."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        s = self.stride
        shortcut = self.downsample(x) if self.downsample else x[:, :, ::s, ::s]
        return F.relu(shortcut + y), y


class ResNet50(nn.Module):
    """ResNet-50 "beta": three 3x3 convolutions first, strides in the last blocks, multi-grid."""

    channels = 256, 2048

    # (stride, dilation) of the blocks of each stage
    STAGES = (
        ((1, 1), (1, 1), (2, 1)),
        ((1, 1), (1, 1), (1, 1), (2, 1)),
        ((1, 1),) * 6,
        ((1, 2), (1, 4), (1, 8)),
    )

    def __init__(self):
        super().__init__()
        for i, (inputs, features) in enumerate(pairwise((3, 64, 64, 128)), start=1):
            self.add_module(f'conv1_{i}', conv(inputs, features, 3, stride=2 if i == 1 else 1))
            self.add_module(f'bn1_{i}', nn.BatchNorm2d(features))
        inputs = 128
        for k, samplings in enumerate(self.STAGES):
            blocks = nn.ModuleList()
            for sampling in samplings:
                blocks.append(Bottleneck(inputs, 64 * 2**k, *sampling))
                inputs = 256 * 2**k
            self.add_module(f'layer{k + 1}', blocks)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`b 3 h w`, sides `16 k + 1`, to features at strides 4 and 16."""
        for i in (1, 2, 3):
            layer, norm = self.get_submodule(f'conv1_{i}'), self.get_submodule(f'bn1_{i}')
            x = F.relu(norm(layer(x)))
        x = low = F.max_pool2d(x, 3, 2, padding=1)
        for k in (1, 2, 3, 4):
            for i, block in enumerate(self.get_submodule(f'layer{k}').children()):
                x, added = block(x)
                low = added if (k, i) == (1, 1) else low
        return low, x


class XceptionModule(nn.Module):
    """Three separable convolutions and a short cut; also returns the output of the second."""

    def __init__(self, inputs: int, features: tuple[int, ...], stride: int, dilation: int = 1):
        super().__init__()
        self.last = features[-1] == 2048
        for i, (before, after) in enumerate(pairwise((inputs, *features)), start=1):
            layer = SeparableConv(
                before,
                after,
                epsilon=1e-3,
                activate=self.last,
                stride=stride if i == 3 else 1,
                dilation=dilation,
            )
            self.add_module(f'conv{i}', layer)
        self.shortcut = None
        if not self.last and inputs != features[-1]:
            self.shortcut = conv(inputs, features[-1], stride=stride)
            self.shortcut_bn = _norm(features[-1])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`b c h w` to `b features h/stride w/stride`, and features before the stride."""
        y = second = x
        for i in (1, 2, 3):
            y = self.get_submodule(f'conv{i}')(y if self.last else F.relu(y))
            second = y if i == 2 else second
        if self.last:
            return y, second
        return y + (self.shortcut_bn(self.shortcut(x)) if self.shortcut else x), second


class Xception65(nn.Module):
    """The modified aligned Xception-65."""

    channels = 256, 2048

    def __init__(self):
        super().__init__()
        self.conv1_1, self.bn1_1 = conv(3, 32, 3, stride=2), _norm(32)
        self.conv1_2, self.bn1_2 = conv(32, 64, 3), _norm(64)
        for i, (inputs, features) in enumerate(pairwise((64, 128, 256, 728)), start=1):
            self.add_module(f'entry{i}', XceptionModule(inputs, (features,) * 3, 2))
        for i in range(1, 17):
            self.add_module(f'middle{i}', XceptionModule(728, (728,) * 3, 1))
        self.exit1 = XceptionModule(728, (728, 1024, 1024), 1)
        self.exit2 = XceptionModule(1024, (1536, 1536, 2048), 1, dilation=2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`b 3 h w` to features at strides 4 and 16."""
        x = F.relu(self.bn1_1(self.conv1_1(x)))
        x = low = F.relu(self.bn1_2(self.conv1_2(x)))
        for name, module in self.named_children():
            if isinstance(module, XceptionModule):
                x, second = module(x)
                low = second if name == 'entry2' else low
        return low, x


class ASPP(nn.Module):
    """The pyramid; the branch of the image's mean is joined first."""

    def __init__(self, inputs: int):
        super().__init__()
        self.image_pooling = ConvNormRelu(inputs, 256)
        self.aspp0 = ConvNormRelu(inputs, 256)
        for i, rate in enumerate((6, 12, 18), start=1):
            self.add_module(f'aspp{i}', SeparableConv(inputs, 256, dilation=rate))
        self.concat_projection = ConvNormRelu(5 * 256, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`b c h w` to `b 256 h w`."""
        pooled = self.image_pooling(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        branches = [self.get_submodule(f'aspp{i}')(x) for i in range(4)]
        return self.concat_projection(torch.cat([pooled, *branches], dim=1))


def enlarge(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Bilinear interpolation, corners aligned."""
    return F.interpolate(x, size=size, mode='bilinear', align_corners=True)


BACKBONES = {'mobilenet_v2': MobileNetV2, 'resnet50': ResNet50, 'xception65': Xception65}


class DeepLabV3Plus(nn.Module):
    """Image to logits."""

    def __init__(self, num_classes: int, backbone: str):
        super().__init__()
        self.backbone = backbone
        extractor = BACKBONES[backbone]()
        self.add_module(backbone, extractor)
        low, deep = extractor.channels
        self.aspp = ASPP(deep)
        self.feature_projection0 = ConvNormRelu(low, 48)
        self.decoder_conv0 = SeparableConv(256 + 48, 256)
        self.decoder_conv1 = SeparableConv(256, 256)
        self.score = nn.Conv2d(256, num_classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """`b 3 h w`, sides `16 k + 1`, to logits `b k h w`."""
        low, x = self.get_submodule(self.backbone)(image)
        low, x = self.feature_projection0(low), self.aspp(x)
        x = torch.cat([enlarge(x, low.shape[2:]), low], dim=1)
        x = self.score(self.decoder_conv1(self.decoder_conv0(x)))
        return enlarge(x, image.shape[2:])
