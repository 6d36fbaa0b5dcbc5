"""DeepLab-LargeFOV over VGG16 on Pascal VOC 2012.

Published (Chen et al., "DeepLab", table 2; trained on trainaug), mean IU on VOC 2012 val before the
conditional random field, which is not here: 62.25 after 6000 steps of 30 with a rate that falls in
steps, 65.88 after 20,000 steps of 10 with a rate that falls by a power of .9. Table 1, first
version: 7x7 at rate 4 64.38, 4x4 at rate 8 63.41, 3x3 at rate 12 62.25:

    python launch.py --exp=deeplab_largefov_voc --variant=7x7
    python launch.py --exp=deeplab_largefov_voc --variant=4x4 --rates=8

Table 3, second version: LargeFOV 65.76, ASPP with the rates 2, 4, 8, 12 66.98, with 6, 12, 18, 24
68.96:

    python launch.py --exp=deeplab_largefov_voc --variant=aspp

Not run here. The published figures need an encoder pretrained on ImageNet, of which only the
convolutions are taken here (fc6 and fc7 start from nothing, where the authors subsampled VGG16's):

    python launch.py --exp=deeplab_largefov_voc --weights=vgg16_caffe --sbd=sbd
      --train.split=trainaug

The recipe is that of 65.88: learning rate .001, the scores' ten times that, momentum .9, decay
5e-4, biases at twice the rate, crops of 321, mirroring. The authors compared scores with labels
sampled at every eighth pixel; here scores are interpolated to the label.
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip
from segjax.models import DeepLab
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """VGG16 with 20,505,429 parameters in all."""
    return Experiment(
        model=DeepLab(num_classes=21, variant='large_fov'),
        task=Semantic(),
        optimizer=Sgd(
            learning_rate=1e-3,
            schedule=Poly(power=0.9),
            momentum=0.9,
            weight_decay=5e-4,
            bias_multiplier=2.0,
            multipliers=(('fc8', 10.0),),
        ),
        dataset=Voc(normalize='caffe'),
        train=TrainPipeline(batch_size=10, crop=(321, 321), transforms=(Flip(),)),
        eval=EvalPipeline(batch_size=1, round_to=513),
        num_steps=20_000,
        eval_every=4000,
    )
