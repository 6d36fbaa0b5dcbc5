"""U-Net over an ImageNet ResNet-34 on Oxford-IIIT Pet: the animal against everything else.

    python launch.py --exp=unet_transfer_pets --weights=resnet34

segmentation_models' Unet (24,436,369 parameters with one foreground channel). The encoder learns at
a tenth of the decoder's rate; --optimizer.frozen=resnet34 leaves it as it is. Sized for an
accelerator; not run here at full size.
"""

from segjax.data.datasets.pets import Pets
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter
from segjax.losses import CrossEntropyDice
from segjax.models import UNetTransfer
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """One foreground channel; the encoder is pretrained, the decoder is not."""
    return Experiment(
        model=UNetTransfer(num_classes=1, backbone='resnet34'),
        task=Semantic(CrossEntropyDice(), scores=('image',)),
        optimizer=AdamW(
            learning_rate=1e-3,
            schedule=WarmupCosine(warmup=0.05),
            weight_decay=1e-2,
            multipliers=(('resnet34', 0.1),),
        ),
        dataset=Pets(),
        train=TrainPipeline(
            batch_size=16,
            crop=(256, 256),
            transforms=(ScaleJitter(0.6, 1.4), Flip(), ColorJitter()),
        ),
        eval=EvalPipeline(batch_size=8, round_to=64),
        num_steps=4000,
        eval_every=500,
    )
