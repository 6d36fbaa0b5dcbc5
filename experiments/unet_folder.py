"""U-Net on your own pictures and masks: --folder=PATH.

    python launch.py --exp=unet_folder --folder=PATH

The layout of the folder is in segjax/data/README.md. For cells and other things without an up or
down: pictures are flipped and turned. The published network is --padding=valid --norm=none
--widths=64,128,256,512,1024 --crop=572 --margin=92 --pad=reflect.
"""

from segjax.data.datasets.folder import Folder
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter, Turn
from segjax.models import UNet
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Same-padded, normalised, a quarter of the published width; classes.txt says the classes."""
    return Experiment(
        model=UNet(
            num_classes=0,
            widths=(16, 32, 64, 128, 256),
            padding='same',
            norm='batch',
            dropout=0.2,
        ),
        task=Semantic(),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Folder(),
        train=TrainPipeline(
            batch_size=8,
            crop=(192, 192),
            transforms=(ScaleJitter(0.75, 1.5), Flip(), Flip('vertical'), Turn()),
        ),
        eval=EvalPipeline(batch_size=8, round_to=32),
        num_steps=600,
        eval_every=150,
    )
