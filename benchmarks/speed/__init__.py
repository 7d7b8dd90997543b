"""Measure speed and memory as ratios to plain peers in the same run (`make bench`)."""
