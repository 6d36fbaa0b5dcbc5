"""U-Net++ with deep supervision on generated shapes, without a download.

    python launch.py --exp=unetpp_shapes

Several classes, four heads, and any of them predicts: --task.head=1 to 4, or mean.
"""

from segjax.data.datasets.shapes import Shapes
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip
from segjax.models import UNetPlusPlus
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """An eighth of the published width; half of the loss is the deepest head's."""
    return Experiment(
        model=UNetPlusPlus(num_classes=6, widths=(8, 16, 32, 64, 128), norm='batch', dropout=0.0),
        task=Semantic(supervision='halving'),
        optimizer=AdamW(learning_rate=3e-3, schedule=WarmupCosine(warmup=0.15), weight_decay=1e-2),
        dataset=Shapes(),
        train=TrainPipeline(batch_size=8, crop=(128, 128), transforms=(Flip(),)),
        eval=EvalPipeline(batch_size=8),
        num_steps=600,
        eval_every=300,
    )
