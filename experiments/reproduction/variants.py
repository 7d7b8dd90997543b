"""Define the compared systems: nano's configuration at a tighter budget, with one thing changed."""

from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from bvllm.model import BVLLMConfig
from bvllm.model.configuration_bvllm import ALIASES
from bvllm.model.connectors import LlamaVidConfig, VideoLlama2Config
from bvllm.model.presets import nano
from bvllm.synthetic.tokenizer import VIDEO
from experiments.reproduction.at_inference import AtInference

# What every variant shares unless it says otherwise. Nano's own 512 tokens hold all that its frames give, so
# nothing would have to be balanced; 64 is as many as a single frame has patches.
# The paper's queries do not take second choices; places are nano's tower's need, in every variant alike.
BASE: dict[str, object] = {
    "num_selected_frames": 16,
    "tokens_per_frame": 8,
    "budget_tokens": 64,
    "second_choices": 0.0,
}
PATCHES = 64

Change = tuple[str, object]


@dataclass(frozen=True)
class Variant:
    """One system.

    Attributes:
        name: of its files.
        changes: fields of `BVLLMConfig` that differ from BASE, in training and at inference.
        inference: what differs at inference alone, on the trained model of the same changes.
    """

    name: str
    changes: tuple[Change, ...] = ()
    inference: AtInference | None = None

    @classmethod
    def of(cls, name: str, **changes: object) -> "Variant":
        return cls(name, tuple(sorted(changes.items())))

    @property
    def trained(self) -> "Variant":
        """What is trained for it."""
        return self if self.inference is None else Variant(self.name.split("@")[0], self.changes)

    @property
    def learns_selection(self) -> bool:
        """Whether frames are chosen by what is trained; evenly spaced ones are not."""
        return dict(self.changes).get("frame_selector") != "uniform"

    def at(self, **settings: Any) -> "Variant":
        """The same trained model with other settings at inference (`AtInference`)."""
        asked = AtInference(**settings)
        return replace(self, name=f"{self.name}@{asked.name}", inference=asked)

    def shared(self, fields: tuple[str, ...]) -> "Variant":
        """BASE with the changes of some fields alone.

        A stage that several variants share is trained on this one, so that it comes out the same whichever of
        them needs it first.
        """
        kept = tuple((name, value) for name, value in self.changes if ALIASES.get(name, name) in fields)
        return Variant("shared", kept)

    def config(self, tokenizer: PreTrainedTokenizerBase) -> BVLLMConfig:
        """Nano's configuration with BASE and the changes."""
        config = nano(
            len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            video_token_id=tokenizer.convert_tokens_to_ids(VIDEO),
        )
        return BVLLMConfig(**config.to_dict() | BASE | dict(self.changes))


FULL = Variant.of("full")

# Table 3: the modules, added one by one. Without S.S. all patches stay and are merged to the budget.
NO_MODULE = Variant.of("none", frame_selector="uniform", merge_frames=False, token_sampler="none")
SELECTION_ONLY = Variant.of("fs", merge_frames=False, token_sampler="none")
SELECTION_MERGING = Variant.of("fs-tm", token_sampler="none")
NO_SELECTION = Variant.of("no-fs", frame_selector="uniform")
NO_MERGING = Variant.of("no-tm", merge_frames=False)

# Table 1: the baselines alone, reading the frames that B-VLLM chose, and whole "with B-VLLM", whose token
# sampler stands in for their own tokens. LLaMA-VID spends two tokens on each frame. VideoLLaMA2 makes one
# block of eight, by its later connector: Table 2's 72 tokens a picture are its 4 x 12 x 12 over eight frames.
_VID = LlamaVidConfig(queries=8, show_cls=False)
_VL2 = VideoLlama2Config("stc_connector_v35")
_BLOCK = 64  # 4 x 4 x 4
_ALL = {"token_sampler": "none", "tokens_per_frame": PATCHES}
LLAMA_VID = Variant.of(
    "llama-vid", connector=_VID, frame_selector="uniform", num_selected_frames=64, budget_tokens=128, **_ALL
)
LLAMA_VID_B = Variant.of("llama-vid-b", connector=_VID, budget_tokens=128, **_ALL)
VIDEOLLAMA2 = Variant.of(
    "videollama2",
    connector=_VL2,
    frame_selector="uniform",
    num_selected_frames=8,
    budget_tokens=_BLOCK,
    **_ALL,
)
VIDEOLLAMA2_B = Variant.of(
    "videollama2-b", connector=_VL2, num_selected_frames=8, budget_tokens=_BLOCK, **_ALL
)
LLAMA_VID_OURS = Variant.of("llama-vid-ours", connector=_VID)
VIDEOLLAMA2_OURS = Variant.of("videollama2-ours", connector=_VL2)

# Tables 4 and 7: who selects, and what it sees of a frame.
QFORMER_MEAN = Variant.of("mean", frame_feature="mean")
RESAMPLER_CLS = Variant.of("resampler", frame_selector="resampler")
RESAMPLER_MEAN = Variant.of("resampler-mean", frame_selector="resampler", frame_feature="mean")
MAX = Variant.of("max", frame_feature="max")
LEARNED = Variant.of("learned", frame_feature="qformer")

# Beyond the paper: what its authors list as limits. The first two are settings of the full model.
SECOND_CHOICES = FULL.at(second_choices=0.2)  # as nano has it
FREE = FULL.at(strength=0.2)
ROOM = 256  # four times theta: what is chosen beside the strongest frames has a place
ROOMY = FULL.at(budget=ROOM)
SECOND_CHOICES_ROOMY = FULL.at(second_choices=0.2, budget=ROOM)
FREE_ROOMY = FULL.at(strength=0.2, budget=ROOM)
ADAPTIVE = Variant.of("adaptive", adaptive_tokens=True, tokens_per_frame=32)
CONTENT = Variant.of("content", tokens_policy="content", tokens_per_frame=32)
CLS_MEAN = Variant.of("cls-mean", frame_feature="cls_mean")


def frames_and_tokens(frames: int, tokens: int) -> Variant:
    """Fig. 3: L* queries, R tokens a frame, trained so."""
    if (frames, tokens) == (BASE["num_selected_frames"], BASE["tokens_per_frame"]):
        return FULL
    return Variant.of(f"L{frames}-R{tokens}", num_selected_frames=frames, tokens_per_frame=tokens)


def sharpness(tau: float, gamma: float) -> Variant:
    """Fig. 3: temperature of the choice, and the cosine from which two rows are the same, trained so."""
    if (tau, gamma) == (0.1, 0.75):
        return FULL
    return Variant.of(f"tau{tau:g}-gamma{gamma:g}", tau=tau, gamma=gamma)


def token_budget(tokens: int) -> Variant:
    """Fig. 3: theta, trained so."""
    return FULL if tokens == BASE["budget_tokens"] else Variant.of(f"theta{tokens}", budget_tokens=tokens)
