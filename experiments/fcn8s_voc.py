"""FCN-8s on Pascal VOC 2012, trained at once, as released.

Published: mean IU 65.4 on seg11valid (README of fcn.berkeleyvision.org; 300,000 steps). The
staged training, 100,000 steps from the weights of a RUN of FCN-16s, has 65.5:

    python launch.py --exp=fcn8s_voc --weights=RUN --skip_scale=1,1 --learning_rate=1e-14

Not run here at full size. Eleven real pictures of VOC, with its sizes, ids and void, go through
preparation, --mode=check_data, training and evaluation (tests/test_voc_samples.py). On 7 of them
the loss of a picture falls from 481,000 to 119,000 in 70 steps, some minutes on 2
cores; for the other 4 nothing is learned (mean IoU .084):

    --weights=none --widths=8,16,32,32,32 --fc_features=64 --norm=batch --dropout=0
    --learning_rate=1e-7 --momentum=0.9 --num_steps=70

The recipe is the released one: single pictures, the loss summed over their pixels, learning rate
1e-10, momentum .99, biases at twice the rate and without decay, no augmentation. A picture lies in
the corner of a canvas of 500x500 pixels of the mean, label 255: no picture of VOC is larger, so
there is one compilation; --eval.round_to=1 evaluates each size by itself, as score.py did. Each
picture comes once an epoch, where Caffe drew with replacement.

The published figures need Caffe's ImageNet weights of VGG16 (--weights=vgg16_ilsvrc; where they
cannot be had, vgg16_caffe lacks fc6 and fc7), SBD's masks and FCN's list of 736 pictures
(segjax/data/README.md says where they are):

    python launch.py --exp=fcn8s_voc --sbd=sbd --train.split=sbdtrain --eval.split=seg11valid

The released network itself is evaluated by

    python launch.py --exp=fcn8s_voc --mode=eval --weights=fcn8s_atonce

Defaults are VOC's own train and val. The learning rate is made for pretrained layers; random ones
want another recipe, such as that of fcn8s_coco_voc21.

The schedule and the two transforms do nothing as they stand. They are there for a recipe of today,
every part of it a field: the loss a mean, batches of 16, a rate that falls to zero, scales and
mirroring, no border of 100 pixels:

    python launch.py --exp=fcn8s_voc --padding=same --skip_scale=1,1 --reduction=mean
      --learning_rate=0.01 --momentum=0.9 --power=0.9 --low=0.5 --high=2 --probability=0.5
      --train.batch_size=16 --crop=480,480 --num_steps=40000
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.losses import CrossEntropy
from segjax.models import FCN
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """VGG16 with 134,362,751 parameters; pool4 is scaled by .01, pool3 by .0001."""
    return Experiment(
        model=FCN(num_classes=21, stride=8, padding='caffe', skip_scale=(0.01, 0.0001)),
        task=Semantic(CrossEntropy(reduction='sum')),
        optimizer=Sgd(
            learning_rate=1e-10,
            schedule=Poly(power=0.0),
            momentum=0.99,
            weight_decay=5e-4,
            bias_multiplier=2.0,
        ),
        dataset=Voc(normalize='caffe'),
        train=TrainPipeline(
            batch_size=1,
            crop=(500, 500),
            transforms=(ScaleJitter(1.0, 1.0), Flip(probability=0.0)),
        ),
        eval=EvalPipeline(batch_size=1, round_to=500),
        num_steps=300_000,
        eval_every=4000,
    )
