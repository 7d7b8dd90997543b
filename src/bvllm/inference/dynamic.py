"""Put a Dynamic-VLM behind the interface `VideoModel`: every frame stays, the budget is shared among them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from bvllm.common.subtitles import beside
from bvllm.common.text import Question
from bvllm.common.trust import loading
from bvllm.inference.backbones import one_line
from bvllm.inference.dynamic_several import SeveralOnOneBudget, frames_of
from bvllm.inference.loading import LoadedModel, compile_fast, load_bvllm, load_parts
from bvllm.inference.model import AskedQuestion, ModelCost, VisualTokens
from bvllm.inference.model_name import resolve_model
from bvllm.inference.plain_words import plain_words
from bvllm.inference.stop_points import layers_of
from bvllm.methods import METHODS, NONE
from bvllm.methods.names import OWN, MethodNames
from bvllm.model.dynamic import DynamicVLMConfig, DynamicVLMForConditionalGeneration, DynamicVLMProcessor
from bvllm.model.fast_tower import fast_tower
from bvllm.model.text_encoder import WORD_TOWER, TextEncoder
from bvllm.model.vision_tower import patch_count
from bvllm.primitives.reduction import Reduction
from bvllm.stages.allocate import EvenShare
from bvllm.stages.compressors import Compressed
from bvllm.stages.frame_grids import Grid
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.pipeline import Pipeline, mixed, thin_evenly
from bvllm.stages.sample_tokens import PerClip
from bvllm.types import Budget, Clip, FrameSelection, Signals, Step, Tokens

TOGETHER = 8  # frames that are compressed at a time
OWN_METHODS = {
    "select_frames": "uniform",
    "merge_frames": NONE,
    "sample_tokens": "dynamic",
    "merge_tokens": NONE,
    "tokens_policy": "even",
    "prune_layers": NONE,
}


@dataclass(frozen=True)
class LoadedDynamic(SeveralOnOneBudget, LoadedModel):
    """A Dynamic-VLM, its processor, and its tower's fast form.

    Attributes:
        words: the text side of the tower, by which frames can be chosen for a question; None without one.
        selector: a B-VLLM with the same tower, whose frame selector stands in front; None without one.
    """

    model: DynamicVLMForConditionalGeneration
    processor: DynamicVLMProcessor
    words: TextEncoder | None = None
    selector: LoadedModel | None = None

    @property
    def most_frames(self) -> int:
        """The configuration's `max_frames`."""
        return int(self.model.config.max_frames)

    @property
    def scores_patches(self) -> bool:
        """Whether the compressor prunes."""
        return bool(self.model.config.compressor == "prune")

    @property
    def reads_question(self) -> bool:
        """Only with a selector in front: else all frames stay, or a method chooses."""
        return self.selector is not None

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Of the towers and the language model, and of a selector in front: it reads whole videos."""
        chooser = None if self.selector is None else self.selector.model.frame_selector
        return [*super().layers, *(() if chooser is None else layers_of(chooser))]

    def methods(self, methods: MethodNames) -> dict[str, str]:
        """The name of the method in every slot; see `VideoModel`."""
        filled = {**OWN_METHODS, **self._in_front(methods), **methods.given}
        if filled["prune_layers"] != NONE:
            raise ValueError(
                f"prune_layers must be {NONE!r}, got {filled['prune_layers']!r}: {self.name!r} shares "
                "its budget among frames before the language model"
            )
        for slot in METHODS:
            name = filled[slot]
            if slot == "select_frames" and name == self._selects:
                continue
            if name != NONE and (METHODS[slot][name].learned or name == "pool"):
                raise ValueError(
                    f"{slot} must be a method without trained weights, got {name!r}: {self.name!r} pools by "
                    'the number of frames ("dynamic"), and was not trained with it'
                )
            if name != NONE and "relevance" in METHODS[slot][name].needs and self.words is None:
                raise ValueError(
                    f"{slot} must be a method that asks for no relevance, got {name!r}: {self.name!r} has no "
                    f"{WORD_TOWER} to compare frames and question by"
                )
        return filled

    @property
    def _selects(self) -> str | None:
        """The method of the selector in front."""
        return None if self.selector is None else str(self.selector.model.config.select_frames)

    def _in_front(self, methods: MethodNames) -> dict[str, str]:
        """What a selector in front does where no other method is asked for."""
        if self.selector is None or methods.select_frames not in (None, self._selects):
            return {}
        own = self.selector.model.config
        return {"select_frames": str(own.select_frames), "merge_frames": str(own.merge_frames)}

    def read(self, question: Question) -> AskedQuestion:
        """The question as it is, since only the language model reads it; as a selector in front reads it."""
        return AskedQuestion(question, None) if self.selector is None else self.selector.read(question)

    def knows_word(self, word: str) -> bool:
        """Whether the selector in front knows a word, or else the tower's text side; without both all may."""
        if self.selector is not None:
            return self.selector.knows_word(word)
        return self.words is None or bool(self.words.known(word))

    def select(
        self,
        features: Tensor,
        seconds: Tensor,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames = OWN,
    ) -> FrameSelection:
        """All frames; of more than the model or the budget has room for, those that the method keeps.

        With a selector in front those that its queries choose, at most as many as it has.
        """
        names = self.methods(methods)
        room = Budget(budget.tokens, self.model.config.frames_kept(len(features), budget))
        if self.selector is not None and names["select_frames"] == self._selects:
            return self._selected(features, seconds, asked, budget, names["merge_frames"], methods.seed)
        select, merge = (
            None if names[slot] == NONE else METHODS[slot][names[slot]]()
            for slot in ("select_frames", "merge_frames")
        )
        relevance = self._relevance(features, asked.question.stem)
        [chosen] = Pipeline(select, merge).choose_frames(
            [Clip(features, seconds)], budget=room, signals=[Signals(relevance=relevance, seed=methods.seed)]
        )
        if len(chosen) > room.frames:  # an empty slot keeps all, and the prompt has no room
            return FrameSelection.of(torch.arange(len(features)), seconds).reduce(
                METHODS["select_frames"]["uniform"]().assign(Clip(features, seconds), room.frames, Signals())
            )
        return chosen

    def _selected(
        self,
        features: Tensor,
        seconds: Tensor,
        asked: AskedQuestion,
        budget: Budget,
        merge_frames: str,
        seed: int,
    ) -> FrameSelection:
        """What the selector in front chooses, thinned evenly where the budget has no room for all of it.

        All of its queries choose, however small the budget: they learned to share frames among them.
        """
        assert self.selector is not None
        queries = Budget(budget.tokens, min(budget.frames, self.selector.most_frames))
        merging = MethodNames(merge_frames=merge_frames, seed=seed)
        chosen = self.selector.select(features, seconds, asked, queries, merging)
        room = self.model.config.frames_kept(len(chosen), budget)
        return chosen if len(chosen) <= room else chosen.reduce(thin_evenly(len(chosen), room))

    def _relevance(self, features: Tensor, question: str) -> Tensor | None:
        if self.words is None:
            return None
        seen = torch.nn.functional.normalize(features.float().cpu(), dim=-1)
        found: Tensor = seen @ self.words([question])[0] + 1.0  # a cosine, brought above 0
        return found

    def reduce(
        self,
        patches: Tensor,
        selection: FrameSelection,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames = OWN,
        seen: PatchSignals | None = None,
    ) -> VisualTokens:
        """Turn chosen frames into visual tokens; see `VideoModel`. No method here goes by attention."""
        rows = mixed(lambda _: patches.to(self.device), selection)
        return self.reduce_stream(iter(rows), selection, asked, budget, methods)

    def reduce_stream(
        self,
        patches: Iterable[Tensor],
        selection: FrameSelection,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames = OWN,
        scored: Iterable[Tensor] | None = None,
    ) -> VisualTokens:
        """As `reduce`, of patches that come frame by frame and are let go once they are compressed.

        Args:
            patches: (N, C) of each row of the selection, in order.
            scored: see `ReducesStream`.
        """
        if self.methods(methods)["sample_tokens"] != "dynamic":
            rows = torch.stack(list(patches)).to(self.device)
            self.check_numbers(rows, "patches of frames")
            with torch.inference_mode():
                rows = self.model.tell_places(rows)
            return self._by_method(rows, selection, budget, methods)
        grids = self.model.config.frame_grids(len(selection), budget.tokens)
        return self.compressed(patches, selection, grids, scored)

    def compressed(
        self,
        patches: Iterable[Tensor],
        selection: FrameSelection,
        grids: list[Grid],
        scored: Iterable[Tensor] | None = None,
    ) -> VisualTokens:
        """As `reduce_stream`, of frames whose grids are known."""
        made: list[Compressed] = []
        frames, other = iter(patches), None if scored is None else iter(scored)
        with torch.inference_mode():
            while part := list(islice(frames, TOGETHER)):
                stacked = torch.stack(part).to(self.device)
                self.check_numbers(stacked, "patches of frames")
                scores = None if other is None else torch.stack(list(islice(other, len(part)))).to(stacked)
                made += self.model.compress(stacked, grids[len(made) : len(made) + len(part)], scores)
        return self._visual(tokens_of(made, selection, self.model.config.native_grid), selection)

    def _by_method(
        self, rows: Tensor, selection: FrameSelection, budget: Budget, methods: MethodNames
    ) -> VisualTokens:
        """Tokens by another method, which the projector meets for the first time."""
        names, native = self.methods(methods), self.model.config.native_grid
        sample, merge = (
            None if names[slot] == NONE else METHODS[slot][names[slot]]()
            for slot in ("sample_tokens", "merge_tokens")
        )
        pipeline = Pipeline(merge_tokens=merge, policy=EvenShare())
        if sample is not None:
            pipeline = Pipeline(sample_tokens=PerClip(sample), merge_tokens=merge, policy=EvenShare())
        signals = [Signals(grid=(native.rows, native.columns), seed=methods.seed)]
        [tokens] = pipeline.reduce_to_budget(rows, [selection], budget=budget, signals=signals).tokens
        return self._visual(tokens, selection)

    def _visual(self, tokens: Tokens, selection: FrameSelection) -> VisualTokens:
        grid = self.model.config.native_grid
        with torch.inference_mode():
            features = self.model.project(tokens.features, tokens.seconds)
        return VisualTokens(
            pooler_output=[features],
            lengths=[len(tokens)],
            tokens=[tokens],
            selections=[selection],
            grid=(grid.rows, grid.columns),
        )

    def cost(self, budget: Budget) -> ModelCost:
        """What a question costs at most, counted; the weights of a selector in front among it."""
        config, most = self.model.config, self.most_frames
        if self.selector is not None:
            most = min(most, self.selector.most_frames, budget.frames)
        frames = config.frames_kept(most, budget)
        found = self.cost_of(frames, min(budget.tokens, frames * patch_count(config.vision_config)))
        if self.selector is None or (chooser := self.selector.model.frame_selector) is None:
            return found
        weights = list(chooser.parameters())
        return replace(
            found,
            parameters=found.parameters + sum(p.numel() for p in weights),
            weight_bytes=found.weight_bytes + sum(p.numel() * p.element_size() for p in weights),
        )

    def _prompt(self, asked: AskedQuestion, visual: VisualTokens) -> Tensor:
        """(1, S) one user turn that begins with the frames, each behind its second; or a conversation."""
        if asked.turns:
            return self._conversation(asked.turns, visual.tokens)["input_ids"].to(self.device)
        text = plain_words(beside(asked.subtitles) + asked.question.written, self.processor.tokenizer)
        [tokens] = visual.tokens
        chat: list[dict[str, object]] = [
            {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}
        ]
        written = self.processor.prompt_of_clips(chat, [frames_of(tokens)])
        ids: Tensor = written["input_ids"].to(self.device)
        return ids


def tokens_of(made: list[Compressed], selection: FrameSelection, native: Grid) -> Tokens:
    """The compressed frames of one clip as one bag of tokens, each with its time and place."""
    counts = torch.tensor([len(one.features) for one in made])
    starts, device = counts.cumsum(0) - counts, made[0].features.device
    plan = Reduction(
        torch.cat([one.plan.output + int(start) for one, start in zip(made, starts)]),
        torch.cat([one.plan.input + k * native.cells for k, one in enumerate(made)]),
        torch.cat([one.plan.weight for one in made]),
        int(counts.sum()),
        len(made) * native.cells,
    )
    patch = plan.anchor.to(device) % native.cells
    each = counts.to(device)
    return Tokens(
        torch.cat([one.features for one in made]),
        selection.seconds.to(device).repeat_interleave(each),
        plan.count(torch.ones(plan.inputs, device=plan.input.device)).to(device),
        selection.frames.to(device).repeat_interleave(each),
        patch // native.columns,
        patch % native.columns,
        torch.arange(len(made), device=device).repeat_interleave(each),
        (Step(plan),),
    )


def load_dynamic(
    where: str,
    name: str,
    *,
    device: torch.device,
    fast: bool = True,
    compile: bool = False,
    scorer: str | None = None,
) -> LoadedDynamic:
    """Load a Dynamic-VLM: in float32 on a CPU, in its own precision on an accelerator; see `load_model`.

    Args:
        scorer: a B-VLLM whose frame selector stands in front; its tower must be the same, for it reads the
            features of this one.

    Raises:
        ValueError: there is nothing to compile, or the scorer is no B-VLLM with a selector and this tower.
        ModelError: the configuration or the weights cannot be read.
    """
    model, processor, knowledge = load_parts(
        where, name, device, DynamicVLMConfig, DynamicVLMForConditionalGeneration, DynamicVLMProcessor
    )
    with one_line(name):
        words = TextEncoder.load(Path(where)) if Path(where, WORD_TOWER).is_file() else None
    normal = processor.video_processor
    quick = fast_tower(model.vision_tower, normal.image_mean, normal.image_std) if fast else None
    if compile:
        compile_fast(quick, name, device)
    loaded = LoadedDynamic(model, processor, name, quick, knowledge, words)
    return loaded if scorer is None else replace(loaded, selector=_selector_of(scorer, loaded))


def _selector_of(name: str, behind: LoadedDynamic) -> LoadedModel:
    """The B-VLLM of that name, which is to choose frames for a Dynamic-VLM and shares its tower."""
    where = resolve_model(name)
    with one_line(name):
        kind, _ = PreTrainedConfig.get_config_dict(where, **loading())
    if kind.get("model_type") != "bvllm":
        raise ValueError(
            f"scorer must be a B-VLLM with a frame selector where the model is a Dynamic-VLM, got {name!r}: "
            "name one, or leave it out"
        )
    found = load_bvllm(where, name, device=behind.device, fast=False)
    if not found.reads_question:
        raise ValueError(
            f"scorer must have a frame selector that reads the question, got {name!r} without: name another"
        )
    if not _same_tower(found, behind):
        raise ValueError(
            f"scorer must have the vision tower of {behind.name!r}, whose features it reads, got {name!r} "
            "with another: name the B-VLLM whose tower this model was trained from"
        )
    found.model.share_tower(behind.model.vision_tower)
    return found


def _same_tower(one: LoadedModel, other: LoadedDynamic) -> bool:
    """Whether frames have the same features for both, whatever the tower is run by."""
    mine, theirs = (loaded.model.vision_tower.state_dict() for loaded in (one, other))
    normal, others = one.processor.video_processor, other.processor.video_processor
    return (
        one.model.config.frame_feature == "cls"
        and one.frame_size == other.frame_size
        and (normal.image_mean, normal.image_std) == (others.image_mean, others.image_std)
        and mine.keys() == theirs.keys()
        and all(torch.equal(mine[key], theirs[key]) for key in mine)
    )
