"""A small valid-padded U-Net on generated shapes: its output lacks a margin on every side.

    python launch.py --exp=unet_shapes

Not a result: it shows that windows reaching over the border, cropped labels and mirrored evaluation
fit together (tests/train/test_step.py overfits one like it).
"""

from segjax.data.datasets.shapes import Shapes
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip
from segjax.models import UNet
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Crops of 212 pixels, mirrored beyond the border, give scores for the inner 124."""
    return Experiment(
        model=UNet(num_classes=6, widths=(16, 32, 64, 128), norm='batch', dropout=0.0),
        task=Semantic(),
        optimizer=AdamW(learning_rate=3e-3, schedule=WarmupCosine(warmup=0.15), weight_decay=1e-2),
        dataset=Shapes(),
        train=TrainPipeline(
            batch_size=8,
            crop=(212, 212),
            transforms=(Flip(),),
            pad='reflect',
            margin=44,
        ),
        eval=EvalPipeline(batch_size=8),
        num_steps=900,
        eval_every=300,
    )
