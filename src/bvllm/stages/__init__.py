"""The paper, one section a file: choose frames, merge them, sample tokens, merge them."""
