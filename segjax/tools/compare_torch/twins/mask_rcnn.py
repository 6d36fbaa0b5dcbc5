"""torchvision's Mask R-CNN over ResNet-50 with FPN, from pixels to detections of 28x28 masks.

Its resizing of pictures before, and its pasting of masks behind, are no part of the network. Where
torchvision's Python can be imported but its kernels for the CPU cannot, the loops of kernels.cpp
stand in for them: the same algorithms, in one thread as there.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from segjax.tools.compare_torch.native import NativeKernels
from segjax.types import UserError

SAMPLES = 2  # of a bin and axis, where a call leaves them open


def resnet50_fpn(num_classes: int) -> Any:
    """With frozen normalisation, all layers trained, as `MaskRCNN(num_classes)` has it.

    Raises:
      UserError: torchvision cannot be imported.
    """
    prepare_torchvision()
    from torchvision.models import detection, resnet  # pyright: ignore[reportMissingImports]
    from torchvision.ops.misc import FrozenBatchNorm2d  # pyright: ignore[reportMissingImports]

    body = resnet.resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    backbone = detection.backbone_utils._resnet_fpn_extractor(body, 5)
    return detection.MaskRCNN(backbone, num_classes)


def prepare_torchvision() -> None:
    """Import torchvision and, where it lacks kernels on a machine without a GPU, lend it ours.

    Raises:
      UserError: torchvision cannot be imported, or has no kernels for the GPU.
    """
    try:
        from torchvision import extension, ops  # pyright: ignore[reportMissingImports]
        from torchvision.models.detection import roi_heads  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f'torchvision cannot be imported ({error}); install the one made for this torch '
            f'{torch.__version__}, or leave Mask R-CNN out of --nets'
        ) from error
    if extension._has_ops():
        return
    if torch.cuda.is_available():
        raise UserError(
            f"torchvision's kernels do not load beside torch {torch.__version__}; install the one "
            'made for it, or leave Mask R-CNN out of --nets'
        )
    native = NativeKernels()
    ops.boxes.nms = lambda boxes, scores, threshold: torch.from_numpy(
        native.nms(boxes.float().numpy(), scores.float().numpy(), threshold)
    )

    def roi_align(
        features: torch.Tensor,
        rois: torch.Tensor,
        output_size: tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int = SAMPLES,
    ) -> torch.Tensor:
        settings = output_size[0], spatial_scale, sampling_ratio
        return RoIAlign.apply(features, rois, native, *settings)

    ops.poolers.roi_align = roi_align
    # Cuts the masks of training; torchvision's takes as many samples as a bin has pixels.
    roi_heads.roi_align = roi_align


class RoIAlign(torch.autograd.Function):
    """`b c h w` and rois `n 5`, a picture and a box, to `n c p p`."""

    @staticmethod
    def forward(
        context: Any,
        features: torch.Tensor,
        rois: torch.Tensor,
        native: NativeKernels,
        *settings: Any,
    ) -> torch.Tensor:
        """As torchvision's kernel, which also wants its channels first."""
        maps, boxes = features.float().contiguous().numpy(), rois.float().numpy()
        context.native, context.settings = native, settings
        context.boxes, context.shape = boxes, maps.shape
        side, scale, samples = settings
        out = np.empty((len(boxes), maps.shape[1], side, side), np.float32)
        for picture in range(len(maps)):
            mine = np.flatnonzero(boxes[:, 0] == picture)
            out[mine] = native.roi_align(maps[picture], boxes[mine, 1:], side, scale, samples)
        return torch.from_numpy(out)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        """Of the features."""
        (g,), boxes = gradients, context.boxes
        _, scale, samples = context.settings
        found = np.zeros(context.shape, np.float32)
        for picture in range(len(found)):
            mine = np.flatnonzero(boxes[:, 0] == picture)
            own = g.float().numpy()[mine], boxes[mine, 1:]
            found[picture] = context.native.roi_align_gradient(
                *own, context.shape[1:], scale, samples
            )
        return torch.from_numpy(found), None, None, None, None, None


class MaskRCNN(nn.Module):
    """The network without what torchvision does to pictures before and to masks behind."""

    def __init__(self, net: Any):
        super().__init__()
        self.net = net

    def compiled(self) -> MaskRCNN:
        """A copy, in which torch.compile has all that has a fixed size."""
        net = copy.deepcopy(self.net)
        net.backbone = torch.compile(net.backbone)
        net.rpn.head = torch.compile(net.rpn.head)
        net.roi_heads.box_head = torch.compile(net.roi_heads.box_head)
        net.roi_heads.mask_head = torch.compile(net.roi_heads.mask_head)
        return MaskRCNN(net)

    def forward(self, image: torch.Tensor, targets: list[dict[str, Any]] | None = None) -> Any:
        """Detections of each picture of `b 3 h w`; in training the losses by name."""
        from torchvision.models.detection.image_list import ImageList  # pyright: ignore[reportMissingImports]

        sizes = [(image.shape[2], image.shape[3])] * len(image)
        features = self.net.backbone(image)
        proposals, of_rpn = self.net.rpn(ImageList(image, sizes), features, targets)
        found, of_heads = self.net.roi_heads(features, proposals, sizes, targets)
        return {**of_rpn, **of_heads} if self.training else found
