"""Networks in plain Torch, as its users write them; NCHW, and layers named as in segjax.models."""
