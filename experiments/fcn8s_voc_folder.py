"""FCN-8s that knows Pascal VOC, fine-tuned on your own pictures and masks: --folder=PATH.

    python launch.py --exp=fcn8s_voc_folder --folder=PATH --weights=fcn8s_atonce

The network is that of fcn8s_voc, so its weights fit: the published ones (fcn8s_atonce, 540 MB), a
RUN of fcn8s_voc, or ImageNet's VGG16 alone (vgg16_ilsvrc). The three score layers are replaced, as
the classes are your own; the run names them when it starts. Where the classes happen to be 21 they
are kept. The layout of the folder is in segjax/data/README.md.

One learning rate for all layers, as in the paper; it is that of the paper's recipe, restated for a
mean over pixels in place of their sum (1e-10 x 500 x 375 x 1/(1 - .99) = 2e-3 = 2e-4/(1 - .9)), and
five times as large, since 2000 steps are few and the rate decays. --optimizer.frozen=vgg16 trains
the scores alone. 134 M parameters want an accelerator; --exp=fcn8s_folder is sized for a CPU.
"""

from segjax.data.datasets.folder import Folder
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter
from segjax.models import FCN
from segjax.optim import Sgd, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """The folder's classes.txt decides the number of classes."""
    return Experiment(
        model=FCN(num_classes=0, stride=8, padding='caffe', skip_scale=(0.01, 0.0001)),
        task=Semantic(),
        optimizer=Sgd(
            learning_rate=1e-3,
            schedule=WarmupCosine(warmup=0.05),
            momentum=0.9,
            weight_decay=5e-4,
            bias_multiplier=2.0,
        ),
        dataset=Folder(normalize='caffe'),
        train=TrainPipeline(
            batch_size=4,
            crop=(384, 384),
            transforms=(ScaleJitter(0.75, 1.5), Flip(), ColorJitter()),
        ),
        eval=EvalPipeline(batch_size=4, round_to=64),
        num_steps=2000,
        eval_every=250,
    )
