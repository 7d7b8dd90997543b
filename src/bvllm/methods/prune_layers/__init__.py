"""Methods that drop visual tokens inside the language model, from layer to layer: one paper, one file."""

from bvllm.methods.prune_layers.aim import AIMInner
from bvllm.methods.prune_layers.dart import DART
from bvllm.methods.prune_layers.fastv import FastV
from bvllm.methods.prune_layers.holitom import HoliTomInner
from bvllm.methods.prune_layers.pyramiddrop import PyramidDrop
from bvllm.methods.prune_layers.sparsevlm import SparseVLM
from bvllm.methods.prune_layers.transprune import TransPrune
from bvllm.methods.prune_layers.visiondrop import VisionDropInner
from bvllm.stages.prune_layers import InnerMethod

# The part of `bvllm.METHODS` for the slot `prune_layers`.
INNER_METHODS: dict[str, type[InnerMethod]] = {
    "fastv": FastV,
    "pyramiddrop": PyramidDrop,
    "sparsevlm": SparseVLM,
    "dart": DART,
    "transprune": TransPrune,
    "holitom": HoliTomInner,
    "aim": AIMInner,
    "visiondrop": VisionDropInner,
}
