"""What torchvision's detectors compute, in a small file that tests read without torch.

    python -m segjax.tools.detection_golden tests/models/mask_rcnn/torchvision_golden.npz

needs torch and torchvision with its kernels. The networks are narrow: `FIELDS` says how. Weights
are not stored: they follow from each array's name and shape by `torchvision_golden.weights`. Of
each network the file holds a sample of p2 to p5 and of the RPN's logits, all proposals, and all
detections with a sample of their masks; of one the losses in training, with the anchors and regions
that were sampled; of the full-sized ones the names and shapes of the state dict.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from segjax.tools.torchvision_golden import sample, weights

SIZE = (90, 120)  # of the picture; torchvision pads it to 96 x 128
CLASSES, WIDTH, FPN_WIDTH, FC = 5, 8, 16, 32
ANCHORS = (8, 16, 32, 64, 128)
PRE_NMS, POST_NMS, DETECTIONS, REGIONS = 120, 80, 30, 32

# of segjax.models, for the networks in the file
FIELDS: dict[str, Any] = {
    'num_classes': CLASSES,
    'backbone': 'resnet18',
    'backbone_width': WIDTH,
    'width': FPN_WIDTH,
    'fc_features': FC,
    'anchor_sizes': ANCHORS,
    'pre_nms': PRE_NMS,
    'post_nms': POST_NMS,
    'max_detections': DETECTIONS,
}
NARROW = ('mask1', 'mask2', 'faster1', 'faster2')
FULL = {
    'mask1': 'maskrcnn_resnet50_fpn',
    'mask2': 'maskrcnn_resnet50_fpn_v2',
    'faster1': 'fasterrcnn_resnet50_fpn',
    'faster2': 'fasterrcnn_resnet50_fpn_v2',
}


def picture() -> np.ndarray:
    """The picture that all networks see: `h w 3` float32, roughly normalised."""
    return np.random.default_rng(0).normal(size=(*SIZE, 3)).astype(np.float32)


def objects() -> dict[str, np.ndarray]:
    """Three ellipses on the picture: boxes `3 4`, labels `3` and masks `3 h w`."""
    boxes = np.array([[10, 12, 40, 50], [50, 20, 110, 80], [5, 60, 30, 85]], np.float32)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    places = zip(centre, half, strict=True)
    masks = [((x - c[0]) / r[0]) ** 2 + ((y - c[1]) / r[1]) ** 2 <= 1 for c, r in places]
    labels = np.array([1, 3, 4])
    return {'boxes': boxes, 'labels': labels, 'masks': np.array(masks, np.uint8)}


def _backbone(norm: Any, fpn_norm: Any) -> Any:
    """A narrow ResNet-18 with FPN."""
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torchvision.models import resnet  # pyright: ignore[reportMissingImports]
    from torchvision.models.detection import backbone_utils  # pyright: ignore[reportMissingImports]
    from torchvision.ops import feature_pyramid_network as fpn  # pyright: ignore[reportMissingImports]

    class Narrow(resnet.ResNet):
        def __init__(self):
            nn.Module.__init__(self)
            self._norm_layer, self.inplanes, self.dilation = norm, WIDTH, 1
            self.groups, self.base_width = 1, 64
            self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
            self.bn1, self.relu = norm(WIDTH), nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            for k in range(4):
                layer = self._make_layer(resnet.BasicBlock, WIDTH * 2**k, 2, stride=1 + (k > 0))
                setattr(self, f'layer{k + 1}', layer)

    taps = {f'layer{k + 1}': str(k) for k in range(4)}
    widths = [WIDTH * 2**k for k in range(4)]
    pool = fpn.LastLevelMaxPool()
    return backbone_utils.BackboneWithFPN(Narrow(), taps, widths, FPN_WIDTH, pool, fpn_norm)


def _network(name: str) -> Any:
    """A narrow detector of torchvision."""
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torchvision.models import detection as d  # pyright: ignore[reportMissingImports]
    from torchvision.ops.misc import FrozenBatchNorm2d  # pyright: ignore[reportMissingImports]

    second = name.endswith('2')
    norm = nn.BatchNorm2d if second else FrozenBatchNorm2d
    heads_norm = nn.BatchNorm2d if second else None
    parts = d.faster_rcnn, d.mask_rcnn, d.rpn
    faster, mask, rpn = parts
    tower = (FPN_WIDTH,) * 4
    options = {
        'box_head': faster.FastRCNNConvFCHead((FPN_WIDTH, 7, 7), tower, [FC], heads_norm)
        if second
        else faster.TwoMLPHead(FPN_WIDTH * 49, FC),
        'box_predictor': faster.FastRCNNPredictor(FC, CLASSES),
        'rpn_anchor_generator': rpn.AnchorGenerator(
            tuple((size,) for size in ANCHORS), ((0.5, 1.0, 2.0),) * 5
        ),
        'rpn_head': rpn.RPNHead(FPN_WIDTH, 3, conv_depth=2 if second else 1),
        'rpn_pre_nms_top_n_test': PRE_NMS,
        'rpn_post_nms_top_n_test': POST_NMS,
        'box_batch_size_per_image': REGIONS,
        'box_detections_per_img': DETECTIONS,
        'min_size': min(SIZE),
        'max_size': max(SIZE),
        'image_mean': [0.0] * 3,
        'image_std': [1.0] * 3,
    }
    if name.startswith('mask'):
        options['mask_head'] = mask.MaskRCNNHeads(FPN_WIDTH, tower, 1, heads_norm)
        options['mask_predictor'] = mask.MaskRCNNPredictor(FPN_WIDTH, FPN_WIDTH, CLASSES)
    kind = mask.MaskRCNN if name.startswith('mask') else faster.FasterRCNN
    return kind(_backbone(norm, heads_norm), **options)


def _with_weights(name: str) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """A narrow detector, and the shapes of its state dict."""
    import torch  # pyright: ignore[reportMissingImports]

    network = _network(name)
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    arrays = {key: torch.from_numpy(array) for key, array in weights(shapes).items()}
    network.load_state_dict(arrays)
    return network, shapes


def _losses(name: str) -> dict[str, np.ndarray]:
    """The losses of a narrow detector for the picture with its objects, and what was sampled."""
    import torch  # pyright: ignore[reportMissingImports]

    network, _ = _with_weights(name)
    network.train()
    found: dict[str, np.ndarray] = {}
    sample_anchors = network.rpn.fg_bg_sampler
    choose_regions = network.roi_heads.select_training_samples

    def keep_anchors(labels: Any) -> Any:
        masks = sample_anchors(labels)
        for key, (mask,) in zip(('foreground', 'background'), masks, strict=True):
            found[key] = torch.where(mask)[0].numpy().astype(np.int32)
        return masks

    def keep_regions(*args: Any) -> Any:
        chosen = choose_regions(*args)
        (rois,), (matched,), (labels,), _ = chosen
        found.update(rois=rois.numpy(), matched=matched.numpy(), classes=labels.numpy())
        return chosen

    network.rpn.fg_bg_sampler = keep_anchors
    network.roi_heads.select_training_samples = keep_regions
    torch.manual_seed(0)
    target = {key: torch.from_numpy(array) for key, array in objects().items()}
    with torch.no_grad():
        losses = network([torch.from_numpy(picture()).permute(2, 0, 1)], [target])
    return found | {key: value.numpy() for key, value in losses.items()}


def _stages(name: str) -> dict[str, np.ndarray]:
    """What a narrow detector makes of the picture."""
    import torch  # pyright: ignore[reportMissingImports]

    network, shapes = _with_weights(name)
    network.eval()
    found: dict[str, np.ndarray] = {'shapes': np.array(json.dumps(shapes))}
    to_rows = lambda tensor: tensor[0].permute(1, 2, 0).contiguous().numpy().copy()

    def keep_pyramid(module: Any, inputs: Any, output: Any) -> None:
        for k, level in zip((2, 3, 4, 5), output.values(), strict=False):
            found[f'p{k}'] = sample(to_rows(level))

    def keep_logits(module: Any, inputs: Any, output: Any) -> None:
        logits = [to_rows(level).reshape(-1) for level in output[0]]
        found['logits'] = sample(np.concatenate(logits))

    def keep_proposals(module: Any, inputs: Any, output: Any) -> None:
        found['proposals'] = output[0][0].numpy()

    def keep_detections(module: Any, inputs: Any, output: Any) -> None:
        (of_picture,), _ = output
        found.update({key: tensor.numpy().copy() for key, tensor in of_picture.items()})

    network.backbone.register_forward_hook(keep_pyramid)
    network.rpn.head.register_forward_hook(keep_logits)
    network.rpn.register_forward_hook(keep_proposals)
    network.roi_heads.register_forward_hook(keep_detections)
    with torch.no_grad():
        network([torch.from_numpy(picture()).permute(2, 0, 1)])
    if 'masks' in found:
        found['masks'] = np.stack([sample(mask[0]) for mask in found['masks']])
    return found


def main(path: str) -> None:
    """Write the file."""
    from torchvision.models import detection  # pyright: ignore[reportMissingImports]

    content = {}
    for name, builder in FULL.items():
        network = getattr(detection, builder)(weights=None, weights_backbone=None)
        shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        content[f'{name}/full'] = np.array(json.dumps(shapes))
    for name in NARROW:
        content |= {f'{name}/{key}': values for key, values in _stages(name).items()}
    content |= {f'losses/{key}': values for key, values in _losses('mask1').items()}
    np.savez_compressed(path, **content)


if __name__ == '__main__':
    main(sys.argv[1])
