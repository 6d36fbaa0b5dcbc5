"""Operations and whole networks beside Torch; `python -m segjax.tools.compare_torch` runs it.

    setting.py     the device and the type
    rates.py       images a second, and how much of the device that makes use of
    operations.py  the operations and what Torch calls them
    kernels.py     RoIAlign and suppression, beside the loops of kernels.cpp (native.py)
    networks.py    the semantic networks; the next one is a line here and a file in twins/
    detectors.py   Mask R-CNN
    training.py    a training step on both sides
    twins/         the networks in plain Torch, layers named as ours; Mask R-CNN is torchvision's
    weights.py     our variables in a twin
    torch_side.py  Torch on a device
    agreement.py   whether both sides compute the same
    tables.py      what is printed

Needs torch besides the requirements; nothing else in segjax imports it.
"""
