"""Methods for the slot `merge_frames`: one paper, one file."""
