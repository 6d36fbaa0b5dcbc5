"""FCN-8s on your own pictures and masks: --folder=PATH.

    python launch.py --exp=fcn8s_folder --folder=PATH

The layout of the folder is in segjax/data/README.md. Sized for a CPU: half resolution
(--scale=1 for all of it), a quarter of VGG16's width.
"""

from segjax.data.datasets.folder import Folder
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter
from segjax.models import FCN
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """The folder's classes.txt decides the number of classes."""
    return Experiment(
        model=FCN(
            num_classes=0,
            stride=8,
            widths=(16, 32, 64, 128, 256),
            fc_features=256,
            norm='batch',
            dropout=0.2,
        ),
        task=Semantic(),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Folder(),
        train=TrainPipeline(
            batch_size=8,
            crop=(192, 256),
            scale=0.5,
            transforms=(ScaleJitter(0.75, 1.5), Flip(), ColorJitter()),
        ),
        eval=EvalPipeline(batch_size=8, scale=0.5, round_to=32),
        num_steps=600,
        eval_every=150,
    )
