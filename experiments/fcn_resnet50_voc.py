"""torchvision's FCN over ResNet-50 on Pascal VOC 2012.

torchvision publishes 60.5 mean IU for its weights, trained on COCO's pictures in VOC's classes and
measured on COCO's val 2017 at a short side of 520, image and label: another measurement than this
one, at native resolution. MMSegmentation has 67.08 on VOC 2012 val for a network like it, after
20,000 steps on trainaug.

Not run here: both need an accelerator and pretrained weights. From torchvision's classifier, and
its released network evaluated:

    python launch.py --exp=fcn_resnet50_voc --weights=resnet50 --sbd=sbd --train.split=trainaug
    python launch.py --exp=fcn_resnet50_voc --mode=eval --weights=fcn_resnet50

The recipe is that of torchvision's references for COCO, with VOC's pictures: learning rate .02 for
batches of 32, falling by a power of .9, momentum .9, decay 1e-4, crops of 480, scales .5 to 2,
mirroring, an auxiliary head whose loss counts half and which learns ten times as fast.
"""

from segjax.data.datasets.voc import Voc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.models import FCNResNet
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """35,322,218 parameters with the auxiliary head."""
    return Experiment(
        model=FCNResNet(num_classes=21, depth=50),
        task=Semantic(aux_weights=(0.5,)),
        optimizer=Sgd(
            learning_rate=0.02,
            schedule=Poly(power=0.9),
            momentum=0.9,
            weight_decay=1e-4,
            multipliers=(('aux', 10.0),),
        ),
        dataset=Voc(normalize='imagenet'),
        train=TrainPipeline(
            batch_size=32, crop=(480, 480), transforms=(ScaleJitter(0.5, 2.0), Flip())
        ),
        eval=EvalPipeline(batch_size=1, round_to=513),
        num_steps=10_000,
        eval_every=2000,
    )
