"""FCN-8s on CamVid street scenes, from scratch, sized for two CPU cores and 20 minutes."""

from segjax.data.datasets.camvid import CamVid
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter
from segjax.models import FCN
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """A narrow VGG16 with batch normalisation on frames of half resolution."""
    return Experiment(
        model=FCN(
            num_classes=11,
            stride=8,
            widths=(16, 32, 64, 128, 256),
            fc_features=256,
            norm='batch',
            dropout=0.2,
        ),
        task=Semantic(),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=CamVid(),
        train=TrainPipeline(
            batch_size=8,
            crop=(192, 256),
            scale=0.5,
            transforms=(ScaleJitter(0.75, 1.5), Flip(), ColorJitter()),
        ),
        eval=EvalPipeline(batch_size=8, scale=0.5),
        num_steps=1000,
        eval_every=250,
    )
