"""Every way to fill a slot of the pipeline, by name. Adding one is a file in this folder and a line here.

docs/adding-a-method.md shows it in six steps. `bvllm ask --merge-tokens NAME`, `bvllm eval`, `bvllm train ...
model.merge_tokens=NAME` and `ask(..., merge_tokens="NAME")` know it then, and the contract tests run on it.
"""

import difflib
from typing import Any

from bvllm.methods.merge_tokens.aim import AIM
from bvllm.methods.merge_tokens.catp import CATP
from bvllm.methods.merge_tokens.dcode import DCoDeTokens
from bvllm.methods.merge_tokens.dycoke import DyCoke
from bvllm.methods.merge_tokens.evs import EVS
from bvllm.methods.merge_tokens.fastervlm import FasterVLM
from bvllm.methods.merge_tokens.fastvid import FastVID
from bvllm.methods.merge_tokens.fopru import FoPru, FoPruRows
from bvllm.methods.merge_tokens.fourier import FourierVLM
from bvllm.methods.merge_tokens.free_video import FreeVideoCrop
from bvllm.methods.merge_tokens.grt import GRT
from bvllm.methods.merge_tokens.holitom import HoliTom
from bvllm.methods.merge_tokens.mustdrop import MustDrop
from bvllm.methods.merge_tokens.prunevid import PruneVid
from bvllm.methods.merge_tokens.red_villm import REDVILLM
from bvllm.methods.merge_tokens.siglip_head import SiglipHead
from bvllm.methods.merge_tokens.slow_fast import SlowFast
from bvllm.methods.merge_tokens.stc import STCPruner
from bvllm.methods.merge_tokens.storm import STORMSampling
from bvllm.methods.merge_tokens.tome import ToMe
from bvllm.methods.merge_tokens.ts_llava import TSLLaVA
from bvllm.methods.merge_tokens.vidcom2 import VidCom2
from bvllm.methods.merge_tokens.visiondrop import VisionDrop
from bvllm.methods.merge_tokens.visionzip import VisionZip
from bvllm.methods.merge_tokens.vispruner import VisPruner
from bvllm.methods.merge_tokens.vqtoken import VQToken
from bvllm.methods.merge_tokens.vtc_cls import VTCCLS
from bvllm.methods.prune_layers import INNER_METHODS
from bvllm.methods.sample_tokens.baselines import RandomTokens, UniformTokens
from bvllm.methods.sample_tokens.divprune import DivPrune
from bvllm.methods.sample_tokens.dynamic import DynamicPool
from bvllm.methods.sample_tokens.grid_pool import GridPool
from bvllm.methods.select_frames.baselines import RandomFrames, UniformFrames
from bvllm.methods.select_frames.dcode import DCoDeFrames
from bvllm.methods.select_frames.f2c import F2C
from bvllm.methods.select_frames.free_video import FreeVideoFrames
from bvllm.methods.select_frames.relevant import RelevantFrames
from bvllm.methods.select_frames.video_rag import VideoRAGFrames
from bvllm.stages.merge_frames import ReleasedFrameMerging, SimilarFrameMerging
from bvllm.stages.merge_tokens import BipartiteMerging
from bvllm.stages.method import Slot
from bvllm.stages.sample_tokens import PooledTokens, TokenSampler
from bvllm.stages.select_frames import FrameSelector

# Slots in front of the language model; `prune_layers` is filled by whoever runs it.
PIPELINE: tuple[Slot, ...] = ("select_frames", "merge_frames", "sample_tokens", "merge_tokens")
NONE = "none"  # an empty slot: all frames or patches stay, nothing merges, the last slot thins evenly

# Methods that fit both token slots alike.
OF_PAPERS: dict[str, type[Any]] = {
    "aim": AIM,
    "catp": CATP,
    "dcode": DCoDeTokens,
    "dycoke": DyCoke,
    "evs": EVS,
    "fastervlm": FasterVLM,
    "fastvid": FastVID,
    "fopru": FoPru,
    "fopru_rows": FoPruRows,
    "fourier": FourierVLM,
    "free_video": FreeVideoCrop,
    "grt": GRT,
    "holitom": HoliTom,
    "mustdrop": MustDrop,
    "prunevid": PruneVid,
    "red_villm": REDVILLM,
    "siglip_head": SiglipHead,
    "slow_fast": SlowFast,
    "stc": STCPruner,
    "storm": STORMSampling,
    "ts_llava": TSLLaVA,
    "vidcom2": VidCom2,
    "visiondrop": VisionDrop,
    "visionzip": VisionZip,
    "vispruner": VisPruner,
    "vqtoken": VQToken,
    "vtc_cls": VTCCLS,
}

METHODS: dict[Slot, dict[str, type[Any]]] = {
    "select_frames": {
        "qformer": FrameSelector,
        "resampler": FrameSelector,
        "relevant": RelevantFrames,
        "uniform": UniformFrames,
        "random": RandomFrames,
        "dcode": DCoDeFrames,
        "f2c": F2C,
        "free_video": FreeVideoFrames,
        "video_rag": VideoRAGFrames,
    },
    "merge_frames": {
        "similar": SimilarFrameMerging,
        "released": ReleasedFrameMerging,
    },
    "sample_tokens": {
        "qformer": TokenSampler,
        "pool": PooledTokens,
        "divprune": DivPrune,
        "dynamic": DynamicPool,
        "tome": ToMe,
        "uniform": UniformTokens,
        "random": RandomTokens,
        "grid_pool": GridPool,
        **OF_PAPERS,
    },
    "merge_tokens": {
        "bipartite": BipartiteMerging,
        "tome": ToMe,
        "divprune": DivPrune,
        "uniform": UniformTokens,
        "random": RandomTokens,
        "grid_pool": GridPool,
        **OF_PAPERS,
    },
    "prune_layers": INNER_METHODS,
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
