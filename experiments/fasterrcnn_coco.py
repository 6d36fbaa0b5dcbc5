"""Faster R-CNN with ResNet-50 and FPN on COCO: Mask R-CNN's recipe without masks.

    python launch.py --exp=fasterrcnn_coco --weights=resnet50

The rows of Mask R-CNN's table 3 are of ResNet-101: 37.3 without masks, 38.2 with them. With
ResNet-50 detectron2's has AP 36.9, trained for as long without scale jitter, and torchvision's
weights 37.0:

    python launch.py --exp=fasterrcnn_coco --mode=eval --weights=fasterrcnn_resnet50_fpn
        --numbering=ids --num_classes=91 --norm_epsilon=0

Not run here at full size.
"""

from segjax.data.datasets.coco import CocoInstances
from segjax.data.detection import DetectionEval, DetectionTrain
from segjax.data.transforms import Flip
from segjax.models.mask_rcnn import FasterRCNN
from segjax.optim import Sgd, Step
from segjax.tasks import Instance
from segjax.train.experiment import Experiment

CANVASES = ((800, 1088), (1344, 800))  # beside 800 x 1344


def experiment() -> Experiment:
    """80 classes; --num_classes and --numbering=ids for weights with the 91 ids of COCO."""
    return Experiment(
        model=FasterRCNN(num_classes=81),
        task=Instance(),
        optimizer=Sgd(
            learning_rate=0.02,
            for_batch=16,
            schedule=Step(boundaries=(2 / 3, 8 / 9), warmup_steps=1000),
            weight_decay=1e-4,
            decay_all=True,
            frozen=('^resnet50/conv1', '^resnet50/layer1'),
        ),
        dataset=CocoInstances(keep_empty=False),
        train=DetectionTrain(
            batch_size=16,
            crop=(800, 1344),
            canvases=CANVASES,
            short=(800,),
            transforms=(Flip(),),
            mask_size=112,
        ),
        eval=DetectionEval(
            batch_size=16, short=800, canvases=((800, 1344), *CANVASES), mask_size=112
        ),
        num_steps=90_000,
        eval_every=10_000,
    )
