"""FCN-8s on COCO 2017 with the 21 classes of Pascal VOC.

Data and recipe are those of torchvision's segmentation references, the network is not: VGG16 with
batch normalisation instead of a dilated ResNet. 92,000 training pictures in batches of 32 make
87,000 steps 30 epochs. Differs: the short side is scaled by .5 to 2 instead of to 260..1040 pixels,
evaluation is at native resolution instead of with 520 pixels on the short side, and decay spares
biases and normalisation.

There is no published figure for this network on this data; torchvision's FCN with ResNet-50 has
60.5 mean IU on val2017. Not run here on all of COCO, but on 62 of its training pictures, raw and
narrow: from ln 21 = 3.05 the loss falls to 1.12 on 20 pictures of val in 60 steps (pixel accuracy
.704), some minutes on 2 cores:

    python launch.py --exp=fcn8s_coco_voc21 --widths=16,32,64,128,256 --fc_features=256 --scale=0.5
        --crop=240,240 --train.batch_size=4 --eval.round_to=320 --eval.limit=20 --num_steps=60

The network learns four of them by heart (the first whose objects cover more than a quarter),
evaluated at their own resolution on themselves: mean IoU .830, pixel accuracy .967, loss 3.05 to
.098 in 100 steps. In place of the second line above:

        --crop=320,320 --train.batch_size=4 --eval.round_to=320 --eval.split=train --num_steps=100
        --dropout=0 --low=1 --high=1 --probability=0 --learning_rate=0.1
"""

from segjax.data.datasets.coco_voc import CocoVoc
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.models import FCN
from segjax.optim import Poly, Sgd
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Widths, rates and the crop are fields; a handful of pictures trains with narrow ones."""
    return Experiment(
        model=FCN(num_classes=21, stride=8, norm='batch'),
        task=Semantic(),
        optimizer=Sgd(learning_rate=0.02, schedule=Poly(0.9), momentum=0.9, weight_decay=1e-4),
        dataset=CocoVoc(),
        train=TrainPipeline(
            batch_size=32, crop=(480, 480), transforms=(ScaleJitter(0.5, 2.0), Flip())
        ),
        eval=EvalPipeline(batch_size=8, round_to=640),
        num_steps=87_000,
        eval_every=3000,
    )
