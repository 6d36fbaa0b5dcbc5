"""U-Net on the nuclei of the 2018 Data Science Bowl, sized for two CPU cores and 20 minutes.

    python launch.py --exp=unet_nuclei

Patches of 128 pixels are cut out of the pictures as they are, and pictures are evaluated whole, at
their own resolution. Each is normalised by itself, as the brightness of fluorescence varies
tenfold. The split keeps look-alikes together and parts each modality (segjax/data/README.md): val
shows looks that train has not. So each look of train, most of which have one picture, is drawn as
often as any other (`balance`), and some patches are inverted, which makes of fluorescence something
like stains. Nuclei are 8 to 70 pixels wide; the mean of the probabilities at three scales serves
both (`eval.scales`), and the image IoU, which is what counts here, decides between checkpoints.

Val (24 of 100 pictures: 19 fluorescence, 5 stained), seed 0, the best checkpoint, which is that of
step 1000: IoU of the nuclei, mean of the pictures; beside it --mode=eval --orientations=4 of the
same weights, and Otsu's threshold on the same pictures (python -m segjax.tools.otsu):

    all                 .774   .776   Otsu .712
    fluorescence        .813   .815        .756
    stained             .625   .628        .543
    all pixels together .812   .814        .635

Objects by watershed: AP .376 over IoU .5:.95, AP50 .599, AJI .625; by connected parts .344, .543,
.540. 25 min on one core of an AMD EPYC, 7 img/s (Python 3.11.7, jax 0.10.2); two idle ones do 15
img/s, 11 minutes of training.

The last checkpoint has .767: towards the end the network learns how the pictures of train were
outlined, and outlines differ from picture to picture of val by more than it errs. So the best one
is a choice by these very pictures. At one scale a run of 1500 steps had .772 after 1000 and .762 at
its end, and others ended alike: with a moving average of the weights .762, without inverted patches
.755, without balance too .753. Behind at equal steps, and left: percentiles in place of mean and
deviation, stronger contrast, gamma and blur, pictures enlarged up to 2.5 times. The worst pictures
remain two of pink tissue (.34 and .40 in an earlier run), whose look one picture of train has.
"""

from segjax.data.datasets.nuclei import Nuclei
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, Invert, ScaleJitter, Turn
from segjax.losses import CrossEntropyDice
from segjax.models import UNet
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Patches of 128 pixels at native resolution; a quarter of the published width."""
    return Experiment(
        model=UNet(
            num_classes=2,
            widths=(16, 32, 64, 128, 256),
            padding='same',
            norm='batch',
            dropout=0.0,
        ),
        task=Semantic(
            CrossEntropyDice(),
            scores=('image', 'components', 'watershed'),
            best_metric='image_iou',
        ),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Nuclei(normalize='zscore'),
        train=TrainPipeline(
            batch_size=8,
            crop=(128, 128),
            max_class_share=0.98,
            balance=1.0,
            transforms=(
                ScaleJitter(0.5, 1.5),
                Turn(),
                Flip(),
                ColorJitter(0.4, 0.4, 0.4, hue=0.03),
                Invert(0.3),
            ),
        ),
        eval=EvalPipeline(batch_size=8, round_to=32, scales=(0.5, 0.75, 1.0)),
        num_steps=1200,
        eval_every=200,
    )
