"""Put a transformers video model behind the interface `VideoModel`: B-VLLM's balance without training.

Frames are chosen before the model sees any (by a frozen image-text model, or evenly); the chosen ones go
through its own encoder, each alone; their tokens are reduced to the budget; and its own processor writes the
prompt, with the true times of the chosen frames, of which the placeholders stay whose tokens stayed.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    DynamicCache,
    PreTrainedModel,
    ProcessorMixin,
)

from bvllm.common.text import LETTERS, Question
from bvllm.inference.balanced_prompt import PromptWriter, side_by_side
from bvllm.inference.balanced_several import SeveralInOne
from bvllm.inference.beside import fitting
from bvllm.inference.frame_encoder import FrameEncoder
from bvllm.inference.hearing import Hear, HearingStreamer
from bvllm.inference.model import AskedQuestion, ModelCost, VisualTokens
from bvllm.inference.options import option_log_probabilities, reply_forms
from bvllm.inference.plain_words import plain_length
from bvllm.inference.recipes import RECIPES
from bvllm.inference.scorer import Scorer
from bvllm.inference.session import PromptCache
from bvllm.inference.stop_points import layers_of
from bvllm.methods import METHODS, NONE, PIPELINE
from bvllm.methods.names import OWN, MethodNames, check_reading
from bvllm.methods.select_frames.relevant import quality_of
from bvllm.model.backbones.attention import encode_and_read, lookers_in
from bvllm.model.backbones.families import Family, family_of, tokens_per_frame
from bvllm.model.backbones.pruning.cache import PrunedCache
from bvllm.model.backbones.pruning.decoders import decoder_of
from bvllm.model.backbones.pruning.plan import carried_out, entering, plan_inside
from bvllm.stages.allocate import POLICIES, BalancedShare
from bvllm.stages.patch_signals import PatchSignals, signals_of_rows
from bvllm.stages.pipeline import EVERY_PATCH, Pipeline, mixed
from bvllm.stages.reading import Reading
from bvllm.stages.sample_tokens import PerClip
from bvllm.types import Budget, Clip, FrameSelection, MethodRefused, Signals
from bvllm.video.forms import AnySource

if TYPE_CHECKING:
    from bvllm.inference.results import Answer

THUMBNAIL = 8  # pixels each way: what is kept of a frame where no scorer is
BUDGET = Budget(tokens=1024, frames=32)


@dataclass(frozen=True)
class BalancedModel(SeveralInOne):
    """A video model of transformers on a token budget; its weights and code stay untouched.

    Attributes:
        model, processor: as their families load them.
        name: what it was asked for by.
        recipe: a key of `bvllm.inference.recipes.RECIPES`.
        scorer: says how much frames bear on the question; None allows recipes that do not ask.
        frame_size: (height, width) in which frames are kept and shown to the model's processor.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    name: str
    recipe: str
    scorer: Scorer | None
    frame_size: tuple[int, int]
    chunk: int = 16
    patch_step: int = 1

    @property
    def family(self) -> Family:
        return family_of(self.model.config)

    @property
    def prompt(self) -> PromptWriter:
        return PromptWriter(self.model, self.processor, self.name, self.frame_size)

    @property
    def encoder(self) -> FrameEncoder:
        return FrameEncoder(self.model, self.processor)

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def budget(self) -> Budget:
        return BUDGET

    @property
    def tokens_per_frame(self) -> int:
        """N, what a frame of `frame_size` becomes."""
        return tokens_per_frame(self.model.config, self.frame_size)

    @property
    def most_frames(self) -> int:
        return BUDGET.frames

    @property
    def reads_question(self) -> bool:
        return self.scorer is not None and RECIPES[self.recipe]["select_frames"] == "relevant"

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Of the towers and the language model."""
        return layers_of(self.model)

    @cached_property
    def fingerprint(self) -> str:
        """Of what gives a frame's feature: the scorer, or the thumbnail."""
        return f"thumbnail-{THUMBNAIL}-1" if self.scorer is None else self.scorer.digest()

    def frame_features(self, frames: Tensor) -> Tensor:
        """The scorer's features of frames, or thumbnails; see `VideoModel`."""
        if self.scorer is not None:
            return self.scorer.frame_features(frames)
        return adaptive_avg_pool2d(frames.float() / 255, THUMBNAIL).flatten(1)

    def feature_dtype(self, channels: int) -> torch.dtype:
        return torch.float32

    def methods(self, methods: MethodNames) -> dict[str, str]:
        """The name of the method in every slot; see `VideoModel`."""
        filled = {**RECIPES[self.recipe], **methods.given}
        for slot in METHODS:
            if filled[slot] != NONE and METHODS[slot][filled[slot]].learned:
                raise MethodRefused(
                    f"{slot} must be a method without trained weights, got {filled[slot]!r}: {self.name!r} "
                    "was not trained with it"
                )
        needs = frozenset().union(*(METHODS[s][filled[s]].needs for s in METHODS if filled[s] != NONE))
        if "relevance" in needs and self.scorer is None:
            raise MethodRefused(
                "scorer must be named for a method that asks which frames bear on the question, got none: "
                "add --scorer openai/clip-vit-base-patch32 (scorer=...)"
            )
        check_reading(filled, lookers_in(self.model), self.name)
        if filled["sample_tokens"] == "pool":
            raise MethodRefused(
                f"sample_tokens must be a method that keeps patches, got 'pool': use merge_tokens for "
                f"{self.name!r}"
            )
        if filled["prune_layers"] != NONE:
            decoder_of(self.model)
        return filled

    def read(self, question: Question) -> AskedQuestion:
        return AskedQuestion(question, None)

    def knows_word(self, word: str) -> bool:
        return True

    def doubts(self, asked: AskedQuestion, features: Tensor) -> tuple[str, ...]:
        return ()

    def select(
        self,
        features: Tensor,
        seconds: Tensor,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames = OWN,
    ) -> FrameSelection:
        """Choose frames of one video; see `VideoModel`."""
        relevance = None
        if self.scorer is not None:
            relevance = self.scorer.relevance(features, asked.question.stem)
        pipeline = self.pipeline(methods)
        if isinstance(pipeline.policy, BalancedShare):
            affordable = pipeline.policy.frames(budget.tokens, self.tokens_per_frame)
            budget = Budget(budget.tokens, min(budget.frames, affordable))
        [chosen] = pipeline.choose_frames(
            [Clip(features, seconds)],
            budget=budget,
            signals=[Signals(relevance=relevance, seed=methods.seed)],
        )
        if relevance is None:
            return chosen
        # Cosines of one video lie close together: beside the best frame they tell more, and share tokens out.
        quality = quality_of(relevance)
        return replace(chosen, scores=(quality / quality.max())[chosen.frames])

    def pipeline(self, methods: MethodNames) -> Pipeline:
        """The four slots, filled by the recipe and by methods that were named."""
        names = self.methods(methods)
        select, merge_frames, sample, merge = (
            None if names[slot] == NONE else METHODS[slot][names[slot]]() for slot in PIPELINE
        )
        policy = names["tokens_policy"]
        return Pipeline(
            select_frames=select,
            merge_frames=merge_frames,
            sample_tokens=EVERY_PATCH if sample is None else PerClip(sample),
            merge_tokens=merge,
            policy=None if policy == NONE else POLICIES[policy](),
        )

    def patch_features(self, frames: Tensor) -> Tensor:
        """Visual tokens of frames, by the model's own encoder, each frame alone: (t, N, D)."""
        with torch.inference_mode():
            return torch.cat([self.encoder.frame(frame[None]) for frame in frames])

    def read_patches(self, frames: Tensor, reading: Reading) -> tuple[Tensor, PatchSignals]:
        """Visual tokens of frames, and what the tower attends to; see `VideoModel`."""
        with torch.inference_mode():
            read = [
                encode_and_read(
                    self.model, self.family, self.encoder.pixels(frame[None]), reading, self._grid
                )
                for frame in frames
            ]
        features, signals = zip(*read)
        return torch.cat(features), PatchSignals.of_frames(signals)

    def reduce(
        self,
        patches: Tensor,
        selection: FrameSelection,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames = OWN,
        seen: PatchSignals | None = None,
        *,
        tail: int | None = None,
    ) -> VisualTokens:
        """Turn chosen frames into visual tokens; see `VideoModel`.

        Args:
            tail: tokens behind the last frame that are of no frame; None takes the family's for videos.
        """
        tail = self.family.tail if tail is None else tail
        tail = tail if budget.tokens > tail else 0  # where the budget has no room for it, it goes
        grid = self._grid(patches.shape[1])
        rows, inside = mixed(lambda _: patches, selection), self.methods(methods)["prune_layers"]
        room = budget.tokens - tail
        most = room if inside == NONE else entering(self.model, inside, room)
        given = Signals(question=self._words(asked), grid=grid, seed=methods.seed)
        sampled = self.pipeline(methods).reduce_to_budget(
            rows,
            [selection],
            budget=Budget(most, budget.frames),
            signals=[signals_of_rows(seen, selection, given)],
        )
        [tokens] = sampled.tokens
        return VisualTokens(
            pooler_output=[tokens.features],
            lengths=[len(tokens) + tail],
            tokens=[tokens],
            selections=[selection],
            grid=grid,
            pruning=None if inside == NONE else [plan_inside(self.model, inside, len(tokens), room, tail)],
        )

    def _words(self, asked: AskedQuestion) -> Tensor:
        """(Q, D) the question's words as the language model reads them: in the space of visual tokens."""
        ids = self.processor.tokenizer(asked.question.stem, add_special_tokens=False, return_tensors="pt")
        embed = self.model.get_input_embeddings()
        with torch.inference_mode():
            return torch.as_tensor(embed(ids["input_ids"].to(self.device))[0])

    def _grid(self, tokens: int) -> tuple[int, int]:
        """Rows and columns of a frame's tokens; one row where they form no such grid."""
        height, width = self.frame_size
        rows = round((tokens * height / width) ** 0.5)
        return (rows, tokens // rows) if rows and tokens % rows == 0 else (1, tokens)

    def fit_subtitles(self, asked: AskedQuestion, visual: VisualTokens, max_new_tokens: int) -> AskedQuestion:
        """As many subtitles as the language model's positions leave room for; see `VideoModel`."""
        if not asked.subtitles:
            return asked
        room = int(self.model.config.get_text_config().max_position_embeddings)
        used = self.prompt.inputs(replace(asked, subtitles=()), visual)["input_ids"].shape[1]
        tokenizer = self.processor.tokenizer
        kept = fitting(
            asked.subtitles,
            visual.selections[0].seconds.tolist(),
            room - used - max_new_tokens,
            lambda text: plain_length(text, tokenizer),
        )
        return replace(asked, subtitles=kept)

    def generate(
        self,
        asked: AskedQuestion,
        visual: VisualTokens,
        max_new_tokens: int,
        prompt: PromptCache | None = None,
        hear: Hear | None = None,
    ) -> str:
        """What the language model says, greedily; see `VideoModel`."""
        options: dict[str, Any] = {"do_sample": False, "num_beams": 1}
        if hear is not None:
            closing = self.model.generation_config.eos_token_id
            ends = closing if isinstance(closing, list) else [] if closing is None else [closing]
            options["streamer"] = HearingStreamer(self.processor.tokenizer, [hear], ends)
        [said] = self.generate_as(asked, visual, max_new_tokens=max_new_tokens, **options)
        return said

    def generate_as(self, asked: AskedQuestion, visual: VisualTokens, **options: Any) -> list[str]:
        """What the language model says, decoded as transformers' `generate` is asked to.

        Args:
            options: of `generate`: `num_beams`, `do_sample`, `streamer`, `num_return_sequences`, ...

        Returns:
            One text for each returned sequence.
        """
        given = self.prompt.inputs(asked, visual)
        with self._inside(given, [visual]) as states:
            said, read = self.model.generate(**given, **states, **options), given["input_ids"].shape[1]
        return [self.processor.tokenizer.decode(row[read:], skip_special_tokens=True).strip() for row in said]

    def generate_together(
        self, rows: Sequence[tuple[AskedQuestion, VisualTokens]], max_new_tokens: int
    ) -> list[str]:
        """What the language model says to several questions at once: to each what it says to it alone."""
        given = side_by_side(self.prompt, rows)
        options: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": max_new_tokens}
        with self._inside(given, [visual for _, visual in rows]) as states:
            said = self.model.generate(**given, **states, **options)
        tokenizer, read = self.processor.tokenizer, given["input_ids"].shape[1]
        return [tokenizer.decode(row[read:], skip_special_tokens=True).strip() for row in said]

    @torch.inference_mode()
    def prefill(self, asked: AskedQuestion, visual: VisualTokens) -> None:
        """Read the prompt and say nothing: what comes before the first word."""
        given = self.prompt.inputs(asked, visual)
        with self._inside(given, [visual]) as states:
            own = states or {"past_key_values": DynamicCache(config=self.model.config.get_text_config())}
            self.model(**given, **own, use_cache=True)

    def option_scores(
        self, asked: AskedQuestion, visual: VisualTokens, said: str, prompt: PromptCache | None = None
    ) -> list[float]:
        """Log-probability that the reply is an option, in any of its usual spellings; see `VideoModel`."""
        options, tokenizer = asked.question.options, self.processor.tokenizer
        forms = [form for k, option in enumerate(options) for form in reply_forms(option, LETTERS[k])]
        written = [tokenizer(f.text, add_special_tokens=False)["input_ids"] for f in forms]
        ends = tokenizer.eos_token_id
        written = [
            [*ids, ends] if form.ends and ends is not None else ids
            for ids, form in zip(written, forms, strict=True)
        ]
        given = self.prompt.inputs(asked, visual)
        with torch.inference_mode(), self._inside(given, [visual]) as states:
            scores = self._reply_scores(given, written, states.get("past_key_values"))
        return option_log_probabilities(scores, written, len(options))

    def _inside(
        self, given: dict[str, Any], visual: Sequence[VisualTokens]
    ) -> AbstractContextManager[dict[str, Any]]:
        """What a call is given beside the prompts, for tokens to be dropped inside the language model."""
        plans = [None if v.pruning is None else v.pruning[0] for v in visual]
        places = self.prompt.is_placeholder(given["input_ids"])
        return carried_out(self.model, plans, places, given["attention_mask"])

    def _reply_scores(
        self, given: dict[str, Any], replies: list[list[int]], states: PrunedCache | None = None
    ) -> Tensor:
        """(replies,) log-probabilities of what the reply begins with, behind one reading of the prompt."""
        states = DynamicCache(config=self.model.config.get_text_config()) if states is None else states
        output = self.model(**given, past_key_values=states, use_cache=True)
        first = output.logits[0, -1].float().log_softmax(dim=-1)
        ids = pad_sequence([torch.tensor(r) for r in replies], batch_first=True).to(self.device)
        lengths = torch.tensor([len(r) for r in replies], device=self.device)
        real = torch.arange(ids.shape[1], device=self.device) < lengths[:, None]
        scores: Tensor = first[ids[:, 0]].clone()
        longer = (lengths > 1).nonzero()[:, 0]  # the others are told by their first token
        if not len(longer):
            return scores
        ids, real, count, read = ids[longer], real[longer], len(longer), given["input_ids"].shape[1]
        states.batch_repeat_interleave(count)  # they are this call's own
        then = torch.arange(ids.shape[1] - 1, device=self.device)
        extra = {}
        if "position_ids" in given:
            last = int(given["position_ids"][1:].max()) + 1
            extra["position_ids"] = torch.stack([read + then, *[last + then] * 3])[:, None].expand(
                -1, count, -1
            )
        logits = self.model(
            input_ids=ids[:, :-1],
            attention_mask=ids.new_ones(count, read + ids.shape[1] - 1),
            past_key_values=states,
            use_cache=True,
            **extra,
        ).logits
        chances: Tensor = logits.float().log_softmax(dim=-1).gather(-1, ids[:, 1:, None])[..., 0]
        scores[longer] += (chances * real[:, 1:]).sum(dim=1)
        return scores

    def ask(self, source: AnySource | Sequence[Any], question: str | Question, **settings: Any) -> "Answer":
        """One question about one video, or several; see `bvllm.ask`. `budget` may be a number of tokens.

        Raises:
            ValueError, VideoError: as `bvllm.ask` does.
        """
        from bvllm.inference.ask import ask  # which knows this module's interface

        return ask(source, question, self, **self._with_budget(settings))

    def chat(self, messages: Sequence[dict[str, object]], **settings: Any) -> "Answer":
        """Answer the last turn of a chat; see `bvllm.chat`. `budget` may be a number of tokens.

        Raises:
            ValueError, VideoError: as `bvllm.chat` does.
        """
        from bvllm.inference.ask import chat

        return chat(messages, self, **self._with_budget(settings))

    def _with_budget(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings, where the budget is a number of tokens with a budget of so many."""
        tokens = settings.get("budget")
        return {**settings, "budget": self.budget.with_parts(tokens)} if isinstance(tokens, int) else settings

    def cost(self, budget: Budget) -> ModelCost:
        """What a question costs at most, counted; see `VideoModel`."""
        height, width = self.frame_size
        weights = list(self.model.parameters())
        channels = 3 * THUMBNAIL**2 if self.scorer is None else self.scorer.width
        frames = min(budget.frames, self.most_frames)
        blank = torch.zeros(1, 3, height, width, dtype=torch.uint8)
        each = self.patch_features(blank).shape[1]
        return ModelCost(
            parameters=sum(p.numel() for p in weights),
            weight_bytes=sum(p.numel() * p.element_size() for p in weights),
            feature_bytes=4 * channels,
            frame_bytes=3 * height * width,
            patches_per_frame=each,
            frames=frames,
            tokens=min(budget.tokens, frames * each + self.family.tail),
        )
