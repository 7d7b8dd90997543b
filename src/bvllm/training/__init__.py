"""Train as the paper does (Sec. 7.1): two stages on transformers' Trainer, resumable at any moment."""
