"""U-Net over an ImageNet VGG11 (TernausNet) on the membranes of ISBI 2012.

    python launch.py --exp=unet_transfer_isbi --weights=vgg11

Iglovikov and Shvets, "TernausNet" (2018), for one channel: the pretrained kernels of red, green and
blue are added up, so that a gray picture gives what it gave as RGB; it is therefore normalised by
ImageNet's statistics, each slice as it is. Sized for an accelerator; not run here at full size.
"""

from segjax.data.datasets.isbi2012 import Isbi2012
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Elastic, Flip, Turn
from segjax.models import UNetTransfer
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """As unet_isbi, with a pretrained encoder that learns at a tenth of the rate."""
    return Experiment(
        model=UNetTransfer(num_classes=2, backbone='vgg11'),
        task=Semantic(scores=('isbi',)),
        optimizer=AdamW(
            learning_rate=3e-4,
            schedule=WarmupCosine(warmup=0.1),
            weight_decay=1e-2,
            multipliers=(('vgg11', 0.1),),
        ),
        dataset=Isbi2012(normalize='imagenet'),
        train=TrainPipeline(
            batch_size=4,
            crop=(256, 256),
            transforms=(Turn(), Flip(), Elastic(), ColorJitter(0.2, 0.2, 0.0)),
            pad='reflect',
        ),
        eval=EvalPipeline(batch_size=1),
        num_steps=2000,
        eval_every=500,
    )
