"""Reduce the visual tokens of transformers' video models, which stay as they are."""
