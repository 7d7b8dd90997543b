"""Load models by name, and put B-VLLM behind the interface `VideoModel`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from bvllm.common.text import Question
from bvllm.common.threads import one_kernel_thread
from bvllm.common.trust import loading, loading_weights
from bvllm.inference.backbones import ModelError as ModelError
from bvllm.inference.backbones import loader_of, one_line
from bvllm.inference.encode_frames import filled
from bvllm.inference.hub import reachable_hub
from bvllm.inference.language_side import LanguageSide
from bvllm.inference.model import AskedQuestion, ModelCost, VideoModel, VisualTokens
from bvllm.inference.model_name import resolve_model
from bvllm.inference.plain_words import plain_words
from bvllm.inference.stop_points import layers_of
from bvllm.methods import NONE, PIPELINE
from bvllm.methods.names import OWN, MethodNames, check_reading, kind_in_words
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration, BVLLMProcessor
from bvllm.model.backbones.families import FAMILIES
from bvllm.model.backbones.pruning.decoders import decoder_of
from bvllm.model.backbones.pruning.plan import entering, plan_inside
from bvllm.model.fast_tower import FastTower, fast_tower, upload
from bvllm.model.fingerprint import tower_fingerprint
from bvllm.model.folder import check_finite, check_folder, check_placeholder, check_weights
from bvllm.model.knowledge import Knowledge
from bvllm.model.vision_tower import hidden_size, patch_count
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.pipeline import mixed
from bvllm.stages.reading import Reading
from bvllm.types import Budget, FrameSelection, Questions

# Frames that go through the stock tower together, always: a feature must not depend on how long the video is.
CHUNK = 16
# A float32 feature of more bytes is kept in bfloat16: below 4 KB a frame in an index, up to 2000 channels.
FEATURE_BYTES = 4000


@dataclass(frozen=True)
class LoadedModel(LanguageSide):
    """B-VLLM behind the interface `VideoModel`: the model, its processor, and its tower's fast form.

    Without `fast` the stock tower encodes frames; without `knowledge` the model cannot tell what it knows.
    """

    fast: FastTower | None = None
    knowledge: Knowledge | None = None

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) that the vision tower takes."""
        size = self.processor.video_processor.size
        return int(size["height"]), int(size["width"])

    def normalise(self, frames: Tensor) -> Tensor:
        """(t, 3, height, width) uint8 -> what the tower expects, where it runs."""
        pixels: Tensor = self.processor.video_processor.normalise(upload(frames, self.device))
        return pixels

    @property
    def chunk(self) -> int:
        """How many frames `frame_features` takes at a time, best as many."""
        return CHUNK if self.fast is None else max(CHUNK, self.fast.step)

    @property
    def patch_step(self) -> int:
        """How many frames `patch_features` takes at a time for what one gives not to depend on the others."""
        if self.fast is not None:
            return self.fast.step
        return 1 if self.device.type == "cpu" else CHUNK

    def frame_features(self, frames: Tensor) -> Tensor:
        """At most `chunk` frames, (t, 3, height, width) uint8 -> (t, C) float32 on the CPU: the first pass.

        Every number fits `feature_dtype`, so that a feature is the same whether it was kept or not.
        """
        found = self._encode(frames)
        self.check_numbers(found, "features of frames")
        return found.to(self.feature_dtype(found.shape[1])).float()

    def _encode(self, frames: Tensor) -> Tensor:
        if self.fast is not None:
            return self.fast.frame_features(frames).cpu()
        with torch.inference_mode():
            full = self.normalise(filled(frames, CHUNK))
            return self.model.encode_frames(full)[: len(frames)].cpu()

    def feature_dtype(self, channels: int) -> torch.dtype:
        """What a frame's feature is kept as: the tower's own type, bfloat16 if that is float32 and wide."""
        computed = self.model.dtype if self.fast is None else self.fast.feature_dtype
        too_wide = computed.itemsize * channels > FEATURE_BYTES
        return torch.bfloat16 if too_wide and computed == torch.float32 else computed

    def patch_features(self, frames: Tensor) -> Tensor:
        """`patch_step` frames or fewer, (t, 3, height, width) uint8 -> (t, N, C): the second pass."""
        with torch.inference_mode():
            if self.fast is not None:
                layer = self.model.config.vision_feature_layer
                return self.fast.patch_features(frames, layer).to(self.model.dtype)
            full = filled(frames, self.patch_step)
            return self.model.encode_patches(self.normalise(full))[: len(frames)]

    def read_patches(self, frames: Tensor, reading: Reading) -> tuple[Tensor, PatchSignals]:
        """Patches, and what the tower attends to; see `VideoModel`. The fast form gives no maps."""
        with torch.inference_mode():
            full = self.normalise(filled(frames, self.patch_step))
            patches, seen = self.model.read_patches(full, reading)
        return patches[: len(frames)], seen.of_clips([len(frames), len(full) - len(frames)])[0]

    @property
    def most_frames(self) -> int:
        """L*: no model chooses more frames than it has queries, unless its selection is free of L*."""
        return int(self.model.config.most_frames)

    @property
    def tokens_per_frame(self) -> int:
        """R, or the patches of a frame where all stay."""
        return int(self.model.config.tokens_per_frame)

    @property
    def reads_question(self) -> bool:
        """Whether frames are chosen by a selector that reads the question."""
        return self.model.config.select_frames in ("qformer", "resampler")

    @property
    def budget(self) -> Budget:
        """The configuration's: theta tokens from L* frames."""
        return self.model.config.budget

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Of the towers and the language model."""
        return layers_of(self.model)

    @property
    def fingerprint(self) -> str:
        """See `tower_fingerprint`: of the model as it is now, at the cost of reading all weights."""
        return tower_fingerprint(self.model, self.processor.video_processor, self.fast)

    def methods(self, methods: MethodNames) -> dict[str, str]:
        """The name of the method in every slot.

        Raises:
            ValueError: a method does not go with this model; the message says why.
        """
        config, inside = self._with(methods), methods.prune_layers or NONE
        found = {slot: str(getattr(config, slot)) for slot in (*PIPELINE, "tokens_policy")}
        check_reading(found, self.model.lookers, self.name)
        if inside != NONE:
            decoder_of(self.model)
        return {**found, "prune_layers": inside}

    def read(self, question: Question) -> AskedQuestion:
        """Tokenise a question for the Q-Formers, without anything that they would take for a command."""
        found = self.processor.question_ids([plain_words(question.stem, self.processor.qformer_tokenizer)])
        ids, mask = found["qformer_input_ids"], found["qformer_attention_mask"]
        whole = len(self.processor.qformer_tokenizer(question.stem)["input_ids"])
        read = Questions(ids.to(self.device), mask.to(self.device))
        return AskedQuestion(question, read, max(0, whole - ids.shape[1]))

    def knows_word(self, word: str) -> bool:
        """Whether the Q-Formers' tokenizer has a word, or larger pieces of it than single letters."""
        tokenizer = self.processor.qformer_tokenizer
        pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
        longest = max((len(tokenizer.decode([piece]).strip()) for piece in pieces), default=0)
        return tokenizer.unk_token_id not in pieces and longest >= min(2, len(word))

    def doubts(self, asked: AskedQuestion, features: Tensor) -> tuple[str, ...]:
        """What of the question or the video lies outside of the model's training; see `Knowledge`."""
        if self.knowledge is None:
            return ()
        unread = ("the model was never trained with subtitles",) * bool(asked.subtitles)
        return (*self.knowledge.doubts(asked.question, features), *unread)

    def select(
        self,
        features: Tensor,
        seconds: Tensor,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames = OWN,
    ) -> FrameSelection:
        """Choose frames of one video; see `VideoModel.select`."""
        config = self._with(methods)
        seen = features.to(self.device, self.model.dtype)
        self.check_numbers(seen, "features of frames")
        return self.model.select_frames(
            [seen], [seconds.to(self.device)], asked.tokens, budget=budget, config=config, seed=methods.seed
        )[0]

    def reduce(
        self,
        patches: Tensor,
        selection: FrameSelection,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames = OWN,
        seen: PatchSignals | None = None,
    ) -> VisualTokens:
        """Turn chosen frames into visual tokens; see `VideoModel.reduce`."""
        self.check_numbers(patches, "patches of frames")
        rows, inside = mixed(lambda _: patches.to(self.device), selection), methods.prune_layers or NONE
        most = budget.tokens if inside == NONE else entering(self.model, inside, budget.tokens)
        visual = self.model.reduce_to_budget(
            rows,
            [selection],
            asked.tokens,
            budget=budget.with_parts(most),
            config=self._with(methods),
            seed=methods.seed,
            seen=None if seen is None else [seen],
        )
        if inside != NONE:
            visual.pruning = [plan_inside(self.model, inside, n, budget.tokens) for n in visual.lengths]
        return visual

    def cost(self, budget: Budget) -> ModelCost:
        """What a question costs at most, counted."""
        config = self.model.config
        frames = None if config.select_frames == NONE else min(budget.frames, self.most_frames)
        tokens = budget.tokens if frames is None else min(budget.tokens, frames * config.tokens_per_frame)
        return self.cost_of(frames, tokens)

    def cost_of(self, frames: int | None, tokens: int) -> ModelCost:
        """What a question about so many frames costs, in so many tokens."""
        height, width = self.frame_size
        weights = list(self.model.parameters())
        channels = hidden_size(self.model.config.vision_config)
        return ModelCost(
            parameters=sum(p.numel() for p in weights),
            weight_bytes=sum(p.numel() * p.element_size() for p in weights),
            feature_bytes=channels * self.feature_dtype(channels).itemsize,
            frame_bytes=3 * height * width,
            patches_per_frame=patch_count(self.model.config.vision_config),
            frames=frames,
            tokens=tokens,
        )

    def _with(self, methods: MethodNames) -> BVLLMConfig:
        """The configuration with other methods in some slots."""
        own = self.model.config
        if not methods.given:
            return own
        config = own.with_methods(**methods.given_before)
        trained, asked = (kind_in_words(c.sample_tokens) for c in (own, config))
        if trained != asked and not methods.force:
            raise ValueError(
                f"sample_tokens must give {trained}, which the projector of model {self.name!r} "
                f"was trained on, got {config.sample_tokens!r}, which gives {asked}: keep "
                f"{own.sample_tokens!r}, or add --force (force=True) to see what comes of it"
            )
        self.model.check_methods(config)
        return config


def load_model(
    name: str = "nano",
    *,
    device: str | torch.device | None = None,
    fast: bool = True,
    compile: bool = False,
    scorer: str | None = None,
    pipeline: str | None = None,
) -> VideoModel:
    """Load a model for inference, whatever its family: the `model_type` of its configuration decides.

    Args:
        name: "nano" (inside the package), a folder in `save_pretrained` layout, or a hub id.
        device: where it runs; None takes CUDA if there is any, else the CPU.
        fast: encode frames with the tower's fast form where there is one (`model/fast_tower.py`); a wide
            tower then runs in bfloat16 on a CPU that has it.
        compile: on a GPU, compile the fast form with `torch.compile`: tens of seconds now, for the hours of
            video that follow. What it gains has not been measured.
        scorer, pipeline: for a transformers video model (docs/hugging-face.md), see `bvllm.balance`. For a
            Dynamic-VLM `scorer` is a B-VLLM with the same tower, whose selector then chooses the frames.

    Raises:
        ValueError: the name means nothing, there is nothing to compile, a transformers video model lacks a
            scorer, a Dynamic-VLM has one with another tower, or a B-VLLM has any.
        ModelError: the configuration or the weights cannot be read, or no family has its type.
    """
    where = resolve_model(name)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with reachable_hub(where):
        with one_line(name):
            check_folder(where)
            config, _ = PreTrainedConfig.get_config_dict(where, **loading())
        if config.get("model_type") in FAMILIES:
            from bvllm.inference.balance import load_balanced  # loads much that nano does not need

            return load_balanced(where, name, device=target, pipeline=pipeline, scorer=scorer)
        load = loader_of(config.get("model_type"), name)
        if scorer is not None and config.get("model_type") == "dynamic_vlm":
            from bvllm.inference.dynamic import load_dynamic

            if pipeline is not None:
                raise ValueError(
                    f"pipeline must be left out for model {name!r}, got {pipeline!r}: only a transformers "
                    "video model has one"
                )
            return load_dynamic(where, name, device=target, fast=fast, compile=compile, scorer=scorer)
        if scorer is not None or pipeline is not None:
            raise ValueError(
                f"scorer and pipeline must be left out for model {name!r}, got {scorer or pipeline!r}: it "
                "chooses frames by a selector of its own"
            )
        return load(where, name, device=target, fast=fast, compile=compile)


def load_bvllm(
    where: str,
    name: str,
    *,
    device: torch.device,
    fast: bool = True,
    compile: bool = False,
) -> LoadedModel:
    """Load a B-VLLM: in float32 on a CPU, in its own precision on an accelerator; see `load_model`.

    Raises:
        ValueError: there is nothing to compile.
        ModelError: the configuration or the weights cannot be read.
    """
    model, processor, knowledge = load_parts(
        where, name, device, BVLLMConfig, BVLLMForConditionalGeneration, BVLLMProcessor
    )
    quick = _fast_form(model, processor) if fast else None
    if compile:
        compile_fast(quick, name, device)
    return LoadedModel(model, processor, name, quick, knowledge)


def load_parts(
    where: str,
    name: str,
    device: torch.device,
    config_class: type[PreTrainedConfig],
    model_class: type[PreTrainedModel],
    processor_class: type[BVLLMProcessor],
) -> tuple[Any, Any, Knowledge | None]:
    """A model of one of our classes, its processor and what it knows, each checked; see `load_bvllm`.

    Raises:
        ModelError: the configuration or the weights cannot be read, or do not fit together.
    """
    with one_line(name, "config.json: "):
        config: Any = config_class.from_pretrained(where, **loading())
    with one_line(name):
        model, report = model_class.from_pretrained(
            where,
            config=config,
            dtype=torch.float32 if device.type == "cpu" else "auto",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report, with their names
            **loading_weights(),
        )
        check_weights(report)
        check_finite(model)
        knowledge = Knowledge.load(where, hidden_size(config.vision_config))
        processor = processor_class.from_pretrained(where, **loading())
        check_placeholder(processor.video_token_id, config.video_token_id)
    return model.to(device).eval(), processor, knowledge


def compile_fast(quick: FastTower | None, name: str, device: torch.device) -> None:
    """Compile the fast form of a tower.

    Raises:
        ValueError: there is none, or it is not on a GPU.
    """
    if quick is None or device.type == "cpu":
        raise ValueError(
            f"compile must be False, got True for {name!r} on {device.type}: "
            "only the fast form of a tower on CUDA is compiled"
        )
    with one_kernel_thread():  # as it will run: a compiled form holds for one number of threads
        quick.compile()


def _fast_form(model: BVLLMForConditionalGeneration, processor: BVLLMProcessor) -> FastTower | None:
    # Other features are made of patches, by parts that learn; and the fast tower's patches are without [CLS].
    if model.config.frame_feature != "cls" or model.keeps_prefix:
        return None
    normal = processor.video_processor
    return fast_tower(model.vision_tower, normal.image_mean, normal.image_std)
