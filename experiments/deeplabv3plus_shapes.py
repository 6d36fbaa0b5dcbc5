"""DeepLabV3+ on generated shapes, for two CPU cores, without a download.

    python launch.py --exp=deeplabv3plus_shapes
    python launch.py --exp=deeplabv3plus_shapes --decoder=false

Every part of the network on pictures of 128 pixels, at half of MobileNetV2's width. No figure is
recorded; fcn8s_shapes, on the same scenes, has .779 mean IoU.
"""

from segjax.data.datasets.shapes import Shapes
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip
from segjax.models import DeepLabV3Plus
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """The network of deeplabv3plus_camvid, at output stride 8."""
    return Experiment(
        model=DeepLabV3Plus(
            num_classes=6,
            backbone='mobilenet_v2',
            output_stride=8,
            width=0.5,
            features=64,
            bn_momentum=0.9,
        ),
        task=Semantic(),
        optimizer=AdamW(learning_rate=3e-3, schedule=WarmupCosine(warmup=0.15), weight_decay=1e-2),
        dataset=Shapes(),
        train=TrainPipeline(batch_size=8, crop=(128, 128), transforms=(Flip(),)),
        eval=EvalPipeline(batch_size=8),
        num_steps=900,
        eval_every=300,
    )
