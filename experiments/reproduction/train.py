"""Train one variant; alignment and selection are kept for all variants in which they are equal."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from bvllm.inference.loading import load_model
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.connectors import VideoLlama2Config
from bvllm.nano.alignment import align
from bvllm.nano.build import build_model
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.loop import Control
from bvllm.nano.train import Recipe, language_stage
from bvllm.nano.tuning import tune
from experiments.reproduction.feature_caches import read_bank
from experiments.reproduction.scale import FOREVER, Scale
from experiments.reproduction.variants import Variant

LANGUAGE, TRAIN_BANK, EXAM_BANK = "language", "train.safetensors", "exam.safetensors"

# A frame of VideoLLaMA2's block is shown eight times, so one counts as eight in alignment.
BLOCK = 8
# The fields of a configuration that decide what a stage learns: selection is taught before any merging.
# VideoLLaMA2's block is as long as L*, too; both of its variants have the same.
OF_ALIGNMENT = ("sample_tokens", "tokens_per_frame", "connector", "vision_feature_layer")
OF_SELECTION = ("select_frames", "frame_feature", "num_selected_frames", "time_channels")


@dataclass(frozen=True)
class TrainingContext:
    """What every variant starts from.

    Attributes:
        home: folder of the banks, the language model, and of what is kept.
        tokenizer: nano's.
        bank: features to train on.
        scale: how long.
    """

    home: Path
    tokenizer: PreTrainedTokenizerFast
    bank: FeatureCache
    scale: Scale

    @classmethod
    def open(cls, home: Path, scale: Scale) -> "TrainingContext":
        """The workshop that `prepare` left in a folder."""
        tokenizer = load_model("nano").processor.tokenizer
        return cls(home, tokenizer, read_bank(home / TRAIN_BANK), scale)

    def start(self, variant: Variant, seed: int) -> BVLLMForConditionalGeneration:
        """Nano's tower, the warmed-up language model and clock; the rest from noise."""
        tower = load_model("nano").model.vision_tower.float()
        language_model, clock, _ = language_stage(
            self.home / LANGUAGE, self.tokenizer, Recipe(), resume=True, control=Control()
        )
        config = variant.config(self.tokenizer)
        return build_model(self.tokenizer, tower, language_model, clock, seed=seed, config=config)

    def align(self, variant: Variant, seed: int, log: Callable[[str], None]) -> Path:
        """Token sampler and projector, from the checkpoint or trained now."""
        checkpoint = self._shelf(variant, seed, alignment=True)
        if not checkpoint.exists():
            model = self.start(variant, seed)
            block = isinstance(variant.config(self.tokenizer).connector, VideoLlama2Config)
            frames = self.scale.alignment_frames // (BLOCK if block else 1)
            limits = {"steps": self.scale.alignment_steps, "minutes": FOREVER, "frames": frames}
            align(model, self.tokenizer, self.bank, **limits, seed=seed, control=Control(log))
            _keep(model, ("token_sampler", "multi_modal_projector"), checkpoint)
        return checkpoint

    def select(self, variant: Variant, seed: int, log: Callable[[str], None]) -> Path | None:
        """Frame selector, and the frame reader where there is one; None where frames are not learned."""
        checkpoint = self._shelf(variant, seed, alignment=False)
        if not checkpoint.exists():
            model = self.start(variant, seed)
            if model.model.frame_selector is None:
                return None
            if model.model.frame_reader is not None:
                early = replace(
                    self.scale.selection,
                    name="reader",
                    trained=("frame_selector", "frame_reader"),
                    steps=self.scale.reader_steps,
                    seconds=(8, 64),
                )
                tune(model, self.tokenizer, self.bank, early, seed=seed, control=Control(log))
            bank = feature_bank(self.bank, model)
            tune(model, self.tokenizer, bank, self.scale.selection, seed=seed, control=Control(log))
            _keep(model, ("frame_selector", "frame_reader"), checkpoint)
        return checkpoint

    def instruct(
        self, variant: Variant, seed: int, log: Callable[[str], None]
    ) -> BVLLMForConditionalGeneration:
        """The whole variant, trained."""
        shelves = [self.align(variant, seed, log), self.select(variant, seed, log)]
        model = self.start(variant, seed)
        for checkpoint in shelves:
            if checkpoint is not None:
                model.model.load_state_dict(load_file(checkpoint), strict=False)
        bank = feature_bank(self.bank, model)
        tune(model, self.tokenizer, bank, self.scale.instruction, seed=seed + 1000, control=Control(log))
        return model

    def _shelf(self, variant: Variant, seed: int, *, alignment: bool) -> Path:
        return self.checkpoint_path(self.home, self.scale, self.tokenizer, variant, seed, alignment=alignment)

    @staticmethod
    def checkpoint_path(
        home: Path,
        scale: Scale,
        tokenizer: PreTrainedTokenizerFast,
        variant: Variant,
        seed: int,
        *,
        alignment: bool,
    ) -> Path:
        """Where a stage's weights stand, by all that decides them."""
        config = variant.config(tokenizer).to_dict()
        fields = OF_ALIGNMENT if alignment else OF_SELECTION
        told = {name: config[name] for name in fields} | {"seed": seed, "scale": scale.to_json()}
        name = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
        return home / "checkpoint" / f"{'alignment' if alignment else 'selection'}-{name}.safetensors"


def feature_bank(bank: FeatureCache, model: BVLLMForConditionalGeneration) -> FeatureCache:
    """The bank with the frame features that a model's selector sees, where those do not learn any more."""
    if model.config.frame_feature == "cls":
        return bank
    with torch.inference_mode():
        pairs = zip(bank.frames.split(512), bank.patches.split(512), strict=True)
        parts = [model.model.summarise(frames, patches.float()) for frames, patches in pairs]
    return replace(bank, frames=torch.cat(parts).clone())


def _keep(model: BVLLMForConditionalGeneration, names: tuple[str, ...], checkpoint: Path) -> None:
    """Put the weights of some parts on the checkpoint, under a temporary name first."""
    state = {k: v for k, v in model.model.state_dict().items() if k.split(".")[0] in names}
    checkpoint.parent.mkdir(exist_ok=True)
    scratch = checkpoint.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in state.items()}, scratch)
    scratch.replace(checkpoint)
