"""A small Mask R-CNN learns 80 pictures of COCO by heart: a check before any long training.

    python launch.py --exp=maskrcnn_coco_mini
    python launch.py --exp=maskrcnn_coco_mini --num_train=4 --num_steps=150
        --reestimate_batch_norm=0

What it learned is what it is evaluated on, so the figures say nothing of new pictures; they say
whether anchors, targets, losses and evaluation fit together. Nothing is augmented; all 80 classes,
small objects and crowds are there. The network of maskrcnn_shapes, from scratch, on pictures whose
longer side is 256 pixels.

On the 80 pictures of train2017 that are at hand, with 739 objects, 8 of them crowds, seed 0: AP of
masks, AP50, AP of boxes, AP50.

    after step 600     .135  .364    .208  .489
    after step 1200    .380  .734    .502  .887
    after step 1800    .518  .854    .654  .954

Four of them (the second command) have .618, .847, .795, .923 after 150 steps. The targets
themselves, on this canvas, have .732, .946, .871, .990: boxes and masks are cut to whole pixels of
256, and a quarter of the objects measures less than 8 of them. In the pictures drawn at step 1800
large objects are found, scores near 1, their outlines a little too round; lost are objects that
overlap on a full table. 1800 steps took 21 minutes of processor time (2 cores of an AMD EPYC,
shared; Python 3.11.7, jax 0.10.2); the other 1200 have not been run.
"""

from segjax.data.datasets.coco import CocoInstances
from segjax.data.detection import DetectionEval, DetectionTrain
from segjax.models.mask_rcnn import MaskRCNN
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Instance
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """80 pictures, evenly spaced over train2017; --raw=FOLDER for another folder of COCO's form."""
    return Experiment(
        model=MaskRCNN(
            num_classes=81,
            backbone='resnet18',
            backbone_width=16,
            width=64,
            fc_features=256,
            norm='batch',
            anchor_sizes=(8, 16, 40, 96, 200),
            pre_nms_train=200,
            pre_nms=200,
            post_nms_train=200,
            post_nms=200,
            max_detections=100,
            detection_candidates=512,
        ),
        task=Instance(anchors=128, rois=64),
        optimizer=AdamW(
            learning_rate=1e-3,
            schedule=WarmupCosine(warmup=0.1),
            weight_decay=1e-2,
            clip_norm=10.0,
        ),
        dataset=CocoInstances(keep_empty=False, num_train=80),
        train=DetectionTrain(
            batch_size=4, crop=(256, 256), short=(256,), long=256, instances=40, mask_size=56
        ),
        eval=DetectionEval(
            split='train',
            batch_size=4,
            short=256,
            long=256,
            canvases=((256, 256),),
            instances=40,
            mask_size=56,
        ),
        num_steps=3000,
        eval_every=600,
        reestimate_batch_norm=20,
    )
