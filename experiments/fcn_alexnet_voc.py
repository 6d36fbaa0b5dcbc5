"""FCN-AlexNet on Pascal VOC 2012, as released.

Published: mean IU 48.0 on seg11valid (README of fcn.berkeleyvision.org; 100,000 steps), and 39.8
in table 1 of the CVPR paper, without SBD's pictures. Not run here.

The recipe is the released one: batches of 20, the loss a mean over pixels, learning rate 1e-4,
momentum .9, no augmentation; only the scores' bias is learned at twice the rate. A batch is
computed one picture after another, as Caffe did; --accumulate=1 computes it at once. Differs: Caffe
took the mean over each picture's pixels, then over the 20 pictures, and drew with replacement. A
picture lies in the corner of a canvas of 500x500 pixels of the mean, label 255: no picture of VOC
is larger, so there is one compilation; --eval.round_to=1 evaluates each size by itself, as
score.py did.

The published figure needs CaffeNet's ImageNet weights (--weights=caffenet), SBD's masks and FCN's
list of 736 pictures (segjax/data/README.md says where they are):

    python launch.py --exp=fcn_alexnet_voc --sbd=sbd --train.split=sbdtrain --eval.split=seg11valid

torchvision's AlexNet is near where those weights cannot be had (--weights=alexnet, and
--normalize=imagenet, which they expect):

    python launch.py --exp=fcn_alexnet_voc --backbone=alexnet --padding=same --normalize=imagenet

Defaults are VOC's own train and val.
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.models import FCN
from segjax.optim import Constant, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """CaffeNet with 56,954,261 parameters; up-sampling is frozen."""
    return Experiment(
        model=FCN(num_classes=21, stride=32, padding='caffe', backbone='caffenet'),
        task=Semantic(),
        optimizer=Sgd(
            learning_rate=1e-4,
            schedule=Constant(),
            momentum=0.9,
            weight_decay=5e-4,
            multipliers=(('^score_fr/bias', 2.0),),
            decay_all=True,
        ),
        dataset=Voc(normalize='caffe'),
        train=TrainPipeline(batch_size=20, crop=(500, 500)),
        eval=EvalPipeline(batch_size=1, round_to=500),
        num_steps=100_000,
        eval_every=4000,
        accumulate=20,
    )
