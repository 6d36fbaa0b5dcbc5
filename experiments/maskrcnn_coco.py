"""Mask R-CNN with ResNet-50 and FPN on COCO, the 1x schedule: 90,000 steps of 16 pictures.

    python launch.py --exp=maskrcnn_coco --weights=resnet50

The recipe is Detectron's (He et al., "Mask R-CNN", section 3.1, trained jointly): shorter side 800,
longer at most 1333, flips, rate 0.02 for 16 pictures, divided by 10 after 60,000 and 80,000 steps,
a warm-up of 1000, the stem and the first stage frozen. Detectron's joint training has AP 37.7 of
boxes and 33.9 of masks on val2017; torchvision's weights, trained for 26 epochs, have 37.9 and
34.6:

    python launch.py --exp=maskrcnn_coco --mode=eval --weights=maskrcnn_resnet50_fpn
        --numbering=ids --num_classes=91 --norm_epsilon=0

Not run here at full size. The rate follows the batch (--train.batch_size=8 takes 0.01), the number
of steps does not. Pictures go to one of three canvases; a batch is of one.
"""

from segjax.data.datasets.coco import CocoInstances
from segjax.data.detection import DetectionEval, DetectionTrain
from segjax.data.transforms import Flip
from segjax.models.mask_rcnn import MaskRCNN
from segjax.optim import Sgd, Step
from segjax.tasks import Instance
from segjax.train.experiment import Experiment

CANVASES = ((800, 1088), (1344, 800))  # beside 800 x 1344


def experiment() -> Experiment:
    """80 classes; --num_classes and --numbering=ids for weights with the 91 ids of COCO."""
    return Experiment(
        model=MaskRCNN(num_classes=81),
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
