"""Convert released checkpoints of other code bases into this model's layout."""
