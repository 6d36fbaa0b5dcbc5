"""Mask R-CNN with ResNet-50-C4 on COCO, the 1x schedule: figure 4, left, of the paper.

    python launch.py --exp=maskrcnn_c4_coco --weights=resnet50

Regions are taken from the fourth stage at stride 16, the fifth is the head that classes, boxes and
masks share. The paper's table 2b has mask AP 30.3 (24.8 with --mask_loss=softmax), table 2c 30.3
against 26.9 with --roi_op=pool and 27.2 with --roi_op=warp, all with an RPN trained apart;
Detectron's joint training has 35.8 of boxes and 31.4 of masks. Not run here at full size.
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
        model=MaskRCNN(
            num_classes=81,
            trunk='c4',
            pre_nms_train=12_000,
            pre_nms=6000,
        ),
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
