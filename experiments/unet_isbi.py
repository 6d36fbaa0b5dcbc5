"""U-Net on the membranes of ISBI 2012, sized for two CPU cores and 20 minutes.

python launch.py --exp=unet_isbi
"""

from segjax.data.datasets.isbi2012 import Isbi2012
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Elastic, Flip, Turn
from segjax.models import UNet
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Same-padded and normalised, a quarter of the published width."""
    return Experiment(
        model=UNet(
            num_classes=2,
            widths=(16, 32, 64, 128, 256),
            padding='same',
            norm='batch',
            dropout=0.2,
        ),
        task=Semantic(scores=('isbi',)),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Isbi2012(normalize='zscore'),
        train=TrainPipeline(
            batch_size=4,
            crop=(128, 128),
            transforms=(Turn(), Flip(), Elastic(), ColorJitter(0.2, 0.2, 0.0)),
            pad='reflect',
        ),
        eval=EvalPipeline(batch_size=1),
        num_steps=900,
        eval_every=450,
    )
