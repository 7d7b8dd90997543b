"""Methods for the slot `sample_tokens`: one paper, one file."""
