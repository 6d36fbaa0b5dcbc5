"""DeepLabV3+ over MobileNetV2 on CamVid street scenes, from scratch, for two CPU cores.

    python launch.py --exp=deeplabv3plus_camvid
    python launch.py --exp=deeplabv3plus_camvid --mode=sweep --seed=0,1,2

On frames of half resolution, 240x180: sides of the crop are multiples of 16 and one, as the
network's aligned corners want them. All channels are half the published ones (.72 M parameters,
.28 GMAC a crop, a fifth of fcn8s_camvid's). Running averages of batch normalisation decay by .9:
TensorFlow's .9997 is made for 30,000 steps, and would evaluate random statistics after a thousand.
Val lies inside a training sequence, so it does not stand for the test set.

Val after 900 steps (20 epochs), seed 0, in 17 min on 2 cores of an AMD EPYC that much other work
shared (Python 3.11.7, jax 0.10.2): mean IoU .413, pixel accuracy .861. Poles, signs, pedestrians
and cyclists are not found at all. What the decoder adds lies at the boundaries (--mode=eval
--scores=trimap,boundary):

                       mean IoU   within 1, 4, 16 pixels of a boundary   boundary F1
    as it stands          .413        .183   .228   .331                    .251
    --decoder=false       .383        .166   .185   .269                    .124

sweep() asks what the parts are worth: the decoder, the pyramid (without it the 1x1 convolution and
the image's mean remain), the output stride, and what dense convolutions would give in place of
separable ones. The control is the network as it stands.

Full size, for an accelerator and pretrained weights (--backbone=xception65 has none that are known
here), not run here:

    python launch.py --exp=deeplabv3plus_camvid --flavor=torchvision --backbone=resnet101
      --weights=resnet101 --width=1 --features=256 --scale=1 --crop=353,481 --num_steps=20000
      --eval_every=1000
"""

import dataclasses
from collections.abc import Iterator

from segjax.data.datasets.camvid import CamVid
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter
from segjax.models import DeepLabV3Plus
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """The paper's decoder and separable pyramid over a MobileNetV2 that starts from nothing."""
    return Experiment(
        model=DeepLabV3Plus(
            num_classes=11,
            backbone='mobilenet_v2',
            output_stride=16,
            width=0.5,
            features=128,
            bn_momentum=0.9,
        ),
        task=Semantic(),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=CamVid(),
        train=TrainPipeline(
            batch_size=8,
            crop=(177, 241),
            scale=0.5,
            transforms=(ScaleJitter(0.75, 1.5), Flip(), ColorJitter()),
        ),
        eval=EvalPipeline(batch_size=8, scale=0.5),
        num_steps=900,
        eval_every=300,
    )


def sweep(e: Experiment | None = None) -> Iterator[tuple[str, Experiment]]:
    """One part changed in each arm; `deeplabv3plus` is the control."""
    e = e or experiment()
    changes = {
        'deeplabv3plus': {},
        'no_decoder': {'decoder': False},
        'no_pyramid': {'atrous': False},
        'no_decoder_no_pyramid': {'decoder': False, 'atrous': False},
        'stride_8': {'output_stride': 8},
        'stride_32': {'output_stride': 32},
        'dense': {'separable': False},
    }
    for name, fields in changes.items():
        yield name, dataclasses.replace(e, model=e.model.clone(**fields))
