"""DeepLabV3+ over Xception-65 on Pascal VOC 2012.

Published (Chen et al., 2018), mean IU on VOC 2012 val, trained on trainaug at output stride 16:

    table 5, Xception-65                                               val at 16    at 8
      without decoder        --decoder=false --separable=false          79.17       79.64
      decoder                --separable=false                          79.93       80.22
      decoder, separable                                                79.79       80.02
    table 3, ResNet-101      --backbone=resnet101 --separable=false
      without decoder        --decoder=false                            77.21       78.51
      decoder                                                           78.85       79.35
      decoder, trained at 32 --output_stride=32 --eval_output_stride=16     77.80   77.92

The second column is --eval_output_stride=8. The paper's further columns average the probabilities
of six scales from .5 to 1.75 and of mirrored pictures.

Not run here: the published figures need an accelerator and an encoder pretrained on ImageNet, and
the files of that are TensorFlow's, which segjax does not read. From nothing, as the command stands,
they cannot be expected. The nearest that starts from known weights is torchvision's ResNet-101:

    python launch.py --exp=deeplabv3plus_voc --flavor=torchvision --backbone=resnet101
      --separable=false --weights=resnet101 --normalize=imagenet

The recipe is the paper's: batches of 16, crops of 513, 30,000 steps, learning rate .007 falling by
a power of .9, momentum .9, decay 4e-5 (1e-4 over ResNet), scales .5 to 2, mirroring; biases learn
at twice the rate, as in the released code. Scales are drawn without steps of .25. A picture is
evaluated whole on a canvas of 513 pixels, of the value that is 0 after normalisation. SBD's masks
(segjax/data/README.md) make trainaug: --sbd=sbd --train.split=trainaug.

The released training goes on with batch normalisation frozen, at output stride 8:

    python launch.py --exp=deeplabv3plus_voc --weights=RUN --freeze_batch_norm=true
      --output_stride=8 --learning_rate=0.001 --train.split=trainval
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.models import DeepLabV3Plus
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """41,055,413 parameters, 54.0 GMAC a picture of 513 pixels."""
    return Experiment(
        model=DeepLabV3Plus(num_classes=21, backbone='xception65'),
        task=Semantic(),
        optimizer=Sgd(
            learning_rate=0.007,
            schedule=Poly(power=0.9),
            momentum=0.9,
            weight_decay=4e-5,
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
