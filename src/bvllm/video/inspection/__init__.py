"""Inspect a video: walk its packets, and report what is odd or broken in it."""
