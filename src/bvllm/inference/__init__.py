"""Load a model, encode a video, answer questions about it: the interface to a model and what uses it."""
