"""How the embedded Dynamic-VLM is made: `train.py` runs the stages, each of the others is one of them."""
