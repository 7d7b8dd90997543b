"""Tensors in, tensors out: the steps that every method is made of. Imports torch only."""
