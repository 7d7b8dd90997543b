"""Every way to fill a slot of the pipeline, by name. Adding one is a file in this folder and a line here.

docs/adding-a-method.md shows it in six steps. `bvllm ask --merge-tokens NAME`, `bvllm eval`, `bvllm train ...
model.merge_tokens=NAME` and `ask(..., merge_tokens="NAME")` know it then, and the contract tests run on it.
"""

import difflib
from typing import Any

from bvllm.methods.merge_tokens.dycoke import DyCoke
from bvllm.methods.merge_tokens.evs import EVS
from bvllm.methods.merge_tokens.tome import ToMe
from bvllm.methods.sample_tokens.baselines import RandomTokens, UniformTokens
from bvllm.methods.sample_tokens.divprune import DivPrune
from bvllm.methods.select_frames.baselines import RandomFrames, UniformFrames
from bvllm.methods.select_frames.relevant import RelevantFrames
from bvllm.stages.merge_frames import ReleasedFrameMerging, SimilarFrameMerging
from bvllm.stages.merge_tokens import BipartiteMerging
from bvllm.stages.method import Slot
from bvllm.stages.sample_tokens import PooledTokens, TokenSampler
from bvllm.stages.select_frames import FrameSelector

NONE = "none"  # an empty slot: all frames or patches stay, nothing merges, the last slot thins evenly

METHODS: dict[Slot, dict[str, type[Any]]] = {
    "select_frames": {
        "qformer": FrameSelector,
        "resampler": FrameSelector,
        "relevant": RelevantFrames,
        "uniform": UniformFrames,
        "random": RandomFrames,
    },
    "merge_frames": {
        "similar": SimilarFrameMerging,
        "released": ReleasedFrameMerging,
    },
    "sample_tokens": {
        "qformer": TokenSampler,
        "pool": PooledTokens,
        "divprune": DivPrune,
        "tome": ToMe,
        "uniform": UniformTokens,
        "random": RandomTokens,
        "dycoke": DyCoke,
        "evs": EVS,
    },
    "merge_tokens": {
        "bipartite": BipartiteMerging,
        "tome": ToMe,
        "divprune": DivPrune,
        "uniform": UniformTokens,
        "random": RandomTokens,
        "dycoke": DyCoke,
        "evs": EVS,
    },
}


def known_names(slot: Slot) -> tuple[str, ...]:
    """What a slot may be filled with; "none" leaves it empty."""
    return (*METHODS[slot], NONE)


def is_learned(slot: Slot, name: str) -> bool:
    """Whether what fills a slot has trained weights, which a model brings.

    Example:
        >>> is_learned("select_frames", "qformer"), is_learned("select_frames", "none")
        (True, False)
    """
    return name != NONE and bool(METHODS[slot][name].learned)


def check_name(slot: Slot, name: str) -> str:
    """The name, if a method of the slot has it.

    Raises:
        ValueError: there is no such method; the nearest name is suggested.

    Example:
        >>> check_name("merge_tokens", "tome")
        'tome'
    """
    known = known_names(slot)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        raise ValueError(
            f"{slot} must be one of {', '.join(known)}, got {name!r}: "
            + (f"did you mean {near[0]!r}?" if near else "use one of these")
        )
    return name
