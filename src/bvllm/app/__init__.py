"""Reproduce the paper's tables in miniature, and measure speed: both are to stand beside the package."""
