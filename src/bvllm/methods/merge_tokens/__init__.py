"""Methods for the slot `merge_tokens`: one paper, one file."""
