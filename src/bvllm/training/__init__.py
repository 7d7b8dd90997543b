"""Training as the paper trains (Sec. 7.1): two stages on transformers' Trainer, resumable at any moment."""
