"""One small figure for each operation; `python -m segjax.tools.figures` draws them.

    grids.py     sheets of grids with numbers
    down.py      convolution and pooling
    up.py        unpooling, interpolation, transposed convolution, deconvolution
    counting.py  receptive fields, costs, label maps

A drawing is a function without arguments that returns a matplotlib figure; its numbers come from
`segjax.ops`, so that a figure shows what the code does.
"""
