"""Drop visual tokens between the layers of a language model, with hooks that are gone afterwards."""
