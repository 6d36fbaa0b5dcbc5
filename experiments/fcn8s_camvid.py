"""FCN-8s on CamVid street scenes, from scratch, sized for two CPU cores and 20 minutes.

    python launch.py --exp=fcn8s_camvid

Val (101 frames at their native 480x360, 11 classes, void ignored): mean IoU .507, pixel accuracy
.895 after 1000 steps, seed 0, in 18.5 minutes on 2 cores of an AMD EPYC that other work shared
(Python 3.11.7, jax 0.10.2). Pole and SignSymbol stay at 0: they are a few pixels wide at half
resolution, and nothing weights them. Val lies inside a training sequence, so this does not stand
for the test set.

Baselines on the same split (`python -m segjax.tools.baselines experiments/fcn8s_camvid.py`): the
commonest class .027, a perceptron that sees one pixel's colour and place .272.

Data: Brostow et al., "Semantic object classes in video" (2009), in the selection and at the size
of SegNet (Badrinarayanan et al., 2017), whose table 3 gives FCN, pretrained, 49.83 mean IoU on the
test set. Full size, for an accelerator and pretrained weights, not run here:

    --widths=64,128,256,512,512 --fc_features=4096 --dropout=0.5 --scale=1 --crop=352,480
    --num_steps=20000 --eval_every=1000
"""

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
