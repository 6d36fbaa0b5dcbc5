"""A small Mask R-CNN on the nuclei of the 2018 Data Science Bowl, from scratch, sized for a CPU.

    python launch.py --exp=maskrcnn_nuclei

The network of maskrcnn_shapes with anchors for nuclei of 6 to 80 pixels. Patches of 128 pixels are
learned from pictures as they are; pictures are evaluated whole, at most 512 pixels long, each
normalised by itself. A picture may hold hundreds: 300 detections count. Looks are balanced and
patches inverted as in unet_nuclei.

Val (24 pictures, the split of unet_nuclei, COCO's rules) after 900 steps, seed 0: AP of masks .280,
AP50 .563, AP75 .252; of boxes .291, .575, .275; of masks below 32x32 pixels .270, above .471. After
300 steps AP50 of masks is .476, after 600 .539. In the pictures drawn nearly as many nuclei are
found as are there, the most part rightly where they are separate; on pink tissue six of twelve, and
nineteen that are none. 71 min on 2 cores of an AMD EPYC beside some ten other programs, 2 to 3
img/s (Python 3.11.7, jax 0.10.2).
"""

from segjax.data.datasets.nuclei import Nuclei
from segjax.data.detection import DetectionEval, DetectionTrain
from segjax.data.transforms import ColorJitter, Flip, Invert, ScaleJitter, Turn
from segjax.models.mask_rcnn import MaskRCNN
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Instance
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """64 regions and 16 masks of a patch are trained; one class."""
    return Experiment(
        model=MaskRCNN(
            num_classes=2,
            backbone='resnet18',
            backbone_width=16,
            width=64,
            fc_features=256,
            norm='batch',
            anchor_sizes=(8, 16, 32, 64, 96),
            pre_nms_train=400,
            pre_nms=400,
            post_nms_train=400,
            post_nms=500,
            max_detections=300,
            detection_candidates=1000,
        ),
        task=Instance(anchors=128, rois=64),
        optimizer=AdamW(
            learning_rate=1e-3,
            schedule=WarmupCosine(warmup=0.1),
            weight_decay=1e-2,
            clip_norm=10.0,
        ),
        dataset=Nuclei(normalize='zscore'),
        train=DetectionTrain(
            batch_size=8,
            crop=(128, 128),
            balance=0.5,
            transforms=(
                ScaleJitter(0.7, 1.4),
                Turn(),
                Flip(),
                ColorJitter(0.4, 0.4, 0.4, hue=0.08),
                Invert(0.5),
            ),
            instances=100,
            mask_size=28,
        ),
        eval=DetectionEval(
            batch_size=8,
            long=512,
            canvases=((256, 320), (384, 512), (512, 512)),
            instances=300,
            mask_size=28,
            max_dets=(1, 10, 300),
        ),
        num_steps=900,
        eval_every=300,
    )
