"""Name what fills the slots of a transformers video model: a recipe each."""

from bvllm.methods import NONE

# What fills the slots, by the recipe's name. "uniform" asks nobody which frames matter.
RECIPES: dict[str, dict[str, str]] = {
    "balanced": {
        "select_frames": "relevant",
        "merge_frames": NONE,
        "sample_tokens": NONE,
        "merge_tokens": "bipartite",
        "tokens_policy": "balanced",
        "prune_layers": NONE,
    },
    "uniform": {
        "select_frames": "uniform",
        "merge_frames": NONE,
        "sample_tokens": NONE,
        "merge_tokens": "bipartite",
        "tokens_policy": NONE,
        "prune_layers": NONE,
    },
}
