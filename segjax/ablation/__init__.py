"""Ablations: several arms, several seeds, one table."""
