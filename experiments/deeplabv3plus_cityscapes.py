"""DeepLabV3+ over Xception-65 on Cityscapes.

Published (Chen et al., 2018, table 7a), mean IU on val, of single pictures at their own size:

    decoder and image's mean                                           78.79
    without decoder             --decoder=false                        77.33
    without the image's mean    --image_pool=false                     79.14

The released network of the first row gives 80.42 averaged over scales and mirror images (model zoo
of tensorflow/models), which one's own is by a command such as

    python launch.py --exp=deeplabv3plus_cityscapes --mode=eval --eval_output_stride=8
      --scales=0.75,1,1.25 --flip=true

Not run here: the figures need an accelerator and an encoder pretrained on ImageNet, whose files are
TensorFlow's. From known weights, with torchvision's ResNet-101:

    python launch.py --exp=deeplabv3plus_cityscapes --flavor=torchvision --backbone=resnet101
      --separable=false --weights=resnet101 --normalize=imagenet

The recipe is that of VOC with 90,000 steps and crops of 769; the batch of 16 is VOC's. A picture of
2048x1024 is evaluated whole, on a canvas of 2049x1025: corners are aligned, so sides are one more
than a multiple of the stride. Where memory does not suffice, --tile=769,769 predicts overlapping
windows and needs that of one.

Data: register at cityscapes-dataset.com (segjax/data/README.md).
"""

from segjax.data.datasets.cityscapes import Cityscapes
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.models import DeepLabV3Plus
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """41,054,899 parameters; 1025x2049 pixels in evaluation."""
    return Experiment(
        model=DeepLabV3Plus(num_classes=19, backbone='xception65'),
        task=Semantic(),
        optimizer=Sgd(
            learning_rate=0.007,
            schedule=Poly(power=0.9),
            momentum=0.9,
            weight_decay=4e-5,
            bias_multiplier=2.0,
        ),
        dataset=Cityscapes(normalize='centered'),
        train=TrainPipeline(
            batch_size=16, crop=(769, 769), transforms=(ScaleJitter(0.5, 2.0), Flip())
        ),
        eval=EvalPipeline(batch_size=1, round_to=16, round_extra=1),
        num_steps=90_000,
        eval_every=10_000,
    )
