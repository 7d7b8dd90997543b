"""Methods for the slot `select_frames`: one paper, one file."""
