"""Mask R-CNN on pictures of your own, with annotations in COCO's form.

    python launch.py --exp=maskrcnn_folder --folder=PATH --mode=check_data
    python launch.py --exp=maskrcnn_folder --folder=PATH --weights=maskrcnn_resnet50_fpn

The layouts of the folder are in segjax/data/README.md. It begins with weights that know COCO; heads
with another number of classes begin anew. The rate holds for 2 pictures and follows
--train.batch_size. Sized for one accelerator; on a CPU take a smaller network from scratch, as that
of maskrcnn_shapes: --backbone=resnet18 --backbone_width=16 --width=64 --norm=batch --weights=none.
Not run here.
"""

from segjax.data.datasets.coco import CocoFolder
from segjax.data.detection import DetectionEval, DetectionTrain
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter
from segjax.models.mask_rcnn import MaskRCNN
from segjax.optim import Sgd, Step
from segjax.tasks import Instance
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """The annotation files decide the number of classes; pictures are cut or padded to 512."""
    return Experiment(
        model=MaskRCNN(num_classes=0, norm_epsilon=0.0),
        task=Instance(),
        optimizer=Sgd(
            learning_rate=0.0025,
            for_batch=2,
            schedule=Step(warmup_steps=100),
            weight_decay=1e-4,
            frozen=('^resnet50/conv1', '^resnet50/layer1'),
            clip_norm=10.0,
        ),
        dataset=CocoFolder(),
        train=DetectionTrain(
            batch_size=2,
            crop=(512, 512),
            short=(512,),
            long=512,
            transforms=(ScaleJitter(0.5, 1.5), Flip(), ColorJitter()),
            mask_size=56,
        ),
        eval=DetectionEval(batch_size=2, short=512, long=512, canvases=((512, 512),), mask_size=56),
        num_steps=2000,
        eval_every=500,
    )
