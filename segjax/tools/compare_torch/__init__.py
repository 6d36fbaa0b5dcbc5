"""Operations and whole networks beside Torch; `python -m segjax.tools.compare_torch` runs it.

    operations.py  the operations and what Torch calls them
    kernels.py     RoIAlign and suppression, beside the loops of kernels.cpp
    networks.py    the networks; the next one is a line here and a file in twins/
    twins/         the networks in plain Torch, layers named as ours
    weights.py     our variables in a twin

Needs torch besides the requirements; nothing else in segjax imports it.
"""
