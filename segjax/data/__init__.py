"""Data: what the pictures are (datasets/) and how they are fed (pipeline.py). Imports no JAX."""
