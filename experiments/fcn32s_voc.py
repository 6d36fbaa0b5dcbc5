"""FCN-32s on Pascal VOC 2012, as released.

Published: mean IU 63.6 on seg11valid (README of fcn.berkeleyvision.org; 100,000 steps). Not run
here.

The recipe is the released one: single pictures, the loss summed over their pixels, learning rate
1e-10, momentum .99, biases at twice the rate and without decay, no augmentation. A picture lies in
the corner of a canvas of 500x500 pixels of the mean, label 255: no picture of VOC is larger, so
there is one compilation; --eval.round_to=1 evaluates each size by itself, as score.py did. Each
picture comes once an epoch, where Caffe drew with replacement.

The published figures need Caffe's ImageNet weights of VGG16 (--weights=vgg16_ilsvrc; where they
cannot be had, vgg16_caffe lacks fc6 and fc7), SBD's masks and FCN's list of 736 pictures
(segjax/data/README.md says where they are):

    python launch.py --exp=fcn32s_voc --sbd=sbd --train.split=sbdtrain --eval.split=seg11valid

The released network itself is evaluated by

    python launch.py --exp=fcn32s_voc --mode=eval --weights=fcn32s

Defaults are VOC's own train and val. The learning rate is made for pretrained layers; random ones
want another recipe, such as that of fcn8s_coco_voc21.
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.losses import CrossEntropy
from segjax.models import FCN
from segjax.optim import Constant, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """VGG16 with 134,346,581 parameters; up-sampling is frozen."""
    return Experiment(
        model=FCN(num_classes=21, stride=32, padding='caffe'),
        task=Semantic(CrossEntropy(reduction='sum')),
        optimizer=Sgd(
            learning_rate=1e-10,
            schedule=Constant(),
            momentum=0.99,
            weight_decay=5e-4,
            bias_multiplier=2.0,
        ),
        dataset=Voc(normalize='caffe'),
        train=TrainPipeline(batch_size=1, crop=(500, 500)),
        eval=EvalPipeline(batch_size=1, round_to=500),
        num_steps=100_000,
        eval_every=4000,
    )
