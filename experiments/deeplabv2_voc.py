"""DeepLab of version 2 over ResNet-101 on Pascal VOC 2012: ASPP, three scales, maximum.

Published (Chen et al., "DeepLab", table 4; trained on trainaug), mean IU on VOC 2012 val, each line
with what the lines above have:

    ResNet-101                                       68.72
    three scales, their maximum                      71.27   --input_scales=1 is without
    pretrained on COCO                               73.28
    scales .5 to 1.5 in training                     74.87   --low=1 --high=1 is without
    LargeFOV                                         75.54   --variant=large_fov
    ASPP                                             76.35
    conditional random field (not here)              77.69

Not run here. The published figures need an encoder pretrained on ImageNet, and COCO for most of
them; torchvision's ResNet-101 has its stride in another convolution than the authors':

    python launch.py --exp=deeplabv2_voc --weights=resnet101 --normalize=imagenet --sbd=sbd
      --train.split=trainaug

20,000 steps of 10 crops of 321 pixels, the rate falls by a power of .9; the scores learn ten times
as fast, biases at twice the rate. The learning rate, 2.5e-4, is unconfirmed: the paper names it for
VGG16 alone (.001). Each scale is supervised, and so is the maximum; --input_scales=1 has nothing
else and wants --aux_weights= too. The authors froze batch normalisation: --freeze_batch_norm=true,
with pretrained weights.
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.models import DeepLab
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """ResNet-101 with four scoring convolutions: 44,048,532 parameters."""
    return Experiment(
        model=DeepLab(
            num_classes=21, backbone='resnet101', variant='aspp', input_scales=(0.5, 0.75, 1.0)
        ),
        task=Semantic(aux_weights=(1.0, 1.0, 1.0)),
        optimizer=Sgd(
            learning_rate=2.5e-4,
            schedule=Poly(power=0.9),
            momentum=0.9,
            weight_decay=5e-4,
            bias_multiplier=2.0,
            multipliers=(('fc8', 10.0),),
        ),
        dataset=Voc(normalize='caffe'),
        train=TrainPipeline(
            batch_size=10, crop=(321, 321), transforms=(ScaleJitter(0.5, 1.5), Flip())
        ),
        eval=EvalPipeline(batch_size=1, round_to=513),
        num_steps=20_000,
        eval_every=4000,
    )
