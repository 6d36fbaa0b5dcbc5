"""FCN-GoogLeNet on Pascal VOC 2012, after the CVPR paper.

Published: mean IU 42.5 on the validation set of VOC 2011 (table 1 of the CVPR paper), with the
authors' own GoogLeNet. Not run here.

Neither network nor weights were released. The paper says: only the final loss layer, no average
pooling before it, at least 175 epochs (section 4.1); stride 32, 6 million parameters (table 1); SGD
with momentum .9, batches of 20, a fixed learning rate of 5e-5, weight decay 5e-4 or 2e-4, biases at
twice the rate (section 4.3). Chosen here: the border of 100 pixels and the frozen up-sampling of
the networks that were released, GoogLeNet's own dropout of .4, decay 5e-4, 175 epochs of VOC 2012's
train.

BVLC's GoogLeNet is nearest to the authors' (68.7 top-1; theirs had 68.5):

    python launch.py --exp=fcn_googlenet_voc --weights=bvlc_googlenet

torchvision's GoogLeNet with batch normalisation is near where those weights cannot be had
(--weights=googlenet, and --normalize=centered, which they expect):

    python launch.py --exp=fcn_googlenet_voc --norm=batch --padding=same --normalize=centered
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.models import FCN
from segjax.optim import Constant, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """The paper's GoogLeNet with 5,995,077 parameters."""
    return Experiment(
        model=FCN(num_classes=21, stride=32, padding='caffe', backbone='googlenet', dropout=0.4),
        task=Semantic(),
        optimizer=Sgd(
            learning_rate=5e-5,
            schedule=Constant(),
            momentum=0.9,
            weight_decay=5e-4,
            bias_multiplier=2.0,
        ),
        dataset=Voc(normalize='caffe'),
        train=TrainPipeline(batch_size=20, crop=(500, 500)),
        eval=EvalPipeline(batch_size=1, round_to=500),
        num_steps=12_800,
        eval_every=400,
    )
