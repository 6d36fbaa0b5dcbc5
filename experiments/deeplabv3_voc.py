"""DeepLabV3 over ResNet-101 on Pascal VOC 2012.

Published (Chen et al., 2017), mean IU on VOC 2012 val, trained on trainaug at output stride 16:

    table 5   rates 6, 12, 18, no image pooling    --image_pool=false                      76.58
              and 24                               --image_pool=false --rates=6,12,18,24   76.46
              with image pooling                                                           77.21
    table 6   evaluated at output stride 8         --eval_output_stride=8                  78.51
    table 9   batches of 4, 8, 12, 16              --train.batch_size=4      64.43 75.76 76.49 77.21
    table 10  trained at 8 or 32, evaluated at 8   --output_stride=8, 32     75.62 75.75

Not run here: the published figures need an accelerator and an encoder pretrained on ImageNet, and
the files of that (ResNet "beta") are TensorFlow's, which segjax does not read. From nothing, as the
command stands, they cannot be expected. torchvision's network starts from known weights, of the
encoder or whole:

    python launch.py --exp=deeplabv3_voc --flavor=torchvision --aux=true --aux_weights=0.5
      --output_stride=8 --weights=resnet101 --normalize=imagenet
    python launch.py --exp=deeplabv3_voc --flavor=torchvision --aux=true --aux_weights=0.5
      --output_stride=8 --mode=eval --weights=deeplabv3_resnet101 --normalize=imagenet

torchvision publishes 67.4 for the second, on COCO's val at a short side of 520, which is another
measurement than this one.

The recipe is the paper's: batches of 16, crops of 513, 30,000 steps, learning rate .007 falling by
a power of .9, momentum .9, decay 1e-4, scales .5 to 2, mirroring; biases learn at twice the rate,
as in the released code. A picture is evaluated whole on a canvas of 513 pixels. SBD's masks
(segjax/data/README.md) make trainaug: --sbd=sbd --train.split=trainaug.
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.models import DeepLabV3
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """58,164,437 parameters, 76.1 GMAC a picture of 513 pixels."""
    return Experiment(
        model=DeepLabV3(num_classes=21, backbone='resnet101'),
        task=Semantic(),
        optimizer=Sgd(
            learning_rate=0.007,
            schedule=Poly(power=0.9),
            momentum=0.9,
            weight_decay=1e-4,
            bias_multiplier=2.0,
        ),
        dataset=Voc(normalize='centered'),
        train=TrainPipeline(
            batch_size=16, crop=(513, 513), transforms=(ScaleJitter(0.5, 2.0), Flip())
        ),
        eval=EvalPipeline(batch_size=1, round_to=513),
        num_steps=30_000,
        eval_every=5000,
    )
