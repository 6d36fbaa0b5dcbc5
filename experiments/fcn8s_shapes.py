"""FCN-8s on generated shapes, in three minutes on two CPU cores, without a download.

    python launch.py --exp=fcn8s_shapes

Val (256 scenes, 6 classes): mean IoU .779, pixel accuracy .955 after 900 steps, seed 0, in 2 min
12 s on 2 cores of an AMD EPYC (Python 3.11.7, jax 0.10.2), compilation included. The loss is flat
for the first hundred steps. Colour says nothing about the class: the best class for each of 4096
colours stays below .3.
"""

from segjax.data.datasets.shapes import Shapes
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip
from segjax.models import FCN
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """A narrow VGG16 with batch normalisation; every width and rate is a field."""
    return Experiment(
        model=FCN(
            num_classes=6,
            stride=8,
            widths=(8, 16, 32, 64, 128),
            fc_features=128,
            norm='batch',
            dropout=0.0,
        ),
        task=Semantic(),
        optimizer=AdamW(learning_rate=3e-3, schedule=WarmupCosine(warmup=0.15), weight_decay=1e-2),
        dataset=Shapes(),
        train=TrainPipeline(batch_size=8, crop=(128, 128), transforms=(Flip(),)),
        eval=EvalPipeline(batch_size=8),
        num_steps=900,
        eval_every=300,
    )
