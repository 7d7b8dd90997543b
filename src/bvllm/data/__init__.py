"""Read rows to learn from, mix them, and make batches of them."""
