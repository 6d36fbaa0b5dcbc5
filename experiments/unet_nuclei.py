"""U-Net on the nuclei of the 2018 Data Science Bowl, sized for two CPU cores and 20 minutes.

    python launch.py --exp=unet_nuclei

Patches of 96 pixels are cut out of the pictures as they are, and pictures evaluated whole, at their
own resolution. Each is normalised by itself, as the brightness of fluorescence varies tenfold. The
split keeps look-alikes together and parts each modality (segjax/data/README.md).
"""

from segjax.data.datasets.nuclei import Nuclei
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter, Turn
from segjax.losses import CrossEntropyDice
from segjax.models import UNet
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Patches of 96 pixels at native resolution; a quarter of the published width."""
    return Experiment(
        model=UNet(
            num_classes=2,
            widths=(16, 32, 64, 128, 256),
            padding='same',
            norm='batch',
            dropout=0.0,
        ),
        task=Semantic(CrossEntropyDice(), scores=('image', 'components', 'watershed')),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Nuclei(normalize='zscore'),
        train=TrainPipeline(
            batch_size=8,
            crop=(96, 96),
            max_class_share=0.98,
            transforms=(ScaleJitter(0.7, 1.4), Turn(), Flip(), ColorJitter()),
        ),
        eval=EvalPipeline(batch_size=8, round_to=32),
        num_steps=450,
        eval_every=225,
    )
