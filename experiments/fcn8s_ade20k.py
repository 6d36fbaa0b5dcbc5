"""FCN-8s on ADE20K, the 150 classes of the scene parsing challenge.

    python launch.py --exp=fcn8s_ade20k

Published: mean IoU .2939, pixel accuracy .7132 for the challenge's FCN-8s, pretrained (Zhou et al.,
CVPR 2017; figures not checked against the paper). Not run here. That mean is over all 150 classes;
every one occurs in the 2000 pictures of val, so it is the mean IoU of these metrics too. The
network here has batch normalisation and the recipe is that of fcn8s_coco_voc21: 80,000 steps of 16
are 63 epochs.

Masks that another program predicted are scored by `python -m segjax.tools.score_folder`.
"""

from segjax.data.datasets.ade20k import Ade20k
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.models import FCN
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """VGG16 with batch normalisation; decay spares biases and normalisation."""
    return Experiment(
        model=FCN(num_classes=150, stride=8, norm='batch'),
        task=Semantic(),
        optimizer=Sgd(learning_rate=0.01, schedule=Poly(0.9), momentum=0.9, weight_decay=1e-4),
        dataset=Ade20k(),
        train=TrainPipeline(
            batch_size=16, crop=(480, 480), transforms=(ScaleJitter(0.5, 2.0), Flip())
        ),
        eval=EvalPipeline(batch_size=8, round_to=128),
        num_steps=80_000,
        eval_every=4000,
    )
