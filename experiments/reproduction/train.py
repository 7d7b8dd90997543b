"""Train one variant; pairing and selection are kept for all variants in which they are equal.

    tower, language   of `bvllm train nano`, or nano's own, gone on from with videos told in words
    pairing           every token of a frame learns to be a thing that the frame holds (`bvllm.nano.matching`)
    selection         the frame selector alone
    instruction       all but the tower, on the answer

Variants without a token sampler are paired, too: their tokens are the projected patches, or what a baseline's
connector makes of a frame, and the same things are told of by as many tokens as there are. The other way,
regressing the caption of a plain frame (`bvllm.nano.alignment`), makes all tokens of a frame alike and knows
no busy frame: a bridge that starts there would be compared with one that starts elsewhere, not with one that
is built otherwise.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Model

from bvllm.common.trust import loading_weights
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.clock import ClockEmbedding
from bvllm.model.connectors import VideoLlama2Config
from bvllm.nano.build import build_model
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.language import Where
from bvllm.nano.loop import Control
from bvllm.nano.matching import match_tokens
from bvllm.nano.train import Recipe, language_stage
from bvllm.nano.tuning import TuningStage, tune
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.reproduction.feature_caches import BankPlan
from experiments.reproduction.scale import FOREVER, Scale
from experiments.reproduction.variants import BASE, Variant

TOWER, LANGUAGE = "tower", "language"
BLOCK = 8  # a frame is shown to VideoLLaMA2's block eight times, so one clip counts as eight in pairing
# The fields of a configuration that decide what a stage learns: selection is taught before any merging.
OF_PAIRING = ("sample_tokens", "tokens_per_frame", "connector", "vision_feature_layer")
OF_BLOCK = ("num_selected_frames", "budget_tokens")
OF_SELECTION = ("select_frames", "frame_feature", "num_selected_frames", "time_channels")


def banks_of(scale: Scale) -> tuple[BankPlan, BankPlan]:
    """What is drawn to train on, and to examine on."""
    return (
        BankPlan("train", "train", {"plain": scale.scenes, "busy": scale.busy_scenes}, scale.world_seed),
        BankPlan(
            "exam", "test", {"plain": scale.exam_scenes, "busy": scale.busy_exam_scenes}, scale.world_seed + 1
        ),
    )


@dataclass(frozen=True)
class TrainingContext:
    """What every variant starts from.

    Attributes:
        home: folder of the banks, the tower, the language model, and of what is kept.
        tokenizer: of both worlds' words.
        bank: features to train on.
        scale: how long.
        tower: frozen.
        language_model, clock, where: warmed up on videos told in words, and what those told places by.
    """

    home: Path
    tokenizer: PreTrainedTokenizerFast
    bank: FeatureCache
    scale: Scale
    tower: CLIPVisionModel
    language_model: Qwen2Model
    clock: ClockEmbedding
    where: Where

    @classmethod
    def open(cls, home: Path, scale: Scale) -> "TrainingContext":
        """The workshop that `prepare` left in a folder."""
        tokenizer, (train, _) = build_tokenizer(), banks_of(scale)
        tower = CLIPVisionModel.from_pretrained(home / TOWER, dtype=torch.float32, **loading_weights())
        # A finished stage is read, whatever the recipe.
        warmed = language_stage(home / LANGUAGE, tokenizer, Recipe(), resume=True)
        return cls(home, tokenizer, train.read(home), scale, tower, *warmed)

    def start(self, variant: Variant, seed: int) -> BVLLMForConditionalGeneration:
        """The tower, the warmed-up language model and clock; the rest from noise."""
        config = variant.config(self.tokenizer)
        parts = (self.tower, self.language_model, self.clock)
        return build_model(self.tokenizer, *parts, seed=seed, config=config)

    def pair(self, variant: Variant, seed: int, log: Callable[[str], None]) -> Path:
        """Places, token sampler and projector, from the checkpoint or trained now."""
        own, checkpoint = pairing_of(variant), self.checkpoint(variant, seed, pairing=True)
        if not checkpoint.exists():
            model = self.start(own, seed)
            block = isinstance(model.config.connector, VideoLlama2Config) and model.config.connector_samples
            match_tokens(
                model,
                self.tokenizer,
                self.bank,
                self.where,
                steps=self.scale.matching_steps,
                minutes=FOREVER,
                batch=max(1, self.scale.matching_clips // (BLOCK if block else 1)),
                queries=int(str(BASE["num_selected_frames"])),
                seed=seed,
                control=Control(log),
            )
            _keep(model, ("places", "token_sampler", "multi_modal_projector"), checkpoint)
        return checkpoint

    def select(self, variant: Variant, seed: int, log: Callable[[str], None]) -> Path | None:
        """Frame selector, and the frame reader where there is one; None where frames are not learned."""
        if not variant.learns_selection:
            return None
        own, checkpoint = variant.shared(OF_SELECTION), self.checkpoint(variant, seed, pairing=False)
        if not checkpoint.exists():
            model = self.start(own, seed)
            if model.model.frame_reader is not None:
                early = replace(
                    self.scale.selection,
                    name="reader",
                    trained=("frame_selector", "frame_reader"),
                    steps=self.scale.reader_steps,
                    seconds=(8, 64),
                )
                self._tune(model, self.bank, early, seed, log)
            bank = feature_bank(self.bank, model)
            self._tune(model, bank, self.scale.selection, seed, log)
            _keep(model, ("frame_selector", "frame_reader"), checkpoint)
        return checkpoint

    def instruct(
        self, variant: Variant, seed: int, log: Callable[[str], None]
    ) -> BVLLMForConditionalGeneration:
        """The whole variant, trained."""
        checkpoints = [self.pair(variant, seed, log), self.select(variant, seed, log)]
        model = self.start(variant, seed)
        for checkpoint in checkpoints:
            if checkpoint is not None:
                model.model.load_state_dict(load_file(checkpoint), strict=False)
        self._tune(model, feature_bank(self.bank, model), self.scale.instruction, seed + 1000, log)
        return model

    def checkpoint(self, variant: Variant, seed: int, *, pairing: bool) -> Path:
        """Where a shared stage's weights stand."""
        return checkpoint_path(self.home, self.scale, self.tokenizer, variant, seed, pairing=pairing)

    def _tune(
        self,
        model: BVLLMForConditionalGeneration,
        bank: FeatureCache,
        stage: TuningStage,
        seed: int,
        log: Callable[[str], None],
    ) -> None:
        tune(model, self.tokenizer, bank, stage, seed=seed, probing=False, control=Control(log))


def pairing_of(variant: Variant) -> Variant:
    """What is paired for a variant; VideoLLaMA2's block follows L* and is the budget, so it keeps both."""
    block = isinstance(dict(variant.changes).get("connector"), VideoLlama2Config)
    return variant.shared((*OF_PAIRING, *OF_BLOCK) if block else OF_PAIRING)


def checkpoint_path(
    home: Path,
    scale: Scale,
    tokenizer: PreTrainedTokenizerFast,
    variant: Variant,
    seed: int,
    *,
    pairing: bool,
) -> Path:
    """Where a shared stage's weights stand, by all that decides them."""
    own = pairing_of(variant) if pairing else variant.shared(OF_SELECTION)
    told = {"config": own.config(tokenizer).to_dict(), "seed": seed, "scale": scale.to_json()}
    name = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return home / "checkpoint" / f"{'pairing' if pairing else 'selection'}-{name}.safetensors"


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
