"""DeepLabV3+ on your own pictures and masks: --folder=PATH.

    python launch.py --exp=deeplabv3plus_folder --folder=PATH

The layout of the folder is in segjax/data/README.md. Sized for a CPU: half resolution
(--scale=1 for all of it), half of MobileNetV2's width, from nothing. With a network and an
accelerator, the whole of it from ImageNet:

    --flavor=torchvision --width=1 --features=256 --weights=mobilenet_v2 --scale=1
"""

from segjax.data.datasets.folder import Folder
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter
from segjax.models import DeepLabV3Plus
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """The folder's classes.txt decides the number of classes."""
    return Experiment(
        model=DeepLabV3Plus(
            num_classes=0, backbone='mobilenet_v2', width=0.5, features=128, bn_momentum=0.9
        ),
        task=Semantic(),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Folder(),
        train=TrainPipeline(
            batch_size=8,
            crop=(193, 257),
            scale=0.5,
            transforms=(ScaleJitter(0.75, 1.5), Flip(), ColorJitter()),
        ),
        eval=EvalPipeline(batch_size=8, scale=0.5, round_to=32),
        num_steps=600,
        eval_every=150,
    )
