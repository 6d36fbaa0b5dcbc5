"""U-Net++ with deep supervision on the membranes of ISBI 2012, sized for two CPU cores.

    python launch.py --exp=unetpp_isbi

As unet_isbi, with the network of unetpp_nuclei. Not run to its end here.
"""

from segjax.data.datasets.isbi2012 import Isbi2012
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Elastic, Flip, Turn
from segjax.models import UNetPlusPlus
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Four heads, the mean of their cross-entropies; the deepest predicts."""
    return Experiment(
        model=UNetPlusPlus(num_classes=2, widths=(16, 32, 64, 128, 256), norm='batch', dropout=0.0),
        task=Semantic(supervision='mean', scores=('isbi',)),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Isbi2012(normalize='zscore'),
        train=TrainPipeline(
            batch_size=4,
            crop=(128, 128),
            transforms=(Turn(), Flip(), Elastic(), ColorJitter(0.2, 0.2, 0.0)),
            pad='reflect',
        ),
        eval=EvalPipeline(batch_size=1),
        num_steps=800,
        eval_every=400,
    )
